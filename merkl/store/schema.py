"""The tables of the store's database, and their version.

It decides how records, names and small blobs lie on disk, and nothing about when.

The invariant: a database is made complete under another name and then renamed, so one that has no ``meta`` row is
damaged, never half made.  A name refers to its record by the *seal*, a digest of all that the record says; so a
record that was altered, or a name that points elsewhere, is noticed when it is read.
"""

import struct
from typing import Final

from merkl.errors import SchemaTooNew
from merkl.journal import begin_journal
from merkl.sqlite import sqlite3
from merkl.store.faults import Damaged

SCHEMA: Final = 2  # Since 2 a record says where it came from, and names have short answers.

_TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE record (
    id           INTEGER PRIMARY KEY,
    seal         BLOB NOT NULL UNIQUE,   -- digest of all the columns from content_key to origin
    used_at      INTEGER NOT NULL,       -- seconds since the epoch, to the day
    content_key  BLOB NOT NULL,
    found        BLOB NOT NULL,          -- digest of the discovered inputs, empty if it discovers none
    key          BLOB NOT NULL,          -- the key it was made for
    task         TEXT NOT NULL,
    builder      TEXT NOT NULL,
    exit_code    INTEGER NOT NULL,
    started_ns   INTEGER NOT NULL,
    seconds      REAL NOT NULL,
    log          BLOB,                   -- digest of what it printed
    outputs      TEXT NOT NULL,          -- JSON, as are the following; digests are hexadecimal
    inputs       TEXT NOT NULL,
    discovered   TEXT,
    arguments    TEXT NOT NULL,
    dependencies TEXT NOT NULL,
    metadata     TEXT NOT NULL,
    origin       TEXT,                   -- who signed it, and in which namespace, if it was not made here
    UNIQUE (content_key, found)
);

CREATE TABLE name (
    key    BLOB PRIMARY KEY,
    record BLOB NOT NULL,                -- its seal
    answer INTEGER                       -- the key's number, which is that of its answer, if it has one
) WITHOUT ROWID;

CREATE TABLE blob (
    id      INTEGER PRIMARY KEY,
    digest  BLOB NOT NULL UNIQUE,
    size    INTEGER NOT NULL,
    used_at INTEGER NOT NULL,            -- seconds since the epoch: last stored, or confirmed to be here
    stamp   BLOB,                        -- settled stamp of the file when its digest was last checked
    bytes   BLOB                         -- NULL if they are in a file
);

CREATE TABLE view (
    directory BLOB NOT NULL,             -- absolute
    path      BLOB NOT NULL,             -- relative to it
    digest    BLOB NOT NULL,
    stamp     BLOB NOT NULL,             -- settled
    PRIMARY KEY (directory, path)
) WITHOUT ROWID;
"""

# What a name leads to, for those that lead to one small value.  They go with the name, whoever removes or changes that.
_ANSWERS: Final = (
    """CREATE TABLE answer (
    id      INTEGER PRIMARY KEY,         -- in the order of filing
    number  INTEGER NOT NULL UNIQUE,     -- of a key
    seal    BLOB NOT NULL,               -- digest of key, form and bytes
    form    BLOB NOT NULL,               -- the value's serializer
    used_at INTEGER NOT NULL,            -- seconds since the epoch: its record was used then, or later
    blob    INTEGER NOT NULL             -- where the bytes are
)""",
    """CREATE TRIGGER unnamed AFTER DELETE ON name
BEGIN DELETE FROM answer WHERE number = OLD.answer; END""",
    """CREATE TRIGGER renamed AFTER UPDATE OF record ON name
BEGIN DELETE FROM answer WHERE number = OLD.answer; END""",
)


_NUMBER: Final = struct.Struct(">q24x")
numbers_of: Final = _NUMBER.unpack  # A key's number as a tuple, which is what a query takes.


def number_of(key: object) -> int | None:
    """The number of a key: its first eight bytes, which SQLite finds faster than all of them.  None if it is no key."""
    try:
        number: int = numbers_of(key)[0]  # type: ignore[arg-type]
    except (TypeError, struct.error):
        return None
    return number


def create_tables(connection: sqlite3.Connection, directory: str) -> None:
    """Make an empty database complete, in one transaction; ``directory`` is where it lies."""
    connection.execute("PRAGMA synchronous = OFF")  # Whoever gives it its name syncs all of it, once.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    begin_journal(connection, directory)
    connection.executescript(f"BEGIN;{_TABLES};{';'.join(_ANSWERS)};PRAGMA user_version = {SCHEMA};COMMIT")
    connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))


def bring_up_to_date(connection: sqlite3.Connection, path: str, *, writable: bool) -> None:
    """See that the tables are those of this version, or make them so; where nothing may be written, seem so.

    What an earlier merkl filed counts as made here: of others' records it took none with a pickle without being told to.

    Raises:
        SchemaTooNew: a newer merkl wrote them.
        Damaged: nobody can have written what is there.
    """
    (stated,) = connection.execute("PRAGMA user_version").fetchone()
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    # Said twice, so that a flipped bit is not taken for a newer version.
    if row is None or row[0] != str(stated).encode() or stated < 1:
        raise Damaged("its version cannot be read")
    if stated > SCHEMA:
        raise SchemaTooNew(
            f"the store was written by a newer merkl (its format is {stated}, this one reads {SCHEMA})",
            path=path,
            hint="upgrade merkl, or set `store:` in merkl.yaml or MERKL_STORE to another directory",
        )
    if stated < SCHEMA and writable:
        _migrate(connection)
    elif stated < SCHEMA:
        # Its name comes before that of the table.
        connection.execute("CREATE TEMP VIEW record AS SELECT *, NULL AS origin FROM main.record")
        connection.execute(_ANSWERS[0].replace("TABLE", "TEMP TABLE", 1))


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        (stated,) = connection.execute("PRAGMA user_version").fetchone()
        if stated == 1:  # Else another process was first.
            connection.execute("ALTER TABLE record ADD COLUMN origin TEXT")
            connection.execute("ALTER TABLE name ADD COLUMN answer INTEGER")
            connection.execute("UPDATE name SET answer = merkl_number(key)")
            for statement in _ANSWERS:
                connection.execute(statement)
            connection.execute("UPDATE meta SET value = '2' WHERE name = 'schema'")
            connection.execute("PRAGMA user_version = 2")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")

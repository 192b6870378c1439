"""The tables of the store's database, and their version.

It decides how records, names and small blobs lie on disk, and nothing about when.

The invariant: a database is made complete under another name and then renamed, so one that has no ``meta`` row is
damaged, never half made.  A name refers to its record by the *seal*, a digest of all that the record says; so a
record that was altered, or a name that points elsewhere, is noticed when it is read.
"""

import sqlite3
from typing import Final

from merkl.errors import SchemaTooNew
from merkl.journal import begin_journal
from merkl.store.faults import Damaged

SCHEMA: Final = 1

_TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE record (
    id           INTEGER PRIMARY KEY,
    seal         BLOB NOT NULL UNIQUE,   -- digest of all the columns from content_key to metadata
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
    UNIQUE (content_key, found)
);

CREATE TABLE name (key BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;  -- key to seal

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


def create_tables(connection: sqlite3.Connection, directory: str) -> None:
    """Make an empty database complete, in one transaction; ``directory`` is where it lies."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    begin_journal(connection, directory)
    connection.executescript(f"BEGIN;{_TABLES};PRAGMA user_version = {SCHEMA};COMMIT")
    connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))


def check_version(connection: sqlite3.Connection, path: str) -> None:
    """See that the tables are those of this version.

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

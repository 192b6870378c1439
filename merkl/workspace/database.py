"""The project's ``index.db``: how it is opened, read and written, and what happens when it cannot be.

It decides nothing about what its tables mean.  The database is only memory: a damaged one is moved aside and begun anew
(keeping what can still be read of what cannot be learnt again), and where none can be written it lives in memory.

The invariant: a fault of the database is a note for the user and less memory, never an error and never a wrong answer;
save that one made by a newer merkl is refused, since throwing it away would lose what that one remembers.
"""

import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from merkl.errors import SchemaTooNew
from merkl.events import Note
from merkl.journal import BESIDE, begin_journal, keep_journal
from merkl.snapshot import recorder
from merkl.sqlite import sqlite3

VERSION: Final = 3
_APPLICATION: Final = 0x6D6B6C69  # "mkli", in the file's header.
_BUSY: Final = 60.0  # seconds to wait for another process to finish its transaction
_SINCE_3: Final = """
    CREATE TABLE agreed (
        path BLOB PRIMARY KEY, kind TEXT NOT NULL, digest BLOB NOT NULL, executable INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE glance (path BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE lineage (id BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE origin (
        path BLOB PRIMARY KEY, key BLOB NOT NULL, lineage BLOB NOT NULL, node INTEGER NOT NULL
    ) WITHOUT ROWID;
"""
_SCHEMA: Final = """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE stamp (path BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE placement (
        path BLOB PRIMARY KEY, kind TEXT NOT NULL, digest BLOB NOT NULL, executable INTEGER NOT NULL,
        key BLOB NOT NULL, output TEXT NOT NULL, target TEXT NOT NULL, sidecar INTEGER NOT NULL, placed_ns INTEGER NOT NULL,
        value TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID;
    CREATE TABLE saved (
        path BLOB NOT NULL, saved_ns INTEGER NOT NULL, digest BLOB NOT NULL, kind TEXT NOT NULL,
        size INTEGER NOT NULL, executable INTEGER NOT NULL, PRIMARY KEY (path, saved_ns, digest)
    ) WITHOUT ROWID;
    CREATE TABLE step (
        label BLOB PRIMARY KEY, key BLOB NOT NULL, content_key BLOB, seconds REAL NOT NULL, parts TEXT NOT NULL,
        log BLOB NOT NULL, state TEXT NOT NULL
    ) WITHOUT ROWID;
""" + _SINCE_3.lstrip("\n")
_PRECIOUS: Final = {  # What cannot be learnt again from the files.
    "placement": set("path kind digest executable key output target sidecar placed_ns value".split()),
    "saved": set("path saved_ns digest kind size executable".split()),
    "agreed": set("path kind digest executable".split()),
}

# A text that is none is met in a column, or in what SQLite says of a schema that is none.
_FAULTS: Final = (sqlite3.Error, OverflowError, UnicodeDecodeError)

_MOST_KEPT: Final = 16_384  # Rows.

Row = Sequence[Any]


class Database:
    """One ``index.db``.  Writes are kept until ``flush``, which makes them one transaction.

    Safe for several processes, and for several threads of one; a process that was forked opens its own.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.notes: list[Note] = []
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._inode = 0
        self._in_memory = False
        self._queue: list[tuple[str, Row]] = []

    def write(self, sql: str, row: Row) -> None:
        """Remember to execute ``sql``, which must be idempotent, with ``row``."""
        with self._lock:
            self._queue.append((sql, row))

    def write_all(self, sql: str, rows: Iterable[Row]) -> None:
        """As ``write``, with each of some rows; once there are many they are committed, and need no memory any more."""
        with self._lock:
            self._queue += [(sql, row) for row in rows]
            if len(self._queue) >= _MOST_KEPT:
                self.flush()

    def rows(self, sql: str, row: Row = ()) -> list[Any]:
        """What a query answers, with all that was written before."""
        with self._lock:
            if self._queue:
                self.flush()
            return self.committed(sql, row)

    def committed(self, sql: str, row: Row = ()) -> list[Any]:
        """As ``rows``, perhaps without what was written since the last ``flush``; it commits nothing."""
        with self._lock:
            try:
                return self._open().execute(sql, row).fetchall()
            except _FAULTS as error:
                self._recover(error)
                return self._open().execute(sql, row).fetchall()

    def flush(self, *, durable: bool = False) -> None:
        """Commit what was written; ``durable`` also survives a loss of power."""
        with self._lock:
            if not self._queue:
                return
            queue, self._queue = self._queue, []
            try:
                self._commit(queue, durable)
            except _FAULTS as error:
                self._recover(error)
                self._commit(queue, durable)

    def close(self) -> None:
        """Commit and let go of the file."""
        with self._lock:
            self.flush()
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _commit(self, queue: list[tuple[str, Row]], durable: bool) -> None:
        connection = self._open()
        if durable:
            connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            start = 0
            for at in range(1, len(queue) + 1):
                if at == len(queue) or queue[at][0] is not queue[start][0]:
                    connection.executemany(queue[start][0], [row for _, row in queue[start:at]])
                    start = at
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if durable:
            # The file itself may never have been synced, if it is new.
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            connection.execute("PRAGMA synchronous = NORMAL")

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._process == os.getpid():
            return self._connection
        # After a fork the parent's connection is left alone: closing it here would drop the parent's locks.
        self._process = os.getpid()
        if not self._in_memory:
            try:
                self._connection = self._opened()
                return self._connection
            except _FAULTS as error:
                self._recover(error)
                if self._connection is not None:
                    return self._connection
        self._connection = _prepared(":memory:")
        return self._connection

    def _opened(self) -> sqlite3.Connection:
        if not os.path.isdir(os.path.dirname(self.path)):
            raise sqlite3.OperationalError("its directory does not exist")
        connection = _prepared(self.path)
        self._inode = _inode(self.path)
        return connection

    def _recover(self, error: Exception) -> None:
        """Begin anew after ``error``: with a fresh file if this one is damaged, in memory if there can be none."""
        old, self._connection = self._connection, None
        if old is not None:
            old.close()
        if self._in_memory:
            raise error
        if _is_damage(error):
            try:
                self._move_aside()
                self._connection, self._process = self._opened(), os.getpid()
                return
            except (OSError, *_FAULTS) as worse:
                error = worse
        self._in_memory = True
        self.notes.append(
            Note(
                f"{self.path} cannot be used ({error}); what is learnt of the files is not kept",
                "check that the directory is there and can be written to",
            )
        )

    def _move_aside(self) -> None:
        if self._inode and _inode(self.path) not in (self._inode, 0):
            return  # Another process has done it already.
        aside = f"{self.path}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
        for tail in ("", *BESIDE):
            if os.path.exists(self.path + tail):
                os.replace(self.path + tail, aside + tail)
        self._queue[:0] = _salvaged(aside)
        self.notes.append(Note(f"{self.path} was damaged; it was moved to {aside} and is made anew"))


def _prepared(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        directory = os.path.dirname(path)
        keep_journal(connection, directory)
        connection.execute("PRAGMA synchronous = NORMAL")
        version = _version(connection, path)
        if version == 0:
            # Nothing is lost with an empty one: it is synced with what is to last.
            connection.execute("PRAGMA synchronous = OFF")
            begin_journal(connection, directory)
        if version < VERSION:
            connection.execute("BEGIN IMMEDIATE")
            version = _version(connection, path)  # Now that nobody else can be at it.
            if version == 0:
                _make(connection, _SCHEMA)
                connection.execute("INSERT INTO meta VALUES ('seed', ?)", (os.urandom(8),))
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            elif version == 1:
                _from_version_1(connection)
            if 0 < version < 3:
                _make(connection, _SINCE_3)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
            connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _make(connection: sqlite3.Connection, schema: str) -> None:
    for statement in schema.split(";")[:-1]:
        connection.execute(statement)


def _from_version_1(connection: sqlite3.Connection) -> None:
    """Bring the tables of version 1 up to version 2.  For a while version 1 had ``placement.value`` already, so the number is no proof."""
    columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(placement)")}
    if "value" not in columns:
        connection.execute("ALTER TABLE placement ADD COLUMN value TEXT NOT NULL DEFAULT ''")


def _version(connection: sqlite3.Connection, path: str) -> int:
    """Which version of the schema the file has; 0 for a new one."""
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    [(application,)] = connection.execute("PRAGMA application_id").fetchall()
    if version and application != _APPLICATION:
        raise sqlite3.DatabaseError("it is not merkl's")
    if version > VERSION:
        raise SchemaTooNew(
            f"{path} has format {version}, and this merkl knows up to {VERSION}",
            hint="upgrade merkl, or remove the file: merkl then hashes all files again",
        )
    return int(version)


def _is_damage(error: Exception) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # The statements are constant, so what is wrong with one is the file's fault.
        return code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT) or "decode" in str(error)
    return isinstance(error, (sqlite3.DatabaseError, OverflowError, UnicodeDecodeError))


def _salvaged(path: str) -> list[tuple[str, Row]]:
    """What can still be read of the precious tables of a damaged database, as writes for a new one."""
    writes: list[tuple[str, Row]] = []
    for table, known in _PRECIOUS.items():
        try:
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                found = connection.execute(f"SELECT * FROM {table}")
                names = [column[0] for column in found.description]
                if not known.issuperset(names):
                    continue
                marks = ", ".join("?" * len(names))
                sql = f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({marks})"
                for row in found:
                    writes.append((sql, row))
            finally:
                connection.close()
        except _FAULTS:
            continue
    return writes


def _inode(path: str) -> int:
    try:
        with recorder.unheard():  # It may be opened for an input, and is none.
            return os.stat(path).st_ino
    except OSError:
        return 0

"""How SQLite keeps the journal of a database: in a log that is quick, or, on a network file system, in a plain file.

It decides that from where the database lies.  It knows no tables.

The invariant: on a network file system nothing is kept in shared memory, which two machines do not share.
"""

from typing import Final

from merkl.filesystem import file_system_of
from merkl.sqlite import sqlite3

BESIDE: Final = ("-wal", "-shm", "-journal")  # What SQLite may keep beside a database, and finds by its name.


def begin_journal(connection: sqlite3.Connection, directory: str) -> None:
    """Choose the mode of a database that is new."""
    if file_system_of(directory).network:
        _leave_shared_memory(connection)
    else:
        connection.execute("PRAGMA journal_mode = WAL")


def keep_journal(connection: sqlite3.Connection, directory: str) -> None:
    """Before anything is read: keep to the mode that a database has, unless it lies where that does not work.

    One that was made on a network file system keeps its mode also here: other machines may have it there.
    """
    if file_system_of(directory).network:
        _leave_shared_memory(connection)


def _leave_shared_memory(connection: sqlite3.Connection) -> None:
    # Whoever has it for himself needs no shared memory to read the log that another place has left.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    # Made empty rather than removed, which is quicker there; not remembered in the file, so said each time.
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA locking_mode = NORMAL")
    connection.execute("PRAGMA user_version").fetchall()  # Only now the lock is let go.

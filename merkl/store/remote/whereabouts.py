"""What is remembered of the indexes of packs, of results that were filed, and of objects that were found damaged, in a database
of this machine.

It decides nothing: it may be lost, damaged or held by somebody at any time, and then it goes on in memory.

The invariant: no error of the database leaves this module.
"""

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from merkl.dataclass import dataclass
from merkl.digest import Digest, Key
from merkl.store.remote.objects import Listed

_CHUNK: Final = 500  # Parameters of one query.
_WAIT_S: Final = 10  # Seconds for another process that writes.
_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS pack_index (name TEXT PRIMARY KEY, id INTEGER) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS packed (digest BLOB, pack_index INTEGER, start INTEGER, length INTEGER,
        PRIMARY KEY (digest, pack_index)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS filed (place TEXT, key BLOB, at REAL, PRIMARY KEY (place, key)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS doubted (name TEXT PRIMARY KEY, size INTEGER, modified REAL) WITHOUT ROWID;
"""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Packed:
    """Where a content is."""

    pack: str
    start: int
    length: int


class Whereabouts:
    """Indexes by name, and places by digest.  ``path`` is the database's file; None is memory.  One thread at a time."""

    def __init__(self, path: str | None) -> None:
        self._database = _opened(path)

    def known(self, digests: Iterable[Digest]) -> dict[Digest, Packed]:
        """Where those are of which an index is remembered: of several the one that was learned last."""
        asked = list(digests)

        def query(database: sqlite3.Connection) -> dict[Digest, Packed]:
            found = {}
            for start in range(0, len(asked), _CHUNK):
                chunk = asked[start : start + _CHUNK]
                rows = database.execute(
                    "SELECT packed.digest, name, start, length FROM packed JOIN pack_index ON id = pack_index "
                    f"WHERE digest IN ({','.join('?' * len(chunk))}) ORDER BY id",
                    chunk,
                )
                for digest, name, begin, length in rows:
                    found[Digest(digest)] = Packed(name.partition(".")[0], begin, length)
            return found

        return self._safely(query)

    def indexes(self) -> set[str]:
        """The names of the indexes that are remembered."""
        return self._safely(
            lambda database: {name for (name,) in database.execute("SELECT name FROM pack_index")}
        )

    def change(self, learned: Mapping[str, Sequence[tuple[Digest, Packed]]], gone: Collection[str]) -> None:
        """Remember indexes, instead of what was remembered under their names, and forget others."""

        def write(database: sqlite3.Connection) -> None:
            for name in (*gone, *learned):
                database.execute(
                    "DELETE FROM packed WHERE pack_index = (SELECT id FROM pack_index WHERE name = ?)",
                    (name,),
                )
                database.execute("DELETE FROM pack_index WHERE name = ?", (name,))
            for name, entries in learned.items():
                (last,) = database.execute("SELECT coalesce(max(id), 0) FROM pack_index").fetchone()
                database.execute("INSERT INTO pack_index VALUES (?, ?)", (name, last + 1))
                rows = [(digest, last + 1, at.start, at.length) for digest, at in entries]
                database.executemany("INSERT OR REPLACE INTO packed VALUES (?, ?, ?, ?)", rows)

        self._safely(write)

    def forget(self, pack: str) -> bool:
        """Forget the indexes of a pack; whether one was remembered."""

        def write(database: sqlite3.Connection) -> bool:
            query = "DELETE FROM packed WHERE pack_index IN (SELECT id FROM pack_index WHERE name LIKE ?)"
            database.execute(query, (f"{pack}.%",))
            return database.execute("DELETE FROM pack_index WHERE name LIKE ?", (f"{pack}.%",)).rowcount > 0

        return self._safely(write)

    def filed(self, place: str, keys: Iterable[Key], since: float) -> set[Key]:
        """Those of some keys of which it was noted that results are filed at a place; ``since`` that time."""
        asked = list(keys)

        def query(database: sqlite3.Connection) -> set[Key]:
            found: set[Key] = set()
            for start in range(0, len(asked), _CHUNK):
                chunk = asked[start : start + _CHUNK]
                marks = ",".join("?" * len(chunk))
                select = f"SELECT key FROM filed WHERE place = ? AND at > ? AND key IN ({marks})"
                found.update(Key(key) for (key,) in database.execute(select, (place, since, *chunk)))
            return found

        return self._safely(query)

    def note_filed(self, place: str, keys: Iterable[Key], at: float) -> None:
        """Note that results are filed under some keys at a place."""
        rows = [(place, key, at) for key in keys]
        self._safely(
            lambda database: database.executemany("INSERT OR REPLACE INTO filed VALUES (?, ?, ?)", rows)
        )

    def doubts(self) -> dict[str, tuple[int, float]]:
        """The objects that were found damaged: size and time of each as it was then.  Another of that name is believed."""
        query = "SELECT name, size, modified FROM doubted"
        return self._safely(
            lambda database: {name: (size, modified) for name, size, modified in database.execute(query)}
        )

    def doubt(self, found: Iterable[Listed]) -> None:
        """Remember that objects are damaged."""
        rows = [(each.name, each.size, each.modified) for each in found]
        self._safely(
            lambda database: database.executemany("INSERT OR REPLACE INTO doubted VALUES (?, ?, ?)", rows)
        )

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _safely(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Act in one transaction; on a database that fails, in memory, with nothing remembered."""
        try:
            with self._database:
                return act(self._database)
        except sqlite3.Error:
            self._database.close()
            self._database = _opened(None)
            with self._database:
                return act(self._database)


def _opened(path: str | None) -> sqlite3.Connection:
    """The database, made if it is not there; one that is damaged is made anew."""
    for where in (path, path, None):
        try:
            if where is not None:
                os.makedirs(os.path.dirname(where), exist_ok=True)
            database = sqlite3.connect(where or ":memory:", check_same_thread=False, timeout=_WAIT_S)
            database.execute("PRAGMA synchronous = OFF")
            database.executescript(_TABLES)
            database.execute("SELECT id FROM pack_index LIMIT 1")
            return database
        except (sqlite3.Error, OSError):
            if where is not None:
                _remove(where)  # It only remembers what can be read again.
    raise AssertionError("a database in memory can always be made")


def _remove(path: str) -> None:
    for each in (path, path + "-journal"):
        try:
            os.unlink(each)
        except OSError:
            pass

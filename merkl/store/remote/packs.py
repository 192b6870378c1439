"""Many small contents in one object, and which is where.

A pack is contents one after another, named by its digest: ``packs/<digest>``.  What is in it says ``index/<digest>``:
``merkl index 1``, a NUL byte, and for each content its digest (32 bytes), start and length (8 bytes each, big endian),
sorted by digest.

It decides nothing about which contents are worth packing.  It remembers indexes in a database of this machine, which may be
lost at any time.

The invariant: a pack is written before its index, so an index promises only what is there.
"""

import os
import sqlite3
import struct
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from merkl.digest import Digest
from merkl.store.remote.objects import Objects

LARGEST: Final = 256 << 10  # Bytes; what is larger is an object of its own.
FULL: Final = 16 << 20  # Bytes after which a pack is closed.
_HEAD: Final = b"merkl index 1\0"
_ENTRY: Final = struct.Struct(">32sQQ")
_FRESH_S: Final = 2.0  # Seconds for which the list of indexes is not asked for again.
_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Packed:
    """Where a content is."""

    pack: str
    start: int
    length: int


def read_index(name: str, data: bytes) -> list[tuple[Digest, Packed]] | None:
    """What the index called ``name`` says, or None if it is damaged."""
    pack, _, own = name.partition(".")
    if not data.startswith(_HEAD) or Digest.of(data).hex()[:16] != own:
        return None
    body = data[len(_HEAD) :]
    if len(body) % _ENTRY.size:
        return None
    return [
        (Digest(digest), Packed(pack, start, length)) for digest, start, length in _ENTRY.iter_unpack(body)
    ]


class Packs:
    """The packs of one place.  ``cache`` is a database file for what their indexes say, or None to keep it in memory."""

    def __init__(self, objects: Objects, cache: str | None) -> None:
        self._objects = objects
        self._lock = threading.RLock()
        self._looked_at = float("-inf")
        self._database = self._open(cache)

    def find(self, digests: Iterable[Digest]) -> dict[Digest, Packed]:
        """Where those are that are in packs.  The list of packs is asked for again if some are in none."""
        asked = set(digests)
        with self._lock:
            found = self._known(asked)
            stale = time.monotonic() - self._looked_at > _FRESH_S
            if len(found) < len(asked) and stale and self.refresh():
                found |= self._known(asked - found.keys())
        return found

    def write(self, contents: Sequence[tuple[Digest, bytes]]) -> None:
        """Store contents as one pack."""
        pieces = dict(contents)
        entries: list[tuple[Digest, Packed]] = []
        whole = b"".join(pieces.values())
        pack, start = Digest.of(whole).hex(), 0
        for digest, data in pieces.items():
            entries.append((digest, Packed(pack, start, len(data))))
            start += len(data)
        index = _HEAD + b"".join(
            _ENTRY.pack(d, at.start, at.length) for d, at in sorted(entries, key=lambda e: e[0])
        )
        # Two packs of the same bytes, cut otherwise, have indexes of their own: both are true.
        name = f"{pack}.{Digest.of(index).hex()[:16]}"
        self._objects.put(f"packs/{pack}", whole)
        self._objects.put(f"index/{name}", index)
        with self._lock:
            self._remember(name, entries)
            self._database.commit()

    def refresh(self) -> bool:
        """Read the indexes that are new, forget those that are gone; whether there was either."""
        with self._lock:
            there = {each.name.removeprefix("index/") for each in self._objects.names("index")}
            self._looked_at = time.monotonic()
            known = {name for (name,) in self._database.execute("SELECT name FROM pack_index")}
            for name in known - there:
                self._forget(name)
            for name in sorted(there - known):
                self._learn(name)
            self._database.commit()
            return there != known

    def forget(self, pack: str) -> None:
        """A pack turned out not to hold what it should: what its indexes say is not believed any more."""
        with self._lock:
            for (name,) in self._database.execute(
                "SELECT name FROM pack_index WHERE name LIKE ?", (f"{pack}.%",)
            ).fetchall():
                self._database.execute("DELETE FROM packed WHERE pack_index = ?", (name,))
            self._database.commit()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _open(self, cache: str | None) -> sqlite3.Connection:
        for path in (cache, cache, None):
            try:
                if path is not None:
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                database = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=10)
                database.execute("PRAGMA synchronous = OFF")
                database.execute(
                    "CREATE TABLE IF NOT EXISTS pack_index (name TEXT PRIMARY KEY) WITHOUT ROWID"
                )
                database.execute(
                    "CREATE TABLE IF NOT EXISTS packed (digest BLOB, pack_index TEXT, start INTEGER, length INTEGER, "
                    "PRIMARY KEY (digest, pack_index)) WITHOUT ROWID"
                )
                return database
            except (sqlite3.Error, OSError):
                if path is not None:
                    _remove(path)  # It only remembers what can be read again.
        raise AssertionError("a database in memory can always be made")

    def _known(self, digests: Iterable[Digest]) -> dict[Digest, Packed]:
        asked = list(digests)
        found = {}
        for start in range(0, len(asked), _CHUNK):
            chunk = asked[start : start + _CHUNK]
            query = f"SELECT * FROM packed WHERE digest IN ({','.join('?' * len(chunk))})"
            for digest, name, begin, length in self._database.execute(query, chunk):
                found[Digest(digest)] = Packed(name.partition(".")[0], begin, length)
        return found

    def _learn(self, name: str) -> None:
        data = self._objects.get(f"index/{name}")
        entries = None if data is None else read_index(name, data)
        if entries is None:
            return  # Damaged: what it says is stored again by whoever misses it.
        self._remember(name, entries)

    def _remember(self, name: str, entries: Iterable[tuple[Digest, Packed]]) -> None:
        rows = [(digest, name, at.start, at.length) for digest, at in entries]
        self._database.executemany("INSERT OR REPLACE INTO packed VALUES (?, ?, ?, ?)", rows)
        self._database.execute("INSERT OR REPLACE INTO pack_index VALUES (?)", (name,))

    def _forget(self, name: str) -> None:
        self._database.execute("DELETE FROM packed WHERE pack_index = ?", (name,))
        self._database.execute("DELETE FROM pack_index WHERE name = ?", (name,))


def _remove(path: str) -> None:
    for each in (path, path + "-journal", path + "-wal", path + "-shm"):
        try:
            os.unlink(each)
        except OSError:
            pass

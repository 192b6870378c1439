"""What is remembered of files, as bytes by path: looked up in the database, or read from it some or all at once.

It decides what of that is in memory.  It does not know what the bytes say.

The invariant: what was written is found, whether it is committed or not.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Final

from merkl.snapshot import recorder
from merkl.workspace.database import Database

_FEW: Final = 16  # So many files are looked up one by one before the whole table is read,
_AS_MUCH: Final = 131_072  # or one for so many bytes of the database, which take as long to read.
_SPARED: Final = 4096  # Of those that are looked up one by one so many are kept.
_LARGE: Final = 32 << 20  # Bytes of a database of which the table is rather read a stretch at a time,
_STRETCH: Final = 512  # so many files: who asks for many does so in their order, directory by directory.
_TRIED: Final = 64  # After so many stretches
_WORTH: Final = 128  # that were not asked so often each, the order is another one.
_SET: Final = "INSERT OR REPLACE INTO stamp VALUES (?, ?)"


class Remembered:
    """The table of files in a database, of which all is never read if it has ``large`` bytes and is asked for in order."""

    def __init__(self, database: Database, *, large: int = _LARGE) -> None:
        self._database: Final = database
        self._large: Final = large
        self._all: dict[bytes, bytes] | None = None
        self._some: dict[bytes, bytes | None] = {}  # With all that was written since the last commit.
        self._spares = False
        self._stretches = 0  # That were read.
        self._asked = 0  # How often there was something to find in them.

    def get(self, path: bytes) -> bytes | None:
        """What is remembered of a file."""
        if self._all is not None:
            return self._all.get(path)
        if path in self._some:
            self._asked += 1
            return self._some[path]
        if len(self._some) < _FEW or self._spares:
            return self._look_up(path)
        if self._stretches:
            in_order = self._stretches < _TRIED or self._asked > _WORTH * self._stretches
            return self._look_on(path) if in_order else self.read_all().get(path)
        size = self._size()
        if len(self._some) < size // _AS_MUCH:
            return self._look_up(path)
        return self.read_all().get(path) if size < self._large else self._look_on(path)

    def read_all(self) -> dict[bytes, bytes]:
        """All of it: from now on nothing is looked up."""
        if self._all is None:
            self._all = dict(self._database.rows("SELECT path, value FROM stamp"))
            self._some.clear()
        return self._all

    def spare(self, *, memory: bool) -> None:
        """Keep little in memory, or as much as is of use again."""
        self._spares = memory
        if memory:
            self._all = None
            self._some.clear()
            self._database.flush()

    def set(self, path: bytes, value: bytes) -> None:
        """Remember a file."""
        if self._all is not None:
            self._all[path] = value
        else:
            self._keep(path, value)
        self._database.write(_SET, (path, value))

    def set_all(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Remember some files."""
        (self._some if self._all is None else self._all).update(entries)
        self._database.write_all(_SET, entries)

    def forget(self, path: bytes) -> None:
        """Remember a file no more."""
        if self.get(path) is not None:
            if self._all is not None:
                del self._all[path]
            else:
                self._keep(path, None)
            self._database.write("DELETE FROM stamp WHERE path = ?", (path,))

    def _look_up(self, path: bytes) -> bytes | None:
        rows = self._database.committed("SELECT value FROM stamp WHERE path = ?", (path,))
        value = rows[0][0] if rows else None
        self._keep(path, value)
        return value

    def _look_on(self, path: bytes) -> bytes | None:
        """Look up a file and those after it."""
        self._keep(path, None)  # Before it is read: what makes room for it is committed by that.
        query = f"SELECT path, value FROM stamp WHERE path >= ? ORDER BY path LIMIT {_STRETCH}"
        rows: Iterable[tuple[bytes, bytes]] = self._database.committed(query, (path,))
        self._stretches += 1
        for each, value in rows:
            if each == path or each not in self._some:
                self._some[each] = value
        return self._some[path]

    def _keep(self, path: bytes, value: bytes | None) -> None:
        if len(self._some) >= _SPARED:
            self._database.flush()
            self._some.clear()
        self._some[path] = value

    def _size(self) -> int:
        try:
            with recorder.unheard():  # It is asked for an input's stamp, and decides nothing.
                return os.path.getsize(self._database.path)
        except OSError:
            return 0

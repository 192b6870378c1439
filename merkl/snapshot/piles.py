"""What was looked at of very many files, packed by directory: with its path and its stamp a file takes six times the memory.

It decides nothing.  A file that is looked at once more, after it was packed, is packed once more; so nothing is looked up.

The invariant: what is read again is the paths and the stamps that were packed, each once, or it is told that one had several.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from merkl.snapshot.answer import Stamp

SOURCE: Final = 1  # Looked at for its bytes.
OTHER: Final = 2  # Looked at for something else, perhaps besides.


class Several(Exception):
    """A file was seen with several stamps; the text is its path."""


class Piles:
    """Files by their directories, which are absolute and end with a slash; ``layout`` is how stamps are packed."""

    def __init__(self, layout: struct.Struct) -> None:
        self._layout: Final = layout
        self._piles: dict[str, _Pile] = {}

    def add(self, files: Iterable[tuple[str, bytes, int]]) -> None:
        """Pack some files, each with its path, its full stamp as bytes and how it was looked at."""
        for path, stamp, how in files:
            at = path.rindex("/") + 1
            pile = self._piles.get(path[:at])
            if pile is None:
                pile = self._piles[path[:at]] = _Pile()
            pile.add(os.fsencode(path[at:]), stamp, how)

    def paths(self) -> Iterator[str]:
        """Where the files are; some perhaps several times."""
        for directory, pile in self._piles.items():
            yield from pile.paths(directory)

    def take(self) -> Iterator[tuple[str, list[tuple[bytes, Stamp, int]]]]:
        """All of them, a directory at a time, with names, stamps and how each was looked at; what was taken is gone.

        Raises:
            Several: a file has no one stamp.
        """
        for directory in sorted(self._piles):
            yield directory, self._piles.pop(directory).files(directory, self._layout)


class _Pile:
    __slots__ = ("_hows", "_names", "_stamps")

    def __init__(self) -> None:
        self._names = bytearray()  # A zero byte after each.
        self._stamps = bytearray()
        self._hows = bytearray()

    def add(self, name: bytes, stamp: bytes, how: int) -> None:
        self._names += name
        self._names.append(0)
        self._stamps += stamp
        self._hows.append(how)

    def paths(self, directory: str) -> list[str]:
        return [directory + os.fsdecode(name) for name in bytes(self._names).split(b"\0")[:-1]]

    def files(self, directory: str, layout: struct.Struct) -> list[tuple[bytes, Stamp, int]]:
        found: dict[bytes, tuple[Stamp, int]] = {}
        names = bytes(self._names).split(b"\0")[:-1]
        for name, stamp, how in zip(names, layout.iter_unpack(self._stamps), self._hows, strict=True):
            before = found.get(name)
            if before is not None:
                if before[0] != stamp:
                    raise Several(directory + os.fsdecode(name))
                how |= before[1]
            found[name] = stamp, how
        return [(name, *found[name]) for name in sorted(found)]

"""Which files are going to be read next, guessed from lists of files that somebody was given.

It decides when reading ahead begins: once several in a row of such a list had to be read; and how far it goes: twice as far
each time.  So no more is read in vain than was read because it was wanted, or little.

The invariant: it reads nothing, and what it guesses changes no answer.
"""

import bisect
import itertools
import os
from collections.abc import Sequence
from typing import Final

_IN_A_ROW: Final = 16  # Files that had to be read.
_NEAR: Final = 16  # So many of a list may be left out.
_FIRST: Final = 1024
_MOST: Final = 16_384
_LISTS: Final = 8  # Are remembered: several may be gone through side by side.


class Expected:
    """Lists of paths, each sorted by bytes, and how far each has been gone through."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def add(self, paths: Sequence[str]) -> None:
        """Some files may be wanted, in this order."""
        if len(paths) > _FIRST:
            self._runs = [*self._runs, _Run(paths)][-_LISTS:]

    def after(self, path: str) -> Sequence[str]:
        """What is to be read now that a file had to be read."""
        for run in self._runs:
            if run.goes_on(path):
                return run.next()
        for run in self._runs:
            if run.begins(path):
                break
        return ()


class _Run:
    __slots__ = ("_at", "_count", "_from", "_next", "_paths")

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._at = 0  # What is expected next.
        self._from = 0  # Where what was read ahead last begins; it ends there.
        self._count = 0  # So many came in a row.
        self._next = _FIRST

    def goes_on(self, path: str) -> bool:
        """Whether a path is the next one, or near that."""
        for at, each in enumerate(itertools.islice(self._paths, self._at, self._at + _NEAR), self._at):
            if each == path:
                self._at = at + 1
                self._count += 1
                return True
        return False

    def begins(self, path: str) -> bool:
        """Whether a path is anywhere in the list; then what follows it is expected."""
        at = bisect.bisect_left(self._paths, os.fsencode(path), key=os.fsencode)
        if at == len(self._paths) or self._paths[at] != path:
            return False
        if not self._from <= at < self._at:  # Else it was among those read ahead, and could not be.
            self._from = self._at = at + 1
            self._count, self._next = 1, _FIRST
        return True

    def next(self) -> Sequence[str]:
        """What to read ahead, if it is time."""
        if self._count < _IN_A_ROW:
            return ()
        self._from, self._at = self._at, self._at + self._next
        self._next = min(2 * self._next, _MOST)
        return self._paths[self._from : self._at]

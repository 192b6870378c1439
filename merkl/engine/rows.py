"""Many short rows in few bytes, of which most are never looked at: each is read from where it lies.

It decides how rows are laid out, and nothing about what they say.
"""

import struct
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from typing import Final

Written = tuple[bytes, bytes]  # Where each row begins and the last one ends, by 32 bits each; and the rows.


def _offsets(lengths: Iterable[int]) -> bytes:
    ends, end = [0], 0
    for length in lengths:
        end += length
        ends.append(end)
    return _packed(ends)


def _packed(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"={len(numbers)}I", *numbers)


class Numbers:
    """Rows of numbers.  They do not change."""

    def __init__(self, written: Written) -> None:
        self._ends: Final = memoryview(written[0]).cast("I")
        self._values: Final = memoryview(written[1]).cast("I")

    @staticmethod
    def write(rows: Sequence[Sequence[int]]) -> Written:
        """The rows as they are kept."""
        return _offsets(map(len, rows)), _packed([value for row in rows for value in row])

    def __getitem__(self, row: int) -> Sequence[int]:
        return self._values[self._ends[row] : self._ends[row + 1]]

    def having(self, wanted: Collection[int]) -> set[int]:
        """The rows that have one of these."""
        ends = self._ends
        return {bisect_right(ends, at) - 1 for at, value in enumerate(self._values) if value in wanted}

    def following(self, rows: set[int]) -> set[int]:
        """These rows, and all that have the number of one of them, or of one that follows; each has only lower numbers."""
        found, ends = set(rows), self._ends
        if found:
            first = ends[min(found)]
            for at, value in enumerate(self._values[first:], first):
                if value in found:
                    found.add(bisect_right(ends, at) - 1)
        return found


class Texts:
    """Rows of bytes, which can be replaced."""

    def __init__(self, written: Written) -> None:
        self._ends: Final = memoryview(written[0]).cast("I")
        self._data: Final = written[1]
        self._fresh: Final[dict[int, bytes]] = {}

    @staticmethod
    def write(rows: Sequence[bytes]) -> Written:
        """The rows as they are kept."""
        return _offsets(map(len, rows)), b"".join(rows)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> bytes:
        fresh = self._fresh.get(row)
        return self._data[self._ends[row] : self._ends[row + 1]] if fresh is None else fresh

    def __setitem__(self, row: int, data: bytes) -> None:
        self._fresh[row] = data

    def written(self) -> Written:
        """All rows, as they are kept."""
        if not self._fresh:
            return self._ends.tobytes(), self._data
        ends, pieces, at = self._ends, [], 0
        for row, data in sorted(self._fresh.items()):
            pieces += [self._data[at : ends[row]], data]
            at = ends[row + 1]
        whole = b"".join([*pieces, self._data[at:]])
        if all(len(data) == ends[row + 1] - ends[row] for row, data in self._fresh.items()):
            return ends.tobytes(), whole
        return _offsets(len(self[row]) for row in range(len(self))), whole

"""Many short rows in few bytes, of which most are never looked at: each is read from where it lies.

It decides how rows are laid out, and nothing about what they say.
"""

import struct
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

_FEW: Final = 16  # Numbers that are looked for one by one.

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
        if len(wanted) > _FEW:
            return {bisect_right(ends, at) - 1 for at, value in enumerate(self._values) if value in wanted}
        data, found = self._values.tobytes(), set()
        for value in wanted:
            packed, at = _packed([value]), -1
            while (at := data.find(packed, at + 1)) >= 0:
                if at % 4 == 0:
                    found.add(bisect_right(ends, at // 4) - 1)
        return found

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
    """Rows of bytes, which can be replaced; ``fresh`` are those that were, by number.

    Of what is ``written``, the rows may be something that is read where somebody takes a slice.
    """

    def __init__(self, written: tuple[bytes, Any], fresh: Mapping[int, bytes]) -> None:
        self._ends: Final = memoryview(written[0]).cast("I")
        self._data: Final[Any] = written[1]
        self.fresh: Final = dict(fresh)

    @staticmethod
    def write(rows: Sequence[bytes]) -> Written:
        """The rows as they are kept."""
        return _offsets(map(len, rows)), b"".join(rows)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> bytes:
        fresh = self.fresh.get(row)
        if fresh is not None:
            return fresh
        found: bytes = self._data[self._ends[row] : self._ends[row + 1]]
        return found

    def __setitem__(self, row: int, data: bytes) -> None:
        self.fresh[row] = bytes(data)

    def written(self) -> Written:
        """All rows, as they are kept."""
        if not self.fresh:
            return self._ends.tobytes(), self._data[:]
        ends, pieces, at = self._ends, [], 0
        for row, data in sorted(self.fresh.items()):
            pieces += [self._data[at : ends[row]], data]
            at = ends[row + 1]
        whole = b"".join([*pieces, self._data[at:]])
        if all(len(data) == ends[row + 1] - ends[row] for row, data in self.fresh.items()):
            return ends.tobytes(), whole
        return _offsets(len(self[row]) for row in range(len(self))), whole

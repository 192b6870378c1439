"""A content on its way from another store: counted, and no longer than it is to be.

It decides that bytes beyond what a record says are damage, before they fill a disk.

The invariant: it is told who failed, so that a fault of where they come from is not taken for one of where they go.
"""

from collections.abc import Callable, Generator, Iterator
from typing import NoReturn

from merkl.digest import Digest
from merkl.errors import StoreCorrupt, StoreError


class Coming:
    """Pieces on their way: how many ``bytes`` came, ``most`` of them, and with what ``failure`` it ended."""

    def __init__(
        self, digest: Digest, pieces: Iterator[bytes], came: Callable[[int], object], most: int
    ) -> None:
        self.bytes = 0
        self.failure: StoreError | None = None
        self._digest = digest
        self._came = came
        self._pieces = pieces
        self._most = most

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces)
        except StoreError as error:
            self.failure = error
            raise
        self.bytes += len(piece)
        if self.bytes > self._most:
            self._refuse()
        self._came(len(piece))
        return piece

    def _refuse(self) -> NoReturn:
        """Tell where they come from that there are too many, so that it looks at what it has."""
        error: StoreError = StoreCorrupt(
            f"a blob, {self._digest.short}, has more bytes than its record says, and is not used",
            hint="what needs it is made again",
        )
        if isinstance(self._pieces, Generator):
            try:
                self._pieces.throw(error)
            except StoreError as raised:
                error = raised
            except StopIteration:
                pass
        self.failure = error
        raise error

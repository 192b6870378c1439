"""What is sent to a bucket in parts: how large they are, and how it is stopped.

It decides nothing about who stops it.

The invariant: what the giver of the bytes raises is kept, so that it is not taken for a fault of the bucket.
"""

import os
import threading
from collections.abc import Iterator
from typing import BinaryIO, Final

PART: Final = 8 << 20  # Bytes of a part of what is sent.
PARTS: Final = 4  # Parts of one object on the way at once.
_MOST: Final = 9_000  # Amazon takes 10,000.


class Given:
    """Pieces to send, which may be stopped; what their giver raised is kept."""

    def __init__(self, pieces: Iterator[bytes], stop: threading.Event) -> None:
        self._pieces = pieces
        self._stop = stop
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._stop.is_set():
                raise KeyboardInterrupt
            return next(self._pieces)
        except StopIteration:
            raise
        except BaseException as error:
            self.failure = error
            raise


def part_of(file: BinaryIO) -> int:
    """How large the parts of a file have to be, so that there are not too many."""
    try:
        size = os.fstat(file.fileno()).st_size
    except (OSError, AttributeError):  # Not a file of the system, such as one in memory.
        size = 0
    return max(PART, -(-size // _MOST))

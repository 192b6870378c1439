"""Bytes on their way from a bucket: how fast they must come, and what is asked for ahead.

It decides that a sender who is there but sends next to nothing is as good as away; and that one answer brings a whole
object, which is cheapest for both ends, unless it breaks off or comes slowly: then what is left is asked for in parts,
several at once.

The invariant: pieces come in order, and no more than a few of them are in memory.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from merkl.errors import MerklError
from merkl.store.remote.errors import RemoteError
from merkl.store.together import Pool

if TYPE_CHECKING:
    from concurrent.futures import Future

PIECE: Final = 4 << 20  # Bytes asked for at once.
_AHEAD: Final = 3  # Pieces.
_PASSED_ON: Final = 2 << 20  # Bytes of one answer, at least, that are handed on together.
_TRIED: Final = 8 << 20  # Bytes after which it is known how fast an answer comes.
_FAST: Final = 100e6  # Bytes per second; what comes faster than this is not held up by the way.
_LEAST: Final = 10_000  # Bytes that come at least, in as long as a pause may be.


def paced(answer: Any, pause: float, url: str) -> Iterator[bytes]:
    """The bytes of an answer as they come, which are not copied; ``pause`` is in seconds, of waiting only.

    Raises:
        RemoteError: they come too slowly.
    """
    if answer == ():
        return
    came, waited = 0, 0.0
    stream = iter(answer.stream(min_chunk_size=1))
    while True:
        began = time.monotonic()
        piece = next(stream, None)
        waited += time.monotonic() - began
        if piece is None:
            return
        came += len(piece)
        yield piece
        if waited > pause:
            if came < _LEAST:
                raise RemoteError(
                    f"the remote {url} cannot be used: it sends next to nothing",
                    hint="timeout: in the remote's settings waits longer",
                )
            came, waited = 0, 0.0


def until_broken(pieces: Iterator[bytes], pause: float) -> Iterator[bytes]:
    """The pieces of an answer, until it or its connection ends: what is lacking then can be asked for anew.

    Raises:
        Exception: that there was nothing to hear for a whole pause, so that asking anew would be to wait again.
    """
    while True:
        began = time.monotonic()
        try:
            piece = next(pieces, None)
        except MerklError:
            raise
        except Exception:
            if time.monotonic() - began > pause / 2:
                raise
            return
        if piece is None:
            return
        yield piece


class Reading:
    """A reader of an object of ``size`` bytes, forward only.

    ``answer`` brings it from its start; ``ask`` gets some bytes, from one place to another, or None if it is gone.
    """

    def __init__(
        self,
        answer: Iterator[bytes],
        size: int,
        ask: Callable[[int, int], bytes | None],
        pool: Pool,
        url: str,
    ) -> None:
        self._answer: Iterator[bytes] | None = answer
        self._size = size
        self._ask = ask
        self._pool = pool
        self._url = url
        self._data = b""
        self._at = 0  # How many of these bytes have been handed out.
        self._asked = 0  # How many of the object's have come, or been asked for.
        self._took = 0.0  # Seconds in which the answer brought them.
        self._coming: deque[Future[bytes | None]] = deque()
        self._go_on()

    def _go_on(self) -> None:
        if self._answer is not None:
            # One at a time: they come in order.
            self._coming.append(self._pool.submit(partial(self._some, self._answer)))
            return
        while len(self._coming) < _AHEAD and self._asked < self._size:
            start, self._asked = self._asked, min(self._asked + PIECE, self._size)
            self._coming.append(self._pool.submit(partial(self._ask, start, self._asked)))

    def _some(self, answer: Iterator[bytes]) -> bytes:
        """The next bytes of the answer, which is left when it ends, and when several might be faster."""
        began = time.monotonic()
        pieces: list[bytes] = []
        came = 0
        while came < _PASSED_ON:
            piece = next(answer, None)
            if piece is None:
                self._answer = None
                break
            pieces.append(piece)
            came += len(piece)
        self._asked += came
        self._took += time.monotonic() - began
        if self._asked >= _TRIED and self._asked < _FAST * self._took:
            self._answer = None
        return b"".join(pieces)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, all that are left without ``size``."""
        if size < 0:
            return b"".join(iter(lambda: self.read(PIECE), b""))
        while self._at == len(self._data) and self._coming:
            data = self._coming.popleft().result()
            if data is None:
                raise RemoteError(
                    f"an object in the remote {self._url} was removed while it was read", hint="try again"
                )
            self._go_on()
            self._data, self._at = data, 0
        start, self._at = self._at, min(self._at + size, len(self._data))
        return self._data[start : self._at]  # Of whole pieces this makes no copy.

    def close(self) -> None:
        """Ask for nothing more."""
        self._answer, self._asked = None, self._size
        while self._coming:
            self._coming.pop().cancel()

    def __enter__(self) -> "Reading":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

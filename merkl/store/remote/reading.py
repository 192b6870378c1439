"""Bytes on their way from a bucket: how fast they must come, and what is asked for ahead.

It decides that a sender who is there but sends next to nothing is as good as away.

The invariant: pieces come in order, and no more than a few of them are in memory.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from merkl.store.remote.errors import RemoteError
from merkl.store.together import Pool

if TYPE_CHECKING:
    from concurrent.futures import Future

PIECE: Final = 4 << 20  # Bytes asked for at once.
_AHEAD: Final = 3  # Pieces.
_LEAST: Final = 10_000  # Bytes that come at least, in as long as a pause may be.


def paced(answer: Any, pause: float, url: str) -> Iterator[bytes]:
    """The bytes of an answer as they come; ``pause`` is in seconds, of waiting only.

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
        yield bytes(piece)
        if waited > pause:
            if came < _LEAST:
                raise RemoteError(
                    f"the remote {url} cannot be used: it sends next to nothing",
                    hint="timeout: in the remote's settings waits longer",
                )
            came, waited = 0, 0.0


class Reading:
    """A reader of an object: ``first`` is at hand, and each of ``rest`` gets what follows.  Forward only."""

    def __init__(
        self, first: bytes, rest: Iterable[Callable[[], bytes | None]], pool: Pool, url: str
    ) -> None:
        self._data = first
        self._at = 0  # How many of these bytes have been handed out.
        self._rest = iter(rest)
        self._pool = pool
        self._url = url
        self._coming: deque[Future[bytes | None]] = deque()
        self._ask()

    def _ask(self) -> None:
        while len(self._coming) < _AHEAD and (act := next(self._rest, None)) is not None:
            self._coming.append(self._pool.submit(act))

    def read(self, size: int = -1) -> bytes:
        """The next bytes, all that are left without ``size``."""
        if size < 0:
            return b"".join(iter(lambda: self.read(PIECE), b""))
        if self._at == len(self._data) and self._coming:
            data = self._coming.popleft().result()
            if data is None:
                raise RemoteError(
                    f"an object in the remote {self._url} was removed while it was read", hint="try again"
                )
            self._ask()
            self._data, self._at = data, 0
        start, self._at = self._at, min(self._at + size, len(self._data))
        return self._data[start : self._at]  # Of whole pieces this makes no copy.

    def close(self) -> None:
        """Ask for nothing more."""
        self._rest = iter(())
        while self._coming:
            self._coming.pop().cancel()

    def __enter__(self) -> "Reading":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

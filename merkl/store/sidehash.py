"""The digest of a long stream, computed in a thread beside the one that reads and writes it.

It decides nothing: it is BLAKE3, and at most one piece is waiting to be hashed.
"""

from typing import TYPE_CHECKING

from blake3 import blake3

from merkl.digest import Digest

if TYPE_CHECKING:  # Few builds have a stream as long as that.
    from concurrent.futures import Future, ThreadPoolExecutor


class SideHash:
    """A hash of pieces, in their order.  To be closed; used by one thread."""

    def __init__(self) -> None:
        self._hasher = blake3(max_threads=blake3.AUTO)
        self._pool: ThreadPoolExecutor | None = None
        self._last: Future[object] | None = None

    def update(self, piece: bytes) -> None:
        """Add a piece; returns when the one before it has been added."""
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(1, thread_name_prefix="merkl-hash")
        if self._last is not None:
            self._last.result()
        self._last = self._pool.submit(self._hasher.update, piece)
        if type(piece) is not bytes:  # Somebody's buffer, which may change.
            self._last.result()

    def digest(self) -> Digest:
        """The digest of all pieces so far."""
        if self._last is not None:
            self._last.result()
        return Digest(self._hasher.digest())

    def close(self) -> None:
        """End the thread.  Idempotent."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

"""Parts of a content that comes as a whole only, since it is squeezed.

It decides that the content of which a part was asked for last is kept, since others of it will be asked for.

The invariant: who asks for parts of one content does not wait until another has come.
"""

import threading
from collections.abc import Callable
from typing import BinaryIO

from merkl.digest import Digest


class _Whole:
    """A content, once somebody needs it."""

    def __init__(self, fetch: Callable[[], BinaryIO | None]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._left = False
        self._reader: BinaryIO | None = None

    def part(self, start: int, size: int) -> bytes | None:
        try:
            with self._lock:
                if self._reader is None:
                    self._reader = self._fetch()
                if self._reader is None:
                    return None
                self._reader.seek(start)
                return self._reader.read(size)
        finally:
            self._close_left()

    def leave(self) -> None:
        """Close it, now or when those have ended who read it."""
        self._left = True
        self._close_left()

    def _close_left(self) -> None:
        if self._left and self._lock.acquire(blocking=False):
            reader, self._reader = self._reader, None
            self._lock.release()
            if reader is not None:
                reader.close()


class Parts:
    """The content of which a part was asked for last; ``fetch`` gives a reader of one, or None."""

    def __init__(self, fetch: Callable[[Digest], BinaryIO | None]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._last: tuple[Digest, _Whole] | None = None

    def has(self, digest: Digest) -> bool:
        """Whether it is that content."""
        last = self._last
        return last is not None and last[0] == digest

    def part(self, digest: Digest, start: int, size: int) -> bytes | None:
        """A part of a content, which is fetched unless it is the last one; None if there is no such content."""
        with self._lock:
            before = self._last
            if before is None or before[0] != digest:
                self._last = digest, _Whole(lambda: self._fetch(digest))
            else:
                before = None
            assert self._last is not None
            whole = self._last[1]
        if before is not None:
            before[1].leave()
        return whole.part(start, size)

    def close(self) -> None:
        """Let go of it.  Idempotent."""
        with self._lock:
            last, self._last = self._last, None
        if last is not None:
            last[1].leave()

"""A large content that goes to two places as it comes: into the store of this machine, and to where it belongs.

It decides when that is worth more than a copy from the store: not where a copy costs nothing, or there is no room for
both before it is known that all comes.

The invariant: a copy ends well only once the digest of the very bytes that were written has been compared.
"""

import contextlib
import os
import tempfile
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from merkl.digest import Digest
from merkl.filesystem import clone
from merkl.store.layered import Layered
from merkl.store.streams import Growing
from merkl.store.together import Pool
from merkl.workspace.copying import Copying, copy_into

if TYPE_CHECKING:
    from concurrent.futures import Future

LARGE: Final = 64_000_000  # Bytes; what is smaller comes together with others.
_SPARE: Final = 256 << 20  # Bytes that are left of a file system.
_WAITING: Final = 2  # Pieces.


class Arriving(Copying):
    """A content of ``size`` bytes that is fetched when it is copied; ``directory`` is the store's."""

    def __init__(self, layered: Layered, digest: Digest, size: int, directory: str) -> None:
        self._layered = layered
        self._digest = digest
        self._size = size
        self._directory = directory

    def copy_to(self, target: int) -> int:
        """Write it to an empty file; how many bytes there were.

        Raises:
            StoreError: it is nowhere, or damaged, or the store cannot take it.
            OSError: the file cannot.
        """
        if self._is_worth_it(target):
            with _Sink(target) as sink:
                came = self._layered.bring_through(self._digest, sink)
                sink.finish()
            if came and sink.failure is None:
                return came
            os.ftruncate(target, 0)
            os.lseek(target, 0, os.SEEK_SET)
        with self._layered.reader(self._digest) as reader:
            return copy_into(reader, target)

    def _is_worth_it(self, target: int) -> bool:
        for free in (os.fstatvfs(target), os.statvfs(self._directory)):
            if free.f_bavail * free.f_frsize < 2 * self._size + _SPARE:
                return False
        with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=self._directory) as empty:
            return not clone(empty.fileno(), target)
        return True


class _Sink:
    """Takes pieces into a file, in a thread of its own.

    After its first ``failure`` it lets the rest go by, which the store takes all the same.
    """

    def __init__(self, target: int) -> None:
        self.failure: OSError | None = None
        # Ours, so that nobody else's file has its number while it is written to.
        self._target = os.dup(target)
        self._growing = Growing(self._target)
        self._thread = Pool(1)
        self._waiting: deque[Future[None]] = deque()

    def __call__(self, piece: bytes) -> None:
        if len(self._waiting) == _WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(partial(self._write, piece)))

    def _write(self, piece: bytes) -> None:
        if self.failure is not None:
            return
        try:
            self._growing.write(piece)
        except OSError as error:
            self.failure = error
            with contextlib.suppress(OSError):
                os.ftruncate(self._target, 0)  # Its room may be what the store needs.

    def finish(self) -> None:
        """Wait until all is written."""
        while self._waiting:
            self._waiting.popleft().result()
        if self.failure is not None:
            return
        try:
            self._growing.finish()
        except OSError as error:
            self.failure = error

    def __enter__(self) -> "_Sink":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.close()
        os.close(self._target)

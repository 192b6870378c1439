"""Bytes on their way into and out of files: hashed, cloned, copied; and the clock of a file system.

It decides how a file's bytes are read and how a copy is made as cheaply as the file system can.  It knows no store.

The invariant: a copy is made to a descriptor that the caller will rename into place or throw away, so nothing here
leaves half a file under a final name.
"""

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from blake3 import blake3

from merkl.digest import Digest
from merkl.filesystem import reserve
from merkl.hashers import large_hasher
from merkl.holes import has_holes, let_go, write_around_zeros

_CHUNK: Final = 4 << 20  # Bytes read at once: enough for BLAKE3 to use several threads.
_SMALL: Final = 64 << 10
# Bytes written at once: of more, Linux looks for memory in one piece, which where there is little costs several times the copy.
_WRITTEN: Final = 64 << 10
_WRITTEN_INTO_ROOM: Final = 256 << 10
_LARGE: Final = 8 << 20  # Bytes from which on a file that grows is given room before it needs it,
_STEP: Final = 64 << 20  # as much as it has, and at most so much.


def hash_file(fd: int, sink: Callable[[memoryview], object] | None = None) -> tuple[Digest, int]:
    """The digest and size of what ``fd`` holds, read from its start; each piece is also given to ``sink``.

    Reads, never maps: a file that is cut short meanwhile must not be a crash.
    """
    size = os.fstat(fd).st_size
    buffer = memoryview(bytearray(min(max(size + 1, _SMALL), _CHUNK)))
    hasher = large_hasher() if size > _CHUNK else blake3()
    holes = has_holes(fd)
    offset = 0
    came = _told(size) if size > _CHUNK else None
    while count := os.preadv(fd, [buffer], offset):
        hasher.update(buffer[:count])
        if came is not None:
            came(count)
        if sink is not None:
            sink(buffer[:count])
        if holes:
            let_go(fd, offset, count)
        offset += count
    return Digest(hasher.digest()), offset


def _told(size: int) -> Callable[[int], None]:
    """Say that so many bytes are going to be hashed; what is to be told of each piece."""
    from merkl import gauge

    gauge.expect(size)
    return gauge.came


def pieces_of(reader: BinaryIO | None) -> Iterator[bytes]:
    """What ``ContentStore.pieces`` gives of a reader, which is closed."""
    if reader is None:
        return
    with reader:
        while piece := reader.read(_CHUNK):
            yield piece
    yield b""


def whole(reader: BinaryIO | None) -> bytes | None:
    """All that a reader has, which is closed; None if there is none."""
    if reader is None:
        return None
    with reader:
        return reader.read()


def write_all(fd: int, data: bytes | memoryview, at_once: int = _WRITTEN) -> None:
    """Write every byte at the descriptor's place."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest[:at_once]) :]


class Growing:
    """An empty file that pieces are written to, one after another.

    Once it is large, its room is asked for in steps, where that can be had: then writing costs the system half as much.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._written = 0
        self._room = 0
        self._asks = True

    def write(self, piece: bytes | memoryview) -> None:
        """Write every byte."""
        after = self._written + len(piece)
        if self._asks and self._written >= _LARGE and after > self._room:
            step = max(min(self._written, _STEP), len(piece))
            self._asks = reserve(self._fd, self._written, step)
            if self._asks:
                self._room = self._written + step
        write_all(self._fd, piece, _WRITTEN_INTO_ROOM if after <= self._room else _WRITTEN)
        self._written = after

    def finish(self) -> None:
        """Give back what was not written to."""
        if self._room > self._written:
            os.ftruncate(self._fd, self._written)


def sink_for(source: int, target: int) -> Callable[[memoryview], object]:
    """What writes the pieces of ``source``, from its start, to the empty file ``target``: with holes if it has some."""
    if not has_holes(source):
        return lambda piece: write_all(target, piece)
    at = 0

    def around(piece: memoryview) -> None:
        nonlocal at
        write_around_zeros(target, piece, at)
        at += len(piece)
        os.ftruncate(target, at)

    return around


class FileClock:
    """The clock of a file system: it stamps files, and may differ from ours by days and in grain."""

    __slots__ = ("_path",)

    def __init__(self, directory: str | bytes) -> None:
        self._path = os.path.join(os.fsencode(directory), b".clock")

    def now_ns(self) -> int:
        """What a change made now would be stamped with; 0, with which nothing is settled, if nothing may be written."""
        try:
            os.utime(self._path)
            return os.stat(self._path).st_ctime_ns
        except FileNotFoundError:
            pass
        except OSError:
            return 0
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
            return os.stat(self._path).st_ctime_ns
        except OSError:
            return 0

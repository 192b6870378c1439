"""The digest of a file's bytes, and a faster hash that only this machine uses.

It decides whether what it read was one version of a file.  It remembers nothing: that is ``merkl.workspace.index``.

The invariant: a digest is returned only with a stamp that was the same before and after all bytes were read, and whose
size is the number of bytes read.  Files are read, never mapped: a mapped file that is cut short kills the process.
"""

import functools
import os
import stat
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import xxhash
from blake3 import blake3

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.errors import InputMissing
from merkl.hashers import large_hasher
from merkl.holes import has_holes, let_go
from merkl.stamp import Stamp
from merkl.workspace.missing import unreadable, wrong_kind

_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # Never waits for a fifo's writer.
_WHOLE: Final = 1 << 20  # Up to this many bytes are read at once.
_CHUNK: Final = 4 << 20  # Enough for two threads of BLAKE3, and still in the cache.
_ATTEMPTS: Final = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hashed:
    """What was read: ``fast`` is a seeded xxh3 of 16 bytes, ``stamp`` the file's before and after."""

    digest: Digest
    fast: bytes
    stamp: Stamp


def hash_file(
    path: str | bytes, seed: int = 0, shown: str = "", found: os.stat_result | None = None
) -> Hashed:
    """Read the file at ``path``, following links, and hash it.

    Errors call it ``shown``.  ``found`` is what a stat of it has just said, if there was one.

    Raises:
        InputMissing: it is not there, not readable, no ordinary file, or never the same while it was read.
    """
    (digest, fast), stamp = _steady(path, shown, found, seed, _both)
    return Hashed(Digest(digest), fast, stamp)


def read_file(
    path: str | bytes, seed: int = 0, shown: str = "", found: os.stat_result | None = None
) -> tuple[Hashed, bytes]:
    """As ``hash_file``, with the bytes; for a file that is known to be small.

    Raises:
        InputMissing: as for ``hash_file``.
    """
    (digest, fast, data), stamp = _steady(path, shown, found, seed, _with_bytes)
    return Hashed(Digest(digest), fast, stamp), data


SMALL: Final = _WHOLE  # Bytes; what is larger is hashed by several threads.

Small = tuple[bytes, bytes, bytes]
"""Of a small file: the bytes of its digest and of its fast hash, and what is in it, if that was asked for."""


def hash_small(
    files: Iterable[tuple[str | bytes, os.stat_result]], seed: int, *, keep: bool = False
) -> list[Small | None]:
    """Read small files whose stats were just asked for; None for one that is not, or cannot be read as, what its stat says.

    That one is to be read with ``hash_file``, which knows what to say of it.
    """
    done: list[Small | None] = []
    for path, found in files:
        try:
            fd = os.open(path, _OPEN)
            try:
                data = os.read(fd, found.st_size + 1)
                same = len(data) == found.st_size and _same(found, os.fstat(fd))
            finally:
                os.close(fd)
        except OSError:
            same = False
        if same:
            fast = xxhash.xxh3_128_digest(data, seed=seed)
            done.append((blake3(data).digest(), fast, data if keep else b""))
        else:
            done.append(None)
    return done


def is_small(found: os.stat_result) -> bool:
    """Whether a stat is of an ordinary file that is read at once."""
    return (
        stat.S_ISREG(found.st_mode)
        and 0 <= found.st_size <= SMALL
        and (found.st_blocks > 0 or found.st_dev not in _kernel_devices())
    )


def fast_hash(
    path: str | bytes, seed: int, shown: str = "", found: os.stat_result | None = None
) -> tuple[bytes, Stamp]:
    """The seeded xxh3 alone: it answers only whether a file that was hashed before has changed since.

    Raises:
        InputMissing: as for ``hash_file``.
    """
    return _steady(path, shown, found, seed, _fast)


def _both(fd: int, size: int, seed: int) -> tuple[tuple[bytes, bytes], int]:
    if size <= _WHOLE:
        data = _read(fd, size)
        return (blake3(data).digest(), xxhash.xxh3_128_digest(data, seed=seed)), len(data)
    slow, fast = large_hasher(), xxhash.xxh3_128(seed=seed)

    def update(chunk: memoryview) -> None:
        slow.update(chunk)
        fast.update(chunk)

    count = _stream(fd, size, update)
    return (slow.digest(), fast.digest()), count


def _with_bytes(fd: int, size: int, seed: int) -> tuple[tuple[bytes, bytes, bytes], int]:
    data = _read(fd, size)
    return (blake3(data).digest(), xxhash.xxh3_128_digest(data, seed=seed), data), len(data)


def _fast(fd: int, size: int, seed: int) -> tuple[bytes, int]:
    if size <= _WHOLE:
        data = _read(fd, size)
        return xxhash.xxh3_128_digest(data, seed=seed), len(data)
    fast = xxhash.xxh3_128(seed=seed)
    count = _stream(fd, size, fast.update)
    return fast.digest(), count


def _read(fd: int, size: int) -> bytes:
    data = os.read(fd, size + 1)  # One more, to notice a file that is longer than it says.
    while len(data) < size and (more := os.read(fd, size + 1 - len(data))):
        data += more
    return data


def _stream(fd: int, size: int, update: Callable[[memoryview], object]) -> int:
    buffer = memoryview(bytearray(_CHUNK))
    holes = has_holes(fd)
    count = 0
    from merkl import gauge  # For large files only.

    gauge.expect(size)
    while count <= size and (got := os.readv(fd, [buffer])):
        update(buffer[:got])
        gauge.came(got)
        if holes:
            let_go(fd, count, got)
        count += got
    return count


def _steady(
    path: str | bytes,
    shown: str,
    found: os.stat_result | None,
    seed: int,
    work: Callable[[int, int, int], tuple[T, int]],
) -> tuple[T, Stamp]:
    """Do ``work`` on the open file until its stamp is the same before and after.

    ``work`` gets a descriptor, a size and the seed, and returns how many bytes it read besides its result.
    """
    shown = shown or os.fsdecode(path)
    try:
        fd = os.open(path, _OPEN)
        try:
            before = found or os.fstat(fd)
            for attempt in range(_ATTEMPTS):
                _ordinary(before, shown)
                if attempt:
                    os.lseek(fd, 0, os.SEEK_SET)
                result, count = work(fd, before.st_size, seed)
                after = os.fstat(fd)
                steady = _same(before, after)
                if steady and count == after.st_size:
                    return result, Stamp.of(after)
                before = after
        finally:
            os.close(fd)
    except OSError as error:
        raise unreadable(shown, path, error) from None
    if steady:
        raise InputMissing(
            f"the input {shown} is no ordinary file: it says it has {after.st_size} bytes, and has others"
        )
    raise InputMissing(
        f"the input {shown} keeps changing while it is read", hint="build when its writer is done"
    )


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (
        one.st_mtime_ns == other.st_mtime_ns
        and one.st_ctime_ns == other.st_ctime_ns
        and one.st_size == other.st_size
        and one.st_ino == other.st_ino
        and one.st_mode == other.st_mode
    )


def _ordinary(found: os.stat_result, shown: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise wrong_kind(shown, found.st_mode, "a file")
    # /proc/kcore has the size of the address space, and other files there wait for events.
    if not found.st_blocks and found.st_dev in _kernel_devices():
        raise InputMissing(f"the input {shown} is made by the kernel as it is read, and is no ordinary file")


@functools.cache
def _kernel_devices() -> frozenset[int]:
    devices = set()
    for mount in ("/proc", "/sys"):
        try:
            devices.add(os.stat(mount).st_dev)
        except OSError:
            continue
    return frozenset(devices - {os.stat("/").st_dev})

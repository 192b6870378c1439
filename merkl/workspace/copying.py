"""Bytes from one open file into another, as cheaply as the file system allows.

It decides nothing about names.  The invariant: a clone or a copy, never a hard link, so that writing to one later leaves
the other as it was.
"""

import errno
import io
import os
from abc import ABC, abstractmethod
from typing import BinaryIO, Final, Self, TypeAlias

from merkl.filesystem import clone
from merkl.holes import has_holes, let_go, write_around_zeros

_CHUNK: Final = 1 << 20  # bytes
_UNABLE: Final = frozenset(
    {
        errno.EXDEV,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.ENOTTY,
        errno.EPERM,
        errno.EBADF,
        errno.ETXTBSY,
    }
)


class Copying(ABC):
    """Bytes that know their way into a file."""

    @abstractmethod
    def copy_to(self, target: int) -> int:
        """Write them all to an empty file; how many there were."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return  # There is nothing to close.


Content: TypeAlias = BinaryIO | Copying
"""What the bytes of a file are taken from."""


def copy_into(source: Content | bytes | int, target: int) -> int:
    """Write all bytes of ``source`` to the empty file ``target``; how many there were.

    A descriptor, and a plain file object that has not been read from, is cloned or copied inside the kernel; any other
    reader (which may check or unpack what it reads) is read.
    """
    if isinstance(source, bytes):
        return _write_all(target, memoryview(source))
    if isinstance(source, int):
        return copy_descriptor(source, target)
    if isinstance(source, Copying):
        return source.copy_to(target)
    # Only these two: a reader that unpacks has the descriptor of what is packed.
    if type(source) in (io.BufferedReader, io.FileIO) and source.tell() == 0:
        return copy_descriptor(source.fileno(), target)
    count = 0
    while chunk := source.read(_CHUNK):
        count += _write_all(target, memoryview(chunk))
    return count


def copy_descriptor(source: int, target: int) -> int:
    """Copy a whole open file to the empty file ``target``; how many bytes it had."""
    if clone(source, target):
        return os.fstat(target).st_size
    if has_holes(source):
        return _copy_around_zeros(source, target)
    count = 0
    try:
        while done := _copy_range(source, target, count):
            count += done
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
    os.lseek(target, count, os.SEEK_SET)
    # Also after a range that says it is at the end: files of /proc and some network file systems say so at once.
    while chunk := os.pread(source, _CHUNK, count):
        count += _write_all(target, memoryview(chunk))
    return count


def _copy_around_zeros(source: int, target: int) -> int:
    count = 0
    while chunk := os.pread(source, _CHUNK, count):
        write_around_zeros(target, chunk, count)
        let_go(source, count, len(chunk))
        count += len(chunk)
    os.ftruncate(target, count)
    return count


def _copy_range(source: int, target: int, at: int) -> int:
    if not hasattr(os, "copy_file_range"):
        return 0
    return os.copy_file_range(source, target, 1 << 30, offset_src=at, offset_dst=at)


def _write_all(target: int, data: memoryview) -> int:
    left = data
    while left:
        left = left[os.write(target, left) :]
    return len(data)


def make_executable(fd: int) -> None:
    """Give the right to execute to whoever may read."""
    mode = os.fstat(fd).st_mode & 0o777
    os.fchmod(fd, mode | (mode & 0o444) >> 2)

"""Files with holes: read at the speed of memory, and copied with holes.

It decides where a copy gets a hole: where there are zeros, whatever the file system says of the original.  File systems
have been wrong about that (OpenZFS before 2.2.2 called data a hole that had just been written), and reading zeros is cheap.

The invariant: a copy reads as its original, byte for byte.
"""

import os
from typing import Final

_BLOCK: Final = 1 << 16  # Bytes; a hole in a copy is as long as one of these at least.
_ZEROS: Final = bytes(_BLOCK)
_UNIT: Final = 512  # Bytes; what st_blocks counts, whatever the file system's own blocks are.


def has_holes(fd: int) -> bool:
    """Whether a file takes less room than it has bytes, and is worth the care."""
    found = os.fstat(fd)
    return found.st_size > _BLOCK and found.st_blocks * _UNIT < found.st_size


def let_go(fd: int, at: int, count: int) -> None:
    """Give back the memory that reading ``count`` bytes of a file with holes took.

    The kernel makes a page of zeros for every page of a hole that is read: to make new ones costs ten times what it costs
    to hash them, and they would crowd out what is worth keeping.
    """
    if hasattr(os, "posix_fadvise"):  # Not macOS.
        os.posix_fadvise(fd, at, count, os.POSIX_FADV_DONTNEED)


def write_around_zeros(target: int, data: bytes | memoryview, at: int) -> None:
    """Write ``data`` at the offset ``at`` of a file that has nothing there yet, but no block of zeros.

    Once all is written the file must be given its length, as it may end with a hole.
    """
    view = memoryview(data)
    for start in range(0, len(view), _BLOCK):
        block = bytes(view[start : start + _BLOCK])
        if block != _ZEROS[: len(block)]:
            _write_at(target, block, at + start)


def _write_at(target: int, data: bytes, at: int) -> None:
    left = memoryview(data)
    while left:
        done = os.pwrite(target, left, at)
        left, at = left[done:], at + done

"""Two names of one directory change places.

At once where the kernel can (Linux since 3.15, macOS since 10.12), so that neither is ever missing; else by three renames.
"""

import os
import sys
from typing import Final

from merkl.workspace.paths import temporary_name

_EXCHANGE: Final = 2  # linux/fs.h: RENAME_EXCHANGE; and macOS, sys/stdio.h: RENAME_SWAP


def exchange(directory: int, one: bytes, other: bytes) -> None:
    """Give what is called ``one`` the name ``other``, and the reverse; ``directory`` is a descriptor."""
    if _at_once(directory, one, other):
        return
    aside = temporary_name(other)
    os.rename(other, aside, src_dir_fd=directory, dst_dir_fd=directory)
    try:
        os.rename(one, other, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        os.rename(aside, other, src_dir_fd=directory, dst_dir_fd=directory)
        raise
    os.rename(aside, one, src_dir_fd=directory, dst_dir_fd=directory)


def _at_once(directory: int, one: bytes, other: bytes) -> bool:
    import ctypes  # Rarely needed, and slow to load.

    name = "renameatx_np" if sys.platform == "darwin" else "renameat2"
    try:
        swap = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return False
    return int(swap(directory, one, directory, other, _EXCHANGE)) == 0

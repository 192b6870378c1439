"""What of a file system is used up when it says that there is no room: its bytes, or its inodes.

It decides only what to call it.
"""

import errno
import os
from typing import Final

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
NO_INODES: Final = "no free inodes (too many files), whatever the free bytes"


def used_up(where: str | bytes | int) -> str:
    """``disk full`` or ``NO_INODES``, of the file system at a path, which need not be there yet; empty if there is room."""
    while True:
        try:
            free = os.statvfs(where)
        except (FileNotFoundError, NotADirectoryError):
            if isinstance(where, int):
                return ""
            parent = os.path.dirname(os.fsencode(where)) or b"."
            if parent == where:
                return ""
            where = parent
            continue
        except OSError:
            return ""
        # Some file systems have no fixed number of inodes and say 0 of 0.
        if free.f_files and not free.f_favail:
            return NO_INODES
        return "" if free.f_bavail else "disk full"

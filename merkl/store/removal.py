"""Removing directory trees that merkl made, whatever a task left in them.

It decides nothing.  The invariant: no link is followed, and nothing outside the directory is touched.
"""

import os
import stat
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str | bytes) -> bool:
    """Remove a file or a directory with all that is in it, also where it is read-only; whether nothing is left."""
    where = os.fsencode(path)
    try:
        os.unlink(where)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        pass  # On Linux unlink of a directory is EISDIR, elsewhere EPERM.
    try:
        _empty(where)
        os.rmdir(where)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _empty(path: bytes) -> None:
    """Empty a directory, deepest first, with one descriptor however deep a task has nested its directories."""
    here = _open(path, None)
    names: list[bytes] = []
    try:
        while True:
            inner = _clear(here)
            if inner is None and not names:
                return
            # Up again by "..": nobody moves the directories of a task that has ended.
            there = _open(b".." if inner is None else inner, here)
            os.close(here)
            here = there
            if inner is None:
                os.rmdir(names.pop(), dir_fd=here)
            else:
                names.append(inner)
    finally:
        os.close(here)


def _open(name: bytes, parent: int | None) -> int:
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
    if stat.S_IMODE(os.fstat(fd).st_mode) & 0o700 != 0o700:
        os.fchmod(fd, 0o700)
    return fd


def _clear(fd: int) -> bytes | None:
    """Remove what is no directory; the name of a directory that is left, if any."""
    with os.scandir(fd) as entries:
        found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_dir in found:
        if not is_dir:
            os.unlink(name, dir_fd=fd)
    return next((name for name, is_dir in found if is_dir), None)

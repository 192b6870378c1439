"""The directories of a worker's machine in which errands run: a mirror for each process, and a store for all.

It decides when a mirror goes; what of the store, ``keeping``.  It runs nothing.

The invariant: a mirror belongs to the process that holds its lock; one whose process is gone is nobody's.
"""

import contextlib
import fcntl
import os
import time
from typing import Final

from merkl.store.removal import remove_tree

_YOUNG_S: Final = 60.0  # A mirror may not be locked yet.


def new_mirror(base: str) -> tuple[str, int]:
    """An empty directory below ``base``, and the descriptor that says whose it is; those of processes that are gone go."""
    mirrors = os.path.join(base, "mirrors")
    os.makedirs(mirrors, mode=0o700, exist_ok=True)
    _sweep(mirrors)
    directory = os.path.join(mirrors, f"{os.getpid()}-{os.urandom(4).hex()}")
    os.mkdir(directory, 0o700)
    lock = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return directory, lock


def _sweep(mirrors: str) -> None:
    for name in os.listdir(mirrors):
        where = os.path.join(mirrors, name)
        with contextlib.suppress(OSError):
            lock = os.open(os.path.join(where, "lock"), os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(lock).st_mtime > _YOUNG_S:
                    remove_tree(where)
            finally:
                os.close(lock)

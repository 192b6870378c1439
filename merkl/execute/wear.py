"""How much of what calls left behind a worker may carry before it is replaced by a fresh one.

It decides by what the process has more than it had after its first call: a cache that the first call fills, or a pool of
threads that a library starts once, is no leak.  It knows neither the calls nor the coordinator.

The invariant: it asks the system, never the objects of the user, and changes nothing but what ``gc.collect`` frees.
"""

import os
import resource
from typing import Final, NamedTuple

MOST_MEMORY: Final = 300_000_000  # Bytes more than after the first call; loky has the same limit.
MOST_THREADS: Final = 64
_SHARE_OF_DESCRIPTORS: Final = 4  # One in so many of those that the process may have.


class Load(NamedTuple):  # No dataclass: to import that takes a new worker as long as all else of ours.
    """What a process has: resident memory in bytes, threads, and the lowest descriptor that is free."""

    memory: int
    threads: int
    descriptor: int


class Wear:
    """Asked after each call.  Where there is no /proc, nothing ever wears out."""

    __slots__ = ("_first",)

    def __init__(self) -> None:
        self._first: Load | None = None

    def is_too_much(self) -> bool:
        """Whether the process should take no further call."""
        now = _load()
        if now is None:
            return False
        if self._first is None:
            self._first = now
            return False
        if now.memory - self._first.memory > MOST_MEMORY:
            import gc

            gc.collect()  # What only waits for the collector is no leak.
            now = _load() or now
        return (
            now.memory - self._first.memory > MOST_MEMORY
            or now.threads - self._first.threads > MOST_THREADS
            or now.descriptor - self._first.descriptor > _most_descriptors()
        )


def _load() -> Load | None:
    try:
        fd = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:  # Not one descriptor is free.
        return Load(0, 0, 1 << 30)
    try:
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
    finally:
        os.close(fd)
    # proc(5) counts from 1, and two fields are gone: 20 is num_threads, 24 is rss in pages.
    return Load(int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), int(fields[17]), fd)


def _most_descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft // _SHARE_OF_DESCRIPTORS

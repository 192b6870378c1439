"""The hasher of what may be large, which lets all processors hash.

It decides whether there can be threads for that: where a limit on processes leaves no room for them, one has to do.

The invariant: no hasher made here fails for want of threads.
"""

import _thread
import functools
import os
import sys
import time

from blake3 import blake3


def large_hasher() -> blake3:
    """A hasher for more bytes than one processor should hash alone."""
    return blake3(max_threads=blake3.AUTO if _threads_can_start() else 1)


@functools.cache
def _threads_can_start() -> bool:
    """Whether blake3 gets the threads that it starts once in a process: one for each processor."""
    if not _room_for(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1):
        return False  # Trying it with blake3 itself would print to stderr.
    try:
        blake3(max_threads=blake3.AUTO).update(bytes(1 << 20))
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Of Rust, which is not to be imported.
            raise
        return False
    return True


def _room_for(threads: int) -> bool:
    """Whether so many threads can be started at once."""
    end, ended = _thread.allocate_lock(), []

    def wait() -> None:
        with end:
            pass
        ended.append(True)

    started = 0
    with end:
        try:
            for _ in range(threads):
                _thread.start_new_thread(wait, ())
                started += 1
        except RuntimeError:
            pass
    while len(ended) < started:
        time.sleep(0)  # Until they count no more.
    return started == threads

"""The run locks that one build holds.

It decides nothing: the schedule and the batches say what is locked, and when that is over.

The invariant: each lock that was taken here and not released is released by ``close``, also after an error that nobody
expected, since whoever waits for one would wait for ever.
"""

from merkl.digest import Key
from merkl.engine.shelter import Shelter
from merkl.store.base import RunLock


class Held:
    """The locks of what was started, or is about to be."""

    def __init__(self, shelter: Shelter) -> None:
        self._shelter = shelter
        self._locks: set[RunLock] = set()

    def try_lock(self, content_key: Key, task: str) -> RunLock | None:
        """The lock of a node, or None if somebody has it, here or in another process."""
        lock = self._shelter.try_lock(content_key, task)
        if lock is not None:
            self._locks.add(lock)
        return lock

    def release(self, lock: RunLock | None) -> None:
        """Give one up.  Idempotent; None is none."""
        if lock is not None:
            self._locks.discard(lock)
            lock.release()

    def close(self) -> None:
        """Give up all."""
        while self._locks:
            self._locks.pop().release()

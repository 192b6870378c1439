"""Several requests to a slow place at once.

It decides how many are under way: enough to hide the round trips, few enough to stop soon after a failure.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # Every build imports this, and few have a remote.
    from concurrent.futures import Future, ThreadPoolExecutor

A = TypeVar("A")
B = TypeVar("B")


class Pool:
    """Up to ``width`` calls at once, in threads that are made when they are first needed."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def submit(self, act: Callable[[], B]) -> "Future[B]":
        """Act when there is a thread free."""
        return self._threads().submit(act)

    def close(self, *, wait: bool = True) -> None:
        """End the threads; without ``wait`` they end by themselves.  Idempotent."""
        self._expect_own()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait, cancel_futures=True)

    def _expect_own(self) -> None:
        """In a process that was forked there are none of the threads."""
        if self._owner != os.getpid():
            self._owner, self._lock, self._pool = os.getpid(), threading.Lock(), None

    def _threads(self) -> "ThreadPoolExecutor":
        self._expect_own()
        with self._lock:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(self.width, thread_name_prefix="merkl-remote")
            return self._pool


class Together(Pool):
    """Many calls, and what they return in order."""

    def map(self, act: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
        """``act`` on each item, results in order.  A failure is raised in its turn, and what has not begun is not begun.

        ``items`` are taken as they are needed, so they may be very many.
        """
        waiting: deque[Future[B]] = deque()
        given = iter(items)
        first = next(given, None)
        if first is None:
            return
        second = next(given, None)
        if second is None:
            yield act(first)
            return
        pool = self._threads()
        try:
            waiting += [pool.submit(act, first), pool.submit(act, second)]
            for item in given:
                waiting.append(pool.submit(act, item))
                if len(waiting) >= 4 * self.width:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()

"""What code of the user's is part of, for the threads that it starts.

It decides what a context variable is in a thread that has no value of its own: what it is in the code that merkl runs at
that time, a Merklfile, a target, a function or a task.  A new thread has an empty context, so it would belong to nothing.

The invariant: a thread that has a value keeps it, and the main thread is lent nothing.
"""

import contextlib
import threading
from collections.abc import Iterator
from contextvars import Context, ContextVar, copy_context
from typing import Final, TypeVar

T = TypeVar("T")

LENT: Final[list[Context]] = []  # The latest last.


@contextlib.contextmanager
def lend_to_threads() -> Iterator[None]:
    """Let threads that the code inside starts belong to what it belongs to."""
    context = copy_context()
    LENT.append(context)
    try:
        yield
    finally:
        # Two contexts with the same values are equal, and not the same.
        LENT[:] = [each for each in LENT if each is not context]


def lent(variable: ContextVar[T]) -> T | None:
    """The value of ``variable`` in the code that merkl runs; None if there is none, or this is the main thread."""
    latest = LENT[-1:]  # At once: the code may end meanwhile.
    if not latest or threading.current_thread() is threading.main_thread():
        return None
    return latest[0].get(variable)

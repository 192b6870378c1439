"""What a call says before it ends: bytes for whoever waits for it.

It decides nothing: where the call runs, it is said what becomes of them.  The invariant: outside a call nobody hears.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_heard: list[Callable[[bytes], None]] = []


def emit(payload: bytes) -> None:
    """Send something of the call that goes on.  It may wait until there is room for it."""
    if _heard:
        _heard[-1](payload)


@contextmanager
def emitting(hear: Callable[[bytes], None]) -> Iterator[None]:
    """Let ``hear`` get what the call inside emits."""
    _heard.append(hear)
    try:
        yield
    finally:
        _heard.pop()

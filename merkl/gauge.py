"""How many bytes have been hashed, and are to be, for whoever shows it.

It decides nothing.  Whoever hashes says so here, a piece at a time; without anybody who looks on that is one comparison.

The invariant: only the thread in which somebody looks on tells of itself, so nobody is told by two at once.
"""

import _thread
import contextlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

Told: TypeAlias = Callable[[int, int], object]
"""Gets how many bytes have been hashed, and how many are known to be wanted in all.  Must not raise."""


class _Watch:
    __slots__ = ("came", "expected", "thread", "told")

    def __init__(self, told: Told) -> None:
        self.told = told
        self.thread = _thread.get_ident()
        self.came = self.expected = 0


_watches: list[_Watch] = []


@contextlib.contextmanager
def watched(told: Told) -> Iterator[None]:
    """Have told what the code inside hashes; who looked on before is told nothing meanwhile."""
    watch = _Watch(told)
    _watches.append(watch)
    try:
        yield
    finally:
        _watches.remove(watch)


def expect(size: int) -> None:
    """So many more bytes are going to be hashed."""
    if _watches and size > 0 and _watches[-1].thread == _thread.get_ident():
        _watches[-1].expected += size


def came(size: int) -> None:
    """So many have been."""
    if _watches and _watches[-1].thread == _thread.get_ident():
        watch = _watches[-1]
        watch.came += size
        watch.expected = max(watch.expected, watch.came)  # It grew meanwhile.
        watch.told(watch.came, watch.expected)

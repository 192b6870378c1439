"""Signals that would meet a piece of code where it must not break off.

It decides what a signal does to code outside a build; what it means to one, ``merkl.engine.terminal`` says.  It changes
nothing outside the main thread, where Python hears of none.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ends_in_order() -> Iterator[None]:
    """What SIGTERM and SIGHUP would end on the spot they end by a ``KeyboardInterrupt``, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    changed = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    ]  # fmt: skip
    for number in changed:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in changed:
            if signal.getsignal(number) is _interrupt:
                signal.signal(number, signal.SIG_DFL)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def put_off() -> Iterator[None]:
    """A signal that asks for the end does so once the code inside is done; of several the first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    # A handler and no mask: another thread may be the one that hears of it.
    before = {number: signal.getsignal(number) for number in _ENDING}
    heard = {number: former for number, former in before.items() if former not in (signal.SIG_IGN, None)}
    for number in heard:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, former in heard.items():
            signal.signal(number, former)
        if came:
            signal.raise_signal(came[0])

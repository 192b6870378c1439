"""Who has the terminal during a build, and what its keys do: Ctrl-C, Ctrl-Z, Ctrl-\\, closing it.

It decides what a signal to this process means for a build.  It knows neither nodes nor what is drawn.

The invariant: whenever this process is stopped or ends, nothing is drawn on the terminal; and while it is stopped, so are
its tasks.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from merkl.dataclass import dataclass
from merkl.engine.schedule import Schedule
from merkl.events import Reporter
from merkl.execute.base import Executor

MOST_REQUESTS = 4  # To stop; after more the build is left wherever it is.


@dataclass(slots=True)
class SharedTerminal:
    """Tells the reporter who has the terminal; ``lent`` while a task has it.  Implements ``execute.base.Terminal``."""

    reporter: Reporter
    lent: bool = False

    def lend(self) -> None:
        """See ``Terminal``."""
        self.lent = True
        self.reporter.pause()

    def take_back(self) -> None:
        """See ``Terminal``."""
        self.lent = False
        self.reporter.resume()

    def leave(self, number: int) -> None:
        """Do what a signal does by itself, with nothing drawn; returns if that is to stop the process, and it goes on."""
        if not self.lent:
            self.reporter.pause()
        handler = signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, handler)
        if not self.lent:
            self.reporter.resume()


class Reins:
    """Lets another thread stop a build, as often as it has reason to.  Safe to be pulled before the build begins."""

    __slots__ = ("_ask", "_lock", "_pulled")

    def __init__(self) -> None:
        self._lock = threading.RLock()  # A signal handler may pull them while its thread does.
        self._ask: Callable[[], None] | None = None
        self._pulled = 0

    def pull(self) -> None:
        """The first time is Ctrl-C, the second kills what runs."""
        with self._lock:
            self._pulled += 1
            if self._ask is not None:
                self._ask()

    @contextmanager
    def held(self, ask: Callable[[], None]) -> Iterator[None]:
        """Call ``ask`` each time while the code inside runs, and at once for what came before."""
        with self._lock:
            self._ask = ask
            for _ in range(self._pulled):
                ask()
        try:
            yield
        finally:
            with self._lock:
                self._ask = None


@dataclass(slots=True)
class _Signals:
    """What signals mean to one build, in the main thread."""

    schedule: Schedule
    executor: Executor
    terminal: SharedTerminal

    def handlers(self) -> dict[int, Callable[[int, FrameType | None], None]]:
        """What is to be called, by signal; nothing for one that this process is not to hear of."""
        found: dict[int, Callable[[int, FrameType | None], None]] = {
            signal.SIGINT: self._asked,
            signal.SIGTERM: self._asked,
        }
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            found[signal.SIGHUP] = self._asked
        if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            found[signal.SIGTSTP] = self._stopped
        if signal.getsignal(signal.SIGQUIT) is signal.SIG_DFL:
            found[signal.SIGQUIT] = lambda number, _: self.terminal.leave(number)
        return found

    def _asked(self, number: int, _: object) -> None:
        self.executor.wake()
        if number == signal.SIGINT and self.terminal.lent:
            self.schedule.signals = max(self.schedule.signals, 1)
            return
        self.terminal.lent = False
        self.schedule.signals += 1
        if self.schedule.signals > MOST_REQUESTS:
            raise KeyboardInterrupt  # The coordinator itself hangs.
        if number != signal.SIGINT:
            signal.raise_signal(signal.SIGINT)  # The second, of which a call that runs right here hears too.

    def _stopped(self, _number: int, _: object) -> None:
        if self.schedule.inline:
            self._stop()  # Nobody else would come to it.
        else:
            self.schedule.between = self._stop
            self.executor.wake()

    def _stop(self) -> None:
        self.executor.suspend()
        self.terminal.leave(signal.SIGTSTP)
        self.executor.proceed()


@contextmanager
def signals(
    schedule: Schedule, executor: Executor, terminal: SharedTerminal, reins: Reins | None = None
) -> Iterator[None]:
    """Let a build hear of signals; put the handlers back afterwards.

    Ctrl-C is counted, and SIGTERM and SIGHUP are two of them; under nohup SIGHUP is none.  Where a task has the terminal,
    Ctrl-C is a key for it to deal with: any number of them count as one.  Ctrl-Z stops the tasks too.
    """
    if threading.current_thread() is not threading.main_thread():

        def ask() -> None:
            schedule.signals += 1
            executor.wake()

        with (reins or Reins()).held(ask):
            yield
        return
    handlers = _Signals(schedule, executor, terminal).handlers()
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)

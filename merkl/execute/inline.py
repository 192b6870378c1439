"""A call run right here, in the coordinator's process, so that a debugger sees it.

It decides what of this process a call may change for good: nothing that a worker would not share with its next call
either.  It knows no other jobs.

The invariant: afterwards stdin, stdout, stderr, the directory, the umask and the handler of SIGINT are what they were.
"""

import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, TypeAlias

from merkl.execute.base import CallJob, Ended, NotStarted, Raised, Terminal
from merkl.execute.call import flush, new_file, perform, text_on
from merkl.execute.debugging import Debugging
from merkl.execute.emitting import emitting
from merkl.execute.pool import understood
from merkl.execute.process import RSS_UNIT
from merkl.snapshot import process

INTERRUPTED: Final = 130  # The exit code.
_USUAL: Final = (700, 10, 10)  # Python's own thresholds for collecting garbage.
Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None


def run_inline(ticket: int, job: CallJob, terminal: Terminal, hear: Callable[[bytes], None]) -> Ended:
    """Run a call to its end; ``hear`` gets what it emits."""
    process.has_run_code = True
    started_ns, started = time.time_ns(), time.monotonic()
    interrupts = _Interrupts()
    peak = 0
    try:
        with (
            _redirected(job, terminal),
            Debugging(terminal, lent=job.interactive) as debugging,
            _own_place(job.cwd),
            _variables(job),
            emitting(hear),
        ):
            interrupts.at_terminal = debugging.has_terminal
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            outcome, payload = perform(job.payload, interrupts.enter, interrupts.leave)
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            peak = after * RSS_UNIT if after > before else 0
        how = understood(outcome, payload)
        if debugging.quit and isinstance(how, Raised):
            how, interrupts.came = Raised(KeyboardInterrupt(), ""), True
    except OSError as error:
        how = NotStarted(error)
    return Ended(ticket, how, started_ns, time.monotonic() - started, peak, interrupts.came)


class _Interrupts:
    """SIGINT during a call: the handler that was there hears of it, and then it is a ``KeyboardInterrupt`` in the call.

    The second is a ``SystemExit``, since a call that goes on whatever is pressed could not be ended here; not where Ctrl-C is
    a key like others.

    A call that has a handler of its own is told by that; of what came nevertheless each signal leaves a byte in a pipe.  In
    another thread than the main one there is nothing to do: Python raises it elsewhere.
    """

    __slots__ = ("_before", "_inside", "_pipe", "_woken", "at_terminal", "came")

    def __init__(self) -> None:
        self.came = False
        self.at_terminal: Callable[[], bool] = bool
        self._inside = False
        self._before: Handler = None
        self._pipe = -1, -1
        self._woken = -1

    def enter(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._pipe = _pipe()
        self._before = signal.signal(signal.SIGINT, self._handle)
        self._woken = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self._inside = True

    def leave(self) -> None:
        if self._inside:
            self._inside = False
            # None: a handler that was not set from Python cannot be set again from here.
            signal.signal(signal.SIGINT, signal.default_int_handler if self._before is None else self._before)
            self._look_back()

    def _look_back(self) -> None:
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        try:
            came = os.read(self._pipe[0], 1 << 16)
        except BlockingIOError:
            came = b""
        for end in self._pipe:
            os.close(end)
        if came and self._woken >= 0:
            with suppress(OSError):
                os.write(self._woken, came)  # Whoever listened before is to hear of it, too.
        if signal.SIGINT in came and not self.came:
            self.came = True
            if callable(self._before) and self._before is not signal.default_int_handler:
                self._before(signal.SIGINT, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before) and self._before is not signal.default_int_handler:
            self._before(number, frame)
        if self._inside:
            if self.came and not self.at_terminal():
                # A loop that takes every KeyboardInterrupt lets this one through.
                raise SystemExit(INTERRUPTED)
            self.came = True
            raise KeyboardInterrupt


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


@contextmanager
def _redirected(job: CallJob, terminal: Terminal) -> Iterator[None]:
    """stdin from /dev/null, stdout and stderr to the log, for C libraries and child processes too.

    Raises:
        OSError: the log cannot be written.
    """
    log = new_file(job.log)
    if job.interactive:
        os.close(log)
        terminal.lend()
        try:
            yield
        finally:
            flush()
            terminal.take_back()
        return
    flush()
    saved: list[int] = []
    streams = sys.stdin, sys.stdout, sys.stderr
    null = -1
    try:
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for fd in (0, 1, 2):
            saved.append(os.dup(fd))
        for fd, target in enumerate((null, log, log)):
            os.dup2(target, fd)
        sys.stdin = open(0, closefd=False, encoding="utf-8", errors="surrogateescape")
        sys.stdout, sys.stderr = text_on(1), text_on(2)
        yield
        flush()
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        flush()  # What went to a stream that somebody had kept belongs to the log too.
        for fd, copy in enumerate(saved):
            os.dup2(copy, fd)
            os.close(copy)
        os.close(log)
        if null >= 0:
            os.close(null)


@contextmanager
def _variables(job: CallJob) -> Iterator[None]:
    """The environment with what an interactive call has there for itself."""
    before = {name: os.environ.get(name) for name in job.variables}
    os.environ.update(job.variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _own_place(cwd: bytes) -> Iterator[None]:
    """The call's directory, and ours and our umask again afterwards.

    Raises:
        OSError: there is no such directory.
    """
    here = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    thresholds = gc.get_threshold()
    gc.set_threshold(*_USUAL)  # Ours are not for code that may leave large things in cycles.
    umask = os.umask(0)
    os.umask(umask)
    try:
        os.chdir(cwd)
        yield
    finally:
        os.fchdir(here)
        os.close(here)
        os.umask(umask)
        gc.set_threshold(*thresholds)

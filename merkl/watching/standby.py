"""The watcher's end of a process that does one round.

It decides how such a process is started and ended.

The invariant: it is in our process group, so that a key pressed at the terminal reaches it too; and once ``close`` has
returned it is gone.
"""

import os
import pickle
import select
import signal
import subprocess
import sys
from typing import Final

from merkl.execute.pool import interpreter_flags
from merkl.watching.round import LENGTH, Door, Ended, Planned, send

_BOOT: Final = "import sys; sys.path[:] = sys.argv[2:]; del sys.argv[2:]; import {}; from merkl.watching.round import serve; serve()"
GRACE_S: Final = 10.0  # From SIGTERM to SIGKILL: a build gives its tasks less.


class Standby:
    """A process that has imported ``module`` and waits for ``go``."""

    def __init__(self, module: str) -> None:
        control, self._control = os.pipe()
        self._report, report = os.pipe()
        lifeline, self._lifeline = os.pipe()
        theirs = (control, report, lifeline)
        path = [os.path.abspath(each) for each in sys.path if isinstance(each, str) and "\0" not in each]
        words = [",".join(map(str, theirs)), *path]
        # Blocked until it does a round: Ctrl-C must show no traceback of a process that waits.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, *interpreter_flags(), "-c", _BOOT.format(module), *words], pass_fds=theirs
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            for fd in theirs:
                os.close(fd)
        os.set_blocking(self._report, False)
        self._heard = b""
        self._silent = False
        self._gone = self._ended = False  # It was told to go; it has said how it ended.

    def go(self, door: Door, *, plan: bool) -> None:
        """Let it do its round, through a ``door`` that can be pickled; with ``plan`` it says what matters before anything runs."""
        self._gone = True
        send(self._control, (door, plan))

    def fileno(self) -> int:
        """A descriptor that can be read when it has something to say, or has ended."""
        return self._report

    def hear(self) -> Planned | Ended | None:
        """What it has to say, if that is complete; an ``Ended`` without ``matters`` if it ended without a word."""
        while not self._silent:
            try:
                data = os.read(self._report, 1 << 20)
            except BlockingIOError:
                break
            self._silent = not data
            self._heard += data
            if self._complete():
                break
        size = self._complete()
        if size:
            message: Planned | Ended = pickle.loads(self._heard[LENGTH.size : size])
            self._heard = self._heard[size:]
            self._ended = isinstance(message, Ended)
            return message
        return Ended(error=_described(self._process.wait())) if self._silent else None

    def _complete(self) -> int:
        """The length of the message that is there in whole, with its head, or 0."""
        if len(self._heard) < LENGTH.size:
            return 0
        size = LENGTH.size + LENGTH.unpack_from(self._heard)[0]
        return size if len(self._heard) >= size else 0

    def interrupt(self) -> None:
        """What Ctrl-C does, for one that the terminal did not tell."""
        self._process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """Stop what it does: its tasks get a grace."""
        self._process.terminate()

    def close(self) -> None:
        """End it, and wait for that, whatever it is at.  Idempotent."""
        if self._report < 0:
            return
        try:
            if not self._gone:
                self._process.kill()  # It has not begun with anything.
            elif not self._ended:
                self.terminate()
            self._wait()
        finally:
            for fd in (self._control, self._lifeline, self._report):
                os.close(fd)
            self._report = -1

    def _wait(self) -> None:
        """Let it end by itself, or else be killed."""
        listener = select.poll()
        listener.register(self._report, select.POLLIN)
        while not self._silent:
            if not listener.poll(GRACE_S * 1000):
                self._process.kill()
            try:
                self._silent = not os.read(self._report, 1 << 20)
            except BlockingIOError:
                pass
        self._process.wait()


def _described(code: int) -> str:
    """How a process ended that said nothing."""
    if code >= 0:
        return f"the process that built exited with {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the process that built was ended by {name}"

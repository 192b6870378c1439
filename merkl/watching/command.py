"""A command that is started again after each good build, such as a server.

It decides how it is ended.

The invariant: once ``stop`` has returned, nothing of its process group is left; on Linux nothing that it started either.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Final

from merkl.execute.orphans import Adoption

GRACE_S: Final = 5.0  # From SIGTERM to SIGKILL.
_STEP_S: Final = 0.02  # Nothing tells when the last process of a group ends.
_IMPATIENT: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Command:
    """``text`` is for bash; it runs in ``directory``, and its output goes where ours does, or to ``stdout``."""

    def __init__(
        self, text: str, directory: str, *, stdout: int | None = None, grace: float = GRACE_S
    ) -> None:
        self.text = text
        self._directory = directory
        self._stdout = stdout
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None
        self._adoption: Adoption | None = None

    def restart(self) -> None:
        """End what runs, and start it.

        Raises:
            OSError: there is no bash, or no room for another process.
        """
        self.stop()
        self._adoption = Adoption()  # What its processes leave behind falls to us.
        self._process = subprocess.Popen(
            ["bash", "-c", self.text],
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            start_new_session=True,  # So that its group is its own, and a key pressed here is not for it.
        )

    def ended(self) -> int | None:
        """The exit code of a command that has ended by itself; a negative one is a signal's number."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """SIGTERM to its whole group, after a grace SIGKILL; returns when it is gone.  Idempotent.

        Whoever is interrupted meanwhile can call it again, and the grace begins anew.
        """
        if self._process is not None:
            _tell(self._process.pid, signal.SIGTERM)
            _tell(self._process.pid, signal.SIGCONT)
            _until(self._is_gone, self._grace)
        self._kill()

    def close(self) -> None:
        """The same for the last time: to be interrupted means that there is no time for the grace."""
        try:
            self.stop()
        finally:
            self._kill()

    def _kill(self) -> None:
        """End at once whatever there still is, whoever has no patience for that either."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _IMPATIENT)
        try:
            if self._process is not None and not self._is_gone():
                _tell(self._process.pid, signal.SIGKILL)
                _until(self._is_gone, self._grace)
            if self._adoption is not None:
                self._adoption.end()
            self._process = self._adoption = None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _is_gone(self) -> bool:
        return self._process is None or (self._process.poll() is not None and _is_gone(self._process.pid))


def _tell(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def _is_gone(group: int) -> bool:
    try:
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # None of them is ours.
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies.
        return True
    return False


def _until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(_STEP_S)
    return True

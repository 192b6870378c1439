"""Processes that a task left behind outside its own session.

It decides which children of this process are such orphans.  It knows no jobs.

The invariant: a child that somebody in this process started in the usual way, in our own session, is never touched.
"""

import os
import signal
import sys
import time
from typing import Final

from merkl.execute.process import alive, starting

_GET_CHILD_SUBREAPER: Final = 37  # linux/prctl.h
_SET_CHILD_SUBREAPER: Final = 36
_GRACE: Final = 0.1  # Seconds from SIGTERM to SIGKILL.
_PATIENCE: Final = 2.0  # Seconds until a process that not even SIGKILL ends is left alone.


class Adoption:
    """While it lasts, orphans of our descendants fall to us instead of to init.  Linux only; elsewhere it does nothing."""

    __slots__ = ("_prctl", "_spared", "_was")

    def __init__(self) -> None:
        self._prctl = None
        self._was = 0
        self._spared = frozenset(children())
        if sys.platform != "linux":
            return
        try:
            import ctypes

            prctl = ctypes.CDLL(None, use_errno=True).prctl
            was = ctypes.c_int()
            if prctl(_GET_CHILD_SUBREAPER, ctypes.byref(was), 0, 0, 0) == 0:
                self._was = was.value
                if prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
                    self._prctl = prctl
        except (ImportError, OSError, AttributeError):
            pass  # A libc without it: then an orphan belongs to init.

    def orphans(self) -> list[int]:
        """Children that nobody here started: those of another session than ours that are neither known nor older."""
        if self._prctl is None:
            return []
        ours, found = os.getsid(0), children()
        with starting:  # Another build of this process may be about to say that one of them is its own.
            known = frozenset(alive)
        return [
            pid for pid in found if pid not in self._spared and pid not in known and _session(pid) != ours
        ]

    def bury(self) -> None:
        """Reap the orphans that have ended."""
        for pid in self.orphans():
            _reap(pid)

    def end(self) -> None:
        """SIGTERM, then SIGKILL, to every orphan and to what falls to us as they end; then adopt no more."""
        started = time.monotonic()
        told: set[int] = set()
        while orphans := [pid for pid in self.orphans() if not _reap(pid)]:
            passed = time.monotonic() - started
            if passed > _PATIENCE:
                break
            for pid in orphans:
                if passed > _GRACE:
                    _kill(pid, signal.SIGKILL)
                elif pid not in told:
                    told.add(pid)
                    _kill(pid, signal.SIGTERM)
                    _kill(pid, signal.SIGCONT)
            time.sleep(0.002)
        if self._prctl is not None:
            self._prctl(_SET_CHILD_SUBREAPER, self._was, 0, 0, 0)
            self._prctl = None


def children() -> list[int]:
    """The process ids of all our children, zombies included; empty where /proc does not tell."""
    found: list[int] = []
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return os.getsid(0)  # Gone meanwhile; leave it alone.


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass


def _reap(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True

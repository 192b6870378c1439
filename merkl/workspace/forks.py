"""Shares of work on many files, done here and by processes that are forked off this one for it.

It decides whether there are any, and when: once what was done here took longer than it takes to start one, and about as much
again is left.  What a share is, and what comes of it, is the caller's.

The invariant: every share is done, by us if whoever took it did not answer; and when the caller goes on, whichever way, none
of the processes is left.
"""

import contextlib
import gc
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

from merkl.snapshot import recorder, recording

Work = Callable[[int], bytes]
"""Does the share of a number.  Where it raises, it is done once more here, so that the error is ours."""

SHARES: Final = 4096  # More would not fit into a pipe that holds as little as Linux may give us.
_FIRST_S: Final = (
    0.004  # So long is worked here before others are asked; a fork takes one to three milliseconds.
)
_WORTH_S: Final = 0.008  # So much must be left to do.
_MOST: Final = 8  # Processes, with this one: it takes what the others find, so more would wait for it.
_CLAIM: Final = struct.Struct("=I")
_HEAD: Final = struct.Struct("=II")  # The number of a share, and how many bytes came of it.
_PIPE: Final = 1 << 20  # Bytes that may wait for us,
_READ: Final = 1 << 18  # and that are read at once.
_OURS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def shared(count: int, work: Work) -> Iterator[tuple[int, bytes]]:
    """Do shares 0 to ``count``, which is at most ``SHARES``; the number of each with what came of it, in any order.

    A share should take some milliseconds at most: so long a signal may have to wait.
    """
    began = time.monotonic()
    for n in range(count):
        yield n, work(n)
        took = time.monotonic() - began
        left = count - n - 1
        if took > _FIRST_S and left > 1 and took * left / (n + 1) > _WORTH_S:
            yield from _shared(range(n + 1, count), work)
            return


def may_fork() -> bool:
    """Whether a fork of this process could go on: it would have no other thread, and their locks would stay locked."""
    if not sys.platform.startswith("linux"):  # Elsewhere libraries of the system start threads unasked.
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def hands() -> int:
    """How many processes may run at once: as many as the scheduler gives us processors, and our control groups time on them."""
    return max(1, min([len(os.sched_getaffinity(0)), *quotas("/proc/self/cgroup", "/sys/fs/cgroup")]))


def quotas(groups: str, mounted: str) -> Iterator[int]:
    """How many processors the control groups may use that a file like /proc/self/cgroup names, in both versions, and those
    above them; begun ones count."""
    try:
        with open(groups, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return
    for _, kinds, group in lines:
        if kinds and "cpu" not in kinds.split(","):
            continue
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):  # In a container the names may be those outside of it.
            where = "/".join([mounted, *(["cpu"] if kinds else []), *parts[:depth]])
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if kinds else ("cpu.max",)
            try:
                time_us, period_us = map(int, " ".join(_text(f"{where}/{name}") for name in names).split())
            except (OSError, ValueError):
                continue  # No such group here, or no limit.
            if time_us > 0 and period_us > 0:
                yield -(-time_us // period_us)


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _shared(numbers: range, work: Work) -> Iterator[tuple[int, bytes]]:
    crew = _Crew(numbers, work)
    try:
        with recorder.unheard():  # Nobody's code asks for the machine, or starts a process.
            if may_fork():
                crew.begin(min(hands(), _MOST, len(numbers)) - 1)
        yield from crew.results()
    finally:
        crew.end()


class _Crew:
    """Processes that take the numbers of shares from one pipe, in which all are from the start.

    What each did comes by a pipe of its own.
    """

    def __init__(self, numbers: range, work: Work) -> None:
        self._numbers = numbers
        self._work = work
        self._left = set(numbers)
        self._claims = -1
        self._children: dict[int, int] = {}  # Process by the pipe that it writes to.
        self._ended: list[int] = []
        self._heard: dict[int, bytearray] = {}
        self._buffer = memoryview(
            bytearray(_READ)
        )  # Used again and again: memory that is new costs more than the copy.

    def begin(self, others: int) -> None:
        """Start so many, or as many as can be started."""
        try:
            self._claims, writing = os.pipe()
        except OSError:
            return
        try:
            os.set_blocking(writing, False)
            os.write(writing, b"".join(map(_CLAIM.pack, self._numbers)))  # What has no room is ours.
        except OSError:
            return
        finally:
            os.close(writing)
        for _ in range(others):
            if not self._fork():
                return

    def _fork(self) -> bool:
        # No signal is to meet a child that takes itself for us, nor us before we know it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
        try:
            try:
                reading, writing = os.pipe()
            except OSError:
                return False
            try:
                pid = os.fork()
            except OSError:
                os.close(reading)
                return False
            else:
                if pid == 0:
                    self._serve(reading, writing, before)
                self._children[reading] = pid
                self._heard[reading] = bytearray()
                return True
            finally:
                os.close(writing)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _serve(self, reading: int, writing: int, mask: set[signal.Signals | int]) -> NoReturn:
        """Be one of them, until there are no more shares or nobody wants to know."""
        try:
            gc.disable()
            recording.end()
            for fd in (reading, *self._children):
                os.close(fd)  # Or nobody would notice that whoever forked us is gone.
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Whoever forked us says when to end.
            for number in (signal.SIGTERM, signal.SIGHUP):
                if callable(signal.getsignal(number)):
                    signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            widen(writing)
            while (n := self._claim()) is not None:
                found = self._work(n)
                rest = memoryview(_HEAD.pack(n, len(found)) + found)
                while rest:
                    rest = rest[os.write(writing, rest) :]
        finally:
            os._exit(0)  # Also with an error: the share was not answered for.

    def _claim(self) -> int | None:
        claim = os.read(self._claims, _CLAIM.size) if self._claims >= 0 else b""
        return _CLAIM.unpack(claim)[0] if len(claim) == _CLAIM.size else None

    def results(self) -> Iterator[tuple[int, bytes]]:
        """The numbers of shares with what came of them; all are ours if none was started."""
        while (n := self._claim()) is not None:
            self._left.discard(n)
            yield n, self._work(n)
            yield from self._told(0)
        while self._children:
            yield from self._told(None)
        for n in sorted(self._left):
            yield n, self._work(n)

    def _told(self, timeout: float | None) -> Iterator[tuple[int, bytes]]:
        """What the others have said."""
        poll = select.poll()
        for reading in self._children:
            poll.register(reading, select.POLLIN)
        for reading, _ in poll.poll(timeout):
            size = os.readv(reading, [self._buffer])
            if not size:
                os.close(reading)
                self._ended.append(self._children.pop(reading))
                continue
            heard = self._heard[reading]
            heard += self._buffer[:size]
            while len(heard) >= _HEAD.size:
                n, size = _HEAD.unpack_from(heard)
                if len(heard) < _HEAD.size + size:
                    break
                found = bytes(memoryview(heard)[_HEAD.size : _HEAD.size + size])
                del heard[: _HEAD.size + size]
                self._left.discard(n)
                yield n, found

    def end(self) -> None:
        """Leave none of them."""
        if self._claims >= 0:
            os.close(self._claims)
        for reading, pid in self._children.items():
            os.close(reading)
            with contextlib.suppress(ProcessLookupError):  # As below.
                os.kill(pid, signal.SIGKILL)
        for pid in (*self._ended, *self._children.values()):
            with contextlib.suppress(
                ChildProcessError
            ):  # Somebody waits for all, or for none: SIGCHLD is ignored.
                os.waitpid(pid, 0)


def widen(fd: int) -> None:
    """Let a pipe hold more, where that can be done."""
    import fcntl

    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE)
    except (AttributeError, OSError):
        pass

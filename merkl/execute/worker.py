"""A worker process: takes calls from one pipe, answers on another, until the first is closed.

It decides how a call is set up inside the process.  It knows only one coordinator and one call at a time.

The invariant: what is written to fds 1 and 2 during a call is in that call's log, and the pipes are known to nobody else.
"""

import fcntl
import os
import pickle
import resource
import signal
import sys
import time
from types import FrameType
from typing import Any, Final

from merkl.execute.call import become_worker, flush, new_file, perform, text_on
from merkl.execute.emitting import emitting
from merkl.execute.frames import (
    BEGUN,
    CHUNK,
    CLAIM,
    EMITTED,
    NOT_STARTED,
    REPLY,
    REQUEST,
    RETURNED,
    SMALL,
    TIMED,
    widen,
    write_all,
)
from merkl.execute.quitting import Quitting
from merkl.execute.scratch import Own
from merkl.execute.wear import Wear

_LOOK_EVERY: Final = 2_000_000  # Nanoseconds between two looks at what calls have left behind.
_PRIVATE: Final = 64  # Descriptors of ours are at least this, so that a call gets the usual low ones.
_RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024  # Bytes per unit of ru_maxrss.


def main(*modules: str) -> None:
    """Serve calls, which probably need ``modules``.

    fd 0 is the pipe of requests, fd 1 that of replies, fd 2 the first call's log, fd 3 a pipe that the coordinator holds
    open as long as it lives, fd 4 the pipe of claims.
    """
    if not _die_with_coordinator():
        return
    become_worker()
    requests, replies = _take_pipes()
    calls = _Calls(requests, _move(4), replies)
    widen(replies)
    import faulthandler

    faulthandler.enable()  # The stack of a crash goes to fd 2, the log.
    sys.breakpointhook = _refuse_debugger
    worker = _Worker(replies)
    signal.signal(signal.SIGINT, worker.note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for module in modules:
        __import__(module)
    quitting = Quitting()
    while not worker.worn and (call := calls.next()) is not None:
        try:
            write_all(replies, worker.serve(*call))
        except BrokenPipeError:
            break
    quitting.quit()


def _refuse_debugger(*args: Any, **kwargs: Any) -> Any:
    from merkl.execute.debugging import refuse_in_worker

    return refuse_in_worker(*args, **kwargs)


def _take_pipes() -> tuple[int, int]:
    """Move the pipes out of the way and put /dev/null and the log where they were."""
    requests, replies = _move(0), _move(1)
    null = os.open(os.devnull, os.O_RDONLY)
    if null == 0:
        os.set_inheritable(0, True)
    else:
        os.dup2(null, 0)
        os.close(null)
    os.dup2(2, 1)
    return requests, replies


class _Calls:
    """The calls that came, without those that were taken back."""

    __slots__ = ("_claim", "_claims", "_data", "_fd", "_replies")

    def __init__(self, fd: int, claims: int, replies: int) -> None:
        self._fd = fd
        self._replies = replies
        self._claims = claims
        self._claim = 0  # Read, but not that of the last call.
        self._data = b""
        os.set_blocking(claims, False)

    def next(self) -> tuple[bytes, bytes, bytes, bytes] | None:
        """The log, directory, stage and payload of the next call; None once the coordinator is gone or has closed the pipe."""
        while True:
            head = self._read(REQUEST.size)
            if head is None:
                return None
            claim, payload, log, cwd, stage = REQUEST.unpack(head)
            rest = self._read(log + cwd + stage + payload)
            if rest is None:
                return None
            if claim == TIMED:
                try:
                    write_all(self._replies, [REPLY.pack(BEGUN, False, False, 0, 0, 0, 0)])
                except BrokenPipeError:
                    return None
            elif claim and not self._is_ours(claim):
                continue
            at, end = log + cwd, log + cwd + stage
            return rest[:log], rest[log:at], rest[at:end], rest[end:]

    def _is_ours(self, claim: int) -> bool:
        if not self._claim:
            try:
                self._claim = int.from_bytes(os.read(self._claims, CLAIM.size))
            except BlockingIOError:
                return False
        if self._claim != claim:
            return False
        self._claim = 0
        return True

    def _read(self, size: int) -> bytes | None:
        """So many bytes; None if the pipe ends before."""
        if len(self._data) < size:
            chunks, there = [self._data], len(self._data)
            while there < size:
                chunk = os.read(self._fd, min(max(size - there, SMALL), CHUNK))
                if not chunk:
                    return None
                chunks.append(chunk)
                there += len(chunk)
            self._data = b"".join(chunks)
        data, self._data = self._data[:size], self._data[size:]
        return data


class _Worker:
    """What lasts from call to call: the streams, the umask and an interrupt that came before its call had begun."""

    __slots__ = (
        "_interrupted",
        "_looked",
        "_peak",
        "_process",
        "_replies",
        "_scratch",
        "_stderr",
        "_stdout",
        "_umask",
        "_wear",
        "worn",
    )

    def __init__(self, replies: int) -> None:
        self._replies = replies
        self._process = os.getpid()
        self._interrupted = False
        self._peak = 0  # Bytes, when the last call had ended.
        self._wear = Wear()
        self._looked = 0  # When (ns).
        self.worn = False  # What was sent after the last call is for another.
        self._scratch = Own()
        self._stdout, self._stderr = text_on(1), text_on(2)
        self._umask = os.umask(0)
        os.umask(self._umask)

    def serve(self, log: bytes, cwd: bytes, stage: bytes, payload: bytes) -> list[bytes]:
        """Run one call and return the parts of the reply; with a ``stage`` it has no directories yet."""
        started_ns, started = time.time_ns(), time.perf_counter_ns()
        try:
            self._set_up(log, cwd, stage)
        except OSError as error:
            if stage:
                self._scratch.leave(well=False)
            data = pickle.dumps((error.errno, error.strerror, error.filename))
            self._look_at_wear(time.perf_counter_ns())
            return [REPLY.pack(NOT_STARTED, self.worn, False, started_ns, 0, 0, len(data)), data]
        before = self._peak or _peak_memory()
        with emitting(self._emit):
            outcome, data = perform(payload, self._enter, self._leave)
        if not flush(self._stdout, self._stderr):
            self._drop_printed()
        self._peak = _peak_memory()
        peak = self._peak if self._peak > before else 0
        ended = time.perf_counter_ns()
        self._look_at_wear(ended)
        clean = bool(stage) and self._scratch.leave(well=outcome == RETURNED)
        return [REPLY.pack(outcome, self.worn, clean, started_ns, ended - started, peak, len(data)), data]

    def _drop_printed(self) -> None:
        """What cannot be written, such as to a full disk, is not to get into the next log."""
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for fd in (1, 2):
            os.dup2(null, fd)
        if null > 2:
            os.close(null)
        flush(self._stdout, self._stderr)

    def _look_at_wear(self, now: int) -> None:
        """See what calls have left behind: after each, but not after each of those that take next to no time."""
        if now >= self._looked + _LOOK_EVERY:
            self._looked = now
            self.worn = self._wear.is_too_much()

    def _set_up(self, log: bytes, cwd: bytes, stage: bytes) -> None:
        fd = self._scratch.enter(cwd, stage, log) if stage else new_file(log)
        if not stage and fd <= 2:  # The call before has closed one of these.
            fd = _move(fd)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        if not stage:
            os.close(fd)
        if os.getcwdb() != cwd:
            os.chdir(cwd)
        os.umask(self._umask)
        if self._stdout.closed or self._stderr.closed:
            self._stdout, self._stderr = text_on(1), text_on(2)
        sys.stdout, sys.stderr = self._stdout, self._stderr

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """Outside of a call: remember the interrupt for the one that is about to begin."""
        self._interrupted = True

    def _emit(self, payload: bytes) -> None:
        """Pass on what the call says; an interrupt waits until all of it is sent."""
        if os.getpid() != self._process:
            os._exit(1)  # A child that the call forked: there must not be two of us.
        before = signal.signal(signal.SIGINT, self.note)
        try:
            write_all(self._replies, [REPLY.pack(EMITTED, False, False, 0, 0, 0, len(payload)), payload])
        finally:
            signal.signal(signal.SIGINT, before)
        if self._interrupted and callable(before):
            self._interrupted = False
            before(signal.SIGINT, None)

    def _enter(self) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._interrupted:
            raise KeyboardInterrupt

    def _leave(self) -> None:
        signal.signal(signal.SIGINT, self.note)


def _peak_memory() -> int:
    """In bytes: the most that this process, or the largest of its children that have ended, ever had."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, children) * _RSS_UNIT


def _die_with_coordinator() -> bool:
    """Get a SIGTERM as soon as the coordinator is gone, however it went; whether it is still there.

    Nobody ever writes to the pipe on fd 3, so that its other end was closed is the only news there can be.  (The pipe of
    requests would not do: its writer may raise the signal after we have read.)
    """
    try:
        # Opened anew, because who gets the signal belongs to the open file, which all workers share.
        pipe = os.open("/proc/self/fd/3", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        pipe = -1  # No Linux: then it ends after the call.
    os.close(3)
    if pipe < 0:
        return True
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    try:
        gone = os.read(pipe, 1) == b""
    except BlockingIOError:
        gone = False
    _move(pipe)
    return not gone


def _move(fd: int) -> int:
    """A copy of ``fd`` that is out of the way of a call and unknown to its children; ``fd`` is closed."""
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _PRIVATE)
    except OSError:  # A low limit on open files.
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)  # Not one of those that are about to be replaced.
    os.close(fd)
    return moved

"""The coordinator's end of a worker process.

It decides how a worker is started and reads what it says.  It knows nothing of slots, deadlines and other workers.

The invariant: nothing here blocks; a request that does not fit into the pipe is sent as room becomes free.
"""

import os
import pickle
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from merkl.execute.base import CallJob, How, NotStarted, Raised, Returned, Unportable
from merkl.execute.call import new_file
from merkl.execute.frames import CHUNK, RAISED, REPLY, REQUEST, RETURNED, SMALL, rest, widen
from merkl.execute.process import Child, spawn

# Not ``-m``: runpy costs milliseconds, and merkl itself may be found only by the coordinator's own path.
_BOOT: Final = (
    "import sys; sys.path[:] = sys.argv[1:]; sys.argv[1:] = []; from merkl.execute.worker import main; main()"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker said of its call; times and memory as in ``Ended``.  ``worn`` if it should get no other."""

    how: How
    started_ns: int
    seconds: float
    peak_memory: int
    worn: bool


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process and our ends of its pipes.

    ``unsent`` is what is left of the request, ``heard`` what came of the reply; ``silent`` once no more can come.
    """

    child: Child
    requests: int
    replies: int
    unsent: list[memoryview]
    heard: list[bytes]
    heard_bytes: int = 0
    silent: bool = False

    def send(self, job: CallJob) -> None:
        """Begin to send a job to an idle worker.

        Raises:
            BrokenPipeError: the worker is gone.
        """
        log, cwd = _absolute(job.log), _absolute(job.cwd)
        head = REQUEST.pack(len(job.payload), len(log), len(cwd)) + log + cwd
        self.unsent = [memoryview(head), memoryview(job.payload)]
        self.push()

    def push(self) -> None:
        """Send as much as there is room for.

        Raises:
            BrokenPipeError: the worker is gone.
        """
        while self.unsent:
            try:
                written = os.writev(self.requests, self.unsent)
            except BlockingIOError:
                return
            self.unsent = rest(self.unsent, written)

    def listen(self) -> Reply | None:
        """Read what is there, and return the reply once it is complete."""
        while True:
            try:
                data = os.read(self.replies, CHUNK if self.heard else SMALL)
            except BlockingIOError:
                return None
            if not data:
                self.silent = True
                return None
            self.heard.append(data)
            self.heard_bytes += len(data)
            if self.heard_bytes < REPLY.size:
                continue
            if len(self.heard[0]) < REPLY.size:
                self.heard = [b"".join(self.heard)]
            outcome, worn, started_ns, duration, peak, size = REPLY.unpack_from(self.heard[0])
            if self.heard_bytes < REPLY.size + size:
                continue
            self.heard[0] = self.heard[0][REPLY.size :]
            payload = b"".join(self.heard)
            self.heard, self.heard_bytes = [], 0
            return Reply(understood(outcome, payload), started_ns, duration / 1e9, peak, worn)

    def hang_up(self) -> None:
        """Close the pipes, which ends an idle worker."""
        for fd in (self.requests, self.replies):
            if fd >= 0:
                os.close(fd)
        self.requests = self.replies = -1
        self.unsent, self.heard = [], []


def new_lifeline() -> tuple[int, int]:
    """A pipe whose closing tells all workers that we are gone: their end, and ours, to be kept open.

    Raises:
        OSError: no descriptors are left.
    """
    import fcntl

    reader, writer = os.pipe()
    try:
        return fcntl.fcntl(
            reader, fcntl.F_DUPFD_CLOEXEC, 10
        ), writer  # Not one of those a worker begins with.
    except OSError:
        os.close(writer)
        raise
    finally:
        os.close(reader)


def start_worker(log: bytes, lifeline: int, env: Mapping[bytes, bytes], nice: int = 0) -> Worker:
    """Start a worker with that environment and this process's ``sys.path``, directory, umask and interpreter flags.

    What it says before its first call, such as why Python did not start, goes to ``log``.

    Raises:
        OSError: it could not be started.
    """
    if not sys.executable:
        raise FileNotFoundError(2, "the Python interpreter does not know its own path")
    argv = [
        os.fsencode(word) for word in (sys.executable, *interpreter_flags(), "-c", _BOOT, *_search_path())
    ]
    theirs: list[int] = []
    ours: list[int] = []
    try:
        theirs.append(new_file(log))
        for end in (0, 1):
            reader, writer = os.pipe()
            theirs.append((reader, writer)[end])
            ours.append((writer, reader)[end])
        moves = zip((*theirs, lifeline), (2, 0, 1, 3), strict=True)
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for fd, target in moves]
        # Blocked until it can tell a call from the time before: a SIGINT must not kill it as it starts.
        child = spawn(argv, env, actions, blocked=(signal.SIGINT,), nice=nice)
    except OSError:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    for fd in ours:
        os.set_blocking(fd, False)
    widen(ours[0])
    return Worker(child, ours[0], ours[1], [], [])


def _absolute(path: bytes) -> bytes:
    return path if path.startswith(b"/") else os.path.join(os.getcwdb(), path)


def _search_path() -> list[str]:
    # Absolute, because a call has a directory of its own.
    return [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str) and "\0" not in entry]


def interpreter_flags() -> Sequence[str]:
    """The options this interpreter was started with that change what code does."""
    flags = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    flags += ["-B"] if sys.dont_write_bytecode else []
    flags += ["-E"] if sys.flags.ignore_environment else []
    flags += ["-s"] if sys.flags.no_user_site else []
    for option in sys.warnoptions:
        flags += ["-W", option]
    for name, value in sys._xoptions.items():
        if name not in ("importtime", "showrefcount"):  # These only talk.
            flags += ["-X", name if value is True else f"{name}={value}"]
    return flags


def understood(outcome: int, payload: bytes) -> How:
    """What the outcome of a call and its payload mean."""
    if outcome == RETURNED:
        return Returned(payload)
    fields: Any = pickle.loads(payload)
    if outcome != RAISED:
        return NotStarted(OSError(*fields))
    pickled, name, text, trace = fields
    try:
        error = pickle.loads(pickled) if pickled else None
    except Exception:  # noqa: BLE001 - a constructor of the user's that does not take what pickle gives it
        error = None
    return Raised(error if isinstance(error, BaseException) else Unportable(name, text), trace)

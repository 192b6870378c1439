"""The coordinator's end of a worker process.

It decides how a worker is started and reads what it says.  It knows nothing of slots, deadlines and other workers.

The invariant: nothing here blocks; a request that does not fit into the pipe is sent as room becomes free.
"""

import _pickle as pickle  # Without what ``pickle`` imports besides.
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from merkl.dataclass import dataclass, field
from merkl.execute.base import CallJob, How, NotStarted, Raised, Returned, Unportable
from merkl.execute.call import new_file
from merkl.execute.frames import (
    BEGUN,
    CHUNK,
    CLAIM,
    EMITTED,
    RAISED,
    REPLY,
    REQUEST,
    RETURNED,
    SMALL,
    TIMED,
    rest,
    widen,
)
from merkl.execute.process import Child, spawn
from merkl.execute.scratch import Scratch

# Not ``-m``: runpy costs milliseconds, and merkl itself may be found only by the coordinator's own path.
_BOOT: Final = "import sys; sys.path[:] = sys.argv[1:]; sys.argv[1:] = []; from merkl.execute.worker import main; main({})"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker said of its call; times and memory as in ``Ended``.

    ``worn`` if it should get no other; ``clean`` if the call left the worker's own directories as it found them.
    """

    how: How
    started_ns: int
    seconds: float
    peak_memory: int
    worn: bool
    clean: bool


@dataclass(frozen=True, slots=True)
class Emitted:
    """Something that a call said, which goes on."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Begun:
    """A call whose time is limited begins."""


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process and our ends of its pipes.

    ``unsent`` is what is left of the requests, ``heard`` what came of the replies; ``silent`` once no more can come.
    ``claims`` are both ends of the pipe of claims, to be read and to be written; ``behind`` what was sent behind the call
    that runs, by ticket, in that order, and ``unclaimed`` the claims that are not in the pipe yet; ``next`` the first of these once what was before it has ended.  ``taken_back``: some
    of that was, as the call that runs takes long.  ``scratch`` are the directories of its own, below ``scratch_in``.
    """

    child: Child
    requests: int
    replies: int
    claims: tuple[int, int]
    unsent: list[memoryview]
    heard: list[bytes]
    heard_bytes: int = 0
    silent: bool = False
    behind: deque[tuple[int, CallJob]] = field(default_factory=deque)
    next: tuple[int, CallJob] | None = None
    taken_back: bool = False
    unclaimed: bytes = b""
    scratch: Scratch | None = None
    scratch_in: bytes = b""

    def send(self, job: CallJob) -> None:
        """Begin to send a job to an idle worker.

        Raises:
            BrokenPipeError: the worker is gone.
        """
        self.unsent += _request(job, 0 if job.timeout is None else TIMED)
        self.push()

    def send_behind(self, ticket: int, job: CallJob) -> None:
        """Have a job sent with the next ``push``; it may be taken back until it has begun."""
        self.unclaimed += CLAIM.pack(ticket)
        self.behind.append((ticket, job))
        self.unsent += _request(job, ticket)

    def take_back(self) -> list[tuple[int, CallJob]]:
        """What has not begun of what was sent behind others, and never will in this worker.

        That may be ``next`` too: what was before it has ended, and the worker has not come to it.
        """
        sent = [self.next] if self.next is not None else []
        sent += self.behind
        if not sent:
            return []
        self._let_claim()
        try:
            data = os.read(self.claims[0], CLAIM.size * len(sent))
        except BlockingIOError:
            return []  # All have begun, or have ended even.
        taken = {ticket for (ticket,) in CLAIM.iter_unpack(data)}
        if self.next is not None and self.next[0] in taken:
            self.next = None
        self.behind = deque(each for each in self.behind if each[0] not in taken)
        self.taken_back = True
        return [each for each in sent if each[0] in taken]

    def push(self) -> None:
        """Send as much as there is room for.

        Raises:
            BrokenPipeError: the worker is gone.
        """
        self._let_claim()
        while self.unsent:
            try:
                written = os.writev(self.requests, self.unsent)
            except BlockingIOError:
                return
            self.unsent = rest(self.unsent, written)

    def _let_claim(self) -> None:
        """Have the claims of what was sent behind lie there before that: all in one go."""
        if self.unclaimed:
            os.write(self.claims[1], self.unclaimed)
            self.unclaimed = b""

    def listen(self, *, read: bool = True) -> Reply | Emitted | Begun | None:
        """Read what is there, and return the next thing said once it is complete; without ``read`` only what was heard."""
        while True:
            if (reply := self._complete()) is not None or not read:
                return reply
            try:
                data = os.read(self.replies, min(max(self._lacking(), SMALL), CHUNK))
            except BlockingIOError:
                return None
            if not data:
                self.silent = True
                return None
            self.heard.append(data)
            self.heard_bytes += len(data)

    def _lacking(self) -> int:
        """How many bytes the reply that has begun lacks, as far as is known."""
        if self.heard_bytes < REPLY.size or len(self.heard[0]) < REPLY.size:
            return 0
        return REPLY.size + int(REPLY.unpack_from(self.heard[0])[-1]) - self.heard_bytes

    def _complete(self) -> Reply | Emitted | Begun | None:
        """The first reply of what was heard, if all of it was."""
        if self.heard_bytes < REPLY.size:
            return None
        if len(self.heard[0]) < REPLY.size:
            self.heard = [b"".join(self.heard)]
        outcome, worn, clean, started_ns, duration, peak, size = REPLY.unpack_from(self.heard[0])
        end = REPLY.size + size
        if self.heard_bytes < end:
            return None
        whole = b"".join(self.heard)
        self.heard, self.heard_bytes = [whole[end:]], self.heard_bytes - end
        if outcome == EMITTED:
            return Emitted(whole[REPLY.size : end])
        if outcome == BEGUN:
            return Begun()
        how = understood(outcome, whole[REPLY.size : end])
        return Reply(how, started_ns, duration / 1e9, peak, worn, clean)

    def gave(self, job: CallJob, *, clean: bool) -> Scratch | None:
        """Which directories became the own of a call that asked for some and has ended, or is gone; None if it left them."""
        if job.scratch is None:
            return None
        used = job.scratch if self.scratch is None or self.scratch_in != job.cwd else self.scratch
        self.scratch, self.scratch_in = (used if clean else None), job.cwd
        return None if clean else used

    def hang_up(self) -> None:
        """Close the pipes, which ends an idle worker."""
        for fd in (self.requests, self.replies, *self.claims):
            if fd >= 0:
                os.close(fd)
        self.requests = self.replies = -1
        self.claims = -1, -1
        self.unsent, self.heard, self.heard_bytes, self.unclaimed = [], [], 0, b""
        self.behind.clear()
        self.next = None


def _request(job: CallJob, claim: int) -> list[memoryview]:
    log, cwd = _absolute(job.log), _absolute(job.cwd)
    stage = b"" if job.scratch is None else job.scratch.stage
    sizes = len(job.payload), len(log), len(cwd), len(stage)
    head = REQUEST.pack(claim, *sizes) + log + cwd + stage
    if len(job.payload) < SMALL:
        return [memoryview(head + job.payload)]
    return [memoryview(head), memoryview(job.payload)]


def new_lifeline() -> tuple[int, int]:
    """A pipe of which a worker gets one end, and we keep both: one whose closing tells it that we are gone, or of claims.

    Raises:
        OSError: no descriptors are left.
    """
    import fcntl

    reader, writer = os.pipe()
    try:
        # Not one of those a worker begins with.
        return fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 10), writer
    except OSError:
        os.close(writer)
        raise
    finally:
        os.close(reader)


def start_worker(
    log: bytes, lifeline: int, env: Mapping[bytes, bytes], nice: int = 0, modules: Sequence[str] = ()
) -> Worker:
    """Start a worker with that environment and this process's ``sys.path``, directory, umask and interpreter flags.

    It imports ``modules`` before its first call, which most calls need.  What it says until then, such as why Python did not
    start, goes to ``log``.

    Raises:
        OSError: it could not be started.
    """
    if not sys.executable:
        raise FileNotFoundError(2, "the Python interpreter does not know its own path")
    boot = _BOOT.format(", ".join(map(repr, modules)))
    words = (sys.executable, *interpreter_flags(), "-c", boot, *search_path())
    argv = [os.fsencode(word) for word in words]
    theirs: list[int] = []
    ours: list[int] = []
    try:
        theirs.append(new_file(log))
        for end in (0, 1):
            reader, writer = os.pipe()
            theirs.append((reader, writer)[end])
            ours.append((writer, reader)[end])
        ours += new_lifeline()
        moves = zip((*theirs, ours[2], lifeline), (2, 0, 1, 4, 3), strict=True)
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
    return Worker(child, ours[0], ours[1], (ours[2], ours[3]), [], [])


def _absolute(path: bytes) -> bytes:
    return path if path.startswith(b"/") else os.path.join(os.getcwdb(), path)


def search_path() -> list[str]:
    """Where a worker finds modules: absolute, because a call has a directory of its own."""
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

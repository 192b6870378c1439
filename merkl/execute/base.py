"""The contract of an executor: it takes jobs, runs them, and says how each ended.

It knows no graph, no key and no cache.  The invariant: every job that was started and not recalled ends in exactly one ``Ended``, and
after ``close`` no process of any job is alive (where the system has no subreapers: except one that left its session).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from merkl.dataclass import dataclass, field
from merkl.errors import MerklError
from merkl.store.base import Record

if TYPE_CHECKING:
    from merkl.execute.scratch import Scratch

SCRIPT_FD: Final = 3  # A script may close it as soon as it runs: the shell has opened it again.

JOBSERVER_FDS: Final = (60, 61)  # Where a command finds the jobserver: no script uses such numbers by itself.


@dataclass(frozen=True, slots=True)
class ProcessJob:
    """A command.  ``argv[0]`` is an absolute path; it runs in a session of its own, in directory ``cwd``.

    ``log`` gets stdout and stderr; with ``stdout`` only stderr goes to the log.  A relative ``log`` or ``stdout`` is
    taken from the coordinator's current directory.  ``timeout`` in seconds.  When the command has ended, what it left
    running in its session's first process group is ended too, before the job counts as ended.

    stdin is /dev/null.  With ``interactive`` the command has the coordinator's own stdin, stdout, stderr, session and
    process group instead, and ``log`` and ``stdout`` are left alone.  ``nice`` is added to the coordinator's own niceness.

    ``script`` is handed to the program as its last argument: through descriptor ``SCRIPT_FD``, which costs less than a
    file, or, where the system has no files in memory, as the file ``script_path``, absolute or relative to ``cwd``.
    """

    argv: Sequence[bytes]
    env: Mapping[bytes, bytes]
    cwd: bytes
    log: bytes
    stdout: bytes | None = None
    timeout: float | None = None
    interactive: bool = False
    nice: int = 0
    script: bytes | None = None
    script_path: bytes = b""


@dataclass(frozen=True, slots=True)
class CallJob:
    """A Python call: ``payload`` is a cloudpickled ``(function, args)``, the result is pickled.

    It runs with ``cwd`` as its directory and with fds 1 and 2 on ``log``; both paths may be relative, like those of a
    command.  Inline the payload is made and read in one process, so both kinds see the same thing.  stdin is /dev/null.
    With ``interactive`` it runs inline, whatever the slots, with the coordinator's own stdin, stdout and stderr.  Any other
    inline call gets the terminal at ``breakpoint()``, until the debugger lets it go on.
    A call with a ``timeout`` never runs inline: there is no way to stop it there.  One with ``nice`` or ``variables``, which
    the environment has besides the coordinator's, gets a worker that nobody had before or has after it: neither could be
    taken back from a process.  An interactive one has no ``nice``.

    The directories of a call with ``scratch`` are not there yet.  Its worker makes them, or lets it use empty ones that it has
    made for another; ``Ended`` says under which names what it left is to be found.  Meanwhile its log is found where ``log``
    says at any time at which it has run for more than a moment.
    """

    payload: bytes
    log: bytes
    cwd: bytes
    timeout: float | None = None
    interactive: bool = False
    nice: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)
    scratch: "Scratch | None" = None

    @property
    def wants_own_worker(self) -> bool:
        """Whether its process must be its own."""
        return bool(self.nice or self.variables)


Job: TypeAlias = ProcessJob | CallJob


class Unportable(Exception):
    """Stands for an exception that cannot be sent from one process to another; its text is ``type: text``."""

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(type_name, text)
        self.type_name = type_name
        self.text = text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.text}" if self.text else self.type_name


@dataclass(frozen=True, slots=True)
class Exited:
    """A command ended: exit code, or negative signal number; ``timed_out`` if it was stopped for that."""

    code: int
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Returned:
    """A call returned; the pickled result."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Raised:
    """A call raised.

    ``error`` is a copy of the exception if it can be pickled and read back, else an ``Unportable``; ``trace`` is the
    traceback from the user's first frame on, as text.  A result that cannot be pickled is a ``SerializationError``.
    """

    error: BaseException
    trace: str


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The process a call ran in is gone: exit code, or negative signal number; ``timed_out`` if it was stopped for that."""

    code: int
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The job could not be started: no such program, no processes left, no memory.

    ``error.filename`` says what could not be used.  ``ECANCELED``: it was stopped while it waited for a slot.
    ``ECHILD``: how it ended cannot be known, since somebody else has waited for its process.
    """

    error: OSError


@dataclass(frozen=True, slots=True)
class Published:
    """It ran on another machine, and what it made is in the store that both share: ``record`` names it.

    ``log`` is what it printed, if that is little.
    """

    record: Record
    log: bytes | None = None


@dataclass(frozen=True, slots=True)
class FailedThere:
    """It was to run on another machine and came to nothing; the error is worded for here.  ``log`` is what it printed."""

    error: MerklError
    log: bytes = b""


How: TypeAlias = Exited | Returned | Raised | WorkerDied | NotStarted | Published | FailedThere


@dataclass(frozen=True, slots=True)
class Ended:
    """How the job with that ``ticket`` ended.

    Times: seconds of wall clock, ns since the epoch at the start.  ``peak_memory`` in bytes, 0 where it is not known: a
    command's is hidden below the coordinator's own, a call's below that of earlier calls in its process.
    ``interrupted`` if it had got a SIGINT before it ended.  ``scratch`` is what became the own of a call that had asked for
    such directories; None if it left and printed nothing, or never began.
    """

    ticket: int
    how: How
    started_ns: int
    seconds: float
    peak_memory: int = 0
    interrupted: bool = False
    scratch: "Scratch | None" = None


class Terminal(Protocol):
    """Whoever draws on the terminal while jobs run.  Called from the executor's thread; never raises."""

    def lend(self) -> None:
        """Clear what is drawn: a job gets the terminal."""

    def take_back(self) -> None:
        """The job no longer has it."""


class Undrawn:
    """A ``Terminal`` on which nothing is drawn."""

    def lend(self) -> None:
        """Nothing to clear."""

    def take_back(self) -> None:
        """Nothing to draw again."""


class Executor(Protocol):
    """Runs up to ``slots`` jobs at once; more are kept waiting, in order.  Used from one thread only."""

    slots: int

    def is_inline(self, job: Job) -> bool:
        """Whether a job would run in this process: nothing else happens while it does."""

    def has_room(self) -> bool:
        """Whether a job that is started now would run at once.

        If it is what others on this machine have that is missing, the next ``wait`` returns when it may have come.
        """

    def room_behind(self) -> int:
        """How many brief calls, if they were started now, would each wait in a worker for brief ones alone."""

    def expect(self, calls: int) -> None:
        """So many calls that may share a process are about to come: what takes long may be made ready for them, or may go."""

    def start(self, job: Job, brief: bool = False) -> int:
        """Start a job and return its ticket.  Never blocks on the job, except inline calls, which end in here.

        An inline call that must wait for a slot runs in a later ``wait``.  A ``brief`` call, one that needs no worker of its
        own and is expected to end within milliseconds, may wait in a worker behind others that are, so that the worker
        need not wait for us; it is taken back if they turn out to take longer, and its time counts from when it begins.
        """

    def recall(self) -> list[int]:
        """Take back what has not begun; the tickets.  There is no ``Ended`` of these."""

    def wait(self, timeout: float | None) -> list[Ended]:
        """Wait until at least one job has ended, ``wake`` was called or ``timeout`` seconds have passed; all that ended.

        With no job and no timeout it returns at once.
        """

    def take_emitted(self) -> list[tuple[int, bytes]]:
        """What calls have emitted since this was last asked, in order, with their tickets; ``wait`` returns for it.

        Of a call that ``wait`` says has ended it is all there.  A call waits while much of it is not taken.
        """

    def wake(self) -> None:
        """Make ``wait`` return early, or the next one if none is going on.  May be called from a signal handler."""

    def interrupt(self) -> None:
        """Send SIGINT to every running job; those that wait for a slot end as ``NotStarted``."""

    def kill(self, tickets: Sequence[int] | None = None, grace: float = 1.0) -> None:
        """SIGTERM now, and SIGKILL in the ``wait`` after ``grace`` seconds, to the whole process groups of those jobs
        (None: of all).  Those that wait for a slot end as ``NotStarted``."""

    def suspend(self) -> None:
        """Stop every running job (SIGSTOP), until ``proceed``.  Their deadlines wait."""

    def proceed(self) -> None:
        """Let them go on."""

    def close(self) -> None:
        """End what runs, stop the workers and wait for them.  Idempotent; what ended is still there for ``wait``."""

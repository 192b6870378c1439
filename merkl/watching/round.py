"""One round, in a process of its own: load, choose, build, and say what it depended on.

It decides how a round goes on after an error.  What is asked for and what is shown comes through a ``Door``.

The invariant: a process does one round, so that no code and no value of an earlier one can be left; it was started and has
imported merkl before it was needed, and it ends when its watcher does, whatever became of that.
"""

import fcntl
import functools
import gc
import os
import pickle
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from merkl import events
from merkl.dataclass import dataclass, replace
from merkl.engine.build import build
from merkl.engine.project import Project
from merkl.engine.request import Chosen
from merkl.errors import MerklError
from merkl.events import Event, Forwarding, Reporter
from merkl.merklfile.registry import Merklfile
from merkl.nodes import Future
from merkl.watching.gather import Round, gather
from merkl.watching.matters import Matters

LENGTH: Final = struct.Struct("!Q")


@dataclass(frozen=True, slots=True)
class Planned:
    """The graph is known, and nothing has run; it is going to place ``outputs``."""

    matters: Matters
    outputs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a round ended: labels of the tasks that ran, and of those that failed with why.  ``error`` is what ended it otherwise than by a task, in one line.

    ``matters`` None: it ended before anything could be known.
    """

    ran: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    cached: int = 0
    placed: int = 0
    interrupted: bool = False
    error: str = ""
    seconds: float = 0.0
    matters: Matters | None = None

    @property
    def ok(self) -> bool:
        """Whether all that was asked for is there."""
        return not (self.failed or self.interrupted or self.error)


class Door(Protocol):
    """What a round is about, and how it is shown."""

    def open(self) -> Project:
        """The project.

        Raises:
            MerklError: its settings are wrong.
        """

    def load(self, project: Project) -> Merklfile:
        """Run the Merklfile."""

    def choose(self, project: Project, merklfile: Merklfile) -> Chosen:
        """What is to be built."""

    def reporter(self, project: Project) -> Reporter:
        """Who is told what happens."""

    def tell(self, error: BaseException) -> None:
        """Show what ended the round."""


class _Tally(Forwarding):
    """A reporter that counts, and passes every event on."""

    def __init__(self, inner: Reporter) -> None:
        super().__init__(inner)
        self.ran: list[str] = []
        self.failed: list[events.Failed] = []
        self.cached = 0
        self.placed = 0

    def report(self, event: Event) -> None:
        """Count one event."""
        match event:
            case events.Ran():
                self.ran.append(event.label)
            case events.Failed():
                self.failed.append(event)
            case events.Cached() | events.CutOff():
                self.cached += 1
            case events.Placed():
                self.placed += 1
            case _:
                pass
        super().report(event)


def run_round(door: Door, plan: Callable[[Planned], None] | None = None) -> Ended:
    """Do one round.  ``plan`` is told what matters before anything runs."""
    began = time.monotonic()
    try:
        project = door.open()
    except MerklError as error:
        door.tell(error)
        return Ended(error=error.headline)
    try:
        around = Round(project, project.index.clock_ns())
        _note_evaluations(around)
        ended, everything = _built(door, around, plan)
        matters = gather(around, well=ended.ok, everything=everything)
    except MerklError as error:  # The state of the project cannot be used.
        door.tell(error)
        return Ended(error=error.headline)
    finally:
        project.close()
    return replace(ended, seconds=time.monotonic() - began, matters=matters)


def _note_evaluations(around: Round) -> None:
    """Remember what a Merklfile has evaluated: what those Futures read matters too."""
    builder = around.project.builder

    def noting(project: Project, futures: Sequence[Future[Any]]) -> list[Any]:
        around.evaluated += futures
        assert builder is not None
        return builder(project, futures)

    around.project.builder = noting


def _built(door: Door, around: Round, plan: Callable[[Planned], None] | None) -> tuple[Ended, bool]:
    """How it went, and whether every file of the project matters now."""
    project = around.project
    reporter: _Tally | None = None
    try:
        around.merklfile = door.load(project)
        chosen = door.choose(project, around.merklfile)
        around.roots, around.placements = chosen.selection.roots, chosen.selection.placements
        if plan is not None:
            places = frozenset(placement.path for placement in around.placements)
            plan(Planned(gather(around, well=True, everything=False), places))
        reporter = _Tally(door.reporter(project))
        try:
            done, around.judge = build(project, chosen.selection, reporter)
        finally:
            reporter.close()
    except KeyboardInterrupt:
        return Ended(interrupted=True), True
    except Exception as error:  # noqa: BLE001  # The edge of this process: what is no MerklError is shown as a bug.
        door.tell(error)
        return Ended(error=error.headline if isinstance(error, MerklError) else repr(error)), True
    around.failed = reporter.failed
    ended = Ended(
        tuple(reporter.ran),
        tuple((event.label, str(event.error)) for event in reporter.failed),
        reporter.cached,
        reporter.placed,
        bool(done.interrupted),
    )
    # What a command would have discovered is known only once it has succeeded.
    return ended, any(event.node.discovers for event in reporter.failed)


# ---- the process -------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Wait for a ``Door``, do one round through it, report that.  ``sys.argv[1]`` has the numbers of the three pipes."""
    control, report, lifeline = (int(word) for word in sys.argv.pop(1).split(","))
    for fd in (control, report, lifeline):
        os.set_inheritable(fd, False)
    if not _end_with_watcher(lifeline):
        return
    request = _read(control)
    if request is None:
        return
    gc.set_threshold(1_000_000, 20, 100)  # As ``merkl.__main__`` does: a graph is many objects that stay.
    door, wants_plan = pickle.loads(request)
    plan = functools.partial(send, report) if wants_plan else None
    try:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # What came before comes now.
            ended = run_round(door, plan)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # How it ended is said in whole.
    except KeyboardInterrupt:
        ended = Ended(interrupted=True)
    if sys.stdout is not None:  # It was closed.
        sys.stdout.flush()
    send(report, ended)
    gc.freeze()


def send(fd: int, message: object) -> None:
    """Write a message; if nobody reads any more, there is nobody to tell."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    view = memoryview(LENGTH.pack(len(data)) + data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        pass


def _read(fd: int) -> bytes | None:
    """One message, or None if the watcher is gone."""
    with open(fd, "rb", closefd=False) as file:
        head = file.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return None
        return file.read(LENGTH.unpack(head)[0])


def _end_with_watcher(lifeline: int) -> bool:
    """Get a SIGTERM as soon as the watcher is gone, however it went; whether it is still there.

    Nobody ever writes to the pipe, so that its other end was closed is the only news there can be.  Where there is no
    such signal, this process ends when its round has.
    """
    try:
        # Opened anew: who gets the signal belongs to the open file.
        pipe = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    try:
        return os.read(pipe, 1) != b""
    except BlockingIOError:
        return True

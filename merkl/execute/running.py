"""A job in a slot, from its start to the end of its process or of its call.

It decides when a job is told to end and how its end is reported.  It knows no other jobs.

The invariant: SIGTERM comes before SIGKILL, with the grace between them that was asked for last and is shorter.
"""

import contextlib
import math
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from merkl.dataclass import dataclass
from merkl.execute.base import CallJob, Ended, Exited, NotStarted, WorkerDied
from merkl.execute.process import Child, Death, signal_group, terminate

if TYPE_CHECKING:
    from merkl.execute.pool import Reply, Worker
    from merkl.execute.scratch import Scratch

# Seconds after which somebody may look for the log of a call.
SHOWN: Final = 0.05
# Seconds that a worker may take to come to a call, besides what the call may: it may have to start.
TO_BEGIN: Final = 60.0
# Seconds between SIGTERM and SIGKILL for a job that took too long, or that ``close`` ends.
GRACE: Final = 1.0


@dataclass(slots=True, eq=False)
class Running:
    """A job that runs: in a process of its own, or in a worker.

    ``due``: when (monotonic) its next signal is, SIGTERM or, if it was told to end, SIGKILL.
    """

    ticket: int
    child: Child
    worker: "Worker | None"
    started_ns: int
    started: float
    due: float
    interactive: bool = False
    stopped: float = 0.0  # Seconds.
    told: bool = False
    timed_out: bool = False
    interrupted: bool = False
    own_worker: bool = False  # Its worker takes no other call.
    brief: bool = False  # Others may wait behind it.
    job: CallJob | None = None  # One whose directories are its worker's to make.
    linked: bool = False  # They are found under the names that it asked for, too.

    def on_time(self, now: float) -> None:
        """Send the signal that is due, if one is."""
        if now < self.due:
            return
        if self.told:
            signal_group(self.child, signal.SIGKILL)
            self.due = math.inf
        else:
            self.timed_out = True
            self.tell(GRACE)

    def begins(self, now: float) -> None:
        """Its worker was still on its way to it, and has come to it: its time begins."""
        if not self.told:
            self.due += now - self.started - TO_BEGIN

    def may_lead(self) -> bool:
        """Whether another call may be sent to wait behind it."""
        return self.brief and not (self.told or self.interrupted or self.own_worker)

    def was_stopped(self, seconds: float) -> None:
        """It did nothing for so long, which is no part of its time."""
        self.started += seconds
        self.due += seconds
        self.stopped += seconds

    def tell(self, grace: float) -> None:
        """Tell it to end, and have it killed after ``grace`` seconds."""
        due = time.monotonic() + grace
        if self.told:
            self.due = min(self.due, due)
            return
        self.told, self.due = True, due
        terminate(self.child)

    def died(self, death: Death | ChildProcessError) -> Ended:
        """What to say once its process has ended: of a command, or of a worker without an answer."""
        seconds = time.monotonic() - self.started
        if isinstance(death, ChildProcessError):
            return Ended(self.ticket, NotStarted(death), self.started_ns, seconds, 0, self.interrupted)
        kind = Exited if self.worker is None else WorkerDied
        how = kind(death.code, self.timed_out)
        scratch = self._left(clean=False)
        return Ended(self.ticket, how, self.started_ns, seconds, death.peak_memory, self.interrupted, scratch)

    def answered(self, reply: "Reply") -> Ended:
        """What to say once its call has ended."""
        seconds = max(0.0, reply.seconds - self.stopped)
        scratch = self._left(clean=reply.clean)
        return Ended(
            self.ticket, reply.how, reply.started_ns, seconds, reply.peak_memory, self.interrupted, scratch
        )

    # ---- directories that its worker has made --------------------------------------------------------------------

    @property
    def hides_log(self) -> bool:
        """Whether its log may not be found yet where it was asked for."""
        return self.job is not None and not self.linked

    def show_log(self) -> None:
        """Let its log be found where it was asked for."""
        assert self.worker is not None and self.job is not None and self.job.scratch is not None
        self.linked = True
        if self.worker.scratch is not None:
            theirs = os.path.basename(self.worker.scratch.run)
            with contextlib.suppress(OSError):  # Nobody may look, and the job is not to fail for it.
                os.symlink(theirs, os.path.join(self.job.cwd, self.job.scratch.run))

    def hide_log(self) -> None:
        """Undo that."""
        if self.linked and self.job is not None and self.job.scratch is not None:
            with contextlib.suppress(OSError):  # It may be the directory itself.
                os.unlink(os.path.join(self.job.cwd, self.job.scratch.run))

    def _left(self, *, clean: bool) -> "Scratch | None":
        """The directories that became its own."""
        return None if self.worker is None or self.job is None else self.worker.gave(self.job, clean=clean)

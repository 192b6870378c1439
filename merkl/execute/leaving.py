"""The way out of a process, from the end of its work to the end of the last of its group.

It decides when patience ends.  It knows no jobs: it carries what is to be said of one, unread.

The invariant: each step is later than the one before: asked, SIGTERM, SIGKILL, given up.
"""

import signal
from typing import Final

from merkl.dataclass import dataclass
from merkl.execute.base import Ended
from merkl.execute.process import Child, group_is_gone, reap, signal_group, terminate

_GRACE: Final = 0.1  # Seconds from SIGTERM to SIGKILL.
# Seconds from SIGKILL until a process that not even that ends no longer holds up anything.
_PATIENCE: Final = 1.0


@dataclass(slots=True, eq=False)
class Leaving:
    """A process that has ended or is about to.  ``ended`` is what to say once nothing of its group is left.

    ``due``: when (monotonic) the next signal is.
    """

    child: Child
    ended: Ended | None
    due: float
    reaped: bool = False
    told: bool = False
    killed: bool = False

    def is_gone(self, now: float) -> bool:
        """Whether it is over; takes the next step if it is time for that."""
        if not self.reaped:
            self._try_to_reap(now)
        if self.reaped and group_is_gone(self.child):
            return True
        if now < self.due:
            return False
        if self.killed:
            return True
        self.killed, self.told = self.told, True
        if self.killed:
            signal_group(self.child, signal.SIGKILL)
        else:
            terminate(self.child)
        self.due = now + (_PATIENCE if self.killed else _GRACE)
        return False

    def _try_to_reap(self, now: float) -> None:
        try:
            self.reaped = reap(self.child) is not None
        except ChildProcessError:
            self.reaped = True
        if self.reaped:
            self.leave_rest(now)

    def leave_rest(self, now: float) -> None:
        """It is reaped, and what it left was told to end."""
        self.reaped = self.told = True
        self.due = now + _GRACE

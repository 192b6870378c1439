"""Calls that are sent to a worker before there is a share of the machine for them.

It decides which tasks are brief: those whose calls have lately ended within milliseconds.  Who is sent, and when, is the
schedule's.

The invariant: what waits here has no share; it gets one when another ends, in the order in which it was sent.
"""

import math
from typing import Final

from merkl.engine.attempt import Attempt
from merkl.engine.shares import Grant, Shares
from merkl.nodes import Node
from merkl.python.calls import is_task_call
from merkl.resources import USUAL

# Seconds: of tasks that end so soon some wait in a worker, so that it need not wait for us.
BRIEF: Final = 0.005


class Ahead:
    """The calls of one build that were sent ahead, and how long those of each Python task took in it."""

    def __init__(self, shares: Shares, slots: int) -> None:
        self._shares = shares
        self._slots = slots
        self._waiting: dict[int, Attempt] = {}  # By ticket.
        self._usual: dict[str, float] = {}  # In seconds.

    def __len__(self) -> int:
        return len(self._waiting)

    def took(self, node: Node, seconds: float) -> None:
        """Hear how long a call took.  The first in a worker pays for its imports, so a shorter one counts at once."""
        if is_task_call(call := node.call):
            usual = self._usual.get(name := call.task_name, math.inf)
            self._usual[name] = seconds if seconds < usual else 0.8 * usual + 0.2 * seconds

    def is_brief(self, node: Node) -> bool:
        """Whether a call probably ends within milliseconds, in a worker that others use too."""
        call = node.call
        return (
            self._slots > 1
            and is_task_call(call)
            and self._usual.get(call.task_name, math.inf) <= BRIEF
            and not call.nice
        )

    def may_wait(self, node: Node) -> bool:
        """Whether a call may be sent ahead: it is brief, and needs one slot and nothing else."""
        return self.is_brief(node) and node.call.needs == USUAL and not node.call.interactive

    def sent(self, ticket: int, attempt: Attempt) -> None:
        """One waits in a worker."""
        self._waiting[ticket] = attempt

    def gone(self, ticket: int) -> None:
        """One has ended, or was taken back.  Nothing to say of those that do not wait."""
        self._waiting.pop(ticket, None)

    def share_out(self, running: int, ended: Grant | None = None) -> None:
        """Give those that wait the shares that are free while fewer than the slots of ``running`` jobs have one.

        The first gets that of the job that has ``ended``: it runs already.
        """
        waiting = self._waiting
        while waiting and running - len(waiting) < self._slots:
            grant = self._shares.take(USUAL) if ended is None else self._shares.pass_on(ended)
            ended = None
            if grant is None:
                break
            waiting.pop(next(iter(waiting))).grant = grant
        if ended is not None:
            self._shares.give_back(ended)

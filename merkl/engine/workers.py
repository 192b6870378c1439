"""The executor of a build, and how many workers it starts before there are calls for them.

It decides when a call is likely enough to come: to start a worker takes as long as hundreds of brief calls.  Who runs what
is the schedule's.

The invariant: a worker that was started in vain costs time and nothing else.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from merkl.config import Config
from merkl.engine.judge import Judge
from merkl.engine.project import Project
from merkl.engine.step import State
from merkl.engine.where import may_be_elsewhere
from merkl.execute.base import Executor, Terminal
from merkl.execute.call import in_worker
from merkl.execute.sharing import Sharer
from merkl.nodes import Node
from merkl.python.run import NEEDED
from merkl.python.task import PythonCall
from merkl.resources import USUAL
from merkl.root import MERKLFILE
from merkl.snapshot import process, recorder

# Nodes, of those that come first in a build: a build with nothing to do must hardly notice.
_LOOKED_AT: Final = 16
_FORKED: Final = 4  # At most: each takes a millisecond or two.
_TASK: Final = re.compile(rb"^@(\w+\.)?task\b", re.MULTILINE)


@contextlib.contextmanager
def workers_ahead(config: Config) -> Iterator[None]:
    """Have workers while the Merklfile is loaded, if that defines Python tasks; what nobody wanted of them is gone at the end."""
    if not process.is_ours or not _defines_tasks(config):
        yield
        return
    from merkl.execute import early

    with recorder.unheard():
        if early.may_fork():
            early.fork_workers(min(config.jobs, _FORKED), NEEDED)
    try:
        yield
    finally:
        early.dismiss()


def _defines_tasks(config: Config) -> bool:
    """Whether a build probably calls Python tasks in workers of this machine: a guess, from the text of the Merklfile."""
    elsewhere = config.frozen or config.remote is not None or config.target
    if config.jobs == 1 or config.dry_run or elsewhere or in_worker() or os.environ.get("MAKEFLAGS"):
        return False
    try:
        with open(os.path.join(config.root, config.merklfile or MERKLFILE), "rb") as file:
            return _TASK.search(file.read()) is not None
    except OSError:
        return False


def executor_of(sharer: Sharer, terminal: Terminal, *, inline: bool) -> Executor:
    """What runs jobs on this machine; ``inline``, with one slot, in this process."""
    from merkl.execute.local import Local

    return Local(sharer.slots, terminal, inline=inline, modules=NEEDED, sharer=sharer)


def calls_likely(project: Project, nodes: Sequence[Node]) -> int:
    """How many of the first of ``nodes``, dependencies first, are calls that run unless the plan finds otherwise.

    These depend on nothing, so if the store does not know their keys, it has no other answer either.  Asked before a build
    is planned, so that workers start meanwhile.
    """
    if in_worker() or project.config.frozen or project.config.remote is not None:
        return 0
    keys = [
        node.key
        for node in islice(nodes, _LOOKED_AT)
        if not node.deps and not node.open and _shares(node) and not may_be_elsewhere(project.config, node)
    ]
    return len(set(keys) - project.shelter.by_key(keys).keys()) if keys else 0


def calls_ready(project: Project, planned: Judge) -> int:
    """How many calls of Python tasks could start now, each in a process that others use too."""
    return sum(
        step.state is State.READY and _shares(step.node) and not may_be_elsewhere(project.config, step.node)
        for step in planned.steps.values()
    )


def _shares(node: Node) -> bool:
    """Whether it is a Python call that runs in a process that others use too."""
    call = node.call
    return isinstance(call, PythonCall) and not (
        call.interactive or call.task.settings.nice or call.needs != USUAL
    )

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
from merkl.pattern import pattern
from merkl.python.calls import NEEDED, is_task_call
from merkl.resources import USUAL
from merkl.root import MERKLFILE
from merkl.snapshot import process, recorder

# Nodes, of those that come first in a build: a build with nothing to do must hardly notice.
_LOOKED_AT: Final = 16
# What most calls need sooner or later: who is forked has the time until there is a call.
_WHILE_IDLE: Final = ("ctypes", "merkl.python.checks", "merkl.store.local")
_FORKED: Final = 4  # At most: each takes a millisecond or two.
_TASK: Final = pattern(rb"^@(\w+\.)?task\b", re.MULTILINE)


@contextlib.contextmanager
def workers_ahead(config: Config) -> Iterator[None]:
    """Have workers while the Merklfile is loaded, if that defines Python tasks; what nobody wanted of them is gone at the end."""
    with (
        workers_for(config, _FORKED)
        if process.is_ours and _defines_tasks(config)
        else contextlib.nullcontext()
    ):
        yield


@contextlib.contextmanager
def workers_for(config: Config, calls: int) -> Iterator[None]:
    """Have workers for so many calls, if there are any, before anything of the project is loaded; likewise."""
    if not process.is_ours or not calls or not _has_workers(config):
        yield
        return
    from merkl.execute import early

    with recorder.unheard():
        if early.may_fork():
            import importlib

            for name in NEEDED:  # Once, not by each of them.
                importlib.import_module(name)
            early.fork_workers(min(config.jobs, calls, _FORKED), (*NEEDED, *_WHILE_IDLE))
    try:
        yield
    finally:
        early.dismiss()


def _defines_tasks(config: Config) -> bool:
    """Whether a build probably calls Python tasks: a guess, from the text of the Merklfile."""
    if not _has_workers(config):
        return False
    try:
        with open(os.path.join(config.root, config.merklfile or MERKLFILE), "rb") as file:
            return _TASK.search(file.read()) is not None
    except OSError:
        return False


def _has_workers(config: Config) -> bool:
    """Whether calls run in workers of this machine."""
    elsewhere = config.frozen or config.remote is not None or config.target
    return not (config.jobs == 1 or config.dry_run or elsewhere or in_worker() or os.environ.get("MAKEFLAGS"))


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
    return is_task_call(call) and not (call.interactive or call.nice or call.needs != USUAL)

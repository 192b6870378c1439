"""What would run, before anything does; and the refusal of a build that may run nothing.

It decides the words ``would run`` and ``may run``.  The invariant: what it lists are the steps that the judge does not know.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from merkl.digest import Key
from merkl.engine.explain import describe
from merkl.engine.joint import artifact_at, futures_of, once
from merkl.engine.judge import Judge
from merkl.engine.project import Project
from merkl.engine.replacing import is_there
from merkl.engine.select import Selection
from merkl.engine.step import State, Step, Waits
from merkl.errors import OutOfDate

_SHOWN: Final = 20


def unsettled(judge: Judge) -> Sequence[Step]:
    """The steps that would or may run, in the order of the code."""
    steps = [step for step in judge.steps.values() if step.state is not State.KNOWN]
    return sorted(steps, key=lambda step: step.node.serial)


def prediction(judge: Judge, step: Step) -> tuple[str, str]:
    """``would run`` or ``may run``, and why."""
    verdict = judge.verdict(step)
    reason = describe(verdict).partition(": ")[2]
    if not isinstance(verdict, Waits):
        return "would run", reason
    if judge.runs_regardless(step.node):
        return "would run", "it runs whatever is cached"
    return "may run", reason


def require_placed(project: Project, selection: Selection, judge: Judge) -> None:
    """Ask the judge for the bytes of what would have to be placed, so that it says if they are gone."""
    for placement in once(selection.placements):
        artifact = artifact_at(judge, placement)
        if artifact is None or not is_there(project, placement.path, artifact):
            futures = futures_of(placement)
            judge.require(f for f in futures if judge.steps[f.node.key].state is State.KNOWN)
    judge.want([])


def refusal(judge: Judge, labels: Mapping[Key, str]) -> OutOfDate | None:
    """Why a frozen build cannot be: an error that lists what would or may run; None if nothing does."""
    steps = unsettled(judge)
    if not steps:
        return None
    details: dict[str, str] = {}
    for step in steps:
        kind, why = prediction(judge, step)
        if len(details.get(kind, "").splitlines()) < _SHOWN:
            details[kind] = f"{details.get(kind, '')}\n{labels[step.node.key]}: {why}".strip()
    counts = f"{len(steps)} task{'s' * (len(steps) != 1)}"
    return OutOfDate(
        f"{counts} would run, and the build is frozen",
        hint="without --frozen they are run",
        **details,
    )

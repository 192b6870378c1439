"""The results of a request as far as some cache has them: placed, and nothing is run.

It decides what becomes of a step that nothing answers: it is named, and what needs it stays as it is.

The invariant: no task runs, whatever the Merklfile says.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from merkl import events
from merkl.digest import Key
from merkl.engine.build import judge
from merkl.engine.frozen import prediction, require_placed, unsettled
from merkl.engine.joint import combined, futures_of, once
from merkl.engine.judge import Judge
from merkl.engine.placement import Placement
from merkl.engine.placing import Workspace
from merkl.engine.project import Project
from merkl.engine.replacing import is_replaceable, is_there
from merkl.engine.select import Selection, labels
from merkl.engine.standing import find_sidecars
from merkl.engine.step import Cached, CutOff, State, Step
from merkl.errors import (
    MerklError,
    OutOfDate,
    PlacementError,
    SerializationError,
    SidecarError,
    WorkspaceError,
)
from merkl.events import BuildDone, BuildStarted, Reporter
from merkl.nodes import walk
from merkl.store.builds import register_build
from merkl.workspace.drafts import sweep_drafts
from merkl.workspace.place import link_at

_SHOWN: Final = 20


def fetch(
    project: Project, selection: Selection, reporter: Reporter, placements: Sequence[Placement]
) -> MerklError | None:
    """Bring the results of a selection, and put them at ``placements``, which are some of its; the first refusal, or
    else what no cache has.

    Raises:
        StoreError: the store, or a required remote, cannot be used.
    """
    began = time.monotonic()
    everything = list(walk(selection.roots))
    names = labels(everything, project.placements)
    lease = register_build(project.config.state)
    project.hold(lease)
    try:
        sweep_drafts(project.root)
        planned = judge(project, selection)
        require_placed(project, selection, planned)
        reporter.report(BuildStarted(lease.id, len(planned.steps), 0, selection.targets))
        workspace = Workspace(project, placements, reporter, names)
        try:
            _bring(project, selection, planned)
            refused: list[MerklError] = []
            for node in everything:
                step = planned.steps.get(node.key)
                if step is not None and step.state is State.KNOWN:
                    try:
                        # If its bytes are gone after all, it is not known any more.
                        workspace.place(step, planned)
                    except (PlacementError, WorkspaceError, SidecarError, SerializationError) as error:
                        refused.append(error)
                    _report(step, names[node.key], reporter)
        finally:
            workspace.close()
        for note in project.take_notes():
            reporter.report(note)
        cut = sum(isinstance(step.verdict, CutOff) for step in planned.steps.values())
        known = sum(step.state is State.KNOWN for step in planned.steps.values())
        saved = sum(_seconds(step) for step in planned.steps.values())
        reporter.report(BuildDone(0, known - cut, cut, 0, 0, time.monotonic() - began, saved))
        return refused[0] if refused else _in_no_cache(planned, names)
    finally:
        project.hold(None)
        lease.close()


def replaceable(
    project: Project, placements: Sequence[Placement]
) -> tuple[list[Placement], list[MerklError]]:
    """The placements at which nothing of the user's lies, and why the others are not."""
    errors = list[MerklError]()
    able: set[str] = set()
    for placement in once(placements):
        if is_replaceable(project, placement.path) or _is_as_known(project, placement):
            able.add(placement.path)
        else:
            link = link_at(project.root, placement.path)
            whose = f"a link of yours, -> {link}," if link else "not merkl's,"
            errors.append(
                OutOfDate(
                    f"{placement.path} is {whose} and is left as it is",
                    hint=f"`merkl pull --force {placement.target or placement.path}` saves and replaces it",
                )
            )
    return [placement for placement in placements if placement.path in able], errors


def _is_as_known(project: Project, placement: Placement) -> bool:
    artifacts = [project.artifact(future) for future in futures_of(placement)]
    artifact = combined(artifacts) if placement.joint else artifacts[0]
    return artifact is not None and is_there(project, placement.path, artifact)


def _bring(project: Project, selection: Selection, planned: Judge) -> None:
    """Fetch the bytes of what was asked for: all together, which is faster than one by one."""
    placed = {placement.future.node.key for placement in selection.placements}
    wanted = [planned.artifact(placement.future) for placement in selection.placements]
    for node in selection.roots:
        step = planned.steps.get(node.key)
        if node.key not in placed and step is not None and step.state is State.KNOWN:
            wanted += step.artifacts.values()
    project.shelter.bring(artifact for artifact in wanted if artifact is not None)


def _report(step: Step, label: str, reporter: Reporter) -> None:
    if step.state is not State.KNOWN:
        return
    if isinstance(step.verdict, CutOff):
        reporter.report(events.CutOff(step.node, label, _seconds(step)))
    elif isinstance(step.verdict, Cached):
        reporter.report(events.Cached(step.node, label, _seconds(step)))


def _seconds(step: Step) -> float:
    return step.record.seconds if step.state is State.KNOWN and step.record is not None else 0.0


def _in_no_cache(planned: Judge, names: Mapping[Key, str]) -> OutOfDate | None:
    steps = unsettled(planned)
    if not steps:
        return None
    details: dict[str, str] = {}
    for step in steps:
        kind, why = prediction(planned, step)
        if len(details.get(kind, "").splitlines()) < _SHOWN:
            details[kind] = f"{details.get(kind, '')}\n{names[step.node.key]}: {why}".strip()
    return OutOfDate(
        f"no cache has the results of {len(steps)} task{'s' * (len(steps) != 1)}",
        hint="`merkl build` runs them; or `merkl push` where they were made",
        **details,
    )


def tracked_of(project: Project, selection: Selection) -> list[str]:
    """The data with a sidecar that a selection reads, or places."""
    read = {source.path for node in walk(selection.roots) for source in node.sources}
    placed = {placement.path for placement in selection.placements if placement.sidecar}
    beside = set(find_sidecars(project, sorted(read))) if read else set()
    return sorted(beside | {path for path in placed if find_sidecars(project, [path]) == [path]})

"""What ``merkl status`` says: every tracked file and every placed output, how it stands, and where its bytes are kept.

It decides which paths belong to a survey, and which of several things to say of a path comes first: what keeps the others
from being known, then what is the user's own work, then what a build or a pull would do.

The invariant: nothing is run, unpickled or written to the work tree; and without a selection no Merklfile is needed.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from merkl.dataclass import dataclass, replace
from merkl.digest import Digest, Key
from merkl.engine.aging import aged
from merkl.engine.project import Project
from merkl.engine.standing import Standing, Unsure, find_sidecars, is_what, standing, untouched
from merkl.errors import UsageError
from merkl.nodes import Artifact
from merkl.stamp import Absent
from merkl.workspace.index import Other
from merkl.workspace.ledger import JOINT, LastStep
from merkl.workspace.paths import absolute

if TYPE_CHECKING:
    from merkl.engine.judge import Judge
    from merkl.engine.request import Chosen
    from merkl.engine.step import Step
    from merkl.store.remote.remote import Remote

Verdict: TypeAlias = Literal["fresh", "stale", "outdated", "modified", "missing", "conflicted", "unreadable"]
STATES: Final[tuple[Verdict, ...]] = (
    "conflicted", "unreadable", "modified", "outdated", "stale", "missing", "fresh",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One path: how it stands, and in a few words why.  ``tracked``: it has a sidecar; ``made``: some task made it;
    ``target`` is the one that placed it here.

    ``stored`` and ``shared`` say whether what belongs there is in the store, and in the remote; None if nobody asked.
    """

    path: str
    state: Verdict
    why: str = ""
    hint: str = ""
    tracked: bool = False
    made: bool = False
    target: str = ""
    stored: bool | None = None
    shared: bool | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found, sorted by path, and how many more were seen at a glance to be fresh."""

    found: Sequence[Surveyed]
    untouched: int = 0


def survey(
    project: Project, below: Sequence[str] = (), *, remote: bool = False, brief: bool = False
) -> Survey:
    """All that merkl keeps at or below some normalised paths, or everywhere.

    An output is stale here as of the last build: if a file that it was made from has changed since.  If it may be
    ``brief``, files that nobody touched since they were seen to be fresh are only counted.
    """
    placed = {path for path in project.index.all_placed() if _is_below(path, below)}
    tracked = find_sidecars(project, below)
    passed: set[str] = set()
    unsure: list[Unsure] = []
    if brief and len(tracked) > len(placed):
        passed, unsure = untouched(project, [path for path in tracked if path not in placed])
    _refuse_unknown(project, below, placed.union(tracked))
    # What had a sidecar a moment ago, and has none any more, is nobody's: somebody is at work there.
    stood = [
        each for each in standing(project, sorted(placed.union(tracked) - passed)) if each.state != "unknown"
    ]
    seen_fresh = {each.path for each in stood if each.state == "fresh"}
    for each in unsure:
        each.remember(project, seen_fresh)
    listed = {target.get("name") for target in project.index.targets()}
    stood = [each for each in stood if not _is_past(each, listed)]
    old = aged(project, [each.path for each in stood if _is_as_placed(each)])
    found = [_surveyed(each, old.get(each.path, "")) for each in stood]
    belongs = {each.path: _belongs(each) for each in stood}
    return Survey(_kept(project, found, belongs, remote=remote, brief=brief), len(passed))


def _refuse_unknown(project: Project, below: Sequence[str], known: Iterable[str]) -> None:
    """See that each path asked about is there, or leads to something that merkl keeps."""
    for path in below:
        if not os.path.lexists(absolute(path, project.root)) and not any(
            _is_below(each, [path]) for each in known
        ):
            raise UsageError(
                f"there is no {path}, and merkl keeps nothing there",
                hint="`merkl status -v` lists what merkl keeps",
            )


def _is_below(path: str, below: Sequence[str]) -> bool:
    around = (
        each == "." or f"{path}/".startswith(f"{each}/") or each.startswith(f"{path}/") for each in below
    )
    return not below or any(around)


def _is_past(stood: Standing, listed: set[str | None]) -> bool:
    """Whether it is an output that is gone, of a target that is gone too."""
    if stood.state != "missing" or stood.sidecar is not None or stood.placed is None:
        return False
    return bool(listed) and bool(stood.placed.target) and stood.placed.target not in listed


def _is_as_placed(stood: Standing) -> bool:
    """Whether the data is what the last build put there, so that what it was made from is known."""
    found = stood.found
    return isinstance(found, Artifact) and stood.placed is not None and is_what(stood.placed, found)


def _surveyed(stood: Standing, age: str = "") -> Surveyed:
    """What there is to say without a graph; ``age`` says why it is stale, if it is."""
    if stood.error is not None:
        state: Verdict = "conflicted" if stood.state == "conflicted" else "unreadable"
        return _said(stood, state, stood.error.headline, stood.error.hint)
    if stood.link:
        return _said(stood, "modified", f"a link of yours is in its place: -> {stood.link}")
    if isinstance(stood.found, Other):
        return _said(stood, "modified", stood.found.what)
    assert stood.state != "unknown"  # Only what has a sidecar, or was placed, is asked about.
    if age and stood.state == "fresh":
        return _said(stood, "stale", age)
    return _said(stood, stood.state)


def _said(stood: Standing, state: Verdict, why: str = "", hint: str = "") -> Surveyed:
    row = stood.placed
    tracked = stood.sidecar is not None or stood.error is not None
    made = row is not None or (stood.sidecar is not None and stood.sidecar.key is not None)
    return Surveyed(stood.path, state, why, hint, tracked, made, "" if row is None else row.target)


def _belongs(stood: Standing) -> Artifact | None:
    """What should be at a path, as it is kept in a store."""
    side, row = stood.sidecar, stood.placed
    if stood.error is not None:
        return None
    if row is not None and row.value and (side is None or side.digest == row.digest):
        serializer, _, digest = row.value.partition(" ")
        if serializer == JOINT:
            return None if side is None else Artifact(side.kind, side.digest, side.size)
        return Artifact("value", Digest.parse(digest), 0, serializer=serializer)
    if side is not None:
        return Artifact(side.kind, side.digest, side.size, side.executable)
    return None if row is None else Artifact(row.kind, row.digest, 0, row.executable)


def _kept(
    project: Project,
    found: Iterable[Surveyed],
    belongs: Mapping[str, Artifact | None],
    *,
    remote: bool,
    brief: bool = False,
) -> list[Surveyed]:
    """Say of each path whether what belongs there is in the store, and in the remote if that is asked for.

    In ``brief`` nothing is said of the files inside of directories that are in place.
    """
    found = list(found)
    asked = {each.path: artifact for each in found if (artifact := belongs[each.path]) is not None}
    if brief:
        whole = [asked[each.path] for each in found if each.path in asked and each.state != "fresh"]
        here = project.store.has(artifact.digest for artifact in asked.values())
        here -= {artifact.digest for artifact in whole} - project.store.present(whole)
    else:
        here = project.store.present(asked.values())
    there = _in_remote(project).present(asked.values()) if remote else None
    return [
        each
        if each.path not in asked
        else replace(
            each,
            stored=asked[each.path].digest in here,
            shared=None if there is None else asked[each.path].digest in there,
        )
        for each in found
    ]


def _in_remote(project: Project) -> "Remote":
    if project.remote is None:
        raise UsageError(
            "this project has no remote", hint="name one in merkl.yaml: remote: {url: /mnt/team/merkl}"
        )
    project.remote.look_again()
    return project.remote


# ---- of a request ------------------------------------------------------------------------------------------------------


def survey_chosen(project: Project, chosen: "Chosen", *, remote: bool = False) -> list[Surveyed]:
    """The outputs that a request places, against what its tasks would make now, and the tracked files that they read."""
    from merkl.engine.joint import artifact_at, futures_of, step_of
    from merkl.engine.laststeps import last_steps
    from merkl.engine.replacing import is_there
    from merkl.engine.request import plan
    from merkl.engine.select import labels
    from merkl.nodes import walk

    selection = chosen.selection
    judge = plan(project, selection)
    nodes = list(walk(selection.roots))
    names = labels(nodes, project.placements)
    placements = {placement.path: placement for placement in selection.placements}
    read = [source.path for node in nodes for source in node.sources]
    tracked = find_sidecars(project, read) if read else []
    stood = [
        each
        for each in standing(project, sorted({*tracked, *placements}))
        if each.state != "unknown" or each.path in placements
    ]
    last = last_steps(project, [f.node for p in placements.values() for f in futures_of(p)], names)
    found: list[Surveyed] = []
    belongs: dict[str, Artifact | None] = {}
    for each in stood:
        placement = placements.get(each.path)
        if placement is None:
            found.append(_surveyed(each))
            belongs[each.path] = _belongs(each)
            continue
        step = step_of(judge, placement)
        artifact = artifact_at(judge, placement)
        belongs[each.path] = _belongs(each) if placement.joint else artifact
        if artifact is None:
            why = _first_reason(step, judge, last.get(step.node.key), names)
            found.append(_judged(each, placement.target, "stale", why))
        else:
            same = is_there(project, each.path, artifact)
            found.append(_judged(each, placement.target, "fresh" if same else "outdated"))
    return _kept(project, found, belongs, remote=remote)


def _judged(
    stood: Standing, target: str, verdict: Literal["fresh", "stale", "outdated"], why: str = ""
) -> Surveyed:
    """An output of a request: what the build would do with it, unless something has to be said first."""
    against_sidecar = stood.sidecar is not None and stood.state in ("modified", "outdated")
    link_in_place = bool(stood.link) and verdict != "fresh"
    if stood.error is not None or isinstance(stood.found, Other) or against_sidecar or link_in_place:
        return replace(_surveyed(stood), made=True, target=target)
    state: Verdict = verdict
    if isinstance(stood.found, Absent):
        state = "stale" if verdict == "stale" else "missing"
    elif verdict != "fresh" and stood.state in ("modified", "unknown"):
        state, why = "modified", ""
    return replace(_said(stood, state, why), made=True, target=target)


def _first_reason(step: "Step", judge: "Judge", last: LastStep | None, names: dict[Key, str]) -> str:
    """Why a step would run, in a few words: the first that `merkl why` would say."""
    from merkl.engine.explain import as_json, describe, step_changes
    from merkl.engine.step import Waits

    verdict = judge.verdict(step)
    if isinstance(verdict, Waits):
        return describe(verdict).partition(": ")[2]
    if last is not None and last.state == "failed":
        return "its task failed the last time"
    before = None if last is None or not last.parts else as_json(last.parts)
    return step_changes(step, judge, before, names)[0].what

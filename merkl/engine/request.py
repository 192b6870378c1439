"""From the words of a request to one build's work: load the Merklfile, call the targets, select.

It decides what a target means for a build: the Futures it returns, what it and the targets it calls place, and the tasks
it makes for what they do.

The invariant: nothing is built here, and the same words give the same selection.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from merkl.config import Config, is_yaml
from merkl.dataclass import dataclass, replace
from merkl.digest import Key
from merkl.engine.idle import tell_idle
from merkl.engine.joint import once, whole
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.select import Selection, select
from merkl.engine.twins import refuse_twins
from merkl.engine.yields import in_order
from merkl.errors import MerklError, MerklfileError, NotYetKnown
from merkl.events import Note
from merkl.merklfile.arguments import Request, TargetRequest, parse_request, unknown
from merkl.merklfile.calls import Called, Calls, call
from merkl.merklfile.loader import load
from merkl.merklfile.offers import offers
from merkl.merklfile.registry import Merklfile
from merkl.merklfile.targets import Target
from merkl.nodes import Future, Node, walk

if TYPE_CHECKING:
    from merkl.engine.constructing import Constructing
    from merkl.engine.judge import Judge
    from merkl.engine.starting import Starting
    from merkl.nodes import Artifact


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a request came to.  ``own`` are the nodes that are its targets' and paths' own, without those they need.

    ``values`` has what each target that was asked for returned, by name, and the Futures at each path.
    """

    selection: Selection
    own: tuple[Node, ...]
    values: tuple[tuple[str, Any], ...] = ()


def open_project(config: Config) -> Project:
    """The project of a configuration, able to build what ``.eval()`` in its Merklfile asks for."""

    def builder(opened: Project, futures: Sequence[Future[Any]]) -> list[Any]:
        from merkl.engine.evaluating import evaluate  # What runs tasks is not imported to list targets.

        return evaluate(opened, futures)

    def pipelines(opened: Project) -> "Constructing":
        from merkl.engine.pipelines import Pipelines

        return Pipelines(opened)

    def begun(opened: Project) -> "Starting":
        from merkl.engine.eager import Begun

        return Begun(opened)

    project = Project(config)
    project.builder, project.make_pipelines, project.make_begun = builder, pipelines, begun
    return project


def open_merklfile(project: Project, sets: Sequence[str] = ()) -> Merklfile:
    """Run the project's Merklfile, and remember its list of targets for commands that do not.

    Raises:
        MerklError: it cannot be found, or its code is wrong.
    """
    merklfile = load(project.config, project, sets)
    listed = [described(target, merklfile) for target in merklfile.targets.values()]
    if merklfile.unknown is None and project.index.targets() != listed:
        project.index.set_targets(listed)
    return merklfile


def described(target: Target[..., Any], merklfile: Merklfile) -> dict[str, Any]:
    """A target as JSON values."""
    offered = offers(target)
    parameters = [
        {"name": each.name, "hint": each.hint, "required": each.required}
        | ({} if each.required else {"default": _json_value(each.default)})
        | offered.get(each.name, {})
        for each in target.parameters
    ]
    return {
        "name": target.name, "doc": target.doc, "default": target.declared.default, "place": merklfile.shown(target.place),
        "parameters": parameters,
    }  # fmt: skip


def _json_value(value: object) -> object:
    return value if value is None or isinstance(value, (bool, int, str)) else repr(value)


def selected(project: Project, merklfile: Merklfile, words: Sequence[str], cwd: str) -> Chosen:
    """What ``words``, typed in ``cwd``, ask for: targets, paths, values of parameters, and the rest after ``--``.

    Raises:
        MerklError: the words, or the code of a target, are wrong; or the outputs do not fit together.
    """
    if merklfile.unknown is not None:
        return evaluated(project, merklfile.unknown)
    try:
        return _selected(project, merklfile, words, cwd)
    except NotYetKnown as unknown:
        return evaluated(project, unknown)


def evaluated(project: Project, unknown: NotYetKnown) -> Chosen:
    """What has to run before it can be told what a request asks for."""
    project.notes.append(Note(unknown.headline, unknown.hint))
    yielded, after = in_order(project.ordered, [future.node for future in unknown.futures], {})
    return Chosen(select(unknown.futures, [], effects=yielded, after=after), ())


def _selected(project: Project, merklfile: Merklfile, words: Sequence[str], cwd: str) -> Chosen:
    request = parse_request(words, merklfile, cwd)
    calls = call(request, merklfile)
    if not request.targets and not request.paths:
        if not merklfile.targets and project.placements:  # A Merklfile without targets is one.
            return _chosen(project, request, calls, project.placements)
        how = "default: true" if is_yaml(merklfile.path) else "@target(default=True)"
        raise MerklfileError(
            "no target was named, and none is the default",
            hint=f"`merkl list` shows the targets; {how} makes one the default",
        )
    found = [_placed_at(path, project, merklfile, calls, cwd) for path in request.paths]
    return _chosen(project, request, calls, [placement for each in found for placement in each])


def called_target(
    project: Project, merklfile: Merklfile, name: str, arguments: Mapping[str, Any]
) -> tuple[Any, Chosen]:
    """What a target returns, called with values that are no text, and what that comes to.

    Raises:
        MerklError: as ``selected``.
    """
    request = Request((TargetRequest(name, arguments),))
    calls = call(request, merklfile)
    value = next(each.value for each in calls.called if each.requested)
    return value, _chosen(project, request, calls, ())


def stood_for(
    project: Project, merklfile: Merklfile, names: Collection[str]
) -> tuple[list[Node], tuple[MerklError, ...]]:
    """What all targets but ``names`` stand for, as far as they need no arguments; and what went wrong in some."""
    others = [
        TargetRequest(target.name)
        for target in merklfile.targets.values()
        if target.name not in names and not any(each.required for each in target.parameters)
    ]
    calls = call(Request(others=tuple(others)), merklfile)
    return _once(node for called in calls.others for node in _roots(project, called)), calls.failures


def everything_placed(project: Project, merklfile: Merklfile) -> tuple[list[Placement], set[str]]:
    """All outputs that some target would place, and the names of targets that cannot be asked without arguments."""
    able = [t for t in merklfile.targets.values() if not any(each.required for each in t.parameters)]
    calls = call(Request(others=tuple(TargetRequest(target.name) for target in able)), merklfile)
    if calls.failures:
        raise calls.failures[0]
    return list(project.placements), {t.name for t in merklfile.targets.values()} - {t.name for t in able}


def _placed_at(path: str, project: Project, merklfile: Merklfile, calls: Calls, cwd: str) -> list[Placement]:
    """The placements at a path or below it, or at the directory above it that is one output."""
    below = [p for p in project.placements if path == "." or p.path.startswith(path + "/")]
    if below:
        return below
    above = path
    while above:
        found = [placement for placement in project.placements if placement.path == above]
        if found:
            return found
        above = os.path.dirname(above) if above != "/" else ""
    typed = path if path.startswith("/") else os.path.relpath(os.path.join(project.root, path), cwd)
    raise unknown(typed, merklfile, (placement.path for placement in project.placements), calls.failures)


def _chosen(project: Project, request: Request, calls: Calls, asked: Sequence[Placement]) -> Chosen:
    roots = {called.name: list(_roots(project, called)) for called in calls.called}
    names = roots.keys()
    first = [future for called in calls.called for future in called.after_futures]
    futures = [*(f for called in calls.called for f in called.futures), *(p.future for p in asked), *first]
    effects = [node for name in names for node in project.effects.get(name, ())]
    placements = [placement for placement in project.placements if placement.target in names]
    everything = {node.key for node in walk([*(f.node for f in futures), *effects])}
    # What is placed outside any target belongs to whoever needs it.
    outside = [p for p in project.placements if not p.target]
    placements += whole(outside, (p for p in outside if p.future.node.key in everything))
    own = [*(future.node for future in (*futures, *(p.future for p in placements))), *effects]
    yielded, after = in_order(project.ordered, own, _after(calls, roots))
    selection = select(
        futures,
        _with_sidecars([*placements, *asked], calls),
        effects=[*effects, *yielded],
        forced=_forced(calls, roots),
        after=after,
        targets=[*(target.name for target in request.targets), *request.paths],
    )
    refuse_twins(project.root, selection)
    for called in calls.called:
        if called.requested and not (roots[called.name] or called.inside or called.after):
            tell_idle(project, called.name, "the target ")
    own = [node for called in calls.called if called.requested for node in _own(called, roots)]
    values = [(called.name, called.value) for called in calls.called if called.requested]
    values += [(placement.path, placement.future) for placement in asked]
    return Chosen(
        selection, tuple(_once([*own, *(placement.future.node for placement in asked)])), tuple(values)
    )


def _with_sidecars(placements: Sequence[Placement], calls: Calls) -> list[Placement]:
    """The placements, with a sidecar for each of a target that is declared so."""
    tracked = {called.name for called in (*calls.called, *calls.others) if called.target.declared.sidecar}
    return [replace(p, sidecar=True) if p.target in tracked else p for p in placements]


def _roots(project: Project, called: Called) -> Iterator[Node]:
    """The nodes that a target stands for, without those they need."""
    yield from (future.node for future in called.futures)
    yield from (placement.future.node for placement in project.placements if placement.target == called.name)
    yield from project.effects.get(called.name, ())


def _own(called: Called, roots: dict[str, list[Node]]) -> list[Node]:
    """A target's nodes without those of the targets that it calls."""
    others = {node.key for name in called.inside if name != called.name for node in roots.get(name, ())}
    return [node for node in _once(roots[called.name]) if node.key not in others]


def _once(nodes: Iterable[Node]) -> list[Node]:
    return list({node.key: node for node in nodes}.values())


def _forced(calls: Calls, roots: dict[str, list[Node]]) -> frozenset[Key]:
    """What ``always=True`` runs whatever is known: what the target stands for, not what that needs."""
    always = [called for called in calls.called if called.target.declared.always]
    return frozenset(node.key for called in always for node in _own(called, roots))


def _after(calls: Calls, roots: dict[str, list[Node]]) -> dict[Key, list[Node]]:
    """For each node of a target with ``after=``, what must have ended well before it starts."""
    found: dict[Key, list[Node]] = {}
    for called in calls.called:
        named = [node for name in called.after for node in roots.get(name, ())]
        before = _once([*named, *(future.node for future in called.after_futures)])
        if not before:
            continue
        others = [node for name in called.inside for node in roots.get(name, ())]
        apart = {node.key for node in walk([*before, *others])}
        for node in walk(_own(called, roots)):
            if node.key not in apart:
                found.setdefault(node.key, []).extend(before)
    return found


def plan(project: Project, selection: Selection, *, force: bool = False) -> "Judge":
    """Judge a selection as a build would, with the bytes of outputs that would have to be placed; changes nothing."""
    from merkl.engine.build import judge
    from merkl.engine.frozen import require_placed

    planned = judge(project, selection, force=force)
    require_placed(project, selection, planned)
    return planned


def would_place(project: Project, selection: Selection, judge: "Judge") -> Iterator[tuple[str, str]]:
    """The outputs that are known and not at their paths: each path, and what a build would do there."""
    from merkl.engine.joint import artifact_at
    from merkl.engine.replacing import is_replaceable
    from merkl.engine.step import State

    for placement in once(selection.placements):
        artifact = artifact_at(judge, placement)
        step = judge.steps[placement.future.node.key]
        known = artifact is not None if placement.joint else step.state is State.KNOWN
        if known and not _is_there(project, placement, artifact):
            safe = is_replaceable(project, placement.path)
            yield placement.path, "would place" if safe else "would save"


def _is_there(project: Project, placement: Placement, artifact: "Artifact | None") -> bool:
    from merkl.engine.replacing import is_there

    return artifact is not None and is_there(project, placement.path, artifact)

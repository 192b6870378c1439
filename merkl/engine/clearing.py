"""What ``merkl clear`` forgets: the results that belong to targets and functions.

It decides what belongs to them: the tasks that they call, without what something else stands for as well: another target,
an output that another one placed, or another function that was run.

The invariant: what cannot be known to be theirs alone stays.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from merkl.dataclass import dataclass
from merkl.digest import Key
from merkl.engine.judge import Judge
from merkl.engine.project import Project
from merkl.engine.request import Chosen
from merkl.engine.roots import Roots, roots_of
from merkl.errors import UsageError
from merkl.nodes import Node, walk
from merkl.store.builds import live_builds
from merkl.store.choice import GRACE_S, Keep
from merkl.store.clearing import Meant, clear
from merkl.store.collect import Collected, collect


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What went, or would; ``nodes`` are those of the named ones of which something did.

    ``stayed`` counts the results that others need, and ``needed_by`` names some of these: functions with their arguments,
    and placed paths.
    """

    nodes: tuple[Node, ...]
    removed: Collected
    stayed: int = 0
    needed_by: tuple[str, ...] = ()


def clear_chosen(
    project: Project,
    chosen: Chosen,
    calls: Sequence[str],
    others: Iterable[Node],
    *,
    whole: bool,
    shared: bool,
    dry_run: bool,
) -> Cleaned:
    """Forget the results of what was chosen; if ``whole``, of all tasks that it calls, else of its own only.

    ``calls`` are the functions among it, as ``remember_asked`` knows them; ``others`` are what further targets stand for;
    ``shared`` says that other projects use the store.
    """
    nodes = list(walk(chosen.own)) if whole else list(chosen.own)
    asked = project.index.asked()
    contents = _content_keys(project, nodes)
    needs = _needed(project, chosen, calls, asked)
    kept = frozenset({node.key for node in others}.union(*needs.values()))
    if not whole:
        kept -= {node.key for node in chosen.own}
    named = _named(project, chosen, calls, contents, asked)
    behind = {key for node in nodes for key in (node.key, contents.get(node.key, node.key))} - named
    roots = roots_of(project, skip_unreadable=True)
    done = clear(
        project.store,
        Meant(named, frozenset(behind), kept, frozenset(roots.digests), frozenset(roots.trees)),
        state_dirs=[project.config.state],
        grace_s=_grace(project, shared),
        dry_run=dry_run,
    )
    if project.caches is not None and not dry_run:
        for node in nodes:
            project.caches.heed(node, contents.get(node.key, node.key))
        project.caches.forget(named | done.keys)
    gone = [node for node in nodes if node.key in done.keys or contents.get(node.key) in done.keys]
    if not dry_run and calls:
        project.index.set_asked({call: keys for call, keys in asked.items() if call not in calls})
    needed_by = [who for who, keys in needs.items() if keys & (named | behind)] if done.stayed else []
    return Cleaned(tuple(gone), done.removed, done.stayed, tuple(sorted(needed_by)))


def _needed(
    project: Project, chosen: Chosen, calls: Sequence[str], asked: Mapping[str, Sequence[str]]
) -> dict[str, set[Key]]:
    """The keys of what something else stands for, by its name: another call, a path where another target placed it."""
    targets = set(chosen.selection.targets)
    needs = {call: {Key.parse(key) for key in keys} for call, keys in asked.items() if call not in calls}
    for path, row in project.index.all_placed().items():
        if row.target not in targets:
            needs.setdefault(path, set()).add(row.key)
    return needs


def _named(
    project: Project,
    chosen: Chosen,
    calls: Sequence[str],
    contents: Mapping[Key, Key],
    asked: Mapping[str, Sequence[str]],
) -> frozenset[Key]:
    """The keys and content keys of what was chosen, and of what the same calls stood for earlier."""
    own = {node.key for node in chosen.own}
    earlier = {Key.parse(key) for call in calls for key in asked.get(call, ())}
    targets = set(chosen.selection.targets)
    constructions = {key for key, target in _constructions(project).items() if target in targets}
    return frozenset(own | earlier | constructions | {contents[key] for key in own if key in contents})


def clear_others(project: Project, chosen: Chosen, *, shared: bool, dry_run: bool) -> Collected:
    """Forget every result but those of what was chosen, and of what that was made from.

    Raises:
        UsageError: other projects use the store, whose results these may be.
    """
    if shared:
        raise UsageError(
            "other projects use this store, and nobody knows what they need",
            hint="merkl gc --keep-days 30 goes by age, or name what to clear",
        )
    nodes = list(walk(chosen.selection.roots))
    contents = _content_keys(project, nodes)
    roots: Roots = roots_of(project, skip_unreadable=True)
    keep = Keep(
        keys=frozenset({*(node.key for node in nodes), *contents.values(), *_constructions(project)}),
        digests=frozenset(roots.digests),
        trees=frozenset(roots.trees),
        older_than_days=-1.0,  # Whatever its age.
        grace_s=_grace(project, shared),
        loose_s=float("inf"),
    )
    return collect(project.store, keep, state_dirs=[project.config.state], dry_run=dry_run)


def _grace(project: Project, shared: bool) -> float:
    """What a build that is going on has stored may belong to a record that it has not filed yet."""
    return GRACE_S if shared or live_builds(project.config.state) else -1.0


def _content_keys(project: Project, nodes: Sequence[Node]) -> dict[Key, Key]:
    """The content keys of those of some nodes that have one."""
    judge = Judge(project.store, project.first_change)
    judge.want(nodes)
    found = {node.key: judge.steps[node.key].content for node in nodes if node.key in judge.steps}
    return {key: content for key, content in found.items() if content is not None}


def _constructions(project: Project) -> Mapping[Key, str]:
    return {} if project.pipelines is None else project.pipelines.keys


# ---- what functions were run for -----------------------------------------------------------------------------------

_MOST: Final = 1000  # Keys of one call; and calls.


def remember_asked(project: Project, call: str, nodes: Iterable[Node]) -> None:
    """Remember that a call of a function stands for these nodes, so that clearing another leaves them alone."""
    asked = project.index.asked()
    known = asked.get(call, [])
    new = [key for key in (node.key.hex() for node in nodes) if key not in known]
    if new:
        rest = {other: keys for other, keys in asked.items() if other != call}
        oldest = list(rest)[: max(len(rest) - _MOST, 0)]
        left = {other: keys for other, keys in rest.items() if other not in oldest}
        project.index.set_asked({**left, call: [*known, *new][-_MOST:]})

"""What a request asks for: the nodes to build, the outputs to place, and what conflicts.

It decides which of all placements belong to a build.  It is pure: targets have been called before.

The invariant: in one build a path has one writer, and no path that a node of the build writes is read as a source.
"""

import functools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any, Final

from merkl.dataclass import dataclass, field
from merkl.digest import Key
from merkl.engine.joint import joined
from merkl.engine.placement import Placement
from merkl.errors import PlacementError
from merkl.nodes import Future, Node, walk

_MANY: Final = 10_000  # Labels that are not the names that nodes have by themselves.


@dataclass(frozen=True, slots=True)
class Selection:
    """One build's work.  ``after`` maps a node to nodes that must have ended well before it starts."""

    roots: tuple[Node, ...]
    placements: tuple[Placement, ...]
    forced: frozenset[Key] = frozenset()
    after: Mapping[Key, Sequence[Node]] = field(default_factory=dict)
    targets: tuple[str, ...] = ()


def select(
    futures: Iterable[Future[Any]],
    placements: Iterable[Placement],
    *,
    effects: Iterable[Node] = (),
    forced: frozenset[Key] = frozenset(),
    after: Mapping[Key, Sequence[Node]] | None = None,
    targets: Sequence[str] = (),
) -> Selection:
    """Put together a build of ``futures`` with ``placements`` and check that they fit.

    Raises:
        PlacementError: two outputs want one path, one path lies inside another, or a placed path is read as a source.
    """
    chosen = _joined(list(dict.fromkeys(placements)))
    roots: dict[Key, Node] = {}
    for node in (*(f.node for f in futures), *effects, *(p.future.node for p in chosen)):
        roots.setdefault(node.key, node)
    one_each = _without_conflicts(chosen)
    ordered = sorted(roots.values(), key=lambda node: node.serial)
    _check_sources(ordered, one_each)
    placed = [p for p in chosen if p.joint or one_each[p.path] is p]
    return Selection(tuple(ordered), tuple(placed), forced, after or {}, tuple(targets))


def _joined(placements: Sequence[Placement]) -> list[Placement]:
    """The placements, those that make one file of many values together."""
    by_path: dict[str, list[Placement]] = {}
    for placement in placements:
        by_path.setdefault(placement.path, []).append(placement)
    return [each for some in by_path.values() for each in joined(some) or some]


def _without_conflicts(placements: Sequence[Placement]) -> dict[str, Placement]:
    by_path: dict[str, Placement] = {}
    for placement in placements:
        other = by_path.get(placement.path)
        if other is None:
            by_path[placement.path] = placement
        elif placement.joint:
            continue
        elif other.future != placement.future:
            raise PlacementError(
                f"two outputs would be placed at {placement.path}",
                one=_maker(other),
                other=_maker(placement),
                hint="give one of them another path; only results of a @batch task make one file together",
            )
        elif placement.sidecar and not other.sidecar:
            by_path[placement.path] = placement
    for path, placement in by_path.items():
        above = os.path.dirname(path)
        while above:
            if above in by_path:
                raise PlacementError(
                    f"{path} lies inside {above}, which is an output itself",
                    one=_maker(by_path[above]),
                    other=_maker(placement),
                )
            above = os.path.dirname(above)
    return by_path


def _maker(placement: Placement) -> str:
    return f"{placement.future.node.name}, placed at {placement.place}"


def _check_sources(roots: Sequence[Node], placed: Mapping[str, Placement]) -> None:
    """A path that is an output of one node, or lies in one, must not be named as a plain file by another."""
    if not placed:
        return
    above = {parent for path in placed for parent in _parents(path)}

    @functools.cache
    def at_or_above(path: str) -> Placement | None:
        while path and path not in placed:
            path = path.rpartition("/")[0]
        return placed.get(path)

    for node in walk(roots):
        for source in node.sources:
            hit = placed.get(source.path) or at_or_above(source.path.rpartition("/")[0])
            if hit is not None:
                itself = hit.path == source.path
                raise PlacementError(
                    f"{node.name} reads {source.path} as a plain file, but {hit.future.node.name} makes "
                    f"{'it' if itself else hit.path}",
                    reader=node.place,
                    maker=_maker(hit),
                    hint="pass the Future instead of the path"
                    + (
                        "; or, if it comes from files(), place it where no pattern matches"
                        if itself
                        else ", to a dir_arg"
                    ),
                )
            if source.kind == "dir" and source.path in above:
                inside = next(path for path in placed if source.path in _parents(path))
                raise PlacementError(
                    f"{node.name} reads the directory {source.path}, into which {inside} is placed",
                    reader=node.place,
                    maker=_maker(placed[inside]),
                    hint="place it outside, or pass the Future as an input of its own",
                )


def _parents(path: str) -> list[str]:
    found = []
    while path:
        path = os.path.dirname(path)
        if path:
            found.append(path)
    return found


def plain_label(node: Node) -> str:
    """A node's name from itself alone, whatever else is in the build; several nodes may share it."""
    return f"{node.name} {node.call.subject}".rstrip()


class Labels(dict[Key, str]):
    """Names of nodes by key; a node that turned up later, which is one of ``steps``, has the name it has by itself."""

    steps: Mapping[Key, Any] = MappingProxyType({})

    # Those whose labels are not the names that they have by themselves; None if that is not known.
    other: Set[Key] | None = None

    def by_itself(self, node: Node) -> str:
        """The name that a node has by itself."""
        known = self.other is not None and node.key in self and node.key not in self.other
        return self[node.key] if known else plain_label(node)

    def __missing__(self, key: Key) -> str:
        self[key] = label = plain_label(self.steps[key].node)
        return label


def labels(nodes: Iterable[Node], placements: Iterable[Placement]) -> Labels:
    """A name for each node that people recognise and that stays when its key changes: task and output, or task and subject.

    Unique: a second of the same name gets ``#2``, in the order of the code.
    """
    where: dict[Key, str] = {}
    placements = list(placements)
    shared = Counter(placement.path for placement in placements)
    for placement in placements:
        if shared[placement.path] == 1:  # What goes into one file with others is known by its arguments.
            where.setdefault(placement.future.node.key, placement.path)
    found = Labels()
    seen: dict[str, int] = {}
    other: set[Key] = set()
    for node in sorted(nodes, key=lambda node: node.serial):
        what = where.get(node.key) or node.call.subject
        label = f"{node.name} {what}".rstrip()
        count = seen[label] = seen.get(label, 0) + 1
        found[node.key] = label if count == 1 else f"{label} #{count}"
        if count > 1 or node.key in where:
            other.add(node.key)
    if len(other) <= _MANY:  # Else they would take more memory than time.
        found.other = other
    return found

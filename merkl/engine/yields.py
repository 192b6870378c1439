"""What must have ended before what, as pipelines say by ``yield``.

It decides which of these wishes count in one build: all between nodes of which the first was made first.  It is pure.

The invariant: no node waits for itself, by whatever way.
"""

from collections.abc import Iterable, Mapping, Sequence

from merkl.digest import Key
from merkl.errors import MerklfileError
from merkl.nodes import Node, walk

Ordered = Sequence[tuple[Node, tuple[Node, ...]]]


def in_order(
    ordered: Ordered, roots: Sequence[Node], after: Mapping[Key, Sequence[Node]]
) -> tuple[list[Node], dict[Key, list[Node]]]:
    """What has to be built besides ``roots``, and what each node has to wait for; ``after`` are waits for other reasons.

    Raises:
        MerklfileError: some would wait for each other.
    """
    waits = {key: list(nodes) for key, nodes in after.items()}
    if not ordered:
        return [], waits
    made = _first_made([*roots, *(node for node, before in ordered for node in (node, *before))])
    needed = {node.key for node in walk(roots)}
    more: list[Node] = []
    todo = list(ordered)
    while todo:
        reached = [each for each in todo if each[0].key in needed]
        todo = [each for each in todo if each[0].key not in needed]
        if not reached:
            break
        for node, before in reached:
            counted = [each for each in before if made[each.key] < made[node.key]]
            waits.setdefault(node.key, []).extend(counted)
            fresh = [each for each in counted if each.key not in needed]
            more += fresh
            needed.update(each.key for each in walk(fresh))
    _refuse_rings([*roots, *more], waits)
    return more, waits


def _first_made(nodes: Iterable[Node]) -> dict[Key, int]:
    """When each node that these reach was made first: a call made twice is one node."""
    first: dict[Key, int] = {}
    been: set[int] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if id(node) in been:
            continue
        been.add(id(node))
        first[node.key] = min(first.get(node.key, node.serial), node.serial)
        stack += [dep.future.node for dep in node.deps]
    return first


def _refuse_rings(roots: Sequence[Node], waits: Mapping[Key, Sequence[Node]]) -> None:
    done: set[Key] = set()
    way: dict[Key, Node] = {}  # Those that the current one is needed by.
    stack = [(node, False) for node in roots]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            done.add(node.key)
            way.pop(node.key, None)
        elif node.key in way:
            names = [each.name for each in way.values()]
            raise MerklfileError(
                f"tasks wait for each other: {' → '.join([*names[list(way).index(node.key) :], node.name])}",
                hint="take one of them out of a pipeline's yield, or out of after=",
            )
        elif node.key not in done:
            way[node.key] = node
            stack.append((node, True))
            stack += [(dep.future.node, False) for dep in node.deps]
            stack += [(each, False) for each in waits.get(node.key, ())]

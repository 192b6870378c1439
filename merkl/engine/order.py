"""In which order ready tasks start: that of the code, or the longest way to the end first.

It decides ranks, from how long tasks took the last time.  It is pure.

The invariant: the order is the same whenever the graph and the times are.
"""

from collections.abc import Mapping, Sequence

from merkl.digest import Key
from merkl.nodes import Node

UNKNOWN: float = 1.0  # Seconds, where no task at all has run before.


def critical_path(
    nodes: Sequence[Node], seconds: Mapping[Node, float | None], after: Mapping[Key, Sequence[Node]]
) -> dict[Key, int]:
    """A rank for each node, all below 0: the lower, the longer it takes from its start until all that needs it has ended.

    ``nodes`` come dependencies first; those not in ``seconds`` will not run.  One that never ran is supposed to take as
    long as others of its task did on average, or as all did.  Equal ones stay in the order of the code.
    """
    guess = _guesses(seconds)
    way: dict[Key, float] = {}  # Seconds from a node's start to the end of the last that needs it.
    for node in _dependents_first(nodes, after):
        took = seconds.get(node, 0.0)
        own = guess.get(node.name, guess[""]) if took is None else took
        total = way.get(node.key, 0.0) + own
        way[node.key] = total
        for other in _before(node, after):
            way[other.key] = max(way.get(other.key, 0.0), total)
    ordered = sorted(nodes, key=lambda node: (-way.get(node.key, 0.0), node.serial))
    return {node.key: place - len(ordered) for place, node in enumerate(ordered)}


def _before(node: Node, after: Mapping[Key, Sequence[Node]]) -> list[Node]:
    return [dep.future.node for dep in node.deps] + list(after.get(node.key, ()))


def _dependents_first(nodes: Sequence[Node], after: Mapping[Key, Sequence[Node]]) -> list[Node]:
    """``nodes`` so that each comes after all that wait for it."""
    if not after:
        return list(reversed(nodes))
    known = {node.key: node for node in nodes}
    waiting = dict.fromkeys(known, 0)
    for node in nodes:
        for other in _before(node, after):
            if other.key in waiting:
                waiting[other.key] += 1
    free = [node for node in reversed(nodes) if not waiting[node.key]]
    ordered: list[Node] = []
    while free:
        node = free.pop()
        ordered.append(node)
        for other in _before(node, after):
            if other.key in waiting:
                waiting[other.key] -= 1
                if not waiting[other.key]:
                    free.append(known[other.key])
    return ordered


def _guesses(seconds: Mapping[Node, float | None]) -> dict[str, float]:
    """The mean time of each task that ran before, by name, and of all, under the empty name."""
    times: dict[str, list[float]] = {}
    for node, took in seconds.items():
        if took is not None:
            times.setdefault(node.name, []).append(took)
            times.setdefault("", []).append(took)
    return {"": UNKNOWN} | {name: sum(found) / len(found) for name, found in times.items()}

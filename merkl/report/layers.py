"""The order of a drawing: which layer each box of a graph is in, and where in its layer, so that few edges cross.

It decides that by the method of Sugiyama, Tagawa and Toda: longest paths give the layers, an edge over several layers goes
through a joint in each between, and sweeps of barycentres give the order.  It knows no sizes and no coordinates.

The invariant: every edge goes from a layer to the next one, and the same graph gives the same order.
"""

from collections.abc import Sequence
from typing import Final

from merkl.dataclass import dataclass

_SWEEPS: Final = 24
_PATIENCE: Final = 5  # Sweeps without a better order, after which there will be none.
_JOINTS: Final = 20_000  # More are not made: the longest edges are then drawn without.
_EXCHANGED: Final = 1_500  # In larger drawings neighbours are not exchanged one by one: it costs too much.


@dataclass(slots=True)
class Layers:
    """A layered graph.  Vertices are the boxes, by number, and then the joints.

    ``order`` has the vertices of each layer; ``before`` and ``after`` each one's neighbours in the layers beside its own.
    ``routes`` has, for each edge between boxes, the joints that it goes through; edges that leave one box share them.
    """

    order: list[list[int]]
    layer: list[int]
    before: list[list[int]]
    after: list[list[int]]
    routes: dict[tuple[int, int], tuple[int, ...]]


def layered(needs: Sequence[Sequence[int]]) -> Layers:
    """Put boxes in order; ``needs`` has for each one those that it comes after, which have smaller numbers."""
    layers = _with_joints(needs, _ranks(needs))
    _begin(layers)
    _untangle(layers)
    return layers


def _ranks(needs: Sequence[Sequence[int]]) -> list[int]:
    """The layer of each box: after all that it needs, and near what needs it if that makes the edges shorter."""
    ranks = [0] * len(needs)
    wanted: list[list[int]] = [[] for _ in needs]
    for box, sources in enumerate(needs):
        ranks[box] = max((ranks[source] + 1 for source in sources), default=0)
        for source in sources:
            wanted[source].append(box)
    for box in reversed(range(len(needs))):
        if wanted[box] and len(needs[box]) <= len(wanted[box]):
            ranks[box] = min(ranks[user] for user in wanted[box]) - 1
    return ranks


def _with_joints(needs: Sequence[Sequence[int]], ranks: list[int]) -> Layers:
    users: list[list[int]] = [[] for _ in needs]
    for box, sources in enumerate(needs):
        for source in sources:
            users[source].append(box)
    longest = _longest_routed(users, ranks)
    layer = list(ranks)
    before: list[list[int]] = [[] for _ in needs]
    after: list[list[int]] = [[] for _ in needs]
    routes: dict[tuple[int, int], tuple[int, ...]] = {}
    for box, those in enumerate(users):
        trunk = [box]
        for user in sorted(those, key=lambda user: (ranks[user], user)):
            span = ranks[user] - ranks[box]
            if span > longest:
                routes[box, user] = ()
                continue
            while len(trunk) < span:
                joint = len(layer)
                layer.append(ranks[box] + len(trunk))
                before.append([trunk[-1]])
                after.append([])
                after[trunk[-1]].append(joint)
                trunk.append(joint)
            after[trunk[span - 1]].append(user)
            before[user].append(trunk[span - 1])
            routes[box, user] = tuple(trunk[1:span])
    return Layers([[] for _ in range(max(ranks, default=-1) + 1)], layer, before, after, routes)


def _longest_routed(users: Sequence[Sequence[int]], ranks: Sequence[int]) -> int:
    """How many layers an edge may cross at most and still get joints."""
    longest = max(max(ranks, default=0), 1)
    while longest > 1:
        spans = (
            max((span for user in those if (span := ranks[user] - ranks[box]) <= longest), default=1)
            for box, those in enumerate(users)
        )
        if sum(span - 1 for span in spans) <= _JOINTS:
            break
        longest //= 2
    return longest


def _begin(layers: Layers) -> None:
    """A first order: as a walk from the ends finds the vertices, so that a tree has no crossings."""
    seen = [False] * len(layers.layer)
    ends = [vertex for vertex, after in enumerate(layers.after) if not after]
    for end in ends:
        stack = [end]
        while stack:
            vertex = stack.pop()
            if seen[vertex]:
                continue
            seen[vertex] = True
            layers.order[layers.layer[vertex]].append(vertex)
            stack += reversed(layers.before[vertex])


def _untangle(layers: Layers) -> None:
    """Sweep forth and back, and keep the order with the fewest crossings."""
    place = [0] * len(layers.layer)
    for each in layers.order:
        _number(each, place)
    best, fewest, waited = [list(each) for each in layers.order], _crossings(layers, place), 0
    for sweep in range(_SWEEPS):
        if fewest == 0 or waited > _PATIENCE:
            break
        forth = sweep % 2 == 0
        beside = layers.before if forth else layers.after
        for each in layers.order if forth else reversed(layers.order):
            _sort(each, beside, place)
        if len(layers.layer) <= _EXCHANGED:
            _exchange(layers, place)
        count = _crossings(layers, place)
        if count < fewest:
            best, fewest, waited = [list(each) for each in layers.order], count, 0
        else:
            waited += 1
    layers.order[:] = best


def _number(order: Sequence[int], place: list[int]) -> None:
    for at, vertex in enumerate(order):
        place[vertex] = at


def _sort(order: list[int], beside: Sequence[Sequence[int]], place: list[int]) -> None:
    """Order a layer by the mean place of each vertex's neighbours; one without any keeps its own."""

    def centre(vertex: int) -> float:
        neighbours = beside[vertex]
        return sum(place[each] for each in neighbours) / len(neighbours) if neighbours else place[vertex]

    order.sort(key=centre)
    _number(order, place)


def _crossings(layers: Layers, place: Sequence[int]) -> int:
    """How many pairs of edges cross, counted as in Barth, Juenger and Mutzel: inversions, with a tree of sums."""
    total = 0
    for order in layers.order:
        ends = [end for vertex in order for end in sorted(place[each] for each in layers.after[vertex])]
        size = max(ends, default=0) + 1
        sums = [0] * (size + 1)
        for seen, end in enumerate(ends):
            at, not_after = end + 1, 0
            while at:
                not_after += sums[at]
                at &= at - 1
            total += seen - not_after
            at = end + 1
            while at <= size:
                sums[at] += 1
                at += at & -at
    return total


def _exchange(layers: Layers, place: list[int]) -> None:
    """Exchange neighbours as long as that makes fewer edges cross."""
    better = True
    rounds = 0
    while better and rounds < 8:
        better, rounds = False, rounds + 1
        for order in layers.order:
            for at in range(len(order) - 1):
                one, other = order[at], order[at + 1]
                if _gain(layers, place, one, other) > 0:
                    order[at], order[at + 1] = other, one
                    place[one], place[other] = at + 1, at
                    better = True


def _gain(layers: Layers, place: Sequence[int], one: int, other: int) -> int:
    """How many crossings there are less if ``other`` comes before ``one``, its neighbour."""
    gain = 0
    for beside in (layers.before, layers.after):
        those = [place[each] for each in beside[one]]
        others = [place[each] for each in beside[other]]
        gain += sum((a > b) - (a < b) for a in those for b in others)
    return gain

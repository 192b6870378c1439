"""Where the boxes and edges of a drawing are.

It decides coordinates, from left to right, from the order that ``layers`` finds: each box as near as its neighbours allow
to the middle of what it is joined to.  What hangs together is laid out by itself, and the parts are set in rows.

The invariant: no two boxes touch, and an edge goes from the right side of one box to the left side of another that is
further right.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final

from merkl.dataclass import dataclass
from merkl.report.layers import Layers, layered

Point = tuple[float, float]

_GAP: Final = 14.0  # Between boxes of one layer; all lengths are in pixels.
_JOINT_GAP: Final = 9.0  # Between an edge that passes and what is beside it.
_BETWEEN: Final = 52.0  # Between layers, at least.
_WIDEST_BETWEEN: Final = 220.0
_APART: Final = 24.0  # Between parts that nothing joins.
_ROUNDS: Final = 12
_PORTS: Final = 0.6  # The share of a box's side that edges arrive at.
_SHAPE: Final = 1.6  # Parts are set in rows of about this shape, width to height.


@dataclass(frozen=True, slots=True)
class Size:
    """How large a box is."""

    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box is: its top left corner and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """A drawing without its ink.  An edge is the points it passes, an even number: it is level from each second one on."""

    boxes: tuple[Box, ...]
    edges: dict[tuple[int, int], tuple[Point, ...]]
    width: float
    height: float


def lay_out(sizes: Sequence[Size], needs: Sequence[Sequence[int]]) -> Layout:
    """Place boxes of these sizes; ``needs`` has for each one those that it comes after, which have smaller numbers."""
    found = _parts(needs)
    parts = [_part([sizes[box] for box in part], _inside(part, needs)) for part in found]
    offsets, width, height = _in_rows(parts)
    boxes: list[Box] = [Box(0, 0, 0, 0)] * len(sizes)
    edges: dict[tuple[int, int], tuple[Point, ...]] = {}
    for members, part, (x, y) in zip(found, parts, offsets, strict=True):
        for number, box in zip(members, part.boxes, strict=True):
            boxes[number] = Box(box.x + x, box.y + y, box.width, box.height)
        for (one, other), points in part.edges.items():
            edges[members[one], members[other]] = tuple((px + x, py + y) for px, py in points)
    return Layout(tuple(boxes), edges, width, height)


def _parts(needs: Sequence[Sequence[int]]) -> list[list[int]]:
    """The boxes that hang together; the largest part first."""
    leader = list(range(len(needs)))

    def find(box: int) -> int:
        while leader[box] != box:
            leader[box] = leader[leader[box]]
            box = leader[box]
        return box

    for box, sources in enumerate(needs):
        for source in sources:
            leader[find(source)] = find(box)
    parts: dict[int, list[int]] = {}
    for box in range(len(needs)):
        parts.setdefault(find(box), []).append(box)
    return sorted(parts.values(), key=lambda part: (-len(part), part[0]))


def _inside(part: Sequence[int], needs: Sequence[Sequence[int]]) -> list[list[int]]:
    number = {box: at for at, box in enumerate(part)}
    return [[number[source] for source in needs[box]] for box in part]


def _in_rows(parts: Sequence[Layout]) -> tuple[list[Point], float, float]:
    """Where each part goes, and how large all of it is."""
    area = sum((part.width + _APART) * (part.height + _APART) for part in parts)
    limit = max([(area * _SHAPE) ** 0.5, *(part.width for part in parts)])
    offsets: list[Point] = []
    x = y = row = width = 0.0
    for part in parts:
        if x and x + part.width > limit:
            x, y, row = 0.0, y + row + _APART, 0.0
        offsets.append((x, y))
        width, row = max(width, x + part.width), max(row, part.height)
        x += part.width + _APART
    return offsets, width, y + row


# ---- one part --------------------------------------------------------------------------------------------------------


def _part(sizes: Sequence[Size], needs: Sequence[Sequence[int]]) -> Layout:
    layers = layered(needs)
    heights = [*(size.height for size in sizes), *([0.0] * (len(layers.layer) - len(sizes)))]
    middles = _middles(layers, heights)
    widths = [max((sizes[v].width for v in order if v < len(sizes)), default=0.0) for order in layers.order]
    lefts = _lefts(layers, widths, middles)
    boxes = [
        Box(lefts[layer], middles[box] - size.height / 2, widths[layer], size.height)
        for box, (size, layer) in enumerate(zip(sizes, layers.layer, strict=False))
    ]
    top = min(box.y for box in boxes)
    top = min([top, *(middles[joint] for joint in range(len(sizes), len(middles)))])
    edges = _edges(layers, boxes, middles, lefts, widths)
    moved = [Box(box.x, box.y - top, box.width, box.height) for box in boxes]
    bottom = max([*(box.y + box.height for box in moved), *(m - top for m in middles[len(sizes) :])])
    return Layout(
        tuple(moved),
        {ends: tuple((x, y - top) for x, y in points) for ends, points in edges.items()},
        lefts[-1] + widths[-1],
        bottom,
    )


def _middles(layers: Layers, heights: Sequence[float]) -> list[float]:
    """The height at which the middle of each vertex is."""
    boxes = len([height for height in heights if height])
    steps = [_steps(order, heights) for order in layers.order]
    middles = [0.0] * len(heights)
    for order, offsets in zip(layers.order, steps, strict=True):
        for vertex, offset in zip(order, offsets, strict=True):
            middles[vertex] = offset - offsets[-1] / 2
    nothing: list[list[int]] = [[] for _ in heights]
    for round_ in range(_ROUNDS):
        for before, after, turned in (
            (layers.before, nothing, False),
            (nothing, layers.after, True),
            (layers.before, layers.after, False),
        ):
            if round_ < _ROUNDS // 2 or before is layers.before:
                pull = _pull(before, after, boxes, middles)
                for at in reversed(range(len(steps))) if turned else range(len(steps)):
                    _settle(layers.order[at], steps[at], pull, middles)
    return middles


def _steps(order: Sequence[int], heights: Sequence[float]) -> list[float]:
    """How far below the first middle each further one of a layer is at least."""
    offsets = [0.0] if order else []
    for one, other in pairwise(order):
        gap = _GAP if heights[one] and heights[other] else _JOINT_GAP
        offsets.append(offsets[-1] + (heights[one] + heights[other]) / 2 + gap)
    return offsets


Pull = Callable[[int], tuple[float, float]]
"""Where a vertex wants to be, and how much."""


def _pull(
    before: Sequence[Sequence[int]], after: Sequence[Sequence[int]], boxes: int, middles: Sequence[float]
) -> Pull:
    def pull(vertex: int) -> tuple[float, float]:
        weight = total = 0.0
        for neighbours in (before[vertex], after[vertex]):
            for each in neighbours:
                # A long edge is to be straight first of all.
                strength = (
                    8.0 if vertex >= boxes and each >= boxes else 2.0 if max(vertex, each) >= boxes else 1.0
                )
                weight += strength
                total += strength * middles[each]
        return (total / weight, weight) if weight else (middles[vertex], 0.01)

    return pull


def _settle(order: Sequence[int], offsets: Sequence[float], pull: Pull, middles: list[float]) -> None:
    """Move a layer's vertices as near to where they want to be as their order allows: least squares.

    With the least distances taken off, this is isotonic regression: whoever would pass his neighbour joins a block with
    him, which goes to the mean of what its members want.
    """
    # Sum of what is wanted, of how much, and the number of members.
    blocks: list[tuple[float, float, int]] = []
    for vertex, offset in zip(order, offsets, strict=True):
        where, weight = pull(vertex)
        total, count = (where - offset) * weight, 1
        while blocks and blocks[-1][0] * weight > total * blocks[-1][1]:
            other = blocks.pop()
            total, weight, count = total + other[0], weight + other[1], count + other[2]
        blocks.append((total, weight, count))
    at = 0
    for total, weight, count in blocks:
        for _ in range(count):
            middles[order[at]] = total / weight + offsets[at]
            at += 1


def _lefts(layers: Layers, widths: Sequence[float], middles: Sequence[float]) -> list[float]:
    """Where each layer begins; steep edges get more room."""
    lefts = [0.0]
    for order, width in zip(layers.order[:-1], widths, strict=False):
        steepest = max((abs(middles[v] - middles[w]) for v in order for w in layers.after[v]), default=0.0)
        lefts.append(lefts[-1] + width + min(_BETWEEN + steepest / 8, _WIDEST_BETWEEN))
    return lefts


def _edges(
    layers: Layers,
    boxes: Sequence[Box],
    middles: Sequence[float],
    lefts: Sequence[float],
    widths: Sequence[float],
) -> dict[tuple[int, int], tuple[Point, ...]]:
    edges: dict[tuple[int, int], tuple[Point, ...]] = {}
    arriving: dict[int, list[tuple[float, int]]] = {}
    for (one, other), joints in layers.routes.items():
        arriving.setdefault(other, []).append((middles[joints[-1] if joints else one], one))
    for other, ends in arriving.items():
        box = boxes[other]
        for (_, one), port in zip(sorted(ends), _ports(box, len(ends)), strict=True):
            points = [(boxes[one].x + boxes[one].width, boxes[one].y + boxes[one].height / 2)]
            for joint in layers.routes[one, other]:
                layer = layers.layer[joint]
                points += [(lefts[layer], middles[joint]), (lefts[layer] + widths[layer], middles[joint])]
            edges[one, other] = (*points, (box.x, port))
    return edges


def _ports(box: Box, count: int) -> Iterable[float]:
    """Where edges arrive at a box: spread over its side, unless they are too many to be told apart."""
    step = box.height * _PORTS / (count - 1) if count > 1 else 0.0
    if step < 4:
        step = 0.0
    step = min(step, 9.0)
    return [box.y + box.height / 2 + (at - (count - 1) / 2) * step for at in range(count)]

"""What follows from measurements of several sizes: the growth of cost, and memory at the largest.

It measures nothing.  Invariant: a size is one point, whichever run it was measured in.
"""

import math
from collections.abc import Mapping, Sequence

from benchmarks.results import Result, Row

KINDS = {"nothing": "nothing to do", "built": "first build"}
SMALLEST = 1000  # Targets: below, what a start takes is all there is to see.


def derived(measured: Mapping[str, Result]) -> list[Result]:
    """Results to be shown after those that were measured."""
    return [*_growth(measured), *_memory(measured)]


def _sizes(measured: Mapping[str, Result], kind: str) -> dict[int, Result]:
    keys = (key.rpartition("-") for key in measured)
    return {
        int(size): measured[f"{name}-{size}"]
        for name, _, size in sorted(keys, key=lambda k: len(k[2]))
        if name == kind
    }


def _growth(measured: Mapping[str, Result]) -> list[Result]:
    rows = []
    for kind, said in KINDS.items():
        points: dict[str, list[tuple[int, float]]] = {}
        for size, result in _sizes(measured, kind).items():
            for row in result.rows:
                if size >= SMALLEST and not row.name.startswith("python"):
                    points.setdefault(row.name, []).append((size, row.median))
        for name, some in points.items():
            if len(some) > 1:
                reach = f"{some[0][0]:,} to {some[-1][0]:,}"
                rows.append(Row(f"{name}, {said}, {reach}", [exponent(some)]))
    if not rows:
        return []
    return [Result("growth", "Growth with the number of targets", rows, unit="exponent", note=GROWTH_NOTE)]


GROWTH_NOTE = "The exponent of a power of the number of targets, fitted to the medians by least squares of logarithms: 1 is linear."


def _memory(measured: Mapping[str, Result]) -> list[Result]:
    size = max(_sizes(measured, "nothing"), default=0)
    rows = []
    for kind, said in KINDS.items():
        result = measured.get(f"{kind}-{size}")
        for row in result.rows if result is not None else ():
            if not row.name.startswith("python"):
                rows.append(Row(f"{row.name}, {said}", [row.peak]))
    if not rows:
        return []
    return [Result(f"memory-{size}", f"Peak memory, {size:,} targets", rows, unit="MB", note=MEMORY_NOTE)]


MEMORY_NOTE = "Of the largest single process; what needs less than the small process that starts it shows as that, 10 MB."


def exponent(points: Sequence[tuple[int, float]]) -> float:
    """The slope of a straight line through the logarithms."""
    xs, ys = ([math.log(point[part]) for point in points] for part in (0, 1))
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)

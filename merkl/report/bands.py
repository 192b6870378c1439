"""Groups in a picture: the calls of pipelines and batches that tasks belong to, each with a band of its own color.

It decides which color a group has.  A frame around its boxes would often hold others too, since boxes are where edges are
short, so every box wears its group's color.

The invariant: two groups that the legend names have different colors.
"""

from collections.abc import Iterator
from typing import Final

from merkl.report.graph import Graph

# Of middle lightness, to be seen on light and on dark.
_COLORS: Final = ("#4472c4", "#b0529e", "#2f9e8f", "#c2613b", "#7a6cc9", "#8a8f2a", "#c74a62", "#4d90b5")
_MOST: Final = len(_COLORS)

Bands = dict[tuple[str, ...], int]
"""The groups of a graph, outermost name first, by the order of their first tasks."""


def bands_of(graph: Graph) -> Bands:
    """The groups that tasks are in."""
    found: Bands = {}
    for node in graph.nodes:
        if node.groups:
            found.setdefault(node.groups, len(found))
    return found


def named(groups: tuple[str, ...]) -> str:
    """A group in words, with those around it."""
    return " > ".join(groups)


def color(number: int) -> str:
    """The color of the group of that number; those beyond the legend share what is left."""
    return _COLORS[number % _MOST]


def keys(bands: Bands) -> Iterator[tuple[str, str]]:
    """What the legend says: a color, and the name of its group; last how many it does not name."""
    for groups, number in list(bands.items())[:_MOST]:
        yield color(number), named(groups)
    if len(bands) > _MOST:
        yield "", f"{len(bands) - _MOST} more groups"

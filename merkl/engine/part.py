"""A part of what was asked for, of which it is clear that it is all that may have to be done.

It decides nothing: whoever knows the rest says what is in the part, and how the rest is counted.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from merkl.dataclass import dataclass
from merkl.engine.judge import Judge
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.select import Labels
from merkl.nodes import Node

Remember: TypeAlias = Callable[[Project, Sequence[Node], Iterable[Placement], Judge], None]
"""Remembers what placed outputs were made from, as ``lineage.remember``."""


@dataclass(frozen=True, slots=True)
class Part:
    """``nodes`` are those that may have to run, dependencies first; others that they read have ``names`` as well.

    ``check`` is given the plan, and raises if more than that would run; ``remember`` takes the place of ``lineage.remember``.
    ``places`` are all paths that the whole places, if some task finds inputs, and ``placed_by`` says by whom a path is.
    """

    nodes: Sequence[Node]
    names: Labels
    check: Callable[[Judge], None]
    remember: Remember
    places: Iterable[str]
    placed_by: Callable[[str], str | None]

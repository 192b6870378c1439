"""A wish that an output appear at a path.

It decides nothing: the session remembers wishes, the selection says which count, the workspace fulfils them.
"""

import itertools
from typing import Any

from merkl.dataclass import dataclass, field
from merkl.nodes import Future, Place

_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Placement:
    """A wish that a Future's output appear at ``path``, relative to the project; ``target`` is the one that placed it.

    ``serial`` rises in the order of placing.  ``joint``, in a selection, are all that make the file at ``path`` together.
    """

    future: Future[Any]
    path: str
    sidecar: bool
    target: str
    place: Place
    serial: int = field(default_factory=lambda: next(_serial))
    joint: tuple[Future[Any], ...] = field(default=(), compare=False)

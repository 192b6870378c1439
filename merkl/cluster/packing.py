"""Which errands are submitted together: brief ones, a few tenths of a second at a time.

It decides by how long calls of the same task took in this build.  It knows no cluster.

The invariant: errands leave in the order in which they came.
"""

import math
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from merkl.cluster.errand import Errand
from merkl.cluster.freight import Load
from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.resources import Needs

_PACK_S: Final = 0.6  # Seconds that a pack of brief errands is to take.
_MOST_IN_PACK: Final = 64


@dataclass(frozen=True, slots=True)
class Parcelled:
    """An errand with what it needs in the shared store."""

    errand: Errand
    loads: dict[Digest, Load]
    task: str
    needs: Needs


@dataclass(slots=True, eq=False)
class Pack:
    """What was submitted at once.  ``future`` is Dask's; ``losses`` is how often it was lost before; ``only`` are the addresses of
    the workers that it is for, if it is not for all."""

    epoch: int
    items: list[Parcelled]
    future: Any = None
    losses: int = 0
    only: frozenset[str] = frozenset()


class Packing:
    """Errands that wait to be submitted, and what is known of how long they take."""

    def __init__(self) -> None:
        self._waiting: deque[Parcelled] = deque()
        self._took: dict[str, float] = {}  # Seconds by task, lately.

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, items: Iterable[Parcelled]) -> None:
        """Let these wait."""
        self._waiting.extend(items)

    def took(self, task: str, seconds: float) -> None:
        """Hear how long a call took."""
        usual = self._took.get(task)
        self._took[task] = seconds if usual is None else 0.7 * usual + 0.3 * seconds

    def usual(self) -> int:
        """How many errands a pack has, of the tasks that are the briefest now."""
        brief = min(list(self._took.values()), default=_PACK_S)
        return max(1, min(_MOST_IN_PACK, int(_PACK_S / max(brief, 1e-4))))

    def next(self, threads: int) -> list[Parcelled]:
        """The first that wait, together if they are brief and need the same, and not so many that a thread is idle."""
        first = self._waiting.popleft()
        pack, left = [first], _PACK_S - self._took.get(first.task, _PACK_S)
        most = min(_MOST_IN_PACK, math.ceil(len(self._waiting) / max(1, threads * 2)))
        while self._waiting and len(pack) < most:
            took = self._took.get(self._waiting[0].task, _PACK_S)
            if took > left or self._waiting[0].needs != first.needs:
                break
            left -= took
            pack.append(self._waiting.popleft())
        return pack

    def clear(self) -> list[Parcelled]:
        """Take all that wait."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

"""Steps that wait before they are tried again.

It decides how long.  Whether a step has attempts left is for its task to say.

The invariant: each step that is put here comes out once.
"""

import heapq
import math
import time
from collections.abc import Iterator

from merkl.engine.step import Step

_FIRST = 0.5  # Seconds before the second attempt; twice as long before each further one.
_LONGEST = 60.0


class Delays:
    """The steps that wait, by when (monotonic) that is over."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Step]] = []

    def __bool__(self) -> bool:
        return bool(self._heap)

    def put(self, step: Step, number: int) -> float:
        """Let a step wait whose attempt of that number has failed; for how many seconds."""
        delay = min(_LONGEST, _FIRST * 2.0 ** (number - 1))
        heapq.heappush(self._heap, (time.monotonic() + delay, step.node.serial, step))
        return delay

    @property
    def next(self) -> float:
        """When the next one is over, if there is any."""
        return self._heap[0][0] if self._heap else math.inf

    def over(self, *, at_once: bool) -> Iterator[Step]:
        """Take those whose time has come; all with ``at_once``."""
        while self._heap and (at_once or self._heap[0][0] <= time.monotonic()):
            yield heapq.heappop(self._heap)[2]

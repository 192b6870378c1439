"""How long a build will still take, from how long its tasks took before.

It decides when that can be said: only if every task that is left ran before.  It assumes that tasks take as long as the
last time, that each that may run does, and that the slots are used as well as the graph allows.

The invariant: asking costs time in proportion to what runs, not to what is left.
"""

from collections.abc import Mapping

from merkl.digest import Key
from merkl.nodes import Node


class TimeLeft:
    """The work that is left: in all, and along the longest path of tasks that need each other."""

    def __init__(self, expected: Mapping[Node, float | None], slots: int) -> None:
        self._slots = slots
        self._seconds = {node.key: seconds for node, seconds in expected.items()}
        self._work = sum(seconds or 0.0 for seconds in expected.values())
        self._unknown = sum(seconds is None for seconds in expected.values())
        self._paths = _paths(expected)
        self._longest = sorted(self._paths, key=self._paths.__getitem__)  # The longest is last.

    def ended(self, key: Key) -> None:
        """A task has ended, or is not needed after all."""
        if key in self._seconds:
            seconds = self._seconds.pop(key)
            self._unknown -= seconds is None
            self._work -= seconds or 0.0

    def seconds(self, running: Mapping[Key, float]) -> float | None:
        """What is left, given for how long each task has been running; None if it cannot be said."""
        if self._unknown:
            return None
        done, longest = 0.0, 0.0
        for key, elapsed in running.items():
            expected = self._seconds.get(key)
            if expected is not None:
                spent = min(elapsed, expected)
                done += spent
                longest = max(longest, self._paths[key] - spent)
        while self._longest and (self._longest[-1] not in self._seconds or self._longest[-1] in running):
            self._longest.pop()
        if self._longest:
            longest = max(longest, self._paths[self._longest[-1]])
        return max(longest, (self._work - done) / self._slots)


def _paths(expected: Mapping[Node, float | None]) -> dict[Key, float]:
    """For each node the seconds from its start to the end of the last that needs it."""
    after: dict[Key, float] = {}
    paths: dict[Key, float] = {}
    for node in sorted(expected, key=lambda node: node.serial, reverse=True):  # Consumers first.
        path = paths[node.key] = (expected[node] or 0.0) + after.get(node.key, 0.0)
        for dep in node.deps:
            key = dep.future.node.key
            after[key] = max(after.get(key, 0.0), path)
    return paths

"""Results that hold for one build: those of Python tasks that were interrupted and returned all the same.

It decides under which keys what a build makes may be filed.  It knows no store.

The invariant: no key answers with a result that an interrupt may have decided, and no node's own key with one that was made
from such; what was made from it is found by its content key, which says what it was made from.
"""

from collections.abc import Mapping

from merkl.digest import Key
from merkl.engine.step import Step
from merkl.execute.base import Ended
from merkl.nodes import Node
from merkl.python.calls import is_task_call
from merkl.store.base import Record


class Passing:
    """The results of one build that the next must not find.

    ``records`` are those of interrupted nodes; they outlive a build that is part of another, such as that of ``.eval()`` in
    a pipeline.
    """

    __slots__ = ("_interrupted", "_made_from", "_records", "_steps")

    def __init__(self, steps: Mapping[Key, Step], records: dict[Key, Record]) -> None:
        self._steps = steps
        self._records = records
        self._interrupted: set[Key] = set()
        self._made_from: set[Key] = set()

    def is_kept(self, node: Node, ended: Ended) -> bool:
        """Whether what a node made that ended well may be filed at all."""
        call = node.call
        forgiven = is_task_call(call) and call.cache_interrupted
        if ended.interrupted and not forgiven:
            self._interrupted.add(node.key)
            return False
        return node.cache

    def keep(self, record: Record) -> None:
        """Remember the record of a node, if that was interrupted, for as long as it holds."""
        if record.key in self._interrupted:
            self._records[record.key] = record

    def is_whole(self, step: Step) -> bool:
        """Whether the list that was put together for a mapped task may be filed: no part of it was interrupted."""
        if any(part.key in self._interrupted for part in (step.calls or {}).values()):
            self._interrupted.add(step.node.key)
            return False
        return step.node.cache

    def has_key(self, node: Node) -> bool:
        """Whether what a node made, or what its content key answered, may be filed under its own key."""
        if node.open:
            return False
        some = self._interrupted or self._made_from or self._records
        if some and any(self._is(dep.future.node) for dep in node.deps):
            self._made_from.add(node.key)
            return False
        return True

    def _is(self, node: Node) -> bool:
        if any(node.key in keys for keys in (self._interrupted, self._made_from, self._records)):
            return True
        # Of a list that is not whole yet, an item is there as soon as its own call has ended.
        step = self._steps.get(node.key)
        calls = step.calls if step is not None else None
        return calls is not None and any(self._is(part) for part in calls.values())

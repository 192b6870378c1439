"""What is known of the steps of a build: which have ended well, and what they made.

It decides nothing, and changes no step.

The invariant: what is said of a step follows from its artifacts, and of what lies inside one from the store.
"""

from typing import Any

from merkl.digest import Key
from merkl.engine.contained import Contents, find_inside, unreadable
from merkl.engine.lookup import Lookup
from merkl.engine.step import State, Step, Verdict, Waits
from merkl.nodes import Artifact, Dep, Future, Node
from merkl.store.base import Record


class Known:
    """The steps by their nodes' keys, and what can be told of them; ``lookup`` is asked for what lies inside outputs."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.steps: dict[Key, Step] = {}

    def has(self, dep: Dep) -> bool:
        """Whether it is known what a dependency really is."""
        other = self.steps[dep.future.node.key]
        return other.state is State.KNOWN or (other.early is not None and dep.future.output in other.early)

    def agrees(self, node: Node, record: Record) -> bool:
        """Whether a record was made from what the dependencies of ``node``, as far as they are known, really produced."""
        for dep, was in zip(node.deps, record.inputs, strict=True):
            other = self.steps.get(dep.future.node.key)
            if other is None or not self.has(dep):
                continue
            made = self.artifact_of(other, dep.future.output)
            if made is None or made.digest != was:
                return False
        return True

    def inputs(self, node: Node) -> list[Artifact]:
        """What the dependencies of ``node`` really produced, in their order; all must be known."""
        return [self._made(dep.future) for dep in node.deps]

    def _made(self, future: "Future[Any]") -> Artifact:
        step = self.steps[future.node.key]
        found = self.artifact_of(step, future.output)
        return unreadable(step.node, future.output) if found is None else found

    def artifact_of(self, step: Step, output: str) -> Artifact | None:
        """What a known step made as that output; None if it lies inside another of which nothing can be told any more."""
        found = step.artifacts.get(output)
        if found is None and step.early is not None and step.state is not State.KNOWN:
            found = step.early.get(output)
        if found is not None:
            return found
        step.contents = step.contents or Contents()
        found = find_inside(self.lookup, step.node, output, step.artifacts, step.contents)
        return unreadable(step.node, output) if found is None and step.ran else found

    def artifact(self, future: "Future[Any]") -> Artifact | None:
        """What is known of a Future that was asked for, or None."""
        step = self.steps.get(future.node.key)
        return (
            self.artifact_of(step, future.output) if step is not None and step.state is State.KNOWN else None
        )

    def verdict(self, step: Step) -> Verdict:
        """Why a step will or will not run, or what has to be known first."""
        if step.verdict is not None and not isinstance(step.verdict, Waits):
            return step.verdict
        first = min(
            (self.steps[key].node for key in step.missing), key=lambda node: node.serial, default=step.node
        )
        return Waits(first)

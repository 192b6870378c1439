"""Lists that grow in a build: tasks that are mapped over one, their calls for its items, and who waits for an item.

It decides which calls there are, and who hears of an item that has come.  What follows for a step is the judge's.

The invariant: a call for an item is made once for each mapped task, and judged by the item that is there last.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Protocol

from merkl.digest import Key
from merkl.engine.contained import Contents, all_inside
from merkl.engine.lookup import Lookup
from merkl.engine.step import State, Step
from merkl.nodes import Artifact, Dep, Node, item_name
from merkl.python.mapping import Mapped
from merkl.store.base import Record


class Judging(Protocol):
    """What lists ask of the judge, and tell it."""

    lookup: Lookup
    steps: dict[Key, Step]

    def has(self, dep: Dep) -> bool: ...
    def agrees(self, node: Node, record: Record) -> bool: ...
    def need(self, nodes: Iterable[Node]) -> None: ...
    def require_bytes(self, nodes: Iterable[Node]) -> None: ...
    def let_wait(self, step: Step, other: Step) -> None: ...
    def judge_soon(self, step: Step) -> None: ...
    def judge_again(self, step: Step) -> None: ...
    def lost(self, step: Step, output: str) -> None: ...


class Lists:
    """The mapped tasks of one build, and the items that have come."""

    def __init__(self, judge: Judging) -> None:
        self._judge = judge
        # By the call for an item, the lists that its result goes into, and under which name.
        self._of: dict[Key, list[tuple[Step, str]]] = {}
        self._arrived: list[tuple[Step, Mapping[str, Artifact]]] = []  # Items that nobody has heard of yet.

    @property
    def has_news(self) -> bool:
        """Whether items have come that nobody has heard of."""
        return bool(self._arrived)

    def arrived(self, step: Step, items: Mapping[str, Artifact]) -> None:
        """A step has made some items of its one output, and goes on."""
        self._arrived.append((step, items))

    def made(self, step: Step) -> None:
        """A step is known: if it is a call for an item, so is an item of the results for all."""
        for whole, item in self._of.get(step.node.key, ()):
            self.arrived(whole, {item_name(output, item): it for output, it in step.artifacts.items()})

    def calls(self, step: Step) -> list[tuple[str, Node]]:
        """The calls for all items of the list that a mapped task waits for, which is known; empty if it turns out not to be.

        By the items' names, in their order.
        """
        call = step.node.call
        assert isinstance(call, Mapped)
        source = self._judge.steps[call.items.node.key]
        source.contents = source.contents or Contents()
        items = all_inside(self._judge.lookup, call.items.output, source.artifacts, source.contents)
        if items is None:
            self._judge.lost(source, call.items.output)
            return []
        return [(name, self._call_for(step, call, name)) for name in items]

    def _call_for(self, step: Step, call: Mapped, name: str) -> Node:
        step.calls = step.calls or {}
        if name not in step.calls:
            node = step.calls[name] = call.call_for(name)
            self._of.setdefault(node.key, []).append((step, name))
        return step.calls[name]

    def spread(self, step: Step, call: Mapped) -> None:
        """Let a mapped task wait for its calls, and make those again that were made from other items."""
        nodes = [node for _, node in self.calls(step)]
        if not all(map(self._judge.has, step.node.deps)):
            return  # The list is to be made again.
        call.gather(nodes)
        self._judge.need(nodes)
        for node in nodes:
            other = self._judge.steps[node.key]
            if other.record is not None and not self._judge.agrees(node, other.record):
                self._judge.judge_again(other)
        self._judge.require_bytes(nodes)
        for node in nodes:
            self._judge.let_wait(step, self._judge.steps[node.key])

    def hear(self) -> None:
        """Let those who wait for an item go on, and make the calls for new ones."""
        while self._arrived:
            arrived, self._arrived = self._arrived, []
            together: dict[Key, tuple[Step, dict[str, Artifact]]] = {}
            for step, items in arrived:
                together.setdefault(step.node.key, (step, {}))[1].update(items)
            nodes = [node for step, items in together.values() for node in self._heard(step, items)]
            self._judge.need(nodes)

    def _heard(self, step: Step, items: Mapping[str, Artifact]) -> list[Node]:
        """Let those who wait for items of a step hear of them; the calls for these."""
        if step.state is State.KNOWN:
            return []  # Its list is known, and with it all items.
        early = step.early = {} if step.early is None else step.early
        changed = {name for name, made in items.items() if early.get(name, made).digest != made.digest}
        early.update(items)
        nodes: list[Node] = []
        for waiter in step.waiters:
            if waiter.by_key or waiter.state is not State.WAITING:
                continue
            call = waiter.node.call
            if isinstance(call, Mapped) and call.items.node.key == step.node.key:
                nodes += self._calls_for_new(waiter, call, items, changed)
            elif all(
                self._judge.has(dep) for dep in waiter.node.deps if dep.future.node.key == step.node.key
            ):
                waiter.ended(step.node.key)
                if not waiter.missing:
                    self._judge.judge_soon(waiter)
        return nodes

    def _calls_for_new(
        self, step: Step, call: Mapped, items: Mapping[str, Artifact], changed: Container[str]
    ) -> Iterator[Node]:
        """The calls of a mapped task for items that have come; those for ``changed`` ones are judged again."""
        for output in items if call.streams else ():
            name = _name_in(call.items.output, output)
            if name is not None:
                node = self._call_for(step, call, name)
                if output in changed and node.key in self._judge.steps:
                    self._judge.judge_again(self._judge.steps[node.key])
                yield node


def _name_in(output: str, name: str) -> str | None:
    """The name that an item has inside the output it lies in, if that is ``output``."""
    if not output:
        return name
    return name[len(output) + 1 :] if name.startswith(f"{output}/") else None

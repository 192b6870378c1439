"""``task.map(items)``: a call of a task for each item of a list whose length need not be known.

It decides the keys of these calls and of the list of their results.  It runs nothing.

The invariant: the call for an item is the call that ``task(items[i])`` would be, with the same key, so it does not depend
on the other items, nor on when it is made.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from merkl.dataclass import dataclass, replace
from merkl.digest import encode
from merkl.errors import CallError
from merkl.nodes import (
    Dep,
    Future,
    Node,
    Output,
    Part,
    Session,
    calling_place,
    evaluating,
    item_name,
    items_form,
    make_node,
    session,
    using,
    with_deps,
)
from merkl.python.outs import futures_of
from merkl.resources import Needs
from merkl.store.caches import OwnCache

_ANY: Final = "<each>"  # Stands for the name of an item.


@dataclass(frozen=True, slots=True)
class Mapped:
    """The results of a task for each item of ``items``.

    ``sample`` is the call for one item, which stands at ``at`` among its dependencies; it need not be there.
    """

    items: Future[Any]
    sample: Node
    at: int
    shared: Mapping[str, Any]  # The further arguments, as they were passed.

    @property
    def task_name(self) -> str:
        """The task's name, and that it is mapped."""
        return f"{self.sample.name}.map"

    @property
    def retries(self) -> int:
        """None: it is the call for an item that is repeated."""
        return 0

    @property
    def interactive(self) -> bool:
        """Never: it runs nothing itself."""
        return False

    @property
    def eager(self) -> bool:
        """Whether work on the items begins at the call."""
        return bool(self.sample.call.eager)

    @property
    def secrets(self) -> Sequence[str]:
        """None: only the calls for the items get them."""
        return ()

    @property
    def needs(self) -> Needs:
        """Nothing, for the same reason."""
        return ()

    @property
    def target(self) -> str:
        """None: what it does itself is done here."""
        return ""

    @property
    def own(self) -> OwnCache | None:
        """What the calls for its items ask for besides the store."""
        return getattr(self.sample.call, "own", None)

    @property
    def subject(self) -> str:
        """The call that makes the list."""
        made = self.items.node
        return f"{made.name} {made.call.subject}".rstrip()

    @property
    def streams(self) -> bool:
        """Whether work on an item begins as soon as that is there; a batch is made of all of them."""
        return self._batch is None

    @property
    def _batch(self) -> Any:
        return getattr(self.sample.call, "batch", None)

    def gather(self, nodes: Iterable[Node]) -> None:
        """Say which calls there are, all items being known."""
        if self._batch is not None:
            self._batch.counts.update((node.key, 1) for node in nodes)

    def parts(self) -> list[Part]:
        """As those of the call for one item."""
        return self.sample.call.parts()

    def call_for(self, name: str) -> Node:
        """The call for the item of that name."""
        item = Future[Any](self.items.node, item_name(self.items.output, name))
        deps = list(self.sample.deps)
        deps[self.at] = Dep(item, deps[self.at].name)
        call: Any = self.sample.call
        return with_deps(self.sample, replace(call, label=f"{self.subject}[{name}]"), deps)


def mapped(task: Any, items: Any, shared: Mapping[str, Any], apart: Callable[[Any], Any]) -> Any:
    """The results of ``task`` for each of ``items``, which are a list or dict here, or the Future of one.

    ``apart`` makes a list of items of the Future of one that is kept as one value.

    Raises:
        CallError: they are neither.
    """
    batched = hasattr(task, "item_task")
    if isinstance(items, Mapping):
        if batched:
            return dict(zip(items, task(list(items.values()), **shared), strict=True))
        return {name: task(item, **shared) for name, item in items.items()}
    if isinstance(items, Sequence) and not isinstance(items, str | bytes):
        return task(items, **shared) if batched else [task(item, **shared) for item in items]
    if not isinstance(items, Future):
        raise CallError(
            f"{task.name}.map takes a list, a dict, or the Future of one, and got {items!r:.80}",
            hint=f"{task.name}.map([item, …]); for one item, {task.name}(item)",
            at=calling_place(),
        )
    place = calling_place()
    if not (form := items_form(items)):
        items, form = apart(items), "list"
    one = Future[Any](items.node, item_name(items.output, _ANY))
    with using(_Unheard(session())):
        made = task([one], **shared)[0] if batched else task(one, **shared)
    sample = _node_of(made)
    at = next(at for at, dep in enumerate(sample.deps) if dep.future == one)
    deps = list(sample.deps)
    deps[at] = Dep(items, deps[at].name)
    node = make_node(
        Mapped(items, sample, at, shared),
        encode(("map", bytes(sample.static), at, form)),
        deps=deps,
        sources=sample.sources,
        outputs=[Output(output.name, "value", holds=form) for output in sample.outputs],  # type: ignore[arg-type]
        place=place,
        cache=sample.cache,
    )
    session().made(node)
    if task.settings.eager or evaluating():
        session().begin([node])
    call: Any = sample.call
    return futures_of(node, call.outs)


class _Unheard:
    """A session in which nobody hears of a node: what is made in it stands for others, and does not run."""

    def __init__(self, current: Session) -> None:
        self._current = current

    def __getattr__(self, name: str) -> Any:
        return getattr(self._current, name)

    def made(self, node: Node, called: tuple[Sequence[Any], Mapping[str, Any]] | None = None) -> None:
        """Tell nobody."""

    def begin(self, nodes: Sequence[Node]) -> None:
        """Start nothing."""


def _node_of(made: Any) -> Node:
    # The first of them; the result of one whose streams are captured may be many.
    while not isinstance(made, Future):
        made = next(iter(made.values() if isinstance(made, dict) else made))
    node: Node = made.node
    return node

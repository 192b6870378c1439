"""A construction done again: the tasks called as they were, aside, and what came of it compared with what was written.

It decides whether what was written still holds.  It knows neither stores nor which pipeline it is.

The invariant: what is made again has the keys that were written down, or it is nothing.
"""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from merkl.dataclass import dataclass, field
from merkl.digest import Digest, Key
from merkl.engine.constructions import Called, Deed, Evaluated, Yielded
from merkl.engine.looking import still
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.merklfile.targets import futures_in
from merkl.nodes import Artifact, Future, Node, Place, Placeable, scope
from merkl.python.pipeline_values import Reader, found
from merkl.python.project import Project as CodeProject


@dataclass(slots=True)
class Remade:
    """What a pipeline does, done again: in order, and what it returns.  ``called`` is by node.

    ``within`` has, by node, the calls of other pipelines that it was made in: their names and numbers, outermost first.
    """

    value: Any
    deeds: list[Deed] = field(default_factory=list)
    called: dict[Key, Called | None] = field(default_factory=dict)
    asked: list[list[Any]] = field(default_factory=list)
    within: dict[Key, list[tuple[str, int]]] = field(default_factory=dict)

    def outputs(self) -> list[Future[Any]]:
        """The Futures that it returns or places."""
        placed = [deed.future for deed in self.deeds if isinstance(deed, Placement)]
        return [*futures_in(self.value), *placed]

    def evaluated(self) -> list[Evaluated]:
        """What it was told."""
        return [deed for deed in self.deeds if isinstance(deed, Evaluated)]


def remade(project: Project, data: bytes, inputs: Sequence[Future[Any]], call: "CallAgain") -> Remade | None:
    """Make what ``data`` tells of again, as long as all is as it was; None if something is not.

    ``call`` calls a task aside: its nodes are returned, and nobody else hears of them.
    """
    whole = json.loads(data)
    if not all(still(project, *look) for look in whole["looks"]):
        return None
    code = CodeProject(project.root, project.project_modules)
    nodes: list[Node] = []

    def future(name: list[Any]) -> Future[Any]:
        return inputs[name[1]] if name[0] == "i" else Future(nodes[name[1]], name[2])

    reader = Reader(future, code)
    made = Remade(None, asked=whole["looks"])
    again = _Again(project, reader, code, call, made)
    for deed in whole["deeds"]:
        if isinstance(deed, int):
            node = again.node(whole["nodes"], deed)
            if node is None:
                return None
            nodes.append(node)
            made.deeds.append(node)
        else:
            made.deeds.append(_read(project, deed, future))
    for at, calls in whole.get("within", ()):
        made.within[nodes[at].key] = [(whole["pipelines"][number], number) for number in calls]
    made.value = reader.read(whole["value"])
    return made


CallAgain: TypeAlias = Callable[[Callable[[], Any]], list[Node]]


class _Again:
    """Calls tasks again, and batches once for all their items."""

    def __init__(
        self, project: Project, reader: Reader, code: CodeProject, call: CallAgain, made: Remade
    ) -> None:
        self._root = project.root
        self._reader = reader
        self._code = code
        self._call = call
        self._called = made.called
        self._batches: dict[str, dict[str, Node]] = {}

    def node(self, written: list[list[Any]], at: int) -> Node | None:
        """The node that was written there; None if it would be another."""
        reference, arguments, options, key, file_name, line, how = written[at]
        task: Any = found(reference, self._code)
        is_task = isinstance(task, Placeable)
        if not is_task:  # Whatever was written, nothing else is called.
            return None
        kwargs = {name: self._reader.read(value) for name, value in options.items()}
        if how.startswith("batch"):
            if how not in self._batches:
                items = [self._item(each[1]) for each in written if each[-1] == how]
                self._batches[how] = {
                    each.key.hex(): each for each in self._call(lambda: task(items, **kwargs))
                }
            node = self._batches[how].get(key)
            called: Called | None = None  # The node says it.
        else:
            args = [self._reader.read(value) for value in arguments]
            called = args, kwargs
            nodes = self._call(lambda: (task.map if how == "map" else task)(*args, **kwargs))
            node = nodes[-1] if nodes and nodes[-1].key.hex() == key else None
        if node is not None:
            # It was made just now, and nobody else knows it: it belongs to the line that made it first.
            object.__setattr__(node, "place", Place(os.path.join(self._root, file_name), line))
            self._called[node.key] = called
        return node

    def _item(self, arguments: list[Any]) -> Any:
        values = [self._reader.read(value) for value in arguments]
        return tuple(values) if len(values) > 1 else values[0]


def _read(project: Project, deed: list[Any], future: Callable[[list[Any]], Future[Any]]) -> Deed:
    match deed:
        case ["y", *names]:
            return Yielded(tuple(map(future, names)))
        case ["e", name, digest]:
            return Evaluated(future(name), Digest.parse(digest))
        case ["p", name, path, sidecar, file_name, line]:
            place = Place(os.path.join(project.root, file_name), line)
            return Placement(future(name), path, sidecar, scope().target, place)
        case _:
            raise ValueError("not a deed")


def artifacts(project: Project, futures: Sequence[Future[Any]]) -> dict[Future[Any], Artifact]:
    """What is known of some Futures without running anything; those whose bytes are gone are left out."""
    from merkl.engine.contained import NotThere
    from merkl.engine.judge import Judge

    # Nothing is asked of what a node without a record needs: that may be the whole graph.
    closed = list({future.node.key: None for future in futures if not future.node.open})
    records = project.results.by_key(closed) if closed else {}
    futures = [future for future in futures if future.node.open or future.node.key in records]
    judge = Judge(project.results, project.first_change)
    judge.want([future.node for future in futures])
    judge.require(futures)
    judge.want([])
    known = {future: judge.artifact(future) for future in futures}
    return {
        future: each
        for future, each in known.items()
        if isinstance(each, Artifact) and not isinstance(each, NotThere)
    }

"""What a pipeline does while it runs, written down.

It decides what is written: nodes as calls of tasks, in order, with what was placed, yielded and evaluated between them, what
the code looked at, and what it returned.  It knows no stores.

The invariant: what cannot be done again from what is written is not written.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from merkl.dataclass import dataclass
from merkl.digest import Digest, Key
from merkl.engine.looking import answer_digest, opened, read_file, variable
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.nodes import Construction, Future, Node, Place, scope
from merkl.python.batch import BatchedCall, BatchRun
from merkl.python.call import filled
from merkl.python.mapping import Mapped
from merkl.python.pipeline_looks import Looks
from merkl.python.pipeline_values import Unstorable, Writer, named
from merkl.python.task import PythonCall

SERIALIZER: Final = "pipeline/1"
Called: TypeAlias = tuple[Sequence[Any], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Yielded:
    """These must have ended before what follows starts."""

    futures: tuple[Future[Any], ...]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The code was told the value of a Future, which had this digest."""

    future: Future[Any]
    digest: Digest


Deed: TypeAlias = Node | Placement | Yielded | Evaluated


class Recording:
    """What one call of a pipeline does while it runs.  ``looks`` also says why nothing can be written, if so."""

    def __init__(self, project: Project, construction: Construction, depth: int) -> None:
        """``depth`` is how many calls of pipelines it is in, itself included."""
        self.construction = construction
        self.looks = Looks(lambda path: read_file(project, path))
        self.looks.spoiled = construction.reason
        self.asked: dict[tuple[str, str], str | None] = {}  # Kind and path, with the digest of the answer.
        self._project = project
        self._scope = scope()
        self._inputs = {future: at for at, future in enumerate(construction.inputs)}
        self._writer = Writer(self._name)
        self._index: dict[Key, int] = {}
        self._nodes: list[Any] = []
        self._deeds: list[Any] = []
        self._runs: list[BatchRun] = []
        # The last node, if nothing binds its task: an item of a batch, or nothing can be written.
        self._nameless = ""
        # Which calls of other pipelines inside made which nodes; the calls by number.
        self._depth = depth
        self._names: dict[str, int] = {}
        self._within: dict[int, list[int]] = {}

    @property
    def strict(self) -> bool:
        """Whether it is to be remembered, if that is possible."""
        return self.construction.key is not None or bool(self.construction.reason)

    def did(self, deed: Deed, called: Called | None = None, inside: Sequence[str] = ()) -> None:
        """Hear of something that the code did, in calls of pipelines by the names that they have in this process."""
        if self.looks.spoiled:
            return
        try:
            match deed:
                case Placement():
                    place = self._place(deed.place)
                    self._deeds.append(["p", self._name(deed.future), deed.path, deed.sidecar, *place])
                case Yielded(futures):
                    self._deeds.append(["y", *map(self._name, futures)])
                case Evaluated(future, digest):
                    self._deeds.append(["e", self._name(future), digest.hex()])
                case node:
                    self._made(node, called)
                    if node.key in self._index and self._index[node.key] not in self._within:
                        names = [
                            self._names.setdefault(each, len(self._names)) for each in inside[self._depth :]
                        ]
                        self._within[self._index[node.key]] = names
        except Unstorable as error:
            self.looks.spoil(str(error))

    def _made(self, node: Node, called: Called | None) -> None:
        if node.key in self._index:
            # Told again as part of its batch, right after it was told alone.
            if isinstance(node.call, BatchedCall) and self._index[node.key] == len(self._nodes) - 1:
                self._batched(node, node.call)
            return
        self._refuse_nameless()
        if scope() != self._scope:
            raise Unstorable("it calls a target")
        task = getattr(node.call, "task", None)
        how = ""
        if isinstance(node.call, Mapped):
            task, how = getattr(node.call.sample.call, "task", None), "map"
            called = (node.call.items,), node.call.shared
        if called is None:
            called = _called(node)
        if called is None:
            raise Unstorable(f"it calls {node.name} in a way that cannot be written down")
        reference = named(task) if task is not None else None
        if reference is None:
            self._nameless = node.name
        try:
            arguments = [self._writer.write(value) for value in called[0]]
            options = {name: self._writer.write(value) for name, value in called[1].items()}
        except Unstorable as error:
            raise Unstorable(f"it passes {error} to {node.name}") from None
        self._index[node.key] = len(self._nodes)
        self._deeds.append(len(self._nodes))
        self._nodes.append([reference, arguments, options, node.key.hex(), *self._place(node.place), how])
        if isinstance(node.call, BatchedCall):
            self._batched(node, node.call)

    def _refuse_nameless(self) -> None:
        if self._nameless:
            raise Unstorable(f"it calls {self._nameless}, which no module binds to a name")

    def _batched(self, node: Node, call: BatchedCall) -> None:
        """The last node is an item of a batch: what is called again is the batch, with all its items."""
        reference = named(call.batch.task)
        if reference is None:
            return
        self._nameless = ""
        if not self._runs or self._runs[-1] is not call.batch:
            self._runs.append(call.batch)
        last = self._nodes[-1]
        futures = [dep.future for dep in node.deps]
        arguments = {name: filled(value, futures) for name, value in call.arguments.items()}
        names = call.batch.task.item_names
        item = [self._writer.write(arguments.pop(name)) for name in names]
        options = {name: self._writer.write(value) for name, value in arguments.items()}
        last[:3], last[-1] = [reference, item, options], f"batch {len(self._runs)}"

    def _name(self, future: Future[Any]) -> list[Any]:
        at = self._index.get(future.node.key)
        if at is not None:
            return ["f", at, future.output]
        if future in self._inputs:
            return ["i", self._inputs[future]]
        raise Unstorable(
            f"it uses {future.node.name}, which was called outside and is not among its arguments"
        )

    def _place(self, place: Place) -> tuple[str, int]:
        shown = place.relative_to(self._project.root)
        return shown.file, shown.line

    def looked(self, kind: str, path: str, answer: object) -> None:
        """Hear what the code was told of the project's files."""
        self.asked[kind, path] = answer_digest(answer)
        if self.asked[kind, path] is None:
            self.looks.spoil(f"it reads {path}, which holds what has no stable form")

    def written(self, value: Any) -> bytes | None:
        """All of it, and what was returned; None, and ``looks.spoiled`` says why, if that cannot be."""
        try:
            self._refuse_nameless()
            returned = self._writer.write(value)
        except Unstorable as error:
            self.looks.spoil(str(error) if self._nameless else f"it returns {error}")
            return None
        self._look_again()
        if self.looks.spoiled:
            return None
        looks = [[kind, path, digest] for (kind, path), digest in self.asked.items()]
        looks += [["open", path, digest] for path, digest in self.looks.files.items()]
        looks += [["env", name, variable(name)] for name in self.looks.variables]
        whole: dict[str, Any] = {
            "nodes": self._nodes,
            "deeds": self._deeds,
            "value": returned,
            "looks": looks,
        }
        if self._names:
            whole["within"] = [(at, calls) for at, calls in self._within.items() if calls]
            whole["pipelines"] = [name.partition(" #")[0] for name in self._names]
        return json.dumps(whole, separators=(",", ":")).encode()

    def _look_again(self) -> None:
        for path, digest in self.looks.files.items():
            if opened(self._project, path) != digest:
                self.looks.spoil(f"{path} changed meanwhile")


def _called(node: Node) -> Called | None:
    """What a Python task was called with, from what the node keeps."""
    if not isinstance(node.call, PythonCall):
        return None
    futures = [dep.future for dep in node.deps]
    arguments = {name: filled(value, futures) for name, value in node.call.arguments.items()}
    bound = inspect.BoundArguments(node.call.task.signature, arguments)
    return bound.args, bound.kwargs

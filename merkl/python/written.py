"""Python calls as they are kept beside a graph: all that is needed to run one without the Merklfile that made it.

It decides what of a call is written down: the task and the arguments as a worker gets them, the texts of the project's
modules, and what is told of the call.  It knows neither graphs nor files.

The invariant: a call that was read back gets the key that it would get in the Merklfile, and runs as it would in a worker.
"""

import marshal
import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from merkl.dataclass import dataclass
from merkl.execute.base import CallJob
from merkl.execute.secrets import Secret, make_private
from merkl.execute.workplace import Workplace
from merkl.nodes import Artifact, Dep, Node, Part, Source, make_node, with_deps
from merkl.python.forms import unpacked
from merkl.python.items import Items
from merkl.python.parcel import Parcel, inputs_seen
from merkl.python.project import Project
from merkl.python.run import run_written, take_texts
from merkl.python.send import parcel, texts_of
from merkl.python.task import PythonCall, PythonTask
from merkl.resources import Needs

_PARTS: Final = ("group", "name", "text", "digest")


@dataclass(frozen=True, slots=True)
class WrittenTask:
    """What the calls of a task have in common.  ``task`` and ``forms`` are pickled; ``before`` and ``after`` are the parts of
    keys that stand around the arguments."""

    task: bytes
    forms: bytes
    name: str
    retries: int
    interactive: bool
    eager: bool
    target: str
    needs: Needs
    cache_interrupted: bool
    timeout: float | None
    nice: int
    before: tuple[tuple[str, str, str, str], ...]
    after: tuple[tuple[str, str, str, str], ...]


class WrittenCall:
    """A ``Call`` of a Python task that was written down.

    ``arguments`` are those that a record has; ``static`` is what ``make_node`` needs where there are sources; ``given`` are
    the arguments and the outputs, pickled.
    """

    __slots__ = ("_own", "_parts", "arguments", "calls", "given", "secrets", "static", "subject", "task_name")

    def __init__(self, calls: "WrittenCalls", row: bytes) -> None:
        number, self.subject, self.secrets, self.static, self.given, self.arguments, self._parts = (
            marshal.loads(row)
        )
        if self.secrets:
            Secret.some = True
        self.calls: Final = calls
        self._own: Final = calls.task(number)
        self.task_name: Final = self._own.name

    @property
    def retries(self) -> int:
        """How often a failed attempt is repeated."""
        return self._own.retries

    @property
    def interactive(self) -> bool:
        """Whether it gets the terminal."""
        return self._own.interactive

    @property
    def eager(self) -> bool:
        """Whether it is started when it is called."""
        return self._own.eager

    @property
    def needs(self) -> Needs:
        """What it takes of the machine's resources."""
        return self._own.needs

    @property
    def target(self) -> str:
        """The executor it is to run on, if it names one."""
        return self._own.target

    @property
    def nice(self) -> int:
        """By how much its process is nicer than others."""
        return self._own.nice

    @property
    def timeout(self) -> float | None:
        """The seconds that it may take."""
        return self._own.timeout

    @property
    def cache_interrupted(self) -> bool:
        """Whether what it returned after Ctrl-C is kept."""
        return self._own.cache_interrupted

    def parts(self) -> list[Part]:
        """As of the call that was written down."""
        return [Part(*part) for part in (*self._own.before, *self._parts, *self._own.after)]

    def again(self, before: Node, deps: Sequence[Dep], read: Sequence[Source]) -> Node:
        """The node of this call with other inputs in the places of those it had; ``before`` is as it was."""
        if not read:
            return with_deps(before, self, deps)
        return make_node(
            self, self.static, deps=deps, sources=read, outputs=before.outputs, place=before.place, cache=before.cache
        )  # fmt: skip

    def prepare(self, node: Node, inputs: Sequence[Artifact], place: Workplace) -> CallJob:
        """The job of a node with this call."""
        kinds = tuple(artifact.kind for artifact in inputs)
        common = self.calls.common(self._own, place)
        own = inputs_seen(node, inputs, place), kinds, place.stage, place.tmp
        if self.secrets:
            make_private(os.path.join(place.root, place.log))
        return CallJob(
            payload=pickle.dumps((run_written, (common, self.given, *own)), protocol=5),
            log=os.path.join(place.root, place.log),
            cwd=place.root,
            timeout=self.timeout,
            interactive=self.interactive,
            nice=self.nice,
            variables=place.variables,
        )


class WrittenCalls:
    """What the calls of one graph have in common: ``tasks``, ``modules`` as bytes, and the search path."""

    def __init__(self, tasks: Sequence[bytes], modules: bytes, path: Sequence[str]) -> None:
        self._written: Final = tasks
        self._modules: Final = modules
        self._path: Final = path
        self._tasks: Final[dict[int, WrittenTask]] = {}
        self._common: Final[dict[tuple[int, str], bytes]] = {}
        self._files: Final[set[str]] = set()

    @property
    def own_forms(self) -> bool:
        """Whether the project has serializers of its own."""
        return any(self.task(number).forms for number in range(len(self._written)))

    def task(self, number: int) -> WrittenTask:
        """The task of that number."""
        found = self._tasks.get(number)
        if found is None:
            found = self._tasks[number] = WrittenTask(*marshal.loads(self._written[number]))
        return found

    def look_there(self) -> None:
        """Let processes that are started from now on find modules where the Merklfile let them be found."""
        sys.path[:] = self._path

    def load_project(self, root: str, modules: tuple[str, ...]) -> None:
        """Import the project's modules here as a worker does, for a value that only they can read."""
        self.look_there()
        take_texts(Project(root, modules), self._modules)
        for number in range(len(self._written)):
            unpacked(self.task(number).forms)

    def common(self, task: WrittenTask, place: Workplace) -> bytes:
        """The last fields of a ``CallSpec``, pickled."""
        texts = self._in_file(os.fsdecode(place.texts))
        known = id(task), texts
        if known not in self._common:
            self._common[known] = pickle.dumps(
                (task.task, place.root, place.stores, place.modules, texts, os.getpid(), place.watch, task.forms),
                protocol=5,
            )  # fmt: skip
        return self._common[known]

    def _in_file(self, directory: str) -> str:
        """The file in a directory of the build's own that has the texts of the modules."""
        path = f"{directory}/kept"
        if path not in self._files:
            os.makedirs(directory, exist_ok=True)
            with open(path, "wb") as file:
                file.write(self._modules)
            self._files.add(path)
        return path


class Writing:
    """Writes down the calls of one graph, of the project in ``root``."""

    def __init__(self, root: str, modules: tuple[str, ...]) -> None:
        self.tasks: Final[list[bytes]] = []
        self.calls: Final[list[bytes]] = []
        self._place: Final = Workplace(
            os.fsencode(root), b"", b"", {}, view=lambda *_: b"", load=lambda _: None, modules=modules
        )
        self._numbers: Final[dict[tuple[PythonTask[Any, Any], int], int]] = {}

    def number(self, node: Node, arguments: Mapping[str, Any]) -> int:
        """The number of a node's call, which a record has with these ``arguments``; -1 if it cannot be written down."""
        call = node.call
        if type(call) is not PythonCall or isinstance(call.outs, Items) or (node.sources and not call.static):
            return -1
        if node.deps and call.task.settings.cache_args:
            return -1  # Their keys may stand in the record's arguments.
        try:
            sent = parcel(node, self._place)
            parts = [tuple(getattr(part, name) for name in _PARTS) for part in call.parts()]
            own = [part for part in parts if part[0] == "argument"]
            task = self._task(call, sent, parts)
            self.calls.append(
                marshal.dumps((task, call.subject, tuple(sent.secrets), call.static, sent.given, dict(arguments), own))
            )  # fmt: skip
        except Exception:  # noqa: BLE001  # Whatever it holds, it does not go into a file.
            return -1
        return len(self.calls) - 1

    def _task(self, call: PythonCall, sent: Parcel, parts: Sequence[tuple[str, ...]]) -> int:
        key = call.task, id(call.code)
        number = self._numbers.get(key)
        if number is None:
            self.tasks.append(_task_written(call, sent, parts))
            number = self._numbers[key] = len(self.tasks) - 1
        return number

    def modules(self) -> bytes:
        """The texts that code was counted from, and the names of the project's modules, for whoever imports these."""
        return pickle.dumps(texts_of(self._place), protocol=5)


def _task_written(call: PythonCall, sent: Parcel, parts: Sequence[tuple[str, ...]]) -> bytes:
    groups = [part[0] for part in parts]
    first = groups.index("argument") if "argument" in groups else _after_code(groups)
    last = len(groups) - groups[::-1].index("argument") if "argument" in groups else first
    return marshal.dumps((
        sent.task, sent.forms, call.task_name, call.retries, call.interactive, call.eager, call.target,
        tuple(map(tuple, call.needs)), call.cache_interrupted, sent.timeout, sent.nice, tuple(parts[:first]),
        tuple(parts[last:]),
    ))  # fmt: skip


def _after_code(groups: Sequence[str]) -> int:
    """Where arguments would stand."""
    return next((at for at, group in enumerate(groups) if group not in ("option", "code")), len(groups))

"""Writing a graph down after a build that had nothing to do, and bringing it up to date after one that changed a little.

It decides which builds have a graph that can be kept: one that is all that decides, without pipelines, calls that were started
while the Merklfile ran, other stores or other machines.
"""

import _pickle as pickle  # Without what ``pickle`` imports besides.
import marshal
import os
import sys
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from merkl.bash.calls import is_bash_call
from merkl.digest import Key
from merkl.engine import graphfile
from merkl.engine.judge import Judge
from merkl.engine.kept import DISCOVERS, OPEN, STEP, Kept
from merkl.engine.keptnodes import found_by, said_of
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.recorded import arguments_of
from merkl.engine.rows import Numbers, Texts
from merkl.engine.select import Selection
from merkl.nodes import Node, Source, using, walk
from merkl.python.calls import is_python_call
from merkl.snapshot.answer import STATE, checksum, processors
from merkl.snapshot.writing import Names, write_file
from merkl.store.base import Record

if TYPE_CHECKING:
    from merkl.bash.task import BashTask
    from merkl.engine.leaving import Leaving

CALLS: Final = "calls"  # In a project's ``.merkl``: of Python tasks what only who runs one of them needs.
_GRAPHS: Final = 8  # Kept in a project.
# Nodes: what is written down takes a sixth of the memory that the graph takes, for as long as it is written.
_MOST: Final = 50_000


def lacks(project: Project, selection: Selection) -> str:
    """What a build of a selection depends on besides the selection, the store and the remote; or empty."""
    config = project.config
    reasons = {
        "what was made before is sent to the remote": config.remote is not None and config.remote.push,
        "tasks may run on other machines": config.target or config.executors,
        "tasks have stores of their own": project.caches is not None,
        "pipelines were called": project.pipelines is not None,
        "tasks ran while the Merklfile was loaded": project.begun is not None or project.has_run,
        "results are kept for a while only": project.brief,
        "tasks run whatever the store has": selection.forced,
        "tasks wait for others without reading what these make": selection.after,
        "several results make a file together": any(placement.joint for placement in selection.placements),
        f"more than {_MOST} tasks were asked for": len(selection.roots) > _MOST,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def keep_graph(
    project: Project,
    selection: Selection,
    judge: Judge,
    names: Mapping[Key, str],
    *,
    name: str,
    mere: Iterable[str],
    listings: Mapping[str, Names],
    others: Collection[str],
    more: Mapping[str, Any],
    leaving: "Leaving | None" = None,
    calls: "Calls | None" = None,
) -> bytes:
    """Write down what was built; the checksum.  ``more`` is kept with it.

    ``mere`` and ``listings`` are what only bytes and only names were asked of, ``others`` what somebody else looked at than
    those who read inputs that are named.  ``leaving`` is what was left, unless a build with nothing to do has looked at it.
    ``calls`` were written down before.
    """
    nodes = list(walk(selection.roots))
    placed: dict[Key, list[Placement]] = {}
    for placement in selection.placements:
        placed.setdefault(placement.future.node.key, []).append(placement)
    numbers = {node.key: number for number, node in enumerate(nodes)}
    counted = judge.steps if leaving is None else leaving.counted
    calls, sources = calls or Calls(project), _Numbered()
    said, flags, found, saved = [], bytearray(len(nodes)), {}, 0.0  # type: ignore[var-annotated]
    for number, node in enumerate(nodes):
        step = judge.steps[node.key] if node.key in counted else None
        record = None if step is None else step.record
        seconds = 0.0 if record is None else record.seconds
        flags[number] = (step is not None) * STEP | node.discovers * DISCOVERS | node.open * OPEN
        saved += seconds
        for path, _ in found_by(record):
            found.setdefault(path, []).append(number)
        said.append(_said(node, names[node.key], calls.numbers(node), placed.get(node.key, ()), record))
    head = {
        **more,
        "keys": Texts.write([node.key for node in nodes]),
        "deps": Numbers.write([[numbers[dep.future.node.key] for dep in node.deps] for node in nodes]),
        "reads": Numbers.write([[sources.number(source) for source in node.sources] for node in nodes]),
        "said": Texts.write(said), "flags": bytes(flags), "saved": saved, "found": found,
        "sources": Texts.write(sources.data),
        "tasks": calls.tasks, "config": pickle.dumps(project.config), "processors": processors(), "targets": tuple(selection.targets),
        "mere": sources.among(mere, found), "listings": dict(listings), "unsure": {} if leaving is None else leaving.unsure,
        "placed": marshal.dumps({p.path: numbers[p.future.node.key] for p in selection.placements}),
        "directories": sources.directories(others),
        "calls": calls.write(name), "undone": [] if leaving is None else [numbers[key] for key in leaving.undone if key in numbers],
    }  # fmt: skip
    return graphfile.write_graph(project.root, name, head)


def read_graph(root: str, name: str, expected: bytes) -> Kept | None:
    """The graph that has the checksum ``expected``, if it is there."""
    return graphfile.read_graph(root, name, expected, lambda of_calls: _read_calls(root, name, of_calls))


def _read_calls(root: str, name: str, expected: bytes) -> dict[str, Any] | None:
    try:
        with open(os.path.join(root, STATE, CALLS, name), "rb") as file:
            data = file.read()
    except OSError:
        return None
    return marshal.loads(data) if expected and checksum(data) == expected else None


def _said(
    node: Node, label: str, call: tuple[int, int], placements: Sequence[Placement], record: Record | None
) -> bytes:
    seconds = 0.0 if record is None else record.seconds
    try:
        return said_of(node, label, *call, placements, seconds, found_by(record))
    except ValueError:
        return said_of(node, label, -1, -1, placements, seconds, found_by(record))


class Calls:
    """What nodes call, by numbers: of bash tasks, whose bytes are ``tasks``, and of Python calls."""

    def __init__(self, project: Project) -> None:
        self._tasks: Final = _Tasks()
        self._calls: Final = _Calls(project)
        self._known: dict[Key, tuple[int, int]] | None = None

    @property
    def tasks(self) -> list[bytes]:
        """Bash tasks as bytes."""
        return self._tasks.data

    def numbers(self, node: Node) -> tuple[int, int]:
        """Those of the bash task and of the Python call of a node; -1 if it has none that can be kept."""
        if self._known is not None:
            return self._known.get(node.key, (-1, -1))
        return self._tasks.number(node), self._calls.number(node)

    def write_ahead(self, selection: Selection) -> None:
        """Take all of them down as they are now: functions that run in this process may change what calls hold."""
        nodes = list(walk(selection.roots))
        if any(is_python_call(node.call) for node in nodes):
            self._known = {node.key: self.numbers(node) for node in nodes}
            self._calls.end()

    @property
    def ahead(self) -> bool:
        """Whether that was done: else nothing of them was a function."""
        return self._known is not None

    def write(self, name: str) -> bytes:
        """Write the Python calls beside the graph ``name``; the checksum, or nothing if there are none."""
        return self._calls.write(name)


class _Tasks:
    """Bash tasks by number, as bytes."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self._numbers: dict[BashTask, int] = {}

    def number(self, node: Node) -> int:
        """The number of a node's task; -1 if it is none that can be kept."""
        call = None if node.shared.maker is not None or node.given is not None else node.call
        if not is_bash_call(call) or call.task.deps:
            return -1
        number = self._numbers.get(call.task)
        if number is None:
            try:
                self.data.append(pickle.dumps(call.task))
                number = len(self.data) - 1
            except Exception:  # noqa: BLE001  # Whatever it holds, it does not go into a file.
                number = -1
            self._numbers[call.task] = number
        return number


class _Calls:
    """Python calls by number, as bytes."""

    def __init__(self, project: Project) -> None:
        self._project: Final = project
        self._writing: Any = None  # Once there is one.
        self._rest: dict[str, Any] | None = None  # What they have in common.

    def number(self, node: Node) -> int:
        """The number of a node's call; -1 if it is none that can be kept."""
        if node.given is not None or not is_python_call(node.call):
            return -1
        project = self._project
        if self._writing is None:
            from merkl.python.written import Writing

            self._writing = Writing(project.root, project.project_modules)
        with using(project):
            number: int = self._writing.number(node, arguments_of(node))
        return number

    def end(self) -> dict[str, Any]:
        """What they have in common, as it is when there are no more."""
        if self._rest is None:
            modules = self._writing.modules() if self._writing is not None else b""
            self._rest = {"modules": modules, "path": [each for each in sys.path if isinstance(each, str)]}
        return self._rest

    def write(self, name: str) -> bytes:
        """Write all of them beside the graph ``name``; the checksum, or nothing if there are none."""
        if self._writing is None or not self._writing.calls:
            return b""
        data = marshal.dumps(
            {"tasks": self._writing.tasks, "calls": Texts.write(self._writing.calls), **self.end()}, 4
        )
        # Of what functions refer to, a value may be a secret.
        write_file(os.path.join(self._project.root, STATE, CALLS), name, data, _GRAPHS, private=True)
        return checksum(data)


class _Numbered:
    """Sources by number."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self._numbers: dict[str, int] = {}
        self._directories: dict[str, int] = {}

    def number(self, source: Source) -> int:
        number = self._numbers.get(source.path)
        if number is None:
            number = self._numbers[source.path] = len(self.data)
            if source.kind == "dir":
                self._directories[str.__str__(source.path)] = (
                    number  # Not a reference: that cannot be written.
                )
            self.data.append(source_data(source))
        return number

    def directories(self, others: Collection[str]) -> dict[str, int]:
        """The numbers of those that are directories; -1 where one of the ``others`` is in it."""
        looked = {at for path in others for at in _at_and_above(path)} if self._directories else set()
        return {path: -1 if path in looked else number for path, number in self._directories.items()}

    def among(self, paths: Iterable[str], found: Container[str]) -> dict[str, int]:
        """The numbers of those of the paths that are sources, and -1 for those that are only ``found``."""
        return {path: self._numbers.get(path, -1) for path in paths if path in self._numbers or path in found}


def _at_and_above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def source_data(source: Source) -> bytes:
    """A source as it is written down."""
    stamp = source.stamp
    return marshal.dumps((
        str.__str__(source.path), source.kind, bytes(source.digest), source.executable,
        (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, stamp.mode),
    ))  # fmt: skip

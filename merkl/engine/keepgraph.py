"""Writing a graph down after a build that had nothing to do, and bringing it up to date after one that changed a little.

It decides which builds have a graph that can be kept: one that is all that decides, without pipelines, calls that were started
while the Merklfile ran, other stores or other machines.
"""

import marshal
import os
import pickle
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

from merkl.bash.task import BashCall, BashTask
from merkl.digest import Key
from merkl.engine.judge import Judge
from merkl.engine.kept import DISCOVERS, OPEN, STEP, Kept, found_by, said_of
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.rows import Numbers, Texts
from merkl.engine.select import Selection
from merkl.nodes import Node, Source, walk
from merkl.snapshot.answer import STATE, checksum
from merkl.snapshot.keep import write_file
from merkl.store.base import Record

DIRECTORY: Final = "graphs"  # In a project's ``.merkl``.
_GRAPHS: Final = 8  # Kept in a project.
# Nodes: what is written down takes a sixth of the memory that the graph takes, for as long as it is written.
_MOST: Final = 50_000


def has_all(project: Project, selection: Selection) -> bool:
    """Whether a selection, and the store, say all that a build of it depends on."""
    config = project.config
    return not (
        config.remote is not None
        or config.target
        or config.executors
        or project.caches is not None
        or project.pipelines is not None
        or project.begun is not None
        or project.has_run
        or project.brief
        or selection.forced
        or selection.after
        or any(placement.joint for placement in selection.placements)
        or len(selection.roots) > _MOST
    )


def keep_graph(
    project: Project,
    selection: Selection,
    judge: Judge,
    names: Mapping[Key, str],
    *,
    name: str,
    mere: Iterable[str],
    listings: Mapping[str, bytes],
    more: Mapping[str, Any],
) -> bytes:
    """Write down what a build with nothing to do was of; the checksum.  ``more`` is kept with it."""
    nodes = list(walk(selection.roots))
    placed: dict[Key, list[Placement]] = {}
    for placement in selection.placements:
        placed.setdefault(placement.future.node.key, []).append(placement)
    numbers = {node.key: number for number, node in enumerate(nodes)}
    tasks, sources = _Tasks(), _Numbered()
    said, flags, found, saved = [], bytearray(len(nodes)), {}, 0.0  # type: ignore[var-annotated]
    for number, node in enumerate(nodes):
        step = judge.steps.get(node.key)
        record = None if step is None else step.record
        seconds = 0.0 if record is None else record.seconds
        flags[number] = (step is not None) * STEP | node.discovers * DISCOVERS | node.open * OPEN
        saved += seconds
        for path, _ in found_by(record):
            found.setdefault(path, []).append(number)
        said.append(_said(node, names[node.key], tasks, placed.get(node.key, ()), record))
    head = {
        **more,
        "keys": Texts.write([node.key for node in nodes]),
        "deps": Numbers.write([[numbers[dep.future.node.key] for dep in node.deps] for node in nodes]),
        "reads": Numbers.write([[sources.number(source) for source in node.sources] for node in nodes]),
        "said": Texts.write(said), "flags": bytes(flags), "saved": saved, "found": found,
        "sources": Texts.write(sources.data),
        "tasks": tasks.data, "config": pickle.dumps(project.config), "targets": tuple(selection.targets),
        "mere": sources.among(mere, found), "listings": dict(listings), "unsure": {},
        "placed": {p.path: numbers[p.future.node.key] for p in selection.placements} if found else {},
    }  # fmt: skip
    return write_graph(project.root, name, head)


def write_graph(root: str, name: str, head: dict[str, Any]) -> bytes:
    """Write a graph; its checksum, or nothing if it has what cannot be written."""
    try:
        data = marshal.dumps(head, 4)
    except ValueError:
        return b""
    found = checksum(data)
    write_file(os.path.join(root, STATE, DIRECTORY), name, data, _GRAPHS)
    return found


def read_graph(root: str, name: str, expected: bytes) -> Kept | None:
    """The graph that has the checksum ``expected``, if it is there."""
    try:
        with open(os.path.join(root, STATE, DIRECTORY, name), "rb") as file:
            data = file.read()
    except OSError:
        return None
    return Kept(marshal.loads(data)) if checksum(data) == expected else None


def _said(
    node: Node, label: str, tasks: "_Tasks", placements: Sequence[Placement], record: Record | None
) -> bytes:
    task, seconds = tasks.number(node), 0.0 if record is None else record.seconds
    try:
        return said_of(node, label, task, placements, seconds, found_by(record))
    except ValueError:
        return said_of(node, label, -1, placements, seconds, found_by(record))


class _Tasks:
    """Bash tasks by number, as bytes."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self._numbers: dict[BashTask, int] = {}

    def number(self, node: Node) -> int:
        """The number of a node's task; -1 if it is none that can be kept."""
        call = None if node.shared.maker is not None or node.given is not None else node.call
        if not isinstance(call, BashCall) or call.task.deps:
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


class _Numbered:
    """Sources by number."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self._numbers: dict[str, int] = {}

    def number(self, source: Source) -> int:
        number = self._numbers.get(source.path)
        if number is None:
            number = self._numbers[source.path] = len(self.data)
            self.data.append(source_data(source))
        return number

    def among(self, paths: Iterable[str], found: Container[str]) -> dict[str, int]:
        """The numbers of those of the paths that are sources, and -1 for those that are only ``found``."""
        return {path: self._numbers.get(path, -1) for path in paths if path in self._numbers or path in found}


def source_data(source: Source) -> bytes:
    """A source as it is written down."""
    stamp = source.stamp
    return marshal.dumps((
        str.__str__(source.path), source.kind, bytes(source.digest), source.executable,
        (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, stamp.mode),
    ))  # fmt: skip

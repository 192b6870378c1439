"""What outputs were made from, so that a command that loads no Merklfile can say which of them are stale: see ``aging``.

It decides what of a graph is remembered at the end of a build: the files, and which node reads which, by numbers.  It
knows no code: that a task's text changed is seen only by loading the Merklfile.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from blake3 import blake3

from merkl.digest import Digest, Key
from merkl.engine.joint import futures_of, key_of_file, once
from merkl.engine.judge import Judge
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.step import State
from merkl.nodes import Node, Source

File: TypeAlias = tuple[str, bytes, bool]
"""Kind, digest and executable bit of a file that is read."""

_json: Final = json.JSONEncoder(
    separators=(",", ":")
).encode  # Made once, where ``json.dumps`` makes one for each text.


def remember(project: Project, nodes: Sequence[Node], placements: Iterable[Placement], judge: Judge) -> None:
    """Remember what the placed outputs of a build were made from.  ``nodes`` are the whole graph, dependencies first.

    Nothing is written, nor put together, if it is known already.
    """
    known = [
        placement
        for placement in once(placements)
        if all(judge.steps[future.node.key].state is State.KNOWN for future in futures_of(placement))
    ]
    if not known:
        return
    name = _name(nodes, known, judge)
    if project.index.lineages.covers(name, len(known)):
        return
    writing = Writing()
    numbers: dict[Key, int] = {}
    for node in nodes:
        deps = [numbers[dep.future.node.key] for dep in node.deps]
        numbers[node.key] = writing.add(_sources(node, judge), deps)
    joint: dict[str, tuple[Key, int]] = {}
    for placement in known:
        if placement.joint:  # It stands for all that went into the file.
            deps = sorted({numbers[future.node.key] for future in placement.joint})
            joint[placement.path] = key_of_file(placement), writing.add((), deps)
    made = (
        (p.path, *(joint[p.path] if p.joint else (p.future.node.key, numbers[p.future.node.key])))
        for p in known
    )
    project.index.lineages.set(name, writing.value(), made)


class Writing:
    """A lineage as JSON: the files, and of each node the numbers of those it reads and of the nodes it needs.

    It is put together as text, since of a large graph all else would take several times the memory.
    """

    def __init__(self) -> None:
        self._sources = bytearray()
        self._nodes = bytearray()
        self._count = 0
        self._numbers: dict[str, int] = {}  # By path.
        self._others: dict[tuple[str, File], int] = {}  # Of a path that was another file before.
        self._files: list[File] = []

    def add(self, sources: Iterable[tuple[str, File]], deps: Sequence[int]) -> int:
        """The number of a node that reads ``sources`` and needs ``deps``."""
        own = [self._number(path, file) for path, file in sources]
        self._nodes += b",%s" % _json((own, deps)).encode("ascii")
        self._count += 1
        return self._count - 1

    def _number(self, path: str, file: File) -> int:
        known = self._numbers.get(path)
        if known is not None and self._files[known] == file:
            return known
        number = self._others.get((path, file), len(self._files))
        if number == len(self._files):
            kind, digest, executable = file
            each = path, kind, digest.hex(), executable
            self._sources += b",%s" % _json(each).encode("ascii")
            self._files.append(file)
            if known is None:
                self._numbers[path] = number
            else:
                self._others[path, file] = number
        return number

    def value(self) -> bytearray:
        """All of it; nothing can be added any more."""
        value = self._sources
        value[:1] = b'{"sources":['
        value += b'],"nodes":['
        value += memoryview(self._nodes)[1:]
        value += b"]}"
        return value


def _name(nodes: Sequence[Node], known: Sequence[Placement], judge: Judge) -> bytes:
    """What tells this lineage from others: keys have all that was named in them, and open nodes what they found."""
    hasher = blake3()
    for placement in sorted(known, key=lambda each: each.path):
        for future in futures_of(placement):
            hasher.update(future.node.key)
        hasher.update(placement.path.encode("utf-8", "surrogateescape") + b"\0")
    for node in nodes:
        if node.discovers:
            hasher.update(node.key)
            for path, digest in _discovered(node, judge).items():
                hasher.update(path.encode("utf-8", "surrogateescape") + b"\0" + (digest or b"-"))
    return hasher.digest()


def _discovered(node: Node, judge: Judge) -> Mapping[str, Digest | None]:
    step = judge.steps.get(node.key)
    record = None if step is None else step.record
    return {} if record is None or record.discovered is None else record.discovered.files


def _sources(node: Node, judge: Judge) -> list[tuple[str, File]]:
    return files_read(node.sources, _discovered(node, judge).items() if node.discovers else ())


def files_read(named: Iterable[Source], found: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, File]]:
    """The files that a node reads, by path, from those that were named and found; one that must stay empty has no kind."""
    files: list[tuple[str, File]] = [(each.path, (each.kind, each.digest, each.executable)) for each in named]
    return files + [
        (path, ("", b"", False) if digest is None else ("any", digest, False)) for path, digest in found
    ]

"""What outputs were made from, so that a command that loads no Merklfile can say which of them are stale: see ``aging``.

It decides what of a graph is remembered at the end of a build: the files, and which node reads which, by numbers.  It
knows no code: that a task's text changed is seen only by loading the Merklfile.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from blake3 import blake3

from merkl.digest import Digest, Key
from merkl.engine.joint import futures_of, key_of_file, once
from merkl.engine.judge import Judge
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.step import State
from merkl.nodes import Node


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
    numbers: dict[Key, int] = {}
    sources: dict[tuple[str, str, str, bool], int] = {}
    described: list[tuple[list[int], list[int]]] = []
    for node in nodes:
        numbers[node.key] = len(described)
        own = [sources.setdefault(each, len(sources)) for each in _sources(node, judge)]
        described.append((own, [numbers[dep.future.node.key] for dep in node.deps]))
    made: dict[str, tuple[Key, int]] = {}
    for placement in known:
        key = placement.future.node.key
        made[placement.path] = key, numbers[key]
        if placement.joint:  # It stands for all that went into the file.
            made[placement.path] = key_of_file(placement), len(described)
            described.append(([], sorted({numbers[future.node.key] for future in placement.joint})))
    value = json.dumps({"sources": list(sources), "nodes": described}, separators=(",", ":"))
    project.index.lineages.set(name, value.encode("ascii"), made)


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


def _sources(node: Node, judge: Judge) -> list[tuple[str, str, str, bool]]:
    """Path, kind, digest and executable bit of each file that a node reads; a path that must stay empty has no kind."""
    named: list[tuple[str, str, str, bool]] = [
        (source.path, source.kind, source.digest.hex(), source.executable) for source in node.sources
    ]
    if not node.discovers:
        return named
    found = _discovered(node, judge).items()
    return named + [
        (path, "", "", False) if digest is None else (path, "any", digest.hex(), False)
        for path, digest in found
    ]

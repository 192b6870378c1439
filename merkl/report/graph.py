"""The graph of a request, as text, JSON, dot or mermaid.

It decides how nodes, edges and files are drawn.  It is pure: the graph and the verdicts come from a plan.

The invariant: the same graph gives the same bytes, and a name is text in every format, whatever characters it has.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from merkl.bash.task import BashCall
from merkl.dataclass import dataclass
from merkl.digest import Key
from merkl.engine.explain import discovered
from merkl.engine.judge import Judge
from merkl.engine.select import Selection
from merkl.engine.step import Cached, CutOff, Waits
from merkl.nodes import Node, walk
from merkl.python.calls import batch_of
from merkl.report.words import one_line, size

Format: TypeAlias = Literal["text", "json", "dot", "mermaid"]
State: TypeAlias = Literal["cached", "cut off", "would run", "may run", "not needed"]
_DEEPEST: Final = 40  # Levels that are indented; deeper ones say their number.


@dataclass(frozen=True, slots=True)
class Drawn:
    """One node.  ``needs`` are places in ``Graph.nodes``, each once; ``placed`` and ``files`` are paths.

    Of the files that a node found while it ran, ``files`` has those in the project: a compiler finds hundreds elsewhere.
    ``function`` is what runs, ``module.function`` or the name of a bash task; ``values`` are the outputs that are values,
    with their sizes in bytes where they are known; ``groups`` the calls of pipelines and batches that it belongs to,
    outermost first.
    """

    label: str
    task: str
    kind: Literal["bash", "python"]
    key: str
    state: State
    needs: tuple[int, ...]
    placed: tuple[str, ...]
    files: tuple[str, ...]
    function: str = ""
    values: tuple[tuple[str, int | None], ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order of building, dependencies first; ``files`` says whether sources are drawn."""

    nodes: tuple[Drawn, ...]
    targets: tuple[str, ...]
    files: bool = False


def graph_of(
    selection: Selection,
    judge: Judge,
    labels: Mapping[Key, str],
    *,
    files: bool = False,
    groups: Mapping[Key, tuple[str, ...]] = MappingProxyType({}),
) -> Graph:
    """The graph of a selection, with the verdicts of a plan; ``groups`` are the calls of pipelines that made each node."""
    nodes = list(walk(selection.roots))
    number = {node.key: index for index, node in enumerate(nodes)}
    placed: dict[Key, list[str]] = {}
    for placement in selection.placements:
        placed.setdefault(placement.future.node.key, []).append(placement.path)
    drawn = [
        Drawn(
            label=labels[node.key],
            task=node.name,
            kind="bash" if isinstance(node.call, BashCall) else "python",
            key=node.key.hex(),
            state=_state(node, judge),
            needs=tuple(dict.fromkeys(number[dep.future.node.key] for dep in node.deps)),
            placed=tuple(sorted(set(placed.get(node.key, ())))),
            files=_files_of(node, judge) if files else (),
            function=_function_of(node),
            values=_values_of(node, judge),
            groups=(*groups.get(node.key, ()), *_batch_of(node)),
        )
        for node in nodes
    ]
    return Graph(tuple(drawn), selection.targets, files)


def _function_of(node: Node) -> str:
    function = getattr(getattr(node.call, "task", None), "function", None)
    if function is None:
        return node.name
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', node.name)}"


def _values_of(node: Node, judge: Judge) -> tuple[tuple[str, int | None], ...]:
    step = judge.steps.get(node.key)
    known = {} if step is None else step.artifacts
    values = (output.name for output in node.outputs if output.kind == "value")
    return tuple((name, known[name].size if name in known else None) for name in values)


def _batch_of(node: Node) -> tuple[str, ...]:
    run = batch_of(node)
    return () if run is None else (f"batch {run.task.name}",)


def _files_of(node: Node, judge: Judge) -> tuple[str, ...]:
    step = judge.steps.get(node.key)
    found = {} if step is None else discovered(step)
    inside = (path for path, digest in found.items() if digest is not None and not path.startswith("/"))
    return tuple(dict.fromkeys([*(source.path for source in node.sources), *inside]))


def _state(node: Node, judge: Judge) -> State:
    step = judge.steps.get(node.key)
    if step is None:
        return "not needed"
    match judge.verdict(step):
        case Cached():
            return "cached"
        case CutOff():
            return "cut off"
        case Waits():
            return "may run"
        case _:
            return "would run"


def draw(graph: Graph, form: Format) -> Iterator[str]:
    """The lines of a drawing, each without its end."""
    return _DRAWINGS[form](graph)


# ---- text --------------------------------------------------------------------------------------------------------------


def _text(graph: Graph) -> Iterator[str]:
    needed = {index for node in graph.nodes for index in node.needs}
    roots = [index for index in range(len(graph.nodes)) if index not in needed]
    been: set[int] = set()
    stack = [(index, 0) for index in reversed(roots)]
    while stack:
        index, depth = stack.pop()
        node = graph.nodes[index]
        lead = "  " * min(depth, _DEEPEST) + (f"[{depth}] " if depth > _DEEPEST else "")
        again = index in been and bool(node.needs or node.files)
        yield f"{lead}{_described(node)}{'  (see above)' if again else ''}"
        if index in been:
            continue
        been.add(index)
        inner = "  " * min(depth + 1, _DEEPEST)
        yield from (f"{inner}{one_line(path)}" for path in node.files)
        if graph.files:
            yield from (f"{inner}→ {_value(name, count)}" for name, count in node.values)
        stack += [(each, depth + 1) for each in reversed(node.needs)]


def _described(node: Drawn) -> str:
    label = one_line(node.label)
    places = ", ".join(one_line(path) for path in node.placed if not node.label.endswith(path))
    groups = f"  in {' > '.join(map(one_line, node.groups))}" if node.groups else ""
    return f"{label}  [{node.state}]{f' → {places}' if places else ''}{groups}"


def _value(name: str, count: int | None) -> str:
    return f"value{f' {one_line(name)}' if name else ''}{'' if count is None else f', {size(count)}'}"


# ---- json --------------------------------------------------------------------------------------------------------------


def _json(graph: Graph) -> Iterator[str]:
    nodes = []
    for index, node in enumerate(graph.nodes):
        members = {"id": index, **asdict(node)}
        if not graph.files:
            del members["files"]
        nodes.append(members)
    yield json.dumps({"version": 1, "targets": list(graph.targets), "nodes": nodes}, indent=2)


# ---- dot ---------------------------------------------------------------------------------------------------------------

_DOT_STYLES: Final[Mapping[State, str]] = {
    "cached": "solid", "cut off": "solid", "would run": "bold", "may run": "dashed", "not needed": "dotted",
}  # fmt: skip


def _dot(graph: Graph) -> Iterator[str]:
    yield "digraph merkl {"
    yield "  rankdir=LR;"
    yield '  node [shape=box, fontname="sans-serif"];'
    for index, node in enumerate(graph.nodes):
        shape = ", shape=ellipse" if node.kind == "python" else ""
        label = _dot_text(f"{node.label}\n{node.state}")
        yield f"  n{index} [label={label}, style={_DOT_STYLES[node.state]}{shape}];"
    for depth, number, name, members in _clusters(graph):
        lead = "  " * (depth + 1)
        if name is None:
            yield f"{lead}}}"
        else:
            yield f"{lead}subgraph cluster{number} {{"
            yield " ".join([f"{lead}  label={_dot_text(name)};", *(f"n{index};" for index in members)])
    yield from (f"  n{need} -> n{index};" for index, node in enumerate(graph.nodes) for need in node.needs)
    for name, path, is_read, indices in _files(graph):
        yield f"  {name} [label={_dot_text(path)}, shape={'note' if is_read else 'folder'}];"
        yield from (f"  {name} -> n{i};" if is_read else f"  n{i} -> {name};" for i in indices)
    yield "}"


def _clusters(graph: Graph) -> Iterator[tuple[int, int, str | None, Sequence[int]]]:
    """Where groups begin and end, those inside others in between: how deep each is, its number, its name (None where it
    ends), and the nodes that are in it and in no group inside it."""
    inside: dict[tuple[str, ...], list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for depth in range(len(node.groups)):
            inside.setdefault(node.groups[: depth + 1], [])
        if node.groups:
            inside[node.groups].append(index)
    numbers = {groups: number for number, groups in enumerate(inside)}
    stack: list[tuple[tuple[str, ...], bool]] = [
        (groups, False) for groups in reversed(inside) if len(groups) == 1
    ]
    while stack:
        groups, ends = stack.pop()
        depth, number = len(groups) - 1, numbers[groups]
        if ends:
            yield depth, number, None, ()
            continue
        yield depth, number, groups[-1], inside[groups]
        stack.append((groups, True))
        stack += [(each, False) for each in reversed(inside) if each[:-1] == groups]


def _dot_text(text: str) -> str:
    lines = [
        one_line(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.rsplit("\n", 1) if line
    ]
    return '"' + "\\n".join(lines) + '"'


# ---- mermaid -----------------------------------------------------------------------------------------------------------

_MERMAID_STYLES: Final = (
    "classDef cached fill:#e7f5e7,stroke:#3a8a3a,color:#111",
    "classDef runs fill:#fff3d6,stroke:#b07a00,stroke-width:2px,color:#111",
    "classDef maybe fill:#fff3d6,stroke:#b07a00,stroke-dasharray:4,color:#111",
    "classDef unneeded fill:#f0f0f0,stroke:#999,color:#111",
)
_MERMAID_CLASS: Final[Mapping[State, str]] = {
    "cached": "cached", "cut off": "cached", "would run": "runs", "may run": "maybe", "not needed": "unneeded",
}  # fmt: skip


def _mermaid(graph: Graph) -> Iterator[str]:
    yield "flowchart LR"
    yield from (f"  {style}" for style in _MERMAID_STYLES)
    for index, node in enumerate(graph.nodes):
        opening, closing = ("([", "])") if node.kind == "python" else ("[", "]")
        yield f'  n{index}{opening}"{_mermaid_text(node.label)}"{closing}:::{_MERMAID_CLASS[node.state]}'
    for depth, number, name, members in _clusters(graph):
        lead = "  " * (depth + 1)
        yield f"{lead}end" if name is None else f'{lead}subgraph g{number}["{_mermaid_text(name)}"]'
        yield from (f"{lead}  n{index}" for index in members)
    yield from (f"  n{need} --> n{index}" for index, node in enumerate(graph.nodes) for need in node.needs)
    for name, path, is_read, indices in _files(graph):
        yield f'  {name}[/"{_mermaid_text(path)}"/]'
        yield from (f"  {name} --> n{i}" if is_read else f"  n{i} --> {name}" for i in indices)


def _mermaid_text(text: str) -> str:
    """Text between double quotes: whatever mermaid or HTML could read as their own goes by number."""
    return "".join(
        char if char.isalnum() or char in " ./-_,:=+~@" else f"#{ord(char)};" for char in one_line(text)
    )


def _files(graph: Graph) -> Iterator[tuple[str, str, bool, Sequence[int]]]:
    """What is drawn besides nodes: a name for it, its path, whether it is read (or else placed), and by which nodes."""
    read: dict[str, list[int]] = {}
    placed: dict[str, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for path in node.files:
            read.setdefault(path, []).append(index)
        for path in node.placed:
            placed.setdefault(path, []).append(index)
    for number, (path, indices) in enumerate(read.items()):
        yield f"f{number}", path, True, indices
    for number, (path, indices) in enumerate(placed.items()):
        yield f"p{number}", path, False, indices


_DRAWINGS: Final = {"text": _text, "json": _json, "dot": _dot, "mermaid": _mermaid}

"""What is remembered of nodes from builds before: how they ended, and how long they took.

It decides under which names a node is looked for: its label in this request, else its own.
"""

from collections.abc import Iterable, Mapping, Sequence

from merkl.digest import Key
from merkl.engine.project import Project
from merkl.engine.select import Labels, plain_label
from merkl.nodes import Node
from merkl.workspace import ledger


def last_steps(
    project: Project, nodes: Iterable[Node], labels: Mapping[Key, str]
) -> dict[Key, ledger.LastStep]:
    """What is remembered of each node's step, under its label in this request or under its own name."""
    nodes = list(nodes)
    known = project.index.steps(
        {*(labels[node.key] for node in nodes), *(plain_label(node) for node in nodes)}
    )
    found = {node.key: known.get(labels[node.key]) or known.get(plain_label(node)) for node in nodes}
    return {key: step for key, step in found.items() if step is not None}


def expected_seconds(
    project: Project, nodes: Sequence[Node], labels: Mapping[Key, str]
) -> dict[Node, float | None]:
    """How long each node took when it last ran, under its label in this request or under its own name."""
    by_itself = labels.by_itself if isinstance(labels, Labels) else plain_label
    names = {node: (labels[node.key], by_itself(node)) for node in nodes}
    took = project.index.seconds({name for both in names.values() for name in both})
    return {node: took.get(label, took.get(plain)) for node, (label, plain) in names.items()}

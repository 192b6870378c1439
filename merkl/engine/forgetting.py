"""Forgetting what is recorded of nodes, and nothing else: no bytes, and nothing of what they were made from.

It decides under which keys that is.
"""

from collections.abc import Iterable

from merkl.engine.judge import Judge
from merkl.engine.state import ProjectState
from merkl.nodes import Node


def forget(project: ProjectState, nodes: Iterable[Node]) -> None:
    """Forget what is recorded of some nodes, under all their names."""
    nodes = list(nodes)
    for node in nodes:
        project.passing.pop(node.key, None)
    judge = Judge(project.store, project.first_change)
    judge.want(nodes)
    keys = [key for node in nodes for key in (node.key, judge.steps[node.key].content) if key is not None]
    records = project.store.by_key([node.key for node in nodes])
    if project.caches is not None:
        for node in nodes:
            if (content := judge.steps[node.key].content) is not None:
                project.caches.heed(node, content)
        project.caches.forget(keys)
    project.store.forget([*keys, *(record.content_key for record in records.values())])

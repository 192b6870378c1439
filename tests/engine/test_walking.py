"""The order in which a graph is walked: what a node needs comes before it, and everything else as it is asked for."""

import random

import pytest

from merkl.nodes import Dep, Future, Node, Output, Place, make_node, walk


def node(name, *needs):
    """A node without a call, of which only the graph counts."""
    deps = [Dep(Future(each, "")) for each in needs]
    return make_node(None, name.encode(), deps=deps, outputs=[Output("", "value")], place=Place("a", 1))


def recursive(roots):
    found = {}

    def visit(node):
        if node.key not in found:
            for dep in node.deps:
                visit(dep.future.node)
            found[node.key] = node

    for root in roots:
        visit(root)
    return list(found.values())


@pytest.mark.parametrize("seed", range(10))
def test_each_node_comes_once_after_what_it_needs_in_the_order_of_the_roots(seed):
    chance = random.Random(seed)
    nodes: list[Node] = []
    for number in range(60):
        nodes.append(
            node(f"{number}", *chance.sample(nodes, min(len(nodes), chance.choice([0, 0, 1, 2, 5]))))
        )
    roots = chance.sample(nodes, 15)
    mixed = [chance.choice([root, Future(root, "")]) for root in roots]
    assert [each.key for each in walk(mixed)] == [each.key for each in recursive(roots)]


def test_a_deep_graph_is_no_deeper_for_the_walk():
    last = node("0")
    for number in range(1, 3_000):
        last = node(f"{number}", last)
    assert len(list(walk([last]))) == 3_000

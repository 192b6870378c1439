"""Which waits count, if pipelines wish for more than can be."""

from typing import Any

import pytest

from merkl.digest import encode
from merkl.engine.yields import in_order
from merkl.errors import MerklfileError
from merkl.nodes import Dep, Future, Node, Output, Place, make_node


def made(name: str, *needed: Node) -> Node:
    call: Any = type("Call", (), {"task_name": name})()
    deps = [Dep(Future(node)) for node in needed]
    return make_node(call, encode(name), deps=deps, outputs=[Output("", "value")], place=Place("x", 1))


def test_two_pipelines_that_wish_for_opposite_orders_get_that_in_which_calls_were_made_first() -> None:
    one, two = made("one"), made("two")
    two_again, one_again = made("two"), made("one")

    more, waits = in_order([(two, (one,)), (one_again, (two_again,))], [one, two], {})

    assert more == []
    assert {key: nodes for key, nodes in waits.items() if nodes} == {two.key: [one]}


def test_a_call_that_what_it_waits_for_needs_does_not_wait() -> None:
    first = made("first")
    second = made("second", first)
    again = made("first")

    _, waits = in_order([(again, (second,))], [second, again], {})

    assert not waits[first.key]


def test_what_was_yielded_is_built_with_what_follows_it_and_not_with_other_things() -> None:
    one, two, three, other = made("one"), made("two"), made("three"), made("other")
    ordered = [(two, (one,)), (three, (one, two))]

    assert {node.key for node in in_order(ordered, [three], {})[0]} == {one.key, two.key}
    assert in_order(ordered, [other], {}) == ([], {})


def test_waits_for_other_reasons_that_close_a_ring_are_an_error() -> None:
    one, two = made("one"), made("two")

    with pytest.raises(MerklfileError, match=r"tasks wait for each other: (one → two → one|two → one → two)"):
        in_order([(two, (one,))], [one, two], {one.key: [two]})

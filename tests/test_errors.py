"""Errors say what is wrong, where, and what to do; the tree in the module's docstring is the real one."""

import pickle
import re

import pytest

from merkl import errors
from merkl.errors import InputChanged, MerklError, SidecarError, UnknownTarget, did_you_mean


def drawn_tree() -> dict[str, tuple[str, int]]:
    """Name -> (parent, exit code) as the docstring draws it; a class without a code has its parent's."""
    tree: dict[str, tuple[str, int]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([ │├└─]+)(\w+)\b *(\d+)?(?: |$)", line)
        if found is None:
            continue
        depth, name = len(found[1]), found[2]
        above = [pair for pair in above if pair[0] < depth]
        parent = above[-1][1] if above else "Exception"
        tree[name] = (parent, int(found[3] or tree[parent][1]))
        above.append((depth, name))
    return tree


def real_tree() -> dict[str, tuple[str, int]]:
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, MerklError)
    ]
    return {cls.__name__: (cls.__bases__[0].__name__, cls.exit_code) for cls in classes}


def test_the_tree_in_the_docstring_is_the_tree_of_classes_with_their_exit_codes():
    assert drawn_tree() == real_tree()


def test_an_error_reads_as_headline_then_details_then_hint():
    error = MerklError("no room", hint="run `merkl gc`", path="out/x", output="one\ntwo", task=None)

    assert str(error) == "no room\n  path: out/x\n  output:\n    one\n    two\n  hint: run `merkl gc`"


def test_an_error_without_details_is_its_headline():
    assert str(MerklError("no room")) == "no room"


def test_a_detail_that_is_empty_or_zero_is_still_shown():
    assert str(MerklError("bad", exit=0, text="")) == "bad\n  exit: 0\n  text: "


@pytest.mark.parametrize(
    "error",
    [
        MerklError("a", hint="b", path="c"),
        SidecarError("bad sidecar", line=3),
        UnknownTarget("trian", ["train", "test"]),
        InputChanged("data.csv", "clean"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_trip_from_a_worker(error):
    back = pickle.loads(pickle.dumps(error))

    assert type(back) is type(error)
    assert str(back) == str(error)
    assert (back.headline, back.hint, back.details) == (error.headline, error.hint, error.details)
    assert back.args == error.args


def test_an_unknown_target_is_answered_with_the_nearest_names():
    assert UnknownTarget("trian", ["train", "deploy"]).hint == "did you mean train?"
    assert UnknownTarget("xyzzy", ["train", "deploy"]).hint == "`merkl list` shows them all"


def test_at_most_three_names_are_offered_the_nearest_first():
    offered = did_you_mean("tests", ["test4", "test", "testss", "tests2", "rest"])

    assert offered.startswith(("did you mean testss or tests2 or ", "did you mean tests2 or testss or "))
    assert offered.count(" or ") == 2


def test_nothing_near_gives_the_other_hint_or_none():
    assert did_you_mean("abc", []) == ""
    assert did_you_mean("abc", ["xyz"], "look elsewhere") == "look elsewhere"

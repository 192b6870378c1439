"""Calls of a task: a wrong one fails where it is written, and says what would be right."""

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkl.bash.compiler import compile_template
from merkl.bash.placeholders import ArgFile
from merkl.bash.template import bind_call
from merkl.errors import CallError

numpy = pytest.importorskip("numpy")

RESIZE = compile_template(
    "magick {file_arg('image', '.png')} {flag_arg('fast')} {arg('mode', default='x', choices=['x', 'xy'])} "
    "{arg('size', type=int)} {out_file_arg('small', '.png')} {env_arg('HOME', None)} {secret_arg('TOKEN')} {depfile_arg()}"
)


class Later:
    """Something that stands for a file that is not there yet, and can be asked for nothing."""

    def __init__(self, name=None):
        self.name = name

    def __index__(self):
        raise AssertionError("asked for its value")

    __iter__ = __next__ = __len__ = __bool__ = __str__ = __index__


def name_of(value):
    return value.name if isinstance(value, Later) else None


def bind(*args, **kwargs):
    return bind_call(RESIZE, "resize", args, kwargs, may_be_file=name_of)


def test_parameters_come_in_order_of_appearance_those_with_defaults_later_the_rest_by_name():
    assert str(RESIZE.signature) == (
        "(image, size: int, fast=False, mode='x', *, small=None, HOME=None, TOKEN=None, depfile=None)"
    )


def test_a_call_is_bound_and_defaults_are_filled_in():
    assert bind("a.png", 3, mode="xy", small="b/c.png") == {
        "image": "a.png", "fast": False, "mode": "xy", "size": 3, "small": "b/c.png", "HOME": None, "TOKEN": None, "depfile": None,
    }  # fmt: skip
    assert list(bind("a.png", 3)) == list(RESIZE.placeholders)


WRONG = [
    ((), {}, "image, size are missing"),
    (("a.png",), {}, "size is missing"),
    (("a.png", 1, True, "x", "s.png"), {}, "takes 4 arguments, not 5"),
    (("a.png", 1), {"image": "b.png"}, "image was given twice"),
    (("a.png", 1), {"siz": 2}, "no parameter 'siz'"),
    (("a.jpg", 1), {}, r"image takes a \.png file, not 'a.jpg'"),
    ((b"a.jpg", 1), {}, r"image takes a \.png file"),
    ((Path("a"), 1), {}, r"image takes a \.png file"),
    ((Later("a.jpg"), 1), {}, r"image takes a \.png file"),
    (("", 1), {}, "no path"),
    ((None, 1), {}, "takes a file, not None"),
    ((3, 1), {}, "takes a file, not 3"),
    ((["a.png"], 1), {}, "takes a file, not \\['a.png'\\]"),
    (("a\0.png", 1), {}, "NUL"),
    (("a.png", "1"), {}, "size is of type int, not '1'"),
    (("a.png", 1.0), {}, "size is of type int, not 1.0"),
    (("a.png", True), {}, "size is of type int, not True"),
    (("a.png", None), {}, "size is of type int, not None"),
    (("a.png", [1]), {}, "size is of type int, not \\[1\\]"),
    (("a.png", 1), {"fast": 1}, "fast is True or False, not 1"),
    (("a.png", 1), {"mode": "xz"}, "mode is one of 'x', 'xy', not 'xz'"),
    (("a.png", 1), {"mode": ["x"]}, "mode"),
    (("a.png", 1), {"small": "c.jpg"}, r"small takes a \.png file"),
    (("a.png", 1), {"HOME": 3}, "HOME is a string"),
    (("a.png", 1), {"TOKEN": "x"}, "comes from the environment"),
]


@pytest.mark.parametrize(("args", "kwargs", "problem"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_call_names_the_task_the_parameter_and_the_signature(args, kwargs, problem):
    with pytest.raises(CallError, match=problem) as caught:
        bind(*args, **kwargs)

    assert caught.value.headline.startswith("resize: ")
    assert caught.value.details["signature"] == f"resize{RESIZE.signature}"


def test_a_future_is_never_asked_for_its_value():
    later = Later()
    template = compile_template(
        "x {arg('a')} {file_arg('f', '.c')} {files_arg('g')} {argfile('h')} {flag_arg('v')}"
    )

    bound = bind_call(template, "t", (later, later, later, [later], later), {}, may_be_file=name_of)

    assert bound == {"a": later, "f": later, "g": [later], "h": [later], "v": later}


PLAIN = compile_template("x {arg('a')}")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("a", "a"), (b"\xff", b"\xff"), (1, 1), (0.5, 0.5), (None, None), ([1, "a", None][:2], [1, "a"]), (("a",), ["a"]), ([], []),
        (Path("-x/y"), "./-x/y"), (Path("y"), "y"), (numpy.int64(3), 3), (numpy.float32(0.5), 0.5), (numpy.float64(0.1), 0.1),
        (numpy.str_("s"), "s"),
    ],
    ids=range(14),
)  # fmt: skip
def test_plain_values_are_taken_as_they_are(value, wanted):
    bound = bind_call(PLAIN, "t", (value,), {})["a"]

    assert bound == wanted
    rendered = PLAIN.render({"a": bound}, abspath=bytes)
    assert rendered == PLAIN.render({"a": wanted}, abspath=bytes)


@pytest.mark.parametrize("value", [True, numpy.bool_(True), {"a": 1}, {1}, [[1]], [None], "a\0", [b"\0"]])
def test_values_that_are_no_word_are_refused(value):
    with pytest.raises(CallError):
        bind_call(PLAIN, "t", (value,), {})


def test_a_value_inside_a_word_is_one_word():
    template = compile_template("x a{arg('a', default=None)}")

    for value in (None, ["a"]):
        with pytest.raises(CallError, match=r"a word|one word"):
            bind_call(template, "t", (value,), {})


def test_ints_are_floats_but_strings_are_no_numbers():
    template = compile_template(
        "x {arg('a', type=float)} {arg('b', type=str)} {arg('c', type=int, default=None)}"
    )

    bound = bind_call(template, "t", (1, "1"), {})

    assert repr(bound["a"]) == "1.0"
    assert bound["c"] is None
    assert bind_call(template, "t", (1, "1", numpy.int8(2)), {})["c"] == 2
    for wrong in (("1", "1"), (1, 1), (1, b"1")):
        with pytest.raises(CallError):
            bind_call(template, "t", wrong, {})


def test_true_is_not_the_choice_one():
    template = compile_template("x {arg('a', type=int, choices=[1, 2])}")

    with pytest.raises(CallError):
        bind_call(template, "t", (True,), {})


def test_an_optional_file_may_be_none():
    template = compile_template("x {file_arg('a', '.c', default=None)}")

    assert bind_call(template, "t", (), {}) == {"a": None}
    assert template.render({"a": None}, abspath=bytes).body == b'_m1=()\nx "${_m1[@]}"\n'


def test_several_files_may_come_from_a_generator_but_each_must_fit():
    template = compile_template("x {files_arg('a', ('.c', '.h'))}")

    assert bind_call(template, "t", ((f"{n}.c" for n in "ab"),), {}) == {"a": ["a.c", "b.c"]}
    assert bind_call(template, "t", ("a.h",), {}) == {"a": ["a.h"]}
    with pytest.raises(CallError, match=r"\.c or \.h"):
        bind_call(template, "t", (["a.c", "b"],), {})


@given(st.lists(st.binary().map(lambda word: word.replace(b"\0", b"")), max_size=20))
def test_a_file_of_words_gives_them_back(words):
    assert ArgFile("x", null=True).encode(words, where="t").split(b"\0")[:-1] == words
    lines = [word.replace(b"\n", b"") for word in words]
    assert ArgFile("x").encode(lines, where="t").split(b"\n")[:-1] == lines


def test_a_line_break_in_a_file_of_lines_is_refused():
    with pytest.raises(CallError, match="line break") as caught:
        ArgFile("x").encode([b"a\nb"], where="task: x")

    assert "null=True" in caught.value.hint


def test_a_path_like_object_is_a_path():
    template = compile_template("x {file_arg('a')}")

    for made, path in itertools.product((Path, os.fspath), ("a b", "-x")):
        script = template.render(bind_call(template, "t", (made(path),), {}), abspath=bytes)
        assert script.body.startswith(b"_m1='./-x'" if path == "-x" else b"_m1='a b'")

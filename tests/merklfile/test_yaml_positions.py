"""Positions in YAML scalars, however they are written, and errors of templates in them."""

import textwrap
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from merkl.merklfile.declared.document import Document, Span
from merkl.merklfile.declared.scalars import located

LINES = st.lists(st.text("ab {}'\"\\:#é😀\t", max_size=12), max_size=5).map("\n".join)
STYLES = st.sampled_from([None, "'", '"', "|", ">"])


@given(LINES, STYLES, st.sampled_from([10, 80]), st.booleans())
@example("a  b\n\n  c\n", "|", 80, False)
@example("it's\n\nfolded text that is long\n more indented\n", ">", 10, False)
@example("\\n is no \n line", '"', 10, True)
def test_every_character_is_found_where_it_is_written(
    value: str, style: str, width: int, tagged: bool
) -> None:
    text = yaml.dump({"x": {"y": value}}, default_style=style, width=width, allow_unicode=True)
    if tagged:
        text = text.replace('y": ', 'y": !!str &a ').replace("y': ", "y': !!str &a ")
    node = yaml.compose(text).value[0][1].value[0][1]
    assert node.value == value

    locate = located(text, node.start_mark.index, node.end_mark.index, node.style, value)

    places = [locate(index) for index in range(len(value))]
    for char, place in zip(value, places, strict=True):
        if not char.isspace():
            assert text[place] == char or text[place] == "\\"
    assert places == sorted(places)


ERRORS = [
    # The error is at «…», and is that of {arg('x', typ=3)}.
    "tasks: {t: {run: «{arg('x', typ=3)}»}}",
    "tasks: {t: {run: \"echo {{ '{{' }} «{arg('x', typ=3)}»\"}}",
    "tasks:\n  t: é😀 echo «{arg('x', typ=3)}»",
    "tasks:\n  t:\n    run: echo one\n      echo «{arg('x', typ=3)}»",
    "tasks:\n  t:\n    run: \"echo \\\"one\\\"\\n\\\n      \\x41 echo «{arg('x', typ=3)}»\"",
    "tasks:\n  t:\n    run: 'echo ''one''\n\n      echo «{arg(\"x\", typ=3)}»'",
    "tasks:\n  t:\n    run: |\n\n      echo one\n        echo two\n      echo «{arg('x', typ=3)}»",
    "tasks:\n  t:\n    run: |2-\n      echo one\n      echo «{arg('x', typ=3)}»",
    "tasks:\n  t: >  # folded\n    echo one\n    echo two\n\n    echo three «{arg('x', typ=3)}»",
    "tasks:\n  t:\n    argv:\n    - echo\n    - «{arg('x', typ=3)}»",
    "x-run: &run !!str echo «{arg('x', typ=3)}»\ntasks:\n  t: *run",
    "tasks:\n  t:\n    interpreter: python3\n    run: |1\n          if True:\n              print(«{arg('x', typ=3)}»)",
]  # fmt: skip


@pytest.mark.parametrize("text", ERRORS)
def test_an_error_of_a_template_is_pointed_at_in_the_file(inside: Any, text: str) -> None:
    before, _, rest = text.partition("«")
    inside.write("Merklfile.yaml", (before + rest.replace("»", "")).replace('{arg("x"', '{arg("x"') + "\n")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")

    said = inside.merkl("list", code=2).stderr.split("\n")

    assert said[0].startswith(f"Merklfile.yaml:{line}:{column}: ")
    assert said[3].strip() == "^" + "~" * (rest.index("»") - 1)


def test_an_error_whose_place_cannot_be_known_is_at_the_text(inside: Any) -> None:
    text = """
        tasks:
          t:
            run: "echo '\\u007barg('"
            stdout: "{out_file_arg('a')}{out_file_arg('b')}"
    """
    inside.write("Merklfile.yaml", textwrap.dedent(text).lstrip())

    said = inside.merkl("list", code=2).stderr

    assert said.startswith("Merklfile.yaml:3:")


def test_a_position_is_shown_as_a_line_and_a_column_and_long_lines_are_cut() -> None:
    document = Document(
        "/p/Merklfile.yaml", "Merklfile.yaml", "a: 1\n" + "  " * 100 + "b: 2" + "x" * 200 + "\n"
    )

    error = document.error(Span(205, 206), "wrong", "right it")

    assert str(error) == (
        "Merklfile.yaml:2:201: wrong\n  source:\n"
        f"    b: 2{'x' * 96}…\n    ^\n"
        "  hint: right it"
    )  # fmt: skip

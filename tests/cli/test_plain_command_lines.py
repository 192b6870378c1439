"""The command lines that are read without click: what is read so, click reads as the same."""

import re
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from merkl.cli.build import command
from merkl.cli.given import Options
from merkl.cli.options import options_of, words_of
from merkl.cli.plain import FLAGS, read

WORDS = [*FLAGS, "-j", "--jobs", "-j2", "-j0", "-j02", "-j٣", "-j+2", "--jobs=3", "4", "10000", "1_0", "-kq", "-qj2", "-C", ".",
         "-o", "none", "--json", "--color=never", "--", "-", "", "poem", "a=b", "./-x", "out/x.txt", "bäh", "\udcff"]  # fmt: skip


def by_click(words):
    """The options and words that click reads."""
    with command.make_context("build", list(words)) as context:
        given = options_of(context), words_of(context, context.params["words"])
        assert (context.params["pull"], context.params["profile"]) == (False, None)
        return given


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=6))
@example(["-j", "2", "-j3", "--jobs", "4"])
@example(["poem", "-k", "x=1", "-v"])
def test_what_is_read_without_click_is_what_click_reads(words):
    found = read(["build", *words])

    if found is not None:
        options, rest = found
        assert (Options(**options).settled(), rest) == by_click(words)


@pytest.mark.parametrize(
    "words", [[], ["-j2"], ["-j", "2", "-q"], ["--jobs", "8", "poem", "loud=yes"], ["-k", "-v", "-n", "-B"]]
)
def test_usual_builds_are_read_without_click(words):
    assert read(["build", *words]) is not None


@pytest.mark.parametrize(
    "words",
    [
        "buil",
        "list",
        "-C . build",
        "build --json",
        "build -kq",
        "build -j0",
        "build -j",
        "build -- x",
        "build --help",
    ],
)
def test_whatever_else_there_is_click_reads(words):
    assert read(words.split()) is None


def test_the_answer_is_the_same_however_a_build_was_read(merkl):
    merkl.merklfile("""
        from merkl import target
        from merkl import bash_task
        copy = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")
        @target(default=True)
        def x(): copy("a.txt") > "b.txt"
        """)
    (merkl.root / "a.txt").write_text("a")

    def ran(*words):
        done = subprocess.run(
            [sys.executable, "-m", "merkl", *words], cwd=merkl.root, capture_output=True, text=True
        )
        return done.returncode, re.sub(r"\d+\.\ds", "", done.stdout), done.stderr

    plain = [ran("build", "-B", "-j1"), ran("build", "y"), ran("build", "-nB")]
    clicked = [
        ran("build", "-B", "-j1", "--color=auto"),
        ran("build", "y", "--color=auto"),
        ran("build", "-nB", "--color=auto"),
    ]

    assert plain == clicked
    assert [code for code, *_ in plain] == [0, 2, 0]

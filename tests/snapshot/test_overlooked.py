"""What a comparison of files could overlook, and does not."""

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from test_snapshots import PLAIN, Asked, asked, merklfile

__all__ = ["asked"]
HEADERS = """
    picky = bash_task('''
        cat {file_arg('text', '.txt')} heads/h > {out_file_arg('out', '.txt')}
        if grep -q bad heads/h; then exit 1; fi
        echo "x: heads/h" >> {depfile_arg()}
        ''')
    found = bash_task('''
        cat {file_arg('text', '.txt')} heads/h > {out_file_arg('out', '.txt')}
        echo "x: heads/h" >> {depfile_arg()}
        ''')

    @target(default=True)
    def all():
        picky("src/a.txt") > "out/picky.txt"
        found("src/a.txt") > "out/found.txt"
"""
INPUT = """
    copy = bash_task("cat {file_arg('text')} > {out_file_arg('out', '.out')}")

    @target(default=True)
    def all():
        copy("other/.merkl/data") > "out/copy.out"
"""


def test_a_header_that_is_as_it_was_before_a_failure_is_another_to_who_read_it_meanwhile(
    asked: Asked,
) -> None:
    merklfile(asked, HEADERS)
    asked.write("heads/h", "good\n")
    assert asked.settle("build", "-k")
    asked.write("heads/h", "bad\n")
    time.sleep(0.05)
    assert asked.told("build", "-k", code=1)[0] == "in part"
    assert (asked.path / "out/found.txt").read_text() == "a\nbad\n"
    asked.write("heads/h", "good\n")
    time.sleep(0.05)
    assert asked.told("build", "-k")[0] == "in part"
    assert (asked.path / "out/found.txt").read_text() == "a\ngood\n"


@pytest.mark.parametrize(
    ("asks", "known"),
    [("open('other/.merkl/data').read()", True), ("import os; os.listdir('other/.merkl')", False)],
)
def test_what_is_in_the_state_of_another_project_counts(asked: Asked, asks: str, known: bool) -> None:
    asked.write("other/.merkl/data", "1\n")
    merklfile(asked, f"    {asks}\n{PLAIN}")
    assert asked.settle() is known
    asked.write("other/.merkl/data", "22\n")
    assert not asked.answered()


def test_an_input_in_the_state_of_another_project_is_built_again(asked: Asked) -> None:
    asked.write("other/.merkl/data", "1\n")
    merklfile(asked, INPUT)
    assert asked.settle()
    asked.write("other/.merkl/data", "22\n")
    assert " 1 ran" in asked.ask()[1] and (asked.path / "out/copy.out").read_text() == "22\n"


def test_a_lost_index_is_made_again(asked: Asked) -> None:
    merklfile(asked, PLAIN)
    assert asked.settle()
    for lost in Path(asked.path / ".merkl").glob("index.db*"):
        lost.unlink()
    assert asked.told("build")[0] == "found out"
    assert "3 fresh" in asked.told("status")[1]  # Which knows from the index what was placed.

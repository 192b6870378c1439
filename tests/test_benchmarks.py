"""The suite of benchmarks: it measures what it says it does, and refuses the figure of a contender that cheats."""

import json
import subprocess
import sys
import xml.dom.minidom
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KEYS = ["built-20", "nothing-20", "leaf-20", "touch-20", "comment-20", "tiny-20"]


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.needs("make", "ninja")
def test_a_small_suite_gives_a_table_and_a_picture(tmp_path: Path) -> None:
    asked = "--sizes 20 --rounds 2 --peers make,ninja --only nothing,leaf,shared,tiny --out".split()
    places = [str(tmp_path), "--work", str(tmp_path / "work")]
    done = run("-m", "benchmarks", "suite", *asked, *places)

    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert set(results) == set(KEYS)
    table = (tmp_path / "table.md").read_text()
    ran = {key: {row["name"]: row["ran"] for row in result["rows"]} for key, result in results.items()}
    assert ran["nothing-20"] == {"python -c pass": None, "merkl": 0, "make": 0, "ninja": 0}
    assert ran["leaf-20"] == {"merkl": 10, "make": 10, "ninja": 10}
    assert ran["touch-20"]["merkl"] == 0
    assert ran["comment-20"]["merkl"] == 20
    assert ran["tiny-20"] == {"merkl": 20, "make": 20, "ninja": 20, "floor": 20}
    assert table.count("\n### ") == len(KEYS) + 2  # What must be reached, and the memory of the same runs.
    for line in table.splitlines():
        assert not line.startswith("|") or line.endswith("|"), line
    drawn = xml.dom.minidom.parse(str(tmp_path / "plot.svg"))
    texts = {text.firstChild.data for text in drawn.getElementsByTagName("text") if text.firstChild}
    assert {"merkl", "make", "ninja"} <= texts
    again = run(
        "-m", "benchmarks", "suite", *asked[:-3], "--only", "leaf,tiny", "--out", *places
    )  # Of edited projects.
    assert again.returncode == 0, again.stderr
    assert set(json.loads((tmp_path / "results.json").read_text())["results"]) == set(results)


def test_a_plan_installs_and_makes_nothing(tmp_path: Path) -> None:
    asked = ["--peers", "scons,joblib", "--only", "leaf,calls", "--out", f"{tmp_path}/out"]
    places = ["--work", f"{tmp_path}/work", "--environments", f"{tmp_path}/peers"]
    done = run("-m", "benchmarks", "suite", "--plan", *asked, *places)

    assert done.returncode == 0 and " steps, on a quiet machine" in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []
    assert run("-m", "benchmarks", "suite", "--plan", "--sizes", "0").returncode == 2


CHEAT = """
import sys
from benchmarks.dialects.dialect import Dialect
from benchmarks.graph import TINY
from benchmarks.projects import Project
from benchmarks.turns import Failed

dialect = Dialect("cheat", "sh", ("build.sh",), lambda graph: {"build.sh": PROGRAM}, "^ran ")
PROGRAM = {
    "says so only": "for n in 0 1 2; do echo ran $n; done",
    "leaves one out": "for n in 0 1; do echo 00000$n > out/000/00000$n.out; echo ran $n; done",
    "makes another": "for n in 0 1 2; do echo x > out/000/00000$n.out; echo ran $n; done",
    "runs in silence": "for n in 0 1 2; do echo 00000$n > out/000/00000$n.out; done",
    "is honest": "for n in 0 1 2; do echo 00000$n > out/000/00000$n.out; echo ran $n; done",
}[sys.argv[1]]
project = Project(TINY.sized(3), dialect, sys.argv[2], "/bin/sh")
try:
    project.contender(project.clean, 3).once()
except Failed as error:
    print("refused")
else:
    print("taken")
"""


@pytest.mark.parametrize(
    "how", ["says so only", "leaves one out", "makes another", "runs in silence", "is honest"]
)
def test_a_contender_that_cheats_is_refused(tmp_path: Path, how: str) -> None:
    done = run("-c", CHEAT, how, str(tmp_path / "project"))

    assert done.stdout == ("taken\n" if how == "is honest" else "refused\n"), done.stderr

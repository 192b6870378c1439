"""``examples/pipeline``: run as a script and from its Merklfile, and what edits of it run anew."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/pipeline"
ALL = {"load": 1, "clean": 1, "split": 1, "features": 4, "fit": 1, "evaluate": 1}
COMMENT = ("    return abs(said - wanted)", "    # In degrees.\n    return abs(said - wanted)")
HELPER = ("return abs(said - wanted)", "return (said - wanted) ** 2")
CUT_OFF = ("< 60", "< 61")
ARGUMENT = ("ridge: float = 0.0) -> Future", "ridge: float = 9.0) -> Future")
PARTS = ("PARTS = 4", "PARTS = 3")


@pytest.fixture
def example(project: Any) -> Path:
    """A copy, with fewer measurements."""
    path: Path = project.path
    shutil.copytree(
        EXAMPLE, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build", ".*", "__pycache__")
    )
    for name in ("pipeline.py", "Merklfile.py"):
        edit(path, ("count: int = 8760", "count: int = 400"), name)
    return path


def edit(path: Path, change: tuple[str, str], name: str = "pipeline.py") -> None:
    """Replace one text of a file."""
    text = (path / name).read_text()
    assert text.count(change[0]) == 1
    (path / name).write_text(text.replace(*change))


def records(path: Path) -> Counter[str]:
    """How often each task has really run."""
    found = next((path / ".merkl/store").glob("*.db"), None)
    with sqlite3.connect(str(found)) as store:
        rows = store.execute("SELECT task FROM record").fetchall()
    store.close()
    return Counter(task for (task,) in rows)


def run_script(path: Path, before: Counter[str]) -> tuple[dict[str, int], str]:
    """What running the script really ran, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "pipeline.py"], cwd=path, capture_output=True, text=True, check=True
    )
    now = records(path)
    ran = dict(now - before)
    before.update(now - before)
    return ran, done.stdout


def test_the_script_is_short_and_runs_again_exactly_what_an_edit_reaches(example: Path) -> None:
    assert len((EXAMPLE / "pipeline.py").read_text().splitlines()) < 120
    before: Counter[str] = Counter()
    ran, said = run_script(example, before)

    assert ran == ALL
    assert said.startswith("wrong by 0.3") and said.endswith(" degrees on average\n")
    assert sorted(os.listdir(example / "build")) == ["model.json", "model.json.merkl", "score.json"]
    edit(example, COMMENT)
    assert run_script(example, before) == ({}, said)
    edit(example, HELPER)
    assert run_script(example, before)[0] == {"evaluate": 1}
    edit(example, ARGUMENT)
    assert run_script(example, before)[0] == {"fit": 1, "evaluate": 1}
    edit(example, CUT_OFF)
    assert run_script(example, before)[0] == {"clean": 1}


def test_the_merklfile_builds_the_same_and_runs_again_exactly_what_an_edit_reaches(
    project: Any, example: Path
) -> None:
    assert Counter(project.build("-j1")) == Counter(ALL)
    edit(example, COMMENT)
    assert project.build("-j1") == []
    edit(example, HELPER)
    assert project.build("-j1") == ["evaluate"]
    assert project.build("-j1", "model", "ridge=9") == ["fit", "evaluate"]
    edit(example, PARTS)
    assert Counter(project.build("-j1")) == {"split": 1, "features": 3, "fit": 1, "evaluate": 1}


def test_without_numpy_it_says_how_to_get_it(example: Path) -> None:
    (example / "numpy.py").write_text("raise ImportError('not here')")
    done = subprocess.run([sys.executable, "pipeline.py"], cwd=example, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "this example fits its model with numpy: pip install 'merkl[data]'\n"

"""The scripts that install, and what the test suite does about programs that are not there.

The scripts run for real in a copy of the tree; only the Python they find is a stand-in, which
writes down what it was asked for and installs nothing.
"""

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = [ROOT / ".ci/run", *sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())]

STAND_IN = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
    "-m venv "*) rm -rf .venv; mkdir -p .venv/bin; cp {itself} .venv/bin/python ;;
    "-m pip "*) exit ${{PIP_EXIT:-0}} ;;
    *ensurepip*) exit ${{VENV_EXIT:-0}} ;;
    *) exec {python} "$@" ;;
esac
"""


@dataclass
class Tree:
    """A copy of the scripts, with a Python that writes down how it was called."""

    root: Path
    python: Path
    log: Path

    def install(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run scripts/install from another directory."""
        return subprocess.run(
            [self.root / "scripts/install", *arguments],
            cwd="/",
            env=os.environ | {"PYTHON": str(self.python)} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def asked_for(self) -> list[str]:
        """The modules that Python was asked to run since the last time."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.split()[1] for line in lines if line.startswith("-m ")]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    root = tmp_path / "a tree"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    shutil.copy(ROOT / "pyproject.toml", root)
    made = Tree(root, tmp_path / "python", tmp_path / "log")
    made.python.write_text(STAND_IN.format(log=made.log, itself=made.python, python=sys.executable))
    made.python.chmod(0o755)
    return made


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_executable_bash_that_stops_at_the_first_error(path):
    subprocess.run(["bash", "-n", path], check=True)

    assert path.stat().st_mode & stat.S_IXUSR
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in path.read_text()


def test_installing_twice_does_the_work_once(tree):
    assert tree.install().returncode == 0
    assert tree.asked_for() == ["venv", "pip", "pip"]

    second = tree.install()

    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert tree.asked_for() == []


def test_a_changed_pyproject_is_installed_again_into_the_same_environment(tree):
    tree.install()
    with (tree.root / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    tree.asked_for()

    tree.install()

    assert tree.asked_for() == ["pip", "pip"]


def test_the_development_tools_are_added_when_asked_for_and_then_serve_both(tree):
    tree.install()
    tree.asked_for()

    tree.install("dev")
    assert tree.asked_for() == ["pip", "pip"]

    tree.install()
    tree.install("dev")
    assert tree.asked_for() == []


def test_an_environment_that_was_moved_is_made_anew(tree):
    tree.install("dev")
    tree.asked_for()
    tree.root = tree.root.rename(tree.root.parent / "another tree")

    tree.install("dev")

    assert tree.asked_for() == ["venv", "pip", "pip"]


def test_an_installation_that_failed_is_tried_again(tree):
    assert tree.install(PIP_EXIT="1").returncode != 0
    tree.asked_for()

    assert tree.install().returncode == 0
    assert tree.asked_for() == ["pip", "pip"]


def test_a_python_without_venv_is_answered_with_the_package_to_install(tree):
    result = tree.install(VENV_EXIT="1")

    assert result.returncode == 1
    assert "apt-get install python3-venv" in result.stderr
    assert not (tree.root / ".venv").exists()


def test_a_machine_without_python_is_told_so(tree, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "env", "dirname", "grep", "sh"):
        (programs / name).symlink_to(shutil.which(name) or name)

    result = tree.install(PATH=str(programs), PYTHON="")

    assert result.returncode == 1
    assert "merkl needs Python 3.11 or newer, and none was found" in result.stderr


SUITE = """
import pytest

@pytest.mark.needs("no-such-program", "sh")
def test_needs_it(): pass

@pytest.mark.needs("sh")
def test_needs_only_sh(): pass

@pytest.mark.full
def test_is_a_sweep(): pass
"""


@pytest.mark.parametrize(
    ("environment", "exit_code", "words"),
    [
        ({}, 0, ["1 passed, 1 skipped, 1 deselected", "needs no-such-program"]),
        (
            {"MERKL_REQUIRE_ALL": "1"},
            1,
            ["1 passed, 1 deselected, 1 error", "needs no-such-program, and MERKL_REQUIRE_ALL"],
        ),
        ({"MERKL_FULL": "1"}, 0, ["2 passed, 1 skipped", "needs no-such-program"]),
    ],
    ids=["plain", "require all", "full"],
)
def test_a_test_without_its_program_is_skipped_or_fails_if_all_are_required(
    tmp_path, environment, exit_code, words
):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests/conftest.py", tmp_path / "tests")
    (tmp_path / "tests/test_suite.py").write_text(SUITE)

    # A place of its own for its files: in the usual one it would first remove those of the runs before us.
    place = f"--basetemp={tmp_path / 'files'}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", place]
    result = subprocess.run(
        command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True
    )

    assert result.returncode == exit_code
    assert [word for word in words if word not in result.stdout] == []

"""Clones of one git repository that share a directory, worked on with ``git`` and ``merkl`` as their users would."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Clone:
    """The work tree of one user.  Every command is a process of its own."""

    def __init__(self, path: Path, programs: Path) -> None:
        self.path = path
        self._env = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            **{f"GIT_{who}_{what}": f"{path.name}@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }  # fmt: skip

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a program here and check its exit code."""
        done = subprocess.run(
            words, cwd=self.path, env=self._env, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def git(self, *words: str, code: int = 0) -> str:
        """Run git; what it said."""
        done = self.run("git", *words, code=code)
        return done.stdout + done.stderr

    def merkl(self, *words: str, code: int = 0) -> str:
        """Run merkl; what it said."""
        done = self.run("merkl", *words, code=code)
        return done.stdout + done.stderr

    def ran(self, *words: str) -> list[str]:
        """Build; the names of the tasks that ran, sorted."""
        events = [
            json.loads(line) for line in self.run("merkl", "build", "--json", *words).stdout.splitlines()
        ]
        return sorted(event["task"] for event in events if event["event"] == "ran")

    def status(self) -> dict[str, str]:
        """How everything stands, by path."""
        said = [json.loads(line) for line in self.run("merkl", "status", "--json").stdout.splitlines()]
        return {each["path"]: each["state"] for each in said}

    def write(self, name: str, text: str | bytes) -> None:
        """Write a file."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    def read(self, name: str) -> str:
        """The text of a file."""
        return (self.path / name).read_text()

    def commit(self, text: str) -> None:
        """Commit everything that git does not ignore."""
        self.git("add", "--all")
        self.git("commit", "-qm", text)

    def files(self) -> dict[str, Any]:
        """Every file below, without git's and merkl's own: its bytes, executable bit and, if it has a sidecar, its time."""
        found: dict[str, Any] = {}
        for top, folders, names in os.walk(self.path):
            folders[:] = [each for each in folders if each not in (".git", ".merkl", "__pycache__")]
            for name in names:
                where = os.path.join(top, name)
                stat = os.stat(where)
                timed = stat.st_mtime_ns if os.path.exists(f"{where}.merkl") else None
                found[os.path.relpath(where, self.path)] = (
                    Path(where).read_bytes(),
                    bool(stat.st_mode & 0o100),
                    timed,
                )
        return found


@pytest.fixture
def cloned(tmp_path: Path) -> Callable[[str], Clone]:
    """Make a clone of ``origin.git``, which is made with the first; ``merkl`` is on its PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "merkl").write_text(f'#!/bin/sh\nexec {sys.executable} -m merkl "$@"\n')
    (programs / "merkl").chmod(0o755)
    origin = tmp_path / "origin.git"

    def clone(name: str) -> Clone:
        made = Clone(tmp_path / name, programs)
        made.path.mkdir()
        if not origin.exists():
            made.git("init", "-q", "--bare", "-b", "main", str(origin))
        made.git("clone", "-q", str(origin), ".")
        return made

    return clone

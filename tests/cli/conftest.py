"""A project in an empty directory, and merkl run on it: in this process where that is enough, else in one of its own."""

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from merkl.cli.main import run


@dataclass(frozen=True)
class Done:
    """What a command line gave."""

    code: int
    out: str
    err: str


class Project:
    """A directory with a Merklfile; calling it runs a command line there."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def merklfile(self, text: str) -> None:
        (self.root / "Merklfile.py").write_text(textwrap.dedent(text))

    def __call__(self, *words: str) -> Done:
        self._capsys.readouterr()
        code = run(words)
        got = self._capsys.readouterr()
        return Done(code, got.out, got.err)

    def start(self, *words: str, **options: object) -> subprocess.Popen[bytes]:
        """The same in a process of its own."""
        command = [sys.executable, "-W", "error", "-m", "merkl", *words]
        return subprocess.Popen(
            command,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )  # type: ignore[call-overload]

    def files(self) -> list[str]:
        """Every file of the workspace."""
        found = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = [each for each in folders if each != ".merkl"]
            found += [os.path.relpath(os.path.join(folder, name), self.root) for name in names]
        return sorted(found)


@pytest.fixture
def merkl(tmp_path, monkeypatch, capsys):
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Project(root, capsys)


POEM = '''
    from merkl import bash_task, file, target

    upper = bash_task("tr a-z A-Z < {file_arg('text')} > {out_file_arg('out', '.txt')}")
    count = bash_task("echo counting; wc -l < {file_arg('text')} > {out_file_arg('out', '.txt')}")

    @target(default=True)
    def poem(loud: bool = True):
        """The poem's length."""
        text = upper(file("poem.txt"))
        if loud:
            text > "build/loud.txt"
        count(text) > "build/lines.txt"

    @target
    def broken(code: int):
        """Fails."""
        bash_task(f"echo going wrong; exit {code}; : {{out_file_arg('out', '.txt')}}", name="fail")() > "build/never.txt"
'''


@pytest.fixture
def poem(merkl):
    """A project of two tasks and two outputs."""
    (merkl.root / "poem.txt").write_text("roses are red\nviolets are blue\n")
    merkl.merklfile(POEM)
    return merkl

"""Two clones of one project, a directory that they share, and data with sidecars."""

import json
import os
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merkl.config import load_config
from merkl.engine.project import Project
from merkl.engine.sidecars import keep
from merkl.nodes import Artifact
from merkl.workspace.sidecar import Sidecar, read_sidecar, write_sidecar


class Clones:
    """Clones called ``here`` and ``there``; commands run in this process."""

    def __init__(self, inside: Any, root: Path) -> None:
        self._inside = inside
        self.share, self.here, self.there = root / "share", root / "here", root / "there"
        for each in (self.share, self.here, self.there):
            each.mkdir()
        for each in (self.here, self.there):
            (each / "merkl.yaml").write_text(f"remote: {{url: {self.share}}}\n")

    def merklfile(self, text: str) -> None:
        """Write the Merklfile of both."""
        for each in (self.here, self.there):
            (each / "Merklfile.py").write_text("from merkl import *\n" + textwrap.dedent(text))

    def merkl(self, at: Path, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run merkl in a clone, and check its exit code."""
        done: subprocess.CompletedProcess[str] = self._inside.merkl(*arguments, code=code, cwd=at)
        return done

    def build(self, at: Path, *arguments: str, code: int | None = 0) -> list[str]:
        """Build in a clone; the names of the tasks that ran."""
        done = self.merkl(at, "build", "--json", *arguments, code=code)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return [event["task"] for event in events if event["event"] == "ran"]

    def track(self, at: Path, path: str, *, store: bool = True) -> Sidecar:
        """Write a sidecar for data that is there, anew, and store the data."""
        project = Project(load_config(str(at)))
        try:
            if store:
                keep(project.store, project.root, path, "dir" if (at / path).is_dir() else "file")
            found = project.index.look(path)
            assert isinstance(found, Artifact)
            when = os.stat(at / path).st_mtime_ns
            return write_sidecar(
                project.root, path, Sidecar(found.kind, found.digest, found.size, when, found.executable)
            )
        finally:
            project.close()

    def write(self, at: Path, path: str, data: bytes | str, *, mtime: int | None = None) -> Path:
        """Write a file of a clone; ``mtime`` in seconds."""
        where = at / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(data if isinstance(data, bytes) else data.encode())
        if mtime is not None:
            os.utime(where, (mtime, mtime))
        return where

    def hand_over(self) -> None:
        """What git does: the sidecars of ``here`` come to ``there``."""
        for sidecar in self.here.rglob("*.merkl"):
            if sidecar.is_file():
                target = self.there / sidecar.relative_to(self.here)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(sidecar.read_bytes())

    def sidecar(self, at: Path, path: str) -> Sidecar:
        """The sidecar of a path."""
        found = read_sidecar(str(at), path)
        assert found is not None
        return found

    def sent(self) -> dict[str, int]:
        """The objects of the share, by name, with the inode of each."""
        return {
            str(path.relative_to(self.share)): path.stat().st_ino
            for path in self.share.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def clones(inside: Any, tmp_path: Path) -> Clones:
    return Clones(inside, tmp_path)


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, Any]]:
    """All that is below a directory, without merkl's own: kind, mode and bytes by path."""

    def take(top: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path in sorted(top.rglob("*")):
            name = str(path.relative_to(top))
            if name.split("/")[0] == ".merkl":
                continue
            if path.is_symlink():
                found[name] = ("link", os.readlink(path))
            elif path.is_dir():
                found[name] = "dir"
            else:
                found[name] = (path.stat().st_mode & 0o7777, path.read_bytes())
        return found

    return take

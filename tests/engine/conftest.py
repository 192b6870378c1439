"""Merkl run in this process, for stories of many builds."""

import os
import subprocess
import sys
from typing import Any

import pytest

from merkl.cli.main import run


@pytest.fixture
def inside(project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """An empty project whose commands run in this process; otherwise as ``project``.  ``env`` replaces the environment."""
    monkeypatch.chdir(project.path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def merkl(
        *arguments: str, code: int | None = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        before = dict(os.environ)
        capsys.readouterr()
        try:
            if env is not None:
                os.environ.clear()
                os.environ.update(env)
            ended = run(arguments)
        finally:
            os.environ.clear()
            os.environ.update(before)
        got = capsys.readouterr()
        assert code is None or ended == code, f"exit {ended}\n{got.out}\n{got.err}"
        return subprocess.CompletedProcess(arguments, ended, got.out, got.err)

    monkeypatch.setattr(project, "merkl", merkl)
    return project

"""What every fault test ends with: after the fault, everything is as if it had never happened."""

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REQUIRE_ALL = bool(os.environ.get("MERKL_REQUIRE_ALL"))


def files_below(
    top: Path, leave_out: frozenset[str] = frozenset({".merkl", "__pycache__"})
) -> dict[bytes, Any]:
    """Every file, link and directory below ``top``: its kind, executable bit and content by its relative path."""
    found: dict[bytes, Any] = {}
    for folder, folders, files in os.walk(os.fsencode(top)):
        folders[:] = [name for name in folders if os.fsdecode(name) not in leave_out]
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[os.path.relpath(path, os.fsencode(top))] = ("link", os.readlink(path))
            elif os.path.isfile(path):
                runs = bool(os.stat(path).st_mode & 0o100)
                found[os.path.relpath(path, os.fsencode(top))] = (
                    "file",
                    runs,
                    Path(os.fsdecode(path)).read_bytes(),
                )
    return found


# Of each worker of the suite: what a clean build makes of a project does not depend on what happened to another copy.
_clean: dict[bytes, dict[bytes, Any]] = {}


@pytest.fixture
def proven(project: Any, tmp_path: Path) -> Callable[..., None]:
    """Check a project after a fault: it builds, its files are those of a clean build elsewhere, its store is sound.

    ``targets`` are the words of the build; ``made`` are the names, at the top of the project, of files and directories
    that only a build makes: they are left out of the copy that the clean build starts from.
    """

    def check(*targets: str, made: tuple[str, ...] = ("build",)) -> None:
        project.merkl("build", *targets)
        clean = tmp_path / "clean"
        shutil.rmtree(clean, ignore_errors=True)
        shutil.copytree(
            project.path,
            clean,
            symlinks=True,
            ignore=_only_at(project.path, {".merkl", "__pycache__", *made}),
        )
        begins_with = hashlib.sha256(repr((targets, files_below(clean))).encode()).digest()
        if begins_with not in _clean:
            project.merkl("build", *targets, cwd=clean)
            _clean[begins_with] = files_below(clean)
        assert files_below(project.path) == _clean[begins_with]
        _sound(project.path)

    return check


def _sound(path: Path) -> None:
    """Run ``merkl fsck`` in this process; it must find nothing."""
    from merkl.cli.main import run

    said = io.TextIOWrapper(io.BytesIO(), write_through=True)
    with contextlib.chdir(path), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run(["fsck"])
    assert code == 0, said.buffer.getvalue().decode()  # type: ignore[attr-defined]


@pytest.fixture
def mount(project: Any) -> Iterator[Callable[..., Path]]:
    """Mount a file system in memory, with options of the test's own, at a path in the project."""
    mounted: list[Path] = []

    def make(name: str, options: str) -> Path:
        where: Path = project.path / name
        where.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"mode=755,{options}", "merkl-test", str(where)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            refuse = pytest.fail if REQUIRE_ALL else pytest.skip
            refuse(f"may not mount: {done.stderr.strip()}")
        mounted.append(where)
        return where

    yield make
    for where in reversed(mounted):
        # Asked of the kernel: a directory that is mounted twice has the device of its parent.
        while f" {where} " in Path("/proc/self/mountinfo").read_text():
            subprocess.run(["umount", "-l", str(where)], check=True)


def _only_at(top: Path, names: set[str]) -> Callable[[str, list[str]], set[str]]:
    def ignored(folder: str, found: list[str]) -> set[str]:
        return names.intersection(found) if Path(folder) == top else set()

    return ignored

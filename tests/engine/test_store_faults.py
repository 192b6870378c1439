"""A store on a file system that may only be read: the build delivers all the same.

A store that is full, or on another file system: ``tests/faults/test_disk_full.py`` and ``test_disk_limits.py``.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LARGE = """
    import os

    large = bash_task("head -c {arg('size')} /dev/zero | tr '\\\\0' x > {out_file_arg('out', '.txt')}")
    count = bash_task("wc -c < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")

    @task
    def text(path):
        return open(path).read()

    @task
    def tree(text):
        top = os.path.join(os.environ["TMPDIR"], "top")
        os.makedirs(top)
        for name in ("a", "b"):
            with open(os.path.join(top, name), "w") as f:
                f.write(name + text)
        return DirRef(top)

    listed = bash_task("cat {dir_arg('tree')}/* | wc -c > {out_file_arg('out', '.txt')}")

    @target(default=True)
    def all():
        big = large(3_000_000) > "big.txt"
        count(big) > "count.txt"
        folder = tree(text(big)) > "folder"
        listed(folder) > "listed.txt"

    @target
    def small():
        large(10) > "small.txt"
"""


@pytest.fixture
def mount(project: Any) -> Iterator[Callable[..., Path]]:
    """Mount a file system of the test's own below the project."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount")
    mounted: list[Path] = []

    def make(name: str, options: str) -> Path:
        where: Path = project.path / name
        where.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"mode=755,{options}", "merkl-test", str(where)],
            capture_output=True,
        )
        if done.returncode:
            pytest.skip(f"may not mount: {done.stderr.decode().strip()}")
        mounted.append(where)
        return where

    yield make
    for where in reversed(mounted):
        subprocess.run(["umount", "-l", str(where)], check=True)


def check_all(project: Any) -> None:
    assert (project.path / "big.txt").stat().st_size == 3_000_000
    assert project.read("count.txt").split() == ["3000000"]
    assert project.read("listed.txt").split() == ["6000002"]
    assert (project.path / "folder/b").stat().st_size == 3_000_001


def test_a_read_only_store_answers_and_takes_nothing(
    project: Any, mount: Callable[..., Path], tmp_path: Any
) -> None:
    shared = mount("shared", "size=30m")
    environment = os.environ | {"MERKL_STORE": str(shared / "store")}
    project.merklfile(LARGE)
    project.merkl("build", "small", env=environment)
    subprocess.run(["mount", "-o", "remount,ro", str(shared)], check=True)
    (project.path / "small.txt").unlink()

    assert project.build("small", env=environment) == []
    assert project.read("small.txt") == "x" * 10
    done = project.merkl("build", env=environment)
    assert "not cached: the store may not be written" in done.stderr + done.stdout
    check_all(project)


def test_a_project_that_may_not_be_written_is_an_error_of_the_store(
    project: Any, mount: Callable[..., Path]
) -> None:
    inner = mount("inner", "size=1m")
    other = type(project)(inner)
    other.merklfile(LARGE)
    subprocess.run(["mount", "-o", "remount,ro", str(inner)], check=True)

    assert "small" in other.merkl("list").stdout
    done = other.merkl("build", "small", code=3)
    assert "may not be written" in done.stderr and "Traceback" not in done.stderr


def damage(project: Any, store: Path) -> None:
    """Change a large blob behind the store's back."""
    (blob,) = (path for path in store.glob("blobs/*/*") if path.stat().st_size == 3_000_000)
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"damage")
    shutil.rmtree(project.path / ".merkl/view", ignore_errors=True)


def test_damage_in_a_store_that_cannot_be_repaired_is_gone_around(
    project: Any, mount: Callable[..., Path]
) -> None:
    shared = mount("shared", "size=30m")
    environment = os.environ | {"MERKL_STORE": str(shared / "store")}
    project.merklfile(
        LARGE
        + """
    @target
    def again():
        count(large(3_000_000)) > "again.txt"
        large(3_000_000) > "big2.txt"

    other = bash_task("wc -l < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")

    @target
    def needs():
        other(large(3_000_000)) > "needs.txt"
    """
    )
    project.merkl("build", env=environment)
    damage(project, shared / "store")
    subprocess.run(["mount", "-o", "remount,ro", str(shared)], check=True)

    assert project.build("needs", env=environment) == ["large", "other"]
    assert project.read("needs.txt").split() == ["0"]
    assert project.build("again", env=environment) == ["large"]
    assert set(project.read("big2.txt")) == {"x"}

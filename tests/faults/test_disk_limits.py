"""Disks that fail to read, that are another one, or that may not be written, and few descriptors.

========  ====================================================================================================
row 19    EIO while a content of the store is read, is opened, or an input is read: here
row 20    64 descriptors and 5,000 inputs: here
row 21    outputs, staging and store on different file systems, also one mounted twice: here
row 22    a store and a project that may only be read, no HOME, no TMPDIR: here; on a file system that may only be
          read: ``tests/engine/test_store_faults.py``; the store alone: ``tests/store/test_store_disk.py``
========  ====================================================================================================
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import disk_story as story
import pytest
import strace_runs
from disk_story import no_traceback, with_errors

Mount = Callable[..., Path]
Proven = Callable[..., None]
READS = "read,pread64,preadv,preadv2,copy_file_range,sendfile"


@pytest.mark.needs("strace")
@pytest.mark.parametrize(
    ("calls", "settled"),
    [("preadv,preadv2", False), ("read,preadv,preadv2,copy_file_range", True), ("openat", False)],
    ids=["hashed", "believed", "opened"],
)
def test_row_19_a_content_that_cannot_be_read_is_made_again(
    project: Any, proven: Proven, calls: str, settled: bool
) -> None:
    """Each call fails once; what is believed by its stamp is read a second time, to see whose fault it was."""
    story.set_up(project)
    project.build()
    blobs = story.blobs(project)
    for blob in blobs if strace_runs.FULL else strace_runs.chances().sample(blobs, 2):
        shutil.rmtree(project.path / ".merkl/view", ignore_errors=True)
        shutil.rmtree(project.path / "build")
        if settled:
            story.let_settle(project)
            project.build()
            shutil.rmtree(project.path / "build")
        else:
            os.utime(blob)  # So that it is not believed by its stamp.

        done = with_errors(project, calls, "EIO", blob, "build", when="1")

        said = done.stdout + done.stderr
        assert done.returncode == 0 and no_traceback(done), said
        assert blob.name[:12] in said
        assert "1 ran" in said
    proven()


@pytest.mark.needs("strace")
def test_row_19_an_input_that_cannot_be_read_is_named(project: Any, proven: Proven) -> None:
    story.set_up(project)

    done = with_errors(project, READS, "EIO", project.path / "input.txt", "build")

    assert done.returncode == 2 and no_traceback(done)
    assert "input.txt" in done.stderr and "nput/output error" in done.stderr
    proven()


@pytest.mark.needs("strace")
@pytest.mark.parametrize("end", ["", "-wal"])
def test_row_19_a_database_that_cannot_be_read_is_an_error_that_says_so(
    project: Any, proven: Proven, end: str
) -> None:
    story.set_up(project)
    project.build()
    shutil.rmtree(project.path / "build")
    path = f"{story.database(project)}{end}"

    done = with_errors(project, READS, "EIO", path, "build")

    assert no_traceback(done)
    assert done.returncode in (0, 3)
    if done.returncode:
        assert "the store's database cannot be used: disk I/O error" in done.stderr
        assert ".merkl/store" in done.stderr and "hint:" in done.stderr
    proven()


def few_descriptors(project: Any, *words: str, count: int = 64) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'ulimit -n {count}; exec "$@"', "bash", sys.executable, "-m", "merkl", *words],
        cwd=project.path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_row_20_sixty_four_descriptors_are_enough_for_five_thousand_inputs(
    project: Any, proven: Proven
) -> None:
    (project.path / "inputs").mkdir()
    for n in range(5000):
        (project.path / f"inputs/{n:04}.txt").write_text(f"{n:04}\n")
    project.merklfile(
        """
        count = bash_task("cat {files_arg('inputs')} | wc -l > {out_file_arg('out', '.txt')}")
        copy = bash_task("cat {file_arg('a')} > {out_file_arg('out', '.txt')}")

        @task
        def total(paths):
            return sum(len(open(path).read()) for path in paths)

        @target(default=True)
        def all():
            parts = files("inputs/*.txt")
            count(parts) > "build/count.txt"
            total(parts) > "build/total.txt"
            for n, part in enumerate(parts[:30]):
                copy(part) > f"build/{n}.txt"
        """
    )
    done = few_descriptors(project, "build", "-j8")

    assert done.returncode == 0, done.stdout + done.stderr
    assert project.read("build/count.txt").split() == ["5000"]
    assert project.read("build/total.txt").split() == ["25000"]
    assert few_descriptors(project, "build", "-j8").returncode == 0
    proven()


FULL = pytest.mark.full


@pytest.mark.parametrize("count", [8, 20, *(pytest.param(n, marks=FULL) for n in (12, 16, 32))])
def test_row_20_too_few_descriptors_are_an_error_that_says_so(
    project: Any, proven: Proven, count: int
) -> None:
    story.set_up(project)

    done = few_descriptors(project, "build", "-j4", count=count)

    if done.returncode:
        assert no_traceback(done), done.stderr
        assert "too many open files" in (done.stdout + done.stderr).lower(), done.stderr
    proven()


@pytest.mark.needs("mount")
@pytest.mark.parametrize("where", ["build", ".merkl/store", ".merkl/stage", ".merkl/view"])
def test_row_21_any_part_may_lie_on_another_file_system(
    project: Any, mount: Mount, proven: Proven, where: str
) -> None:
    mount(where, "size=50m")
    story.set_up(project)

    assert sorted(project.build()) == story.TASKS
    for path in (project.path / "build").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert project.build() == []
    assert project.build("n=2") == ["both"]
    proven("n=2")


@pytest.fixture
def mounted_twice(project: Any, mount: Mount) -> Mount:
    """Mount a directory of the project at another place of it: one file system, and no rename from one to the other."""

    def make(name: str, _: str) -> Path:
        where = mount(name, "size=1k")
        story.unmount(where)
        elsewhere = project.path.parent / "elsewhere"
        elsewhere.mkdir()
        subprocess.run(["mount", "--bind", str(elsewhere), str(where)], check=True)
        return where

    return make


@pytest.mark.needs("mount")
@pytest.mark.parametrize("where", ["build", ".merkl/stage"])
def test_row_21_a_file_system_that_is_mounted_twice(
    project: Any, mounted_twice: Mount, proven: Proven, where: str
) -> None:
    mounted_twice(where, "")
    story.set_up(project)

    assert sorted(project.build()) == story.TASKS
    for path in (project.path / "build").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert project.build() == []
    assert project.build("n=2") == ["both"]
    proven("n=2")


# ---- row 22 --------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(project: Any) -> Iterator[Any]:
    """The story, unbuilt."""
    story.set_up(project)
    yield project
    unlock(project.path)


def as_user(project: Any, *words: str, **env: str | None) -> subprocess.CompletedProcess[str]:
    """Run merkl without root's privileges, so that modes bind it, with some variables set or (None) taken away."""
    who = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    merged = {**os.environ, **env}
    return subprocess.run(
        [*(who if os.geteuid() == 0 else []), sys.executable, "-m", "merkl", *words],
        cwd=project.path, env={name: value for name, value in merged.items() if value is not None},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def lock_up(top: Path) -> None:
    subprocess.run(["chmod", "-R", "a-w", str(top)], check=True)


def unlock(top: Path) -> None:
    subprocess.run(["chmod", "-R", "u+w", str(top)], check=True)


needs_user = pytest.mark.needs("setpriv")


@needs_user
def test_row_22_a_store_that_may_only_be_read_answers_and_takes_nothing(written: Any, proven: Proven) -> None:
    assert as_user(written, "build").returncode == 0
    lock_up(written.path / ".merkl/store")
    shutil.rmtree(written.path / "build")

    done = as_user(written, "build")
    assert done.returncode == 0 and "7 cached" in done.stdout, done.stdout + done.stderr
    done = as_user(written, "build", "n=2")

    said = done.stdout + done.stderr
    assert done.returncode == 0 and no_traceback(done), said
    assert "not cached: the store may not be written by this user" in said and ".merkl/store" in said
    assert "MERKL_STORE" in said and "1 ran" in said
    assert written.read("build/both.txt").startswith("made by 2\n")
    unlock(written.path / ".merkl/store")
    proven("n=2")


@needs_user
def test_row_22_a_store_nobody_may_make_anything_in_costs_the_cache(written: Any) -> None:
    shared = written.path.parent / "shared"
    shared.mkdir()
    lock_up(shared)

    done = as_user(written, "build", MERKL_STORE=str(shared / "store"))

    assert done.returncode == 3 and no_traceback(done)
    assert "the store may not be written by this user" in done.stderr and str(shared) in done.stderr
    assert "MERKL_STORE" in done.stderr
    assert as_user(written, "build").returncode == 0


@needs_user
def test_row_22_a_project_that_may_only_be_read_is_an_error(written: Any) -> None:
    lock_up(written.path)

    done = as_user(written, "build")
    assert done.returncode == 3 and no_traceback(done)
    assert ".merkl" in done.stderr and "may not be written" in done.stderr
    assert as_user(written, "list").returncode == 0
    assert not (written.path / "build").exists()


@needs_user
def test_row_22_a_built_project_that_may_only_be_read_keeps_what_it_has(written: Any) -> None:
    assert as_user(written, "build").returncode == 0
    before = {p: p.read_bytes() for p in (written.path / "build").rglob("*") if p.is_file()}
    lock_up(written.path)

    for words in (["build"], ["build", "n=2"], ["why"], ["log"], ["build", "--dry-run"], ["list"]):
        done = as_user(written, *words)
        assert no_traceback(done), (words, done.stdout + done.stderr)
        assert done.returncode in (0, 1, 2, 3)
        if done.returncode:
            assert str(written.path) in done.stderr or ".merkl" in done.stderr or "build/" in done.stderr

    assert {p: p.read_bytes() for p in (written.path / "build").rglob("*") if p.is_file()} == before
    unlock(written.path)
    done = as_user(written, "build", "n=2")
    assert done.returncode == 0, done.stderr


@needs_user
def test_row_22_outputs_that_may_not_be_placed_are_named(written: Any) -> None:
    assert as_user(written, "build").returncode == 0
    old = written.read("build/both.txt")
    (written.path / "build").chmod(stat.S_IRUSR | stat.S_IXUSR)

    done = as_user(written, "build", "n=2")

    assert done.returncode == 1 and no_traceback(done)
    assert "cannot write build/both.txt: permission denied" in done.stderr
    assert "see who may write to its directory" in done.stderr
    assert written.read("build/both.txt") == old
    (written.path / "build").chmod(0o755)
    assert "1 ran" not in as_user(written, "build", "n=2").stdout  # What was made is in the store.


@needs_user
@pytest.mark.parametrize(
    "env",
    [
        {"HOME": None}, {"HOME": "/nonexistent"}, pytest.param({"HOME": ""}, marks=pytest.mark.full),
        {"TMPDIR": "/nonexistent"}, pytest.param({"TMPDIR": ""}, marks=pytest.mark.full),
        {"TMPDIR": None, "HOME": None, "LANG": None, "PATH": "/usr/bin:/bin"},
    ],
    ids=str,
)  # fmt: skip
def test_row_22_no_home_and_no_tmpdir_are_no_reason_to_fail(written: Any, env: dict[str, str | None]) -> None:
    for words in (["build"], ["build", "n=2"], ["doctor"], ["list"], ["gc"]):
        done = as_user(written, *words, **env)
        assert done.returncode == 0 and no_traceback(done), (words, done.stdout + done.stderr)
    assert written.read("build/both.txt").startswith("made by 2\n")
    assert written.read("build/little.txt") == "hello\n"

"""Clocks that jump and files with dates that make no sense: row 38 of the faults.

Nobody may set the clock of the machine that runs the tests.  So here is a file system whose stamps are rewritten while it
is not mounted, which is what a file system looks like after the clock was set back; and the clock that a process sees is
replaced.  Stamps one by one are in ``test_index``.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DAY_S = 86_400
NOTE = "some files were changed later than it is now"

STORY = """
    import lib

    cat = bash_task("cat {file_arg('f')} > {out_file_arg('o')}")
    tree = bash_task("cat {dir_arg('d')}/* > {out_file_arg('o')}")
    cc = bash_task("cat dep.h > {out_file_arg('o')}; echo 'o: dep.h' > {depfile_arg()}")
    large = bash_task("head -c 300000 /dev/zero | cat {file_arg('f')} - > {out_file_arg('o')}")
    join = bash_task("cat {files_arg('fs')} | tr -d '\\\\0' > {out_file_arg('o')}")

    @task
    def code(text):
        return lib.shout(text)

    @target(default=True)
    def all():
        joined = join([cat("in.txt"), tree("src"), cc(), large("in.txt")], o="build/joined.txt")
        code(bash_task("cat {file_arg('f')}", name="read")(joined)) > "build/all.txt"
"""
NAMES = {
    "in.txt": "in 0\n",
    "src/a": "tree 0\n",
    "dep.h": "header 0\n",
    "lib.py": "def shout(text):\n    return text.upper() + '0'\n",
}
TASKS = ["cat", "cc", "code", "join", "large", "read", "tree"]


def lay_out(project: Any) -> None:
    for name, text in NAMES.items():
        project.write(name, text)
    project.merklfile(STORY)


def check_edits_are_seen(project: Any, number: int) -> None:
    """Edit one source after the other, without changing its size or time."""
    expected = {"in.txt": ["cat", "code", "join", "large", "read"], "src/a": ["code", "join", "read", "tree"],
                "dep.h": ["cc", "code", "join", "read"], "lib.py": ["code"]}  # fmt: skip
    for name, ran in expected.items():
        path = project.path / name
        before = path.stat()
        path.write_text(NAMES[name].replace("0", str(number)))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert sorted(project.build("-j1")) == ran, name
        assert project.build("-j1") == []
    lines = (f"IN {number}", f"TREE {number}", f"HEADER {number}", f"IN {number}", str(number))
    assert project.read("build/all.txt") == "\n".join(lines)


@pytest.mark.parametrize(
    "seconds",
    [
        -10 * 365 * DAY_S,
        *(pytest.param(each, marks=pytest.mark.full) for each in (-1, 0, 4_070_908_800)),
        2**33 + 5,
    ],
)
def test_row_38_files_of_any_date_are_files(inside: Any, proven: Callable[..., None], seconds: int) -> None:
    lay_out(inside)
    everything = [*NAMES, "Merklfile.py", "src"]
    for name in everything:
        os.utime(inside.path / name, (seconds, seconds))
    if (inside.path / "in.txt").stat().st_mtime != seconds:
        pytest.skip("this file system has no such dates")
    assert sorted(inside.build("-j1")) == TASKS
    for name in [*everything, "build/joined.txt", "build/all.txt", "build"]:
        os.utime(inside.path / name, (seconds, seconds))
    done = inside.merkl("build", "-j1")
    assert "ran" not in done.stdout and "note" not in done.stdout + done.stderr
    check_edits_are_seen(inside, 1)
    proven()


@pytest.mark.parametrize("jump", [-DAY_S, 3650 * DAY_S])
def test_row_38_a_clock_that_jumps_between_builds_runs_nothing(
    inside: Any, proven: Callable[..., None], monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    """Only the clock of the process: that of the file system stays, as with a container that has a wrong one."""
    now, now_ns = time.time, time.time_ns
    lay_out(inside)
    assert sorted(inside.build("-j1")) == TASKS
    for offset in (jump, 0, jump):
        monkeypatch.setattr(time, "time", lambda: now() + offset)  # noqa: B023
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + offset * 1_000_000_000)  # noqa: B023
        done = inside.merkl("build", "-j1")
        assert "ran" not in done.stdout and "note" not in done.stdout + done.stderr
        (inside.path / "build/all.txt").unlink()
        assert inside.build("-j1") == []
    check_edits_are_seen(inside, 2)
    inside.merkl("fsck")
    inside.merkl("gc")
    assert inside.build("-j1") == []
    proven()


class Image:
    """A file system in a file, whose stamps can be rewritten while it is not mounted."""

    def __init__(self, path: Path, where: Path) -> None:
        self.path, self.where = path, where
        with open(path, "wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-I", "256", path], check=True, capture_output=True)

    def mount(self) -> None:
        done = subprocess.run(["mount", "-o", "loop", self.path, self.where], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"may not mount: {done.stderr.strip()}")

    def unmount(self) -> None:
        os.chdir("/")
        subprocess.run(["umount", self.where], check=True)

    def date(self, when: str) -> None:
        """Give everything in it this ctime and mtime, as ``YYYYMMDDhhmmss``."""
        names = [
            os.path.join(folder, name)
            for folder, folders, files in os.walk(self.where)
            for name in (*folders, *files)
        ]
        inside = [os.path.relpath(name, self.where) for name in names]
        self.unmount()
        commands = "".join(
            f'sif "/{name}" {field} {when}\n' for name in inside for field in ("ctime", "mtime")
        )
        subprocess.run(
            ["debugfs", "-w", "-f", "/dev/stdin", self.path],
            input=commands,
            text=True,
            check=True,
            capture_output=True,
        )
        self.mount()
        os.chdir(self.where)


@pytest.fixture
def image(inside: Any, tmp_path: Path) -> Iterator[Image]:
    """The file system that ``inside`` lies in."""
    here = os.getcwd()
    made = Image(tmp_path / "image", inside.path)
    made.mount()
    try:
        os.chdir(inside.path)
        os.rmdir("lost+found")
        yield made
    finally:
        made.unmount()
        os.chdir(here)


@pytest.mark.needs("mke2fs", "debugfs", "mount", "umount")
def test_row_38_after_the_clock_was_set_back_nothing_runs_for_ever_and_one_warning_says_why(
    inside: Any, image: Image, proven: Callable[..., None]
) -> None:
    lay_out(inside)
    assert sorted(inside.build("-j1")) == TASKS
    image.date("20360102030405")
    assert (inside.path / "dep.h").stat().st_ctime > time.time() + 365 * DAY_S

    for _ in range(2):  # And again, until then: it costs reading, not running.
        done = inside.merkl("build", "-j1")
        assert "ran" not in done.stdout
        assert (done.stdout + done.stderr).count(NOTE) == 1, done.stdout + done.stderr
        assert "`touch` gives a file the time it is now" in done.stdout + done.stderr
    assert inside.merkl("build", "-j1", "-B").stdout.count(NOTE) == 1  # A header of the future is no change.
    check_edits_are_seen(inside, 3)
    for folder, _, files in os.walk(inside.path):
        for name in files:
            if ".merkl" not in folder:
                os.utime(os.path.join(folder, name))
    done = inside.merkl("build", "-j1")
    assert "ran" not in done.stdout and NOTE not in done.stdout + done.stderr
    proven()


@pytest.mark.needs("mke2fs", "debugfs", "mount", "umount")
def test_row_38_after_the_clock_was_set_forward_nothing_runs(
    inside: Any, image: Image, proven: Callable[..., None]
) -> None:
    lay_out(inside)
    assert sorted(inside.build("-j1")) == TASKS
    image.date("19990102030405")
    done = inside.merkl("build", "-j1")
    assert "ran" not in done.stdout and "note" not in done.stdout + done.stderr
    check_edits_are_seen(inside, 4)
    proven()

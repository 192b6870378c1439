"""Where a project may lie: row 58 of the faults.

Beside these: what tasks of every kind do in a project of an odd name (``test_bash_names``), and absolute paths in a project
that moves (``test_bash_options``).
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOVED = """
    import lib

    cat = bash_task("cat {file_arg('f')} {dir_arg('d')}/* > {out_file_arg('o')}; echo ok")
    cc = bash_task("cat {file_arg('f')} dep.h > {out_file_arg('o')}; echo 'o: {file_arg('f')} dep.h' > {depfile_arg()}")
    tree = bash_task("cp {file_arg('f')} {out_dir_arg('p')}/x; ln -s x {out_dir_arg('p')}/l")

    @task
    def upper(path, text):
        return lib.shout(open(path).read() + open(text).read())

    @target(default=True)
    def all():
        made = cat("in.txt", "src", o="build/o.txt")
        cc("in.txt", o="build/o.c")
        tree(made, p="build/tree")
        upper(file("in.txt"), made) > "build/upper.txt"
"""
FULL = bool(os.environ.get("MERKL_FULL"))
MOVED_TASKS = ["cat", "cc", "tree", "upper"]
ODD = ["a b", "it's", 'say "x"', "new\nline", "$(touch pwned)", "\udcff\udcfe", "-n", "é" * 100]


def lay_out_moved(project: Any) -> None:
    project.write("in.txt", "in\n")
    project.write("src/a", "a\n")
    project.write("dep.h", "h\n")
    project.write("lib.py", "def shout(text):\n    return text.upper()\n")
    project.merklfile(MOVED)


def test_row_58_a_project_may_lie_anywhere_and_may_be_moved(
    project: Any, tmp_path: Path, proven: Callable[..., None]
) -> None:
    lay_out_moved(project)
    assert sorted(project.build("-j2")) == MOVED_TASKS
    for number, name in enumerate(ODD):
        moved = tmp_path / name
        project.path.rename(moved)
        project.path = moved
        assert project.build() == [], name
        if number % (1 if FULL else 6) == 0:
            project.write("in.txt", f"in {number}\n")
            assert sorted(project.build("-j2")) == MOVED_TASKS, name
            assert project.read("build/upper.txt") == f"IN {number}\nIN {number}\nA\n"
            project.write("dep.h", f"h {number}\n")
            assert project.build() == ["cc"], name
    assert not list(tmp_path.rglob("pwned"))
    proven()


def test_row_58_a_project_reached_through_a_link_is_the_same_project(
    project: Any, tmp_path: Path, proven: Callable[..., None]
) -> None:
    lay_out_moved(project)
    link = tmp_path / "a link"
    link.symlink_to(project.path)

    assert sorted(project.build("-j2", cwd=link)) == MOVED_TASKS
    assert project.build() == []
    in_shell = subprocess.run(
        ["bash", "-c", 'cd "$1" && exec "$2" -m merkl build --json', "bash", str(link), sys.executable],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '"event": "ran"' not in in_shell.stdout  # ``$PWD`` is the link there.
    link.unlink()
    moved = tmp_path / "elsewhere"
    project.path.rename(moved)
    project.path.symlink_to(moved)
    assert project.build() == []
    proven()


def test_row_58_a_copied_project_needs_nothing_of_the_one_it_was_copied_from(
    project: Any, tmp_path: Path
) -> None:
    lay_out_moved(project)
    project.build("-j2")
    copy = type(project)(tmp_path / "copy")
    subprocess.run(["cp", "-a", str(project.path), str(copy.path)], check=True)
    subprocess.run(["rm", "-rf", str(project.path)], check=True)

    assert copy.build() == []
    copy.write("src/a", "b\n")
    assert sorted(copy.build("-j2")) == ["cat", "tree", "upper"]
    assert copy.read("build/tree/l") == "in\nb\n"
    copy.merkl("fsck")

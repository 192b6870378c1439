"""Inputs that change while a task reads them: row 39 of the faults.

Beside these: a task that edits its own input (``test_bash_failures``), and headers (``test_bash_depfiles``).
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MEANWHILE = """
    import os, time
    from pathlib import Path

    GO = "until test -e going; do sleep 0.01; done"
    file_ = bash_task("cat {file_arg('f')} > {out_file_arg('o')}; touch begun; " + GO + "; cat {file_arg('f')} >> {out_file_arg('o')}")
    tree = bash_task("touch begun; " + GO + "; cat {dir_arg('d')}/* > {out_file_arg('o')}")
    header = bash_task("cat h/dep.h > {out_file_arg('o')}; touch begun; " + GO + "; echo 'o: h/dep.h' > {depfile_arg()}")
    after = bash_task("cat {file_arg('f')} > {out_file_arg('o')}")

    @task
    def code(path):
        text = Path(path).read_text()
        Path("begun").touch()
        while not os.path.exists("going"):
            time.sleep(0.01)
        return text + Path(path).read_text()

    for made, name in ((file_("in.txt"), "file"), (tree("src"), "tree"), (header(), "header"), (code(file("in.txt")), "code")):
        after(made) > f"build/{name}.txt"
        target(name, after(made))
"""


def edited(path: Path) -> None:
    before = path.stat()
    path.write_text("new\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def edited_and_back(path: Path) -> None:
    old, before = path.read_text(), path.stat()
    path.write_text("new\n")
    path.write_text(old)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def exchanged(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_text("new\n")
    path.rename(path.with_suffix(".old"))
    other.rename(path)


def gone(path: Path) -> None:
    path.rename(path.with_suffix(".old"))


CHANGES = [("file", edited), ("file", edited_and_back), ("file", exchanged), ("tree", edited), ("tree", exchanged),
           ("header", edited), ("header", edited_and_back), ("code", edited), ("code", gone)]  # fmt: skip


@pytest.mark.parametrize(("target", "change"), CHANGES)
def test_row_39_a_result_of_an_input_that_changed_meanwhile_is_not_kept(
    project: Any, target: str, change: Callable[[Path], None]
) -> None:
    source = {"tree": "src/a", "header": "h/dep.h"}.get(target, "in.txt")
    for name in ("in.txt", "src/a", "h/dep.h"):
        project.write(name, "old\n")
    project.merklfile(MEANWHILE)
    subprocess.run(["sleep", "0.05"], check=True)  # So that the header's stamp is of before the command.
    build = project.popen("build", "-j1", target)
    try:
        while not (project.path / "begun").exists():
            assert build.poll() is None, build.communicate()
            subprocess.run(["sleep", "0.01"], check=True)
        change(project.path / source)
        (project.path / "going").touch()
        out, err = build.communicate(timeout=60)
    finally:
        build.kill()
    assert build.returncode == 1, out + err
    shown = "src" if target == "tree" else source
    if change is gone:
        assert "FileNotFoundError" in err and "also: in.txt changed meanwhile; build again" in err
    else:
        assert f"{shown} changed while" in err and "its result was not kept" in err
        assert "hint: build again" in err
    assert "1 skipped" in out

    if change is gone:
        assert "in.txt does not exist" in project.merkl("build", target, code=2).stderr
        (project.path / "in.old").rename(project.path / source)
    assert project.build("-j1", target) == [{"file": "file_"}.get(target, target), "after"]
    text = (project.path / source).read_text()
    project.merkl("build", "-j1", f"build/{target}.txt")
    assert project.read(f"build/{target}.txt") == text * (2 if target in ("file", "code") else 1) + (
        "old\n" if change is exchanged and target == "tree" else ""
    )
    project.merkl("fsck")


def test_row_39_after_edits_meanwhile_the_next_build_is_as_a_clean_one(
    project: Any, proven: Callable[..., None]
) -> None:
    project.write("in.txt", "old\n")
    project.merklfile(
        """
        edit = bash_task("cat {file_arg('f')} > {out_file_arg('o')}; test -e done || { touch done; echo new > in.txt; }")
        target("all", edit("in.txt", o="build/out.txt"), default=True)
        """
    )
    said = project.merkl("build", code=1).stderr
    assert "in.txt changed while edit was using it; its result was not kept" in said
    assert not (project.path / "build").exists()
    proven()
    assert project.read("build/out.txt") == "new\n"

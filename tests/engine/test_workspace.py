"""Outputs in the workspace: where they may go, what becomes of what lies there, and their sidecars."""

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

MAKE = """
    make = bash_task("echo {arg('text')} > {out_file_arg('out', '.txt')}")
    folder = bash_task("mkdir -p {out_dir_arg('out')}/sub; echo {arg('text')} > {out_dir_arg('out')}/sub/f; ln -s sub/f {out_dir_arg('out')}/link")
    script = bash_task("echo '#!/bin/sh' > {out_file_arg('out', '.sh')}; chmod +x {out_file_arg('out', '.sh')}")

    @task
    def number(n):
        return n
"""


def merklfile(project: Any, *lines: str, more: str = "") -> None:
    """A Merklfile with the tasks above and a default target of these lines."""
    body = "".join(f"        {line}\n" for line in lines)
    project.merklfile(f"{MAKE}\n{more}\n    @target(default=True)\n    def all():\n{body}")


def test_two_outputs_at_one_path_are_refused_and_both_named(inside: Any) -> None:
    merklfile(inside, 'make("a") > "out.txt"', 'number(1) > "./sub/../out.txt"')
    said = inside.merkl("build", code=2).stderr

    assert "two outputs would be placed at out.txt" in said
    assert "make, placed at" in said and "number, placed at" in said
    assert not (inside.path / "out.txt").exists()


def test_targets_that_conflict_may_be_built_one_at_a_time(inside: Any) -> None:
    inside.merklfile(
        MAKE
        + """
    @target
    def one():
        make("1") > "out.txt"

    @target
    def two():
        make("2") > "out.txt"
    """
    )
    inside.build("one")
    inside.build("two")
    assert inside.read("out.txt") == "2\n"
    assert inside.build("one") == []
    assert inside.read("out.txt") == "1\n"
    assert "two outputs would be placed at out.txt" in inside.merkl("build", "one", "two", code=2).stderr


def test_one_output_may_be_at_two_paths(inside: Any) -> None:
    merklfile(inside, 'f = make("a") > "one.txt"', 'f > "two.txt"', 'make("a") > "one.txt"')

    assert inside.build() == ["make"]
    assert inside.read("one.txt") == inside.read("two.txt") == "a\n"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("../out.txt", "outside the project"),
        ("/tmp/merkl-never", "outside the project"),
        (".merkl/out", "belongs to version control or to merkl"),
        (".git/hooks/pre-commit", "belongs to version control or to merkl"),
        ("Merklfile.py", "merkl would run or obey it"),
        ("x.merkl", "sidecars"),
    ],
)
def test_paths_that_are_not_the_projects_to_write_are_refused(inside: Any, path: str, says: str) -> None:
    merklfile(inside, f'make("a") > {path!r}')

    assert says in inside.merkl("build", code=2).stderr


def test_an_output_inside_another_output_is_refused(inside: Any) -> None:
    merklfile(inside, 'folder("a") > "out"', 'make("b") > "out/sub/f"')

    assert "out/sub/f lies inside out, which is an output itself" in inside.merkl("build", code=2).stderr


def test_an_output_read_as_a_plain_file_is_refused(inside: Any) -> None:
    inside.write("middle.txt", "by hand")
    more = """
    copy = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")
    """
    merklfile(inside, 'make("a") > "middle.txt"', 'copy("middle.txt") > "out.txt"', more=more)
    said = inside.merkl("build", code=2).stderr

    assert "copy reads middle.txt as a plain file, but make makes it" in said
    assert "pass the Future instead of the path" in said
    assert inside.read("middle.txt") == "by hand"


def test_a_file_inside_an_output_read_as_a_plain_file_is_refused(inside: Any) -> None:
    inside.write("tree/sub/f.txt", "by hand")
    more = """
    copy = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")
    """
    merklfile(inside, 'folder("a") > "tree"', 'copy("tree/sub/f.txt") > "out.txt"', more=more)
    said = inside.merkl("build", code=2).stderr

    assert "copy reads tree/sub/f.txt as a plain file, but folder makes tree" in said
    assert "pass the Future instead of the path, to a dir_arg" in said
    assert inside.read("tree/sub/f.txt") == "by hand"


def test_deleted_outputs_come_back_without_running(inside: Any) -> None:
    merklfile(
        inside,
        'make("a") > "deep/er/out.txt"',
        'folder("b") > "tree"',
        'script() > "run.sh"',
        'number(3) > "n.json"',
    )
    assert len(inside.build()) == 4
    (inside.path / "run.sh").unlink()
    shutil.rmtree(inside.path / "deep")
    (inside.path / "tree/sub/f").unlink()
    (inside.path / "n.json").unlink()

    assert inside.build() == []
    assert inside.read("deep/er/out.txt") == "a\n"
    assert inside.read("tree/sub/f") == inside.read("tree/link") == "b\n"
    assert os.access(inside.path / "run.sh", os.X_OK)
    assert json.loads(inside.read("n.json")) == 3


@pytest.mark.parametrize("where", ["moved/out.txt", "/not/mounted", "out.txt"])
def test_a_link_in_the_place_of_an_output_is_named_and_comes_back(inside: Any, where: str) -> None:
    merklfile(inside, 'make("a") > "out.txt"')
    inside.build()
    out = inside.path / "out.txt"
    moved = inside.write("moved/out.txt", "b\n")
    out.unlink()
    out.symlink_to(where)

    seen = inside.merkl("status").stdout
    assert "modified outputs" in seen and f"a link of yours is in its place: -> {where}" in seen
    done = inside.merkl("build")

    assert f"replaced your link out.txt -> {where}" in done.stdout + done.stderr
    assert inside.read("out.txt") == "a\n" and not out.is_symlink()
    assert moved.read_text() == "b\n"
    inside.merkl("restore", "out.txt")
    assert os.readlink(out) == where


@pytest.mark.parametrize("name", ["out.txt", "tree"])
def test_a_link_to_what_merkl_made_is_left_by_a_build_and_named_once_it_is_replaced(
    inside: Any, name: str
) -> None:
    merklfile(inside, 'make("a") > "out.txt"', 'folder("a") > "tree"')
    inside.build()
    (inside.path / "disk").mkdir()
    (inside.path / name).rename(inside.path / "disk" / name)
    (inside.path / name).symlink_to(f"disk/{name}")
    assert inside.build() == [] and (inside.path / name).is_symlink()

    cleaned = inside.merkl("clean")
    assert f"replaced your link {name} -> disk/{name}" in cleaned.stdout + cleaned.stderr
    assert not os.path.lexists(inside.path / name) and (inside.path / "disk" / name).exists()
    inside.merkl("restore", name)
    assert os.readlink(inside.path / name) == f"disk/{name}"

    merklfile(inside, 'make("b") > "out.txt"', 'folder("b") > "tree"')
    built = inside.merkl("build", "--json").stdout
    saved = [event for line in built.splitlines() if (event := json.loads(line))["event"] == "saved"]
    assert saved == [{"event": "saved", "path": name, "link": f"disk/{name}"}]
    assert not (inside.path / name).is_symlink()


@pytest.mark.parametrize(("path", "edit"), [("out.txt", "mine"), ("n.txt", "mine"), ("tree/sub/f", "mine")])
def test_what_was_edited_by_hand_is_saved_before_it_is_replaced(inside: Any, path: str, edit: str) -> None:
    merklfile(inside, 'make("a") > "out.txt"', 'folder("b") > "tree"', 'number(3) > "n.txt"')
    inside.build()
    before = inside.read(path)
    inside.write(path, edit)
    output = path.partition("/")[0]

    done = inside.merkl("build")

    assert f"merkl restore {output}" in done.stdout + done.stderr
    assert inside.read(path) == before
    inside.merkl("restore", output)
    assert inside.read(path) == edit
    assert inside.build() == []
    assert inside.read(path) == before
    inside.merkl("restore", output)
    assert inside.read(path) == edit


def test_an_edited_directory_is_saved_with_links_that_lead_anywhere(inside: Any) -> None:
    merklfile(inside, 'folder("b") > "tree"')
    inside.build()
    (inside.path / "tree/sub/f").unlink()
    (inside.path / "tree/abs").symlink_to("/etc/passwd")

    assert inside.build() == []
    assert inside.read("tree/link") == "b\n" and not os.path.lexists(inside.path / "tree/abs")
    inside.merkl("restore", "tree")
    assert os.readlink(inside.path / "tree/abs") == "/etc/passwd"
    assert os.readlink(inside.path / "tree/link") == "sub/f" and not (inside.path / "tree/sub/f").exists()


def test_what_was_there_before_merkl_came_is_saved(inside: Any) -> None:
    inside.write("out.txt", "precious")
    inside.write("tree/notes.txt", "precious too")
    merklfile(inside, 'make("a") > "out.txt"', 'folder("b") > "tree"')
    inside.build()

    assert inside.read("out.txt") == "a\n" and not (inside.path / "tree/notes.txt").exists()
    inside.merkl("restore", "out.txt", "tree")
    assert inside.read("out.txt") == "precious" and inside.read("tree/notes.txt") == "precious too"


def test_a_link_a_directory_or_a_pipe_in_the_place_of_an_output(inside: Any) -> None:
    merklfile(inside, 'make("a") > "out.txt"')
    inside.build()
    out = inside.path / "out.txt"

    target = inside.write("elsewhere.txt", "elsewhere")
    out.unlink()
    out.symlink_to(target)
    assert inside.build() == []
    assert inside.read("out.txt") == "a\n" and not out.is_symlink()
    assert target.read_text() == "elsewhere"

    out.unlink()
    out.symlink_to("nowhere")
    assert inside.build() == []
    assert inside.read("out.txt") == "a\n"

    out.unlink()
    inside.write("out.txt/inside.txt", "kept")
    assert inside.build() == []
    assert inside.read("out.txt") == "a\n"
    inside.merkl("restore", "out.txt")
    assert inside.read("out.txt/inside.txt") == "kept"

    shutil.rmtree(out)
    os.mkfifo(out)
    said = inside.merkl("build", code=2).stderr
    assert "out.txt is a fifo" in said
    out.unlink()
    assert inside.build() == []


def test_a_lost_executable_bit_is_put_back(inside: Any) -> None:
    merklfile(inside, 'script() > "run.sh"', 'make("a") > "out.txt"')
    inside.build()
    (inside.path / "run.sh").chmod(0o644)
    (inside.path / "out.txt").chmod(0o755)

    assert inside.build() == []
    assert os.access(inside.path / "run.sh", os.X_OK)
    assert (inside.path / "out.txt").stat().st_mode & 0o111 == 0


def test_outputs_go_through_a_linked_directory_inside_the_project_and_not_out_of_it(
    inside: Any, tmp_path: Any
) -> None:
    (inside.path / "real").mkdir()
    (inside.path / "linked").symlink_to("real")
    merklfile(inside, 'make("a") > "linked/out.txt"')
    inside.build()
    assert inside.read("real/out.txt") == "a\n" and (inside.path / "linked").is_symlink()

    outside = tmp_path / "outside"
    outside.mkdir()
    (inside.path / "linked").unlink()
    (inside.path / "linked").symlink_to(outside)
    assert "linked" in inside.merkl("build", code=None).stderr
    assert os.listdir(outside) == []


def test_a_placed_path_of_another_target_is_left_alone(inside: Any) -> None:
    inside.merklfile(
        MAKE
        + """
    @target
    def one():
        make("1") > "one.txt"

    @target
    def two():
        make("2") > "two.txt"
    """
    )
    inside.build("one")
    inside.write("one.txt", "edited")
    inside.build("two")

    assert inside.read("one.txt") == "edited"


# ---- sidecars ----------------------------------------------------------------------------------------------------------


def git(project: Any, *words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words],
        cwd=project.path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.needs("git")
def test_sidecars_are_stable_in_git(inside: Any) -> None:
    lines = (
        'make("{}") >> "out.txt"',
        'folder("{}") >> "tree"',
        'number(len("{}")) >> "n.json"',
        'script() >> "run.sh"',
    )

    def write(text: str, extra: str = "") -> None:
        merklfile(inside, *(line.format(text) for line in lines), more=extra)

    write("a")
    inside.build()
    git(inside, "init", "-q")
    git(inside, "add", "*.merkl")
    git(inside, "commit", "-qm", "one")
    assert git(inside, "ls-files").split() == ["n.json.merkl", "out.txt.merkl", "run.sh.merkl", "tree.merkl"]

    inside.build()
    inside.build("-B")
    for name in ("out.txt", "n.json"):
        (inside.path / name).unlink()
    inside.build()
    assert git(inside, "status", "--short", "-uno") == ""

    write("b")  # Another key for each, and the same bytes for the number.
    inside.build()
    assert git(inside, "status", "--short", "-uno").split()[1::2] == ["out.txt.merkl", "tree.merkl"]
    write("a")
    assert inside.build() == []
    changed = git(inside, "diff", "-U0").splitlines()
    assert {line[1:].partition(":")[0] for line in changed if line[:1] in "+-" and line[:2] not in ("++", "--")} <= {
        "modified", "key",
    }  # fmt: skip


def test_a_sidecar_that_makes_no_sense_is_named_with_its_line(inside: Any) -> None:
    merklfile(inside, 'make("a") >> "out.txt"')
    inside.build()
    sidecar = inside.path / "out.txt.merkl"
    sidecar.write_text(sidecar.read_text().replace("kind: file", "kind: pony"))

    said = inside.merkl("build", code=None)

    assert "out.txt.merkl:2: not a sidecar: kind: file or dir or value was expected" in said.stderr
    assert said.returncode == 2


LOAD = """
    upper = bash_task("tr a-z A-Z < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")

    @target
    def use():
        upper(Future.from_file("out.txt")) > "upper.txt"
        number(Future.from_file("n.json")) > "again.json"
        Future.from_file("tree") > "tree2"
        number(Future.from_file("n.json").eval() + 1) > "next.json"
"""


def test_a_future_is_loaded_from_its_sidecar_without_what_made_it(inside: Any) -> None:
    lines = ('make("a") >> "out.txt"', 'folder("b") >> "tree"', 'number(3) >> "n.json"')
    merklfile(inside, *lines, more=LOAD)
    inside.build()
    merklfile(inside, "pass", more=LOAD)

    assert sorted(inside.build("use")) == ["number", "number", "upper"]
    assert inside.read("upper.txt") == "A\n" and inside.read("tree2/sub/f") == "b\n"
    assert json.loads(inside.read("again.json")) == 3 and json.loads(inside.read("next.json")) == 4
    assert inside.build("use") == []


def test_a_loaded_future_is_the_one_that_was_placed(inside: Any) -> None:
    merklfile(
        inside,
        'made = make("a") >> "out.txt"',
        'upper(made) > "upper.txt"',
        more=LOAD
        + """
    @target
    def loaded():
        upper(Future.from_file("out.txt")) > "upper2.txt"
    """,
    )
    inside.build()

    assert inside.build("loaded") == []
    assert inside.read("upper2.txt") == "A\n"


def test_a_sidecar_and_its_file_are_enough_for_another_clone(inside: Any, tmp_path: Any) -> None:
    merklfile(
        inside,
        'make("a") >> "out.txt"',
        'folder("b") >> "tree"',
        'number(3) >> "n.json"',
        'number(4) >> "n.txt"',
    )
    inside.build()
    other = type(inside)(tmp_path / "clone")
    shutil.copytree(inside.path, other.path, ignore=shutil.ignore_patterns(".merkl"), symlinks=True)
    merklfile(
        other, 'upper(Future.from_file("out.txt")) > "u.txt"', 'Future.from_file("tree") > "t"', more=LOAD
    )

    assert other.build() == ["upper"]
    assert other.read("u.txt") == "A\n" and other.read("t/sub/f") == "b\n"
    merklfile(other, 'Future.from_file("n.json") > "n2.json"', more=LOAD)
    assert other.build() == [] and other.read("n2.json") == other.read("n.json")
    merklfile(other, 'Future.from_file("n.txt") > "n2.txt"', more=LOAD)
    said = other.merkl("build", code=2).stderr
    assert "what n.txt.merkl describes is in no store here, and the value cannot be told from n.txt" in said
    (other.path / "out.txt").write_text("edited\n")
    shutil.rmtree(other.path / ".merkl")
    merklfile(other, 'upper(Future.from_file("out.txt")) > "u.txt"', more=LOAD)
    assert "what out.txt.merkl describes is in no store here" in other.merkl("build", code=2).stderr


def test_a_path_without_a_sidecar_has_no_future(inside: Any) -> None:
    inside.write("plain.txt", "")
    merklfile(inside, 'Future.from_file("plain.txt") > "x.txt"')

    assert "there is no plain.txt.merkl" in inside.merkl("build", code=2).stderr


def test_each_edit_is_told_of_when_it_is_replaced_also_quietly_and_before(inside: Any) -> None:
    inside.write("in.txt", "a\n")
    inside.merklfile("""
        copy = bash_task("cp {file_arg('text', '.txt')} {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            copy("in.txt") > "out.txt"
    """)
    inside.build()
    for arguments in ((), (), ("-q",)):
        inside.write("out.txt", "edited\n")
        assert "would save and replace  out.txt" in inside.merkl("build", "-n").stdout
        done = inside.merkl("build", *arguments)
        assert "saved your edited out.txt" in done.stdout + done.stderr
        assert inside.read("out.txt") == "a\n"

    (inside.path / "out.txt").unlink()
    assert "would place  out.txt" in inside.merkl("build", "-n").stdout
    assert not (inside.path / "out.txt").exists()


def test_a_dry_run_sees_what_a_build_would_see_a_lost_mode_too(inside: Any) -> None:
    inside.merklfile("""
        make = bash_task("echo a > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            make() > "out.txt"
    """)
    inside.build()
    (inside.path / "out.txt").chmod(0o755)

    assert "would save and replace  out.txt" in inside.merkl("build", "-n").stdout
    inside.merkl("build")
    assert not (inside.path / "out.txt").stat().st_mode & 0o100
    assert "nothing would run" in inside.merkl("build", "-n").stdout

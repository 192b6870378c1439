"""What a killed process left half placed is removed by the next, and nothing else is."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from merkl.workspace.drafts import draft_name, end_drafts, sweep_drafts
from merkl.workspace.paths import tag_of, temporary
from merkl.workspace.place import place_file

HALF = """
    import os, sys
    from merkl.workspace.drafts import draft_name
    for path in sys.argv[2:]:
        name = draft_name(sys.argv[1], path, os.fsencode(os.path.basename(path)))
        where = os.path.join(os.fsencode(sys.argv[1]), os.fsencode(os.path.dirname(path)), name)
        if path.endswith("tree"):
            os.makedirs(where + b"/deep")
            open(where + b"/deep/file", "w").close()
            os.chmod(where + b"/deep", 0o500)
        else:
            open(where, "w").close()
    print("made", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / ".merkl").mkdir(parents=True)
    (root / "a" / "b").mkdir(parents=True)
    return root


def half_placed(root: Path, *paths: str) -> "subprocess.Popen[str]":
    """A process that has half placed something at each path."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HALF), str(root), *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "made\n"
    return process


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def drafts(root: Path) -> list[str]:
    """Every path in the project with the name of something half placed."""
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if temporary(os.fsencode(path.name))
    )


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_makes_is_not(root: Path) -> None:
    dead = half_placed(root, "top", "a/one", "a/b/tree")
    alive = half_placed(root, "a/one", "a/b/tree")
    assert sweep_drafts(str(root)) == 0
    assert len(drafts(root)) == 5
    kill(dead)

    assert sweep_drafts(str(root)) == 3

    assert len(drafts(root)) == 2
    assert len(os.listdir(root / ".merkl/drafts")) == 1
    alive.communicate("")
    assert sweep_drafts(str(root)) == 2
    assert drafts(root) == [] and os.listdir(root / ".merkl/drafts") == []


def test_a_file_that_only_looks_half_placed_stays(root: Path) -> None:
    mine = root / "a/.one.merkl-tmp-0123456789abcdef"
    mine.write_text("mine")
    kill(half_placed(root, "a/one"))

    assert sweep_drafts(str(root)) == 1

    assert mine.read_text() == "mine"


def test_a_directory_that_is_gone_or_leads_out_by_now_is_left_alone(root: Path, tmp_path: Path) -> None:
    kill(half_placed(root, "a/b/one", "a/two", "three"))
    (tag,) = os.listdir(root / ".merkl/drafts")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f".x.merkl-tmp-{tag}01234567").write_text("not in the project")
    for name in (root / "a/b").iterdir():
        name.unlink()
    (root / "a/b").rmdir()
    (root / "a/b").symlink_to(outside)

    assert sweep_drafts(str(root)) == 2

    assert len(os.listdir(outside)) == 1
    assert os.listdir(root / ".merkl/drafts") == []


def test_a_list_that_was_cut_short_does_no_harm(root: Path) -> None:
    kill(half_placed(root, "a/b/one"))
    (name,) = os.listdir(root / ".merkl/drafts")
    with open(root / ".merkl/drafts" / name, "ab") as file:
        file.write(b"\0./a/b/and so")

    assert sweep_drafts(str(root)) == 1
    assert drafts(root) == []


def test_placing_lists_a_directory_once_and_leaves_no_list(root: Path) -> None:
    for n in range(3):
        place_file(str(root), f"a/{n}.txt", b"x")
    (name,) = os.listdir(root / ".merkl/drafts")
    assert (root / ".merkl/drafts" / name).read_bytes() == b"\0./a\0"

    end_drafts(str(root))
    end_drafts(str(root))

    assert os.listdir(root / ".merkl/drafts") == []
    assert drafts(root) == []


def test_where_nothing_can_be_listed_things_are_placed_all_the_same(tmp_path: Path) -> None:
    place_file(str(tmp_path), "a/x.txt", b"x")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_a_tag_of_its_own(root: Path) -> None:
    mine = tag_of(draft_name(str(root), "a/one", b"one"))
    child = os.fork()
    if child == 0:
        other = tag_of(draft_name(str(root), "a/one", b"one"))
        os._exit(0 if other not in (None, mine) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    assert sweep_drafts(str(root)) == 0, "only the child's list goes"
    assert os.listdir(root / ".merkl/drafts") == [os.fsdecode(mine or b"")]
    end_drafts(str(root))

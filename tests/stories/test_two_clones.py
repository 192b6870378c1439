"""Two users, two clones of one git repository, and one directory that both reach."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.needs("git")

MERKLFILE = """\
from merkl import DirRef, bash_task, file, target

count = bash_task("wc -w < {file_arg('words')} > {out_file_arg('count', '.txt')}")
join = bash_task("cat {dir_arg('parts')}/* > {out_file_arg('all', '.txt')}")
tree = bash_task("o={out_dir_arg('out')}; mkdir -p $o/sub; cp {file_arg('words')} $o/sub/w; echo x > $o/run; chmod +x $o/run")


@target(default=True)
def everything():
    count(file("data/words.txt")) >> "build/count.txt"
    join(DirRef("data/parts")) >> "build/parts.txt"
    tree(file("data/words.txt")) >> "build/tree"
    count(file("notes.txt")) > "build/notes.txt"
"""
TASKS = ["count", "count", "join", "tree"]


@pytest.fixture
def ada(cloned: Callable[[str], Any], tmp_path: Path) -> Any:
    """The first clone, after a build, a push and a ``git push``."""
    (tmp_path / "share").mkdir()
    ada = cloned("ada")
    ada.write("Merklfile.py", MERKLFILE)
    ada.write("merkl.yaml", "remote: {url: ../share}\n")
    ada.write(".gitignore", ".merkl/\n__pycache__/\n/build/notes.txt\n")
    ada.write("notes.txt", "kept by git\n")
    ada.write("data/words.txt", "to be or not to be\n")
    for name in "abc":
        ada.write(f"data/parts/{name}", f"{name}\n" * 3)
    ada.write("data/tool", "#!/bin/sh\n")
    (ada.path / "data/tool").chmod(0o755)
    os.utime(ada.path / "data/words.txt", ns=(1_234_567_890_123_456_789,) * 2)
    ada.merkl("track", "data/words.txt", "data/parts", "data/tool")
    assert ada.ran("--push") == TASKS
    ada.merkl("push")
    ada.commit("Begin")
    ada.git("push", "-q", "origin", "main")
    return ada


def test_a_clone_pulls_and_builds_and_nothing_runs(ada: Any, cloned: Callable[[str], Any]) -> None:
    assert ada.git("status", "--short") == ""
    assert "data/words.txt\n" not in ada.git("ls-files")
    bob = cloned("bob")
    assert set(bob.status().values()) == {"missing"}

    bob.merkl("pull")

    assert bob.ran() == []
    assert bob.files() == ada.files()
    for clone in (bob, ada):
        clone.merkl("status", "--check")
        clone.merkl("status", "--check", "--remote")
        assert set(clone.status().values()) == {"fresh"}
        assert clone.git("status", "--short") == "", "a build of what was pulled changes no sidecar"


def test_a_clone_that_does_not_pull_first_fails_by_name_and_build_with_pull_needs_no_more(
    ada: Any, cloned: Callable[[str], Any]
) -> None:
    bob = cloned("bob")

    said = bob.merkl("build", code=2)
    assert "data/words.txt" in said
    assert "merkl pull data/words.txt" in said
    bob.merkl("build", "--pull")

    assert bob.files() == ada.files()
    bob.merkl("status", "--check")


def changed_on_both_sides(ada: Any, bob: Any) -> None:
    """Ada changes a file and a part, Bob another part and the same file; Ada is first to push."""
    ada.write("data/parts/a", "a of ada\n")
    ada.write("data/words.txt", "the words of ada\n")
    bob.write("data/parts/b", "b of bob\n")
    bob.write("data/parts/d", "d of bob\n")
    bob.write("data/words.txt", "whatever words bob may have\n")
    for clone in (ada, bob):
        assert clone.status()["data/words.txt"] == clone.status()["data/parts"] == "modified"
        clone.merkl("track")
        assert clone.ran() == ["count", "join", "tree"]
        clone.commit(f"Edit of {clone.path.name}")
        clone.merkl("push")
    ada.git("push", "-q", "origin", "main")
    bob.git("push", "-q", "origin", "main", code=1)
    bob.git("fetch", "-q")


def test_edits_on_both_sides_are_merged_with_the_merge_driver(ada: Any, cloned: Callable[[str], Any]) -> None:
    ada.merkl("init", "--git")
    ada.commit("Merge sidecars with merkl")
    ada.git("push", "-q", "origin", "main")
    bob = cloned("bob")
    bob.merkl("init", "--git")
    assert bob.git("status", "--short") == "", "the line is there already"
    bob.merkl("pull")
    changed_on_both_sides(ada, bob)

    said = bob.git("merge", "origin/main", code=1)

    assert "data/words.txt.merkl: both sides changed the data, each in its own way" in said
    assert "data/parts.merkl" not in bob.git("diff", "--name-only", "--diff-filter=U"), (
        "each changed other files"
    )
    stands = bob.status()
    assert stands["data/words.txt"] == stands["build/count.txt"] == "conflicted"
    assert stands["data/parts"] == "outdated"
    assert bob.read("data/words.txt") == "whatever words bob may have\n", "a merge touches no data"
    assert "data/words.txt.merkl:1: git left its conflict markers here" in bob.merkl("pull", code=2)
    bob.git("checkout", "--theirs", "data/words.txt.merkl")
    bob.merkl("pull", "data/words.txt")
    assert bob.read("data/words.txt") == "the words of ada\n"
    assert [bob.read(f"data/parts/{name}") for name in "abcd"] == [
        "a of ada\n", "b of bob\n", "c\nc\nc\n", "d of bob\n",
    ]  # fmt: skip
    assert bob.ran() == ["join"], "Ada has counted her words already"
    both_go_on(ada, bob)


def test_edits_on_both_sides_are_merged_without_the_merge_driver(
    ada: Any, cloned: Callable[[str], Any]
) -> None:
    bob = cloned("bob")
    bob.merkl("pull")
    changed_on_both_sides(ada, bob)

    bob.git("merge", "origin/main", code=1)

    conflicted = bob.git("diff", "--name-only", "--diff-filter=U").split()
    assert conflicted == [
        "build/count.txt.merkl", "build/parts.txt.merkl", "build/tree.merkl",
        "data/parts.merkl", "data/words.txt.merkl",
    ]  # fmt: skip
    assert {path for path, state in bob.status().items() if state == "conflicted"} == {
        path.removesuffix(".merkl") for path in conflicted
    }
    bob.write("data/words.txt", "of both\n")
    bob.git("checkout", "--ours", "data/parts.merkl")
    bob.write("data/parts/a", "a of ada\n")
    bob.merkl("track", "data/words.txt", "data/parts")
    assert bob.ran() == ["count", "join", "tree"]
    both_go_on(ada, bob)


def both_go_on(ada: Any, bob: Any) -> None:
    """Bob's merge is committed and pushed, and reaches Ada, who needs to run nothing."""
    bob.merkl("status", "--check")
    bob.commit("Merge")
    bob.merkl("push")
    bob.git("push", "-q", "origin", "main")

    ada.git("pull", "-q", "--ff-only")
    assert "outdated" in ada.status().values()
    ada.merkl("pull")

    assert ada.ran() == []
    assert ada.files() == bob.files()
    for clone in (ada, bob):
        clone.merkl("status", "--check", "--remote")
        assert clone.git("status", "--short") == ""
        clone.merkl("fsck")

"""What of the news is a change: compared with what a round used, without a watch."""

import os

import pytest

from merkl.digest import Digest
from merkl.stamp import read_stamp
from merkl.watching.compare import Comparison, News
from merkl.watching.matters import Empty, Glob, Input, Matters, Output, Untouched, is_ours
from merkl.workspace.listing import glob_files


@pytest.fixture
def root(tmp_path):
    for name in ("src/a.txt", "src/b.txt", "out/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def used(root, pattern="src/*.txt"):
    """What a round used that read all that the pattern matches, looked for a header, and placed an output."""
    listing = glob_files(str(root), str(root), pattern)
    files = {path: Input(Digest.of((root / path).read_bytes())) for path in listing.files}
    files["out/a.txt"] = Output(Digest.of(b"out/a.txt"))
    files["src/first.h"] = Empty()
    return Comparison(
        Matters(
            str(root), files, (Glob(str(root), pattern, listing.files),),
            frozenset(listing.directories), frozenset(listing.rules),
        )
    )  # fmt: skip


def heard(*paths):
    return News(set(paths), {os.path.dirname(path) or "." for path in paths})


def test_everything_that_is_as_it_was_used_is_no_change(root):
    assert used(root).changes(News(everything=True)) == []


def test_an_edit_that_left_the_stamp_as_it_was_is_a_change(root):
    comparison = used(root)
    before = os.stat(root / "src/a.txt")
    with open(root / "src/a.txt", "r+") as file:
        file.write("SRC")
    os.utime(root / "src/a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))

    assert comparison.changes(News(everything=True)) == ["src/a.txt"]


def test_a_change_that_is_taken_back_is_none(root):
    comparison = used(root)
    (root / "src/a.txt").write_text("other")
    assert comparison.changes(heard("src/a.txt")) == ["src/a.txt"]
    (root / "src/a.txt").write_text("src/a.txt")

    assert comparison.changes(heard("src/a.txt")) == []


@pytest.mark.parametrize("name", ["src/c.txt", "src/first.h"])
def test_a_file_that_comes_is_a_change_if_it_matches_or_is_looked_for(root, name):
    comparison = used(root)
    (root / name).write_text("new")

    assert comparison.concerns(heard(name))
    assert comparison.changes(heard(name)) == [name]


def test_names_that_do_not_match_or_have_gone_again_are_no_change(root):
    comparison = used(root)
    (root / "src/notes").write_text("")

    assert not comparison.concerns(heard("src/.a.txt.swp"))
    assert comparison.changes(heard("src/notes", "src/.a.txt.swp")) == []


def test_a_rule_file_may_take_matches_away_and_give_them_back(root):
    comparison = used(root)
    (root / ".gitignore").write_text("b.txt\n")
    assert comparison.changes(heard(".gitignore")) == ["src/b.txt"]
    (root / ".gitignore").write_text("unrelated\n")

    assert comparison.changes(heard(".gitignore")) == []


def test_what_leads_to_nothing_that_matters_is_not_even_compared(root):
    comparison = used(root)

    assert not comparison.concerns(heard("README", "out/other.txt", "src/deeper/x"))
    assert comparison.concerns(News(moved={"src"}))
    assert comparison.concerns(News(moved={"."}))
    assert not comparison.concerns(News(moved={"elsewhere"}))


def test_a_glance_tells_whether_a_good_look_is_needed(root):
    comparison = used(root)
    for path in ("src/a.txt", "src/b.txt", "out/a.txt"):
        os.utime(root / path, ns=(1, 1))
    assert comparison.touched()  # Nothing was looked at yet.
    while comparison.changes(News(everything=True)) or comparison.touched():
        pass  # Until the stamps are settled.
    (root / "src/b.txt").unlink()

    assert comparison.touched()


def test_a_file_that_perhaps_counts_is_told_by_its_stamp_and_an_unsettled_one_by_its_bytes(root):
    stamp = read_stamp(root / "src/a.txt")
    digest = Digest.of(b"src/a.txt")
    files = {"src/a.txt": Untouched(stamp), "src/b.txt": Untouched(stamp, digest)}
    comparison = Comparison(Matters(str(root), files))
    assert comparison.changes(News(everything=True)) == ["src/b.txt"]
    (root / "src/b.txt").write_text("src/a.txt")
    (root / "src/a.txt").touch()
    os.utime(root / "src/a.txt", ns=(5, 5))

    assert comparison.changes(News(everything=True)) == ["src/a.txt"]


def test_a_directory_is_listened_to_with_those_above_and_those_that_are_not_there(root):
    matters = Matters(
        str(root), {"src/deep/x": Empty(), "/usr/include/y.h": Empty(), "out": Output(Digest.of(b""), True)}
    )

    assert matters.directories() == {
        str(root), str(root / "src"), str(root / "src/deep"), str(root / "out"), "/usr/include",
    }  # fmt: skip


def test_what_belongs_to_merkl_git_and_python_never_matters():
    assert all(map(is_ours, (".merkl", ".git", "__pycache__", ".x.merkl-tmp-0123456789abcdef")))
    assert not any(map(is_ours, ("src", ".github", "x.merkl")))

"""Merging sidecars: with a real git that calls merkl, and what two trees become."""

import os
import subprocess
import sys

import pytest

from merkl.digest import Digest, Key
from merkl.engine.merging import Conflict, merge, merge_trees
from merkl.tree import Tree, TreeEntry
from merkl.workspace.sidecar import Sidecar, parse_sidecar, render_sidecar

ONE, TWO, THREE = (Digest.of(text) for text in (b"1", b"2", b"3"))


def side(digest, when=1, **more):
    return render_sidecar(Sidecar("file", digest, 1, when, **more))


# ---- two texts ---------------------------------------------------------------------------------------------------------


def test_a_side_that_changed_nothing_gives_way():
    assert merge(side(ONE), side(ONE), side(TWO), "/x.merkl") == side(TWO)
    assert merge(side(ONE), side(TWO), side(ONE), "/x.merkl") == side(TWO)
    assert merge(side(ONE), side(TWO), side(TWO), "/x.merkl") == side(TWO)


@pytest.mark.parametrize("base", [b"", side(THREE)], ids=["both added it", "both changed it"])
def test_where_the_data_agree_the_later_time_stands(base):
    assert merge(base, side(ONE, 5), side(ONE, 7), "/x.merkl") == side(ONE, 7)
    assert merge(base, side(ONE, 7), side(ONE, 5), "/x.merkl") == side(ONE, 7)


def test_line_ends_are_those_of_the_side_that_stands():
    dos = side(ONE, 7).replace(b"\n", b"\r\n")

    assert merge(b"", side(ONE, 5), dos, "/x.merkl") == dos


@pytest.mark.parametrize("key", [None, Key(bytes(32))], ids=["tracked", "made"])
def test_a_conflict_names_only_ways_out_that_are_open(inside, key):
    more = {} if key is None else {"key": key, "output": "o", "task": "count"}
    for name, data in (("base", b""), ("ours", side(ONE, **more)), ("theirs", side(TWO, **more))):
        inside.write(name, data)

    said = inside.merkl("merge-sidecar", "base", "ours", "theirs", "f.merkl", code=1).stderr

    assert ("hint: `merkl build` makes" in said) == (key is not None)
    assert ("merkl track f" in said) == (key is None)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (side(ONE), side(TWO)),
        (side(ONE), side(ONE, executable=True)),
        (side(ONE), b"rubbish"),
        (b"", side(TWO)),
        (side(ONE).replace(b"\n", b"\r\n"), side(TWO)),
    ],
    ids=["data", "executable", "rubbish", "empty", "CRLF"],
)
def test_a_conflict_has_both_sides_whole(ours, theirs):
    found = merge(side(THREE), ours, theirs, "/x.merkl")

    assert isinstance(found, Conflict)
    assert ours in found.data
    assert theirs in found.data
    assert found.data.count(b"<<<<<<< ours") == found.data.count(b">>>>>>> theirs") == 1


# ---- two trees ---------------------------------------------------------------------------------------------------------


def tree(**files):
    """A tree of files by path, with ``__`` for a slash; a text is what a link says, None a directory."""
    entries = {}
    for name, what in files.items():
        path = name.replace("__", "/").encode()
        for n in range(1, path.count(b"/") + 1):
            above = b"/".join(path.split(b"/")[:n])
            entries[above] = TreeEntry(above, "dir")
        if isinstance(what, Digest):
            entries[path] = TreeEntry(path, "file", what, 1)
        elif what is None:
            entries[path] = TreeEntry(path, "dir")
        else:
            entries[path] = TreeEntry(path, "link", link=what.encode())
    return Tree(tuple(entries[name] for name in sorted(entries)))


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        (tree(a=ONE, b=ONE), tree(a=TWO, b=ONE), tree(a=ONE, b=TWO), tree(a=TWO, b=TWO)),
        (tree(a=ONE), tree(a=ONE, b=TWO), tree(a=ONE, c=TWO), tree(a=ONE, b=TWO, c=TWO)),
        (tree(a=ONE, b=ONE), tree(b=ONE), tree(a=ONE, b=TWO), tree(b=TWO)),
        (tree(a=ONE), tree(a=TWO), tree(a=TWO), tree(a=TWO)),
        (tree(a=ONE), tree(a=TWO), tree(a=THREE), b"a"),
        (tree(a=ONE), tree(), tree(a=THREE), b"a"),
        (tree(), tree(a=ONE), tree(a=TWO), b"a"),
        (tree(d__a=ONE), tree(), tree(d__a=ONE, d__b=TWO), tree(d__b=TWO)),
        (tree(), tree(d=ONE), tree(d__a=ONE), b"d"),
        (tree(d__a=ONE), tree(d=ONE), tree(d__a=ONE, d__b=TWO), b"d"),
        (tree(a=ONE), tree(a=ONE, link="a"), tree(), b"link"),
        (tree(a=ONE), tree(a=ONE, link="a"), tree(a=TWO), tree(a=TWO, link="a")),
    ],
)  # fmt: skip
def test_files_are_merged_one_by_one(base, ours, theirs, merged):
    assert merge_trees(base, ours, theirs) == merged
    swapped = merge_trees(base, theirs, ours)
    assert swapped == merged
    if isinstance(merged, Tree):
        merged.check()


# ---- through git -------------------------------------------------------------------------------------------------------


class Clone:
    """A clone in which git knows merkl."""

    def __init__(self, root, path):
        self.root = root
        self.env = os.environ | {"PATH": path, "GIT_EDITOR": "true"}

    def run(self, *words, code=0):
        done = subprocess.run(words, cwd=self.root, env=self.env, capture_output=True, text=True, check=False)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def git(self, *words, code=0):
        return self.run("git", "-c", "user.name=A", "-c", "user.email=a@b", *words, code=code)

    def merkl(self, *words, code=0):
        return self.run("merkl", *words, code=code)

    def commit(self, text):
        self.git("add", "--all")
        self.git("commit", "-qm", text)


@pytest.fixture
def clone(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/merkl").write_text(f'#!/bin/sh\nexec {sys.executable} -m merkl "$@"\n')
    (tmp_path / "bin/merkl").chmod(0o755)
    root = tmp_path / "clone"
    root.mkdir()
    made = Clone(root, f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    made.git("init", "-q", "-b", "main")
    (root / "merkl.yaml").write_text("jobs: 1\n")
    made.merkl("init", "--git")
    return made


pytestmark = pytest.mark.needs("git")


def put(root, name, text):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def diverge(clone, base, ours, theirs):
    """Track ``d`` (or ``f``) as ``base``, then differently on two branches; the branch of ours is checked out."""
    what = next(iter(base)).split("/")[0]

    def state(files):
        subprocess.run(["rm", "-rf", clone.root / what], check=True)
        for name, text in files.items():
            put(clone.root, name, text)
        clone.merkl("track", what)
        clone.commit(str(files))

    state(base)
    clone.git("checkout", "-qb", "theirs")
    state(theirs)
    clone.git("checkout", "-q", "main")
    clone.merkl("pull")
    state(ours)


def test_the_same_data_on_both_sides_is_no_conflict(clone):
    diverge(clone, {"f": "1"}, {"f": "2"}, {"f": "2"})

    clone.git("merge", "-q", "theirs", "-m", "merged")

    assert clone.merkl("status", "--check") == "1 fresh\n"


def test_a_conflict_is_explained_and_either_side_can_be_had(clone):
    diverge(clone, {"f": "1"}, {"f": "22"}, {"f": "333"})

    said = clone.git("merge", "theirs", code=1)

    assert "f.merkl: both sides changed the data, each in its own way" in said
    assert f"ours:   {Digest.of(b'22').short}, 2 bytes" in said
    assert f"theirs: {Digest.of(b'333').short}, 3 bytes" in said
    assert "git checkout --ours f.merkl  (or --theirs), merkl pull f, git add f.merkl" in said
    assert "conflicted" in clone.merkl("status")
    clone.git("checkout", "--theirs", "f.merkl")
    clone.merkl("pull", "f")
    clone.commit("theirs")
    assert (clone.root / "f").read_text() == "333"
    assert clone.merkl("status", "--check") == "1 fresh\n"


def test_something_else_than_both_is_tracked(clone):
    diverge(clone, {"f": "1"}, {"f": "2"}, {"f": "3"})
    clone.git("merge", "theirs", code=1)

    put(clone.root, "f", "23")
    clone.merkl("track", "f")
    clone.commit("both")

    assert clone.merkl("status", "--check") == "1 fresh\n"


def test_a_directory_gets_the_changes_of_both(clone):
    diverge(
        clone, {"d/a": "1", "d/b": "1", "d/c": "1"}, {"d/a": "2", "d/b": "1", "d/c": "1"},
        {"d/a": "1", "d/b": "2", "d/x/y": "3"},
    )  # fmt: skip

    clone.git("merge", "-q", "theirs", "-m", "merged")
    assert "outdated" in clone.merkl("status")
    clone.merkl("pull")

    found = {
        str(p.relative_to(clone.root)): p.read_text() for p in (clone.root / "d").rglob("*") if p.is_file()
    }
    assert found == {"d/a": "2", "d/b": "2", "d/x/y": "3"}
    assert clone.merkl("status", "--check") == "1 fresh\n"


def test_a_file_that_both_changed_in_a_directory_is_named(clone):
    diverge(clone, {"d/a": "1"}, {"d/a": "2"}, {"d/a": "3"})

    assert "both changed a in it" in clone.git("merge", "theirs", code=1)


def test_both_sides_may_have_added_it(clone):
    (clone.root / "other").write_text("")
    clone.commit("begin")
    diverge_from = clone.git("rev-parse", "HEAD").strip()
    put(clone.root, "f", "1")
    clone.merkl("track", "f")
    clone.commit("ours")
    clone.git("checkout", "-qb", "theirs", diverge_from)
    os.utime(clone.root / "f", ns=(10**18, 10**18))
    clone.merkl("track", "f")
    clone.commit("theirs")
    clone.git("checkout", "-q", "main")

    clone.git("merge", "-q", "theirs", "-m", "merged")

    sidecar = parse_sidecar((clone.root / "f.merkl").read_bytes(), "f.merkl")
    assert sidecar.modified_ns > 10**18, "the later time"
    assert clone.merkl("status", "--check") == "1 fresh\n"


def test_a_work_tree_of_its_own_merges_too(clone, tmp_path):
    diverge(clone, {"f": "1"}, {"f": "2"}, {"f": "2"})
    clone.git("worktree", "add", "-q", "-b", "third", str(tmp_path / "tree"), "main")

    Clone(tmp_path / "tree", clone.env["PATH"]).git("merge", "-q", "theirs", "-m", "merged")


def test_without_merkl_on_path_git_merges_as_text_and_says_so(clone):
    diverge(clone, {"f": "1"}, {"f": "2"}, {"f": "3"})
    clone.env["PATH"] = os.environ["PATH"]
    if (
        subprocess.run(
            ["sh", "-c", "command -v merkl"], env=clone.env, check=False, capture_output=True
        ).returncode
        == 0
    ):
        pytest.skip("merkl is on PATH")

    said = clone.git("merge", "theirs", code=1)

    assert "merkl is not on PATH, so git itself merges" in said
    assert (clone.root / "f.merkl").read_text().count("<<<<<<< ours") == 1


def test_a_setting_is_made_once(clone):
    text = (clone.root / ".gitattributes").read_text()
    clone.merkl("init", "--git")

    assert (clone.root / ".gitattributes").read_text() == text == "*.merkl merge=merkl\n"
    assert "no git repository here" in Clone(clone.root.parent, clone.env["PATH"]).merkl(
        "init", "--git", code=2
    )


@pytest.mark.parametrize("sides", [("one", "two"), ("two", "two")])
def test_outputs_that_two_branches_made_are_made_again_by_a_build(clone, sides):
    def merklfile(text, more=""):
        put(clone.root, "Merklfile.py", f"""\
from merkl import bash_task, target
{more}
@target(default=True, sidecar=True)
def made():
    bash_task("echo {{arg('text')}} > {{out_file_arg('out', '.txt')}}", name="say")({text!r}) > "out.txt"
""")  # fmt: skip
        clone.merkl("build")
        clone.commit(text)

    merklfile("base")
    clone.git("checkout", "-qb", "theirs")
    merklfile(sides[1], "# theirs\n")
    clone.git("checkout", "-q", "main")
    merklfile(sides[0])
    if sides[0] == sides[1]:
        clone.git("merge", "-q", "theirs", "-m", "merged")
        return

    said = clone.git("merge", "theirs", code=1)

    assert "made by say" in said
    assert "`merkl build` makes what the merged code says, then: git add out.txt.merkl" in said
    clone.git("checkout", "--theirs", "Merklfile.py")
    clone.merkl("build")
    clone.commit("merged")
    assert (clone.root / "out.txt").read_text() == "two\n"
    assert clone.merkl("status", "--check").endswith("1 fresh\n")

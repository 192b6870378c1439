"""Trees, sidecars and links made by somebody who wants a pull to write elsewhere: FAULTS 57, 59, 63, 64 and 66."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from merkl.config import load_config
from merkl.digest import Digest
from merkl.engine.project import Project
from merkl.tree import Tree, TreeEntry
from merkl.workspace import folding
from merkl.workspace.sidecar import Sidecar, render_sidecar

EVIL = b"evil\n"
BAD_PATHS = [
    b"../escaped", b"/etc/merkl-escaped", b"a/../../escaped", b"a//..", b"a//b", b"./a", b"..", b".", b"", b"a\0b", b"a/",
    b".git/hooks/pre-commit", b".merkl/cache.db", b".GIT/config", b"sub/.git/config", b"git~1/config", b".g\xe2\x80\x8cit/config",
]  # fmt: skip


def publish(clones: Any, path: str, entries: list[TreeEntry]) -> None:
    """Put a directory as ``entries`` say into the share, unchecked, and its sidecar beside ``path`` of ``there``."""
    project = Project(load_config(str(clones.there)))
    try:
        assert project.remote is not None
        project.remote.prepare()
        project.remote.put([EVIL])
        data = Tree(tuple(entries)).encode()
        digest = project.remote.put([data])
        assert digest == Digest.of(data)
    finally:
        project.close()
    sidecar(clones, path, Sidecar("dir", digest, 5, 10**18))


def sidecar(clones: Any, path: str, described: Sidecar) -> None:
    clones.write(clones.there, path + ".merkl", render_sidecar(described))


def evil_file(clones: Any, path: str) -> None:
    """A sidecar at ``path`` of a file that the share has."""
    publish(clones, "unused", [])
    (clones.there / "unused.merkl").unlink()
    sidecar(clones, path, Sidecar("file", Digest.of(EVIL), len(EVIL), 10**18))


def file_entry(path: bytes) -> TreeEntry:
    return TreeEntry(path, "file", Digest.of(EVIL), len(EVIL))


def parents_of(path: bytes) -> list[TreeEntry]:
    parts = path.split(b"/")[:-1]
    names = [b"/".join(parts[: n + 1]) for n in range(len(parts))]
    return [TreeEntry(name, "dir") for name in names if name]


def expect_refused(clones: Any, snapshot: Any, tmp_path: Path, *words: str) -> str:
    """Pull, and see that it fails and nothing at all was written, in the project or beside it."""
    before = snapshot(tmp_path)
    refused = clones.merkl(clones.there, "pull", *words, code=None)
    assert refused.returncode in (2, 6), refused
    assert "Traceback" not in refused.stderr
    after = snapshot(tmp_path)
    kept = {name: what for name, what in after.items() if not name.startswith(("there/.merkl", "share"))}
    assert kept == {
        name: what for name, what in before.items() if not name.startswith(("there/.merkl", "share"))
    }
    assert not os.path.lexists("/etc/merkl-escaped") and not (clones.there / ".merkl/index.db2").exists()
    error: str = refused.stderr
    return error


@pytest.mark.parametrize("path", BAD_PATHS, ids=repr)
def test_row_63_a_tree_with_a_path_that_leads_elsewhere(
    clones: Any, snapshot: Any, tmp_path: Path, path: bytes
) -> None:
    publish(clones, "data", [*parents_of(path), file_entry(path)])

    assert "data" in expect_refused(clones, snapshot, tmp_path)


@pytest.mark.parametrize("path", BAD_PATHS, ids=repr)
def test_row_63_the_same_into_a_directory_that_is_there_already(
    clones: Any, snapshot: Any, tmp_path: Path, path: bytes
) -> None:
    good = [file_entry(b"%02d" % number) for number in range(40)]
    publish(clones, "data", good)
    clones.merkl(clones.there, "pull")
    for number in range(40):  # Not evil: they belong to the user, and are as before.
        assert (clones.there / f"data/{number:02d}").read_bytes() == EVIL
    publish(
        clones, "data", sorted([*good, *parents_of(path), file_entry(path)], key=lambda entry: entry.path)
    )
    before = snapshot(tmp_path / "there")

    refused = clones.merkl(clones.there, "pull", code=None)

    assert refused.returncode in (2, 6) and "data" in refused.stderr
    assert snapshot(tmp_path / "there") == before


@pytest.mark.parametrize(
    "path", ["Merklfile.py", "merkl.yaml", "MERKLFILE.PY", "sub/Merklfile.py", "Merkl.YAML", "Merklfile.yaml"]
)
def test_row_63_what_merkl_would_run_or_obey_is_never_replaced(
    clones: Any, snapshot: Any, tmp_path: Path, path: str
) -> None:
    evil_file(clones, path)

    assert os.path.basename(path) in expect_refused(
        clones, snapshot, tmp_path, *([path] if "/" in path else [])
    )
    assert path in expect_refused(clones, snapshot, tmp_path, "--force", path)


@pytest.mark.parametrize("path", [".git/hooks/pre-commit", ".merkl/index.db2"])
def test_row_63_a_sidecar_where_only_git_or_merkl_writes(
    clones: Any, snapshot: Any, tmp_path: Path, path: str
) -> None:
    evil_file(clones, path)
    assert "pulled 0 files" in clones.merkl(clones.there, "pull").stdout

    expect_refused(clones, snapshot, tmp_path, path)


@pytest.mark.parametrize("path", ["../outside/f", "/etc/merkl-escaped"])
def test_row_63_a_path_outside_the_project(clones: Any, snapshot: Any, tmp_path: Path, path: str) -> None:
    evil_file(clones, "../outside/f")

    assert "outside the project" in expect_refused(clones, snapshot, tmp_path, path)


@pytest.mark.parametrize("link", ["../outside", "ABSOLUTE", ".git/hooks", "hop", "./.git", "../there/.git"])
def test_row_64_a_link_on_the_way_leads_elsewhere(
    clones: Any, snapshot: Any, tmp_path: Path, link: str
) -> None:
    (tmp_path / "outside").mkdir()
    (clones.there / ".git/hooks").mkdir(parents=True)
    (clones.there / "hop").symlink_to("../outside")
    (clones.there / "out").symlink_to(tmp_path / "outside" if link == "ABSOLUTE" else link)
    evil_file(clones, "out/f")  # Written through the link, so that the sidecar is found.

    assert "pulled 0 files" in clones.merkl(clones.there, "pull").stdout  # Links are not searched.
    assert "out/f" in expect_refused(clones, snapshot, tmp_path, "out/f")
    expect_refused(clones, snapshot, tmp_path, "--force", "out/f")


def test_row_64_fresh_data_behind_a_link_keeps_its_time(clones: Any, tmp_path: Path) -> None:
    where = clones.write(tmp_path, "outside/f", EVIL, mtime=1_000)
    (clones.there / "f").symlink_to("../outside/f")
    evil_file(clones, "f")

    clones.merkl(clones.there, "pull")

    assert where.stat().st_mtime == 1_000


def test_row_64_a_link_at_the_path_is_replaced_and_not_followed(clones: Any, tmp_path: Path) -> None:
    where = clones.write(tmp_path, "outside/f", "not yours\n")
    (clones.there / "f").symlink_to("../outside/f")
    evil_file(clones, "f")
    clones.merkl(clones.there, "pull", code=6)  # It was modified.

    clones.merkl(clones.there, "pull", "--force")

    assert where.read_text() == "not yours\n"
    assert not (clones.there / "f").is_symlink() and (clones.there / "f").read_bytes() == EVIL


@pytest.mark.parametrize(
    "link", [b"/etc", b"../..", b"../../outside", b".git", b"nowhere", b"d", b"sub/../../x"], ids=repr
)
def test_row_66_a_link_in_a_tree_and_a_file_behind_it(
    clones: Any, snapshot: Any, tmp_path: Path, link: bytes
) -> None:
    (tmp_path / "outside").mkdir()
    (clones.there / ".git").mkdir()
    publish(clones, "data", [TreeEntry(b"d", "link", link=link), file_entry(b"d/merkl-escaped")])
    expect_refused(clones, snapshot, tmp_path)

    publish(clones, "data", [TreeEntry(b"d", "link", link=link)])
    expect_refused(clones, snapshot, tmp_path)


def test_row_66_a_tree_whose_link_leads_out_and_another_sidecar_behind_it(
    clones: Any, snapshot: Any, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    evil_file(clones, "data/d/f")
    (clones.there / "data/d/f.merkl").rename(clones.there / "kept")
    (clones.there / "data/d").rmdir()
    (clones.there / "data/d").symlink_to("../../outside")
    (clones.there / "kept").rename(clones.there / "data/d/f.merkl")

    expect_refused(clones, snapshot, tmp_path, "data/d/f")


def test_row_66_something_that_is_no_tree_at_all(clones: Any, snapshot: Any, tmp_path: Path) -> None:
    evil_file(clones, "data")
    sidecar(clones, "data", Sidecar("dir", Digest.of(EVIL), 5, 10**18))

    assert "what its sidecar names is no directory" in expect_refused(clones, snapshot, tmp_path)


@pytest.mark.parametrize(("one", "other"), [("A", "a"), ("caf\u00e9", "cafe\u0301"), ("Sub/x", "sub/x")])
def test_row_57_twins_are_pulled_here_and_refused_where_they_are_one_file(
    clones: Any, snapshot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    for path in (one, other):
        clones.write(clones.here, f"{path}", path)
        clones.track(clones.here, path)
        clones.write(clones.here, f"folder/{path}", path)
    clones.track(clones.here, "folder")
    clones.merkl(clones.here, "push")
    clones.hand_over()
    with monkeypatch.context() as patched:
        patched.setattr(folding, "same_name", lambda directory, mine, theirs: True)
        refused = clones.merkl(clones.there, "pull", code=2).stderr
        assert all(f"cannot pull {path}: " in refused for path in (one, other))
        assert "cannot place the directory folder" in refused
        assert not [path for path in clones.there.rglob("*") if path.is_file() and path.suffix != ".merkl" and ".merkl" not in path.parts and path.name != "merkl.yaml"]  # fmt: skip

    clones.merkl(clones.there, "pull")

    assert (clones.there / one).read_text() == one and (clones.there / other).read_text() == other
    assert (clones.there / "folder" / one).read_text() == one


@pytest.mark.parametrize(("umask", "plain", "runs"), [(0o077, 0o600, 0o700), (0o022, 0o644, 0o755)])
def test_row_59_the_right_to_execute_comes_over_and_setuid_never(
    clones: Any, umask: int, plain: int, runs: int
) -> None:
    for name, mode in (("plain", 0o444), ("runs", 0o755), ("setuid", 0o6755), ("sticky", 0o1755)):
        for path in (name, f"folder/{name}"):
            clones.write(clones.here, path, name).chmod(mode)
    for name in ("plain", "runs", "setuid", "sticky", "folder"):
        clones.track(clones.here, name)
    clones.merkl(clones.here, "push")
    clones.hand_over()
    before = os.umask(umask)
    try:
        clones.merkl(clones.there, "pull")
    finally:
        os.umask(before)

    for top in (clones.there, clones.there / "folder"):
        modes = {
            name: stat.S_IMODE((top / name).stat().st_mode) for name in ("plain", "runs", "setuid", "sticky")
        }
        assert modes == {"plain": plain, "runs": runs, "setuid": runs, "sticky": runs}


def test_what_is_never_pulled_is_said_to_be_the_fault_of_its_sidecar(
    clones: Any, snapshot: Any, tmp_path: Path
) -> None:
    evil_file(clones, "sub/merkl.yaml")

    error = expect_refused(clones, snapshot, tmp_path)

    assert error == (
        "cannot pull sub/merkl.yaml: merkl would run or obey it\n"
        "  hint: `merkl track` makes no sidecar for it: see who wrote sub/merkl.yaml.merkl, and remove it\n"
    )

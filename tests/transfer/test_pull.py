"""``merkl pull``: what it brings, what it replaces, and what it leaves."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import merkl.workspace.copying
import merkl.workspace.trees
from merkl.workspace.sidecar import write_sidecar

CHAIN = """
    first = bash_task("echo {arg('text')} > {out_file_arg('out')}")
    second = bash_task("cat {file_arg('text')} {file_arg('data')} > {out_file_arg('out')}; chmod +x {out_file_arg('out')}")

    @target(default=True, sidecar=True)
    def both():
        second(first("a"), file("data.txt")) > "build/both.txt"
"""
CANARY = """
    from pathlib import Path
    Path(__file__).with_name("canary").write_text("ran")
    raise ValueError("nobody may run this")
"""


def test_a_clone_gets_bytes_mode_and_time_and_then_builds_nothing(clones: Any) -> None:
    clones.merklfile(CHAIN)
    clones.write(clones.here, "data.txt", "data\n", mtime=1_000_000_000)
    clones.track(clones.here, "data.txt")
    assert sorted(clones.build(clones.here)) == ["first", "second"]
    clones.merkl(clones.here, "push")
    clones.hand_over()

    out = clones.merkl(clones.there, "pull").stdout

    assert out.splitlines()[-1].startswith("pulled 2 files, ")
    for path in ("data.txt", "build/both.txt"):
        mine, theirs = clones.here / path, clones.there / path
        assert theirs.read_bytes() == mine.read_bytes()
        assert theirs.stat().st_mtime_ns == clones.sidecar(clones.there, path).modified_ns
        assert theirs.stat().st_mode == mine.stat().st_mode
    assert clones.build(clones.there) == []
    assert "2 fresh" in clones.merkl(clones.there, "pull").stdout


def test_after_a_pull_a_build_needs_no_remote_for_what_was_pulled(clones: Any) -> None:
    clones.merklfile(CHAIN)
    clones.write(clones.here, "data.txt", "data\n")
    clones.track(clones.here, "data.txt")
    clones.build(clones.here)
    clones.merkl(clones.here, "push")
    clones.hand_over()
    clones.merkl(clones.there, "pull")
    shutil.rmtree(clones.share)

    assert clones.build(clones.there) == []


def test_what_the_store_has_is_pulled_without_the_remote(clones: Any) -> None:
    clones.write(clones.here, "data.txt", "data\n")
    clones.track(clones.here, "data.txt")
    shutil.rmtree(clones.share)
    (clones.here / "data.txt").unlink()

    clones.merkl(clones.here, "pull")

    assert (clones.here / "data.txt").read_text() == "data\n"


def test_what_was_modified_is_left_unless_forced_and_then_it_can_be_restored(clones: Any) -> None:
    clones.write(clones.here, "data.txt", "data\n")
    clones.track(clones.here, "data.txt")
    clones.write(clones.here, "data.txt", "mine\n")

    left = clones.merkl(clones.here, "pull", code=6)
    assert "data.txt was modified, and is left as it is" in left.stderr
    assert "merkl pull --force data.txt" in left.stderr
    assert (clones.here / "data.txt").read_text() == "mine\n"

    forced = clones.merkl(clones.here, "pull", "--force")
    assert "`merkl restore data.txt` brings it back" in forced.stdout
    assert (clones.here / "data.txt").read_text() == "data\n"
    clones.merkl(clones.here, "restore", "data.txt")
    assert (clones.here / "data.txt").read_text() == "mine\n"


def test_what_was_modified_on_both_sides_is_not_said_to_be_kept_by_tracking_it(clones: Any) -> None:
    clones.write(clones.here, "data.txt", "data\n")
    clones.merkl(clones.here, "track", "data.txt")
    other = clones.sidecar(clones.here, "data.txt")
    clones.write(clones.here, "data.txt", "newest\n")
    clones.merkl(clones.here, "track", "data.txt")
    write_sidecar(str(clones.here), "data.txt", other)  # As a checkout does.
    clones.write(clones.here, "data.txt", "mine\n")

    said = clones.merkl(clones.here, "pull", code=6).stderr
    assert said.endswith("to keep what is here: `merkl untrack data.txt` and `merkl track data.txt`\n")
    clones.merkl(clones.here, "track", "data.txt", code=2)
    clones.merkl(clones.here, "untrack", "data.txt")
    clones.merkl(clones.here, "track", "data.txt")
    assert (clones.here / "data.txt").read_text() == "mine\n"
    assert clones.merkl(clones.here, "status", "--check").stdout == "1 fresh\n"


def test_a_modified_output_is_not_said_to_be_kept_by_tracking_it(clones: Any) -> None:
    clones.merklfile(CHAIN)
    clones.write(clones.here, "data.txt", "data\n")
    clones.build(clones.here)
    clones.write(clones.here, "build/both.txt", "mine\n")

    said = clones.merkl(clones.here, "pull", code=6).stderr

    assert "hint: `merkl pull --force build/both.txt` saves and replaces it\n" in said
    assert "track" not in said


@pytest.mark.parametrize("where", ["/not/mounted", "../disk", "t"])
def test_a_link_in_the_place_of_tracked_data_is_left_unless_forced_and_then_it_can_be_restored(
    clones: Any, where: str
) -> None:
    data = clones.write(clones.here, "t", "data\n")
    clones.track(clones.here, "t")
    other = clones.write(clones.here.parent, "disk", "other\n")
    data.unlink()
    data.symlink_to(where)

    seen = clones.merkl(clones.here, "status").stdout
    assert "1 modified" in seen and f"t  a link of yours is in its place: -> {where}" in seen
    left = clones.merkl(clones.here, "pull", code=6).stderr
    assert f"t is a link of yours, -> {where}, and is left as it is" in left
    assert "merkl pull --force t" in left
    assert "would be saved first" in clones.merkl(clones.here, "pull", "--force", "-n").stdout
    assert os.readlink(data) == where

    forced = clones.merkl(clones.here, "pull", "--force").stdout
    assert f"replaced your link t -> {where}: `merkl restore t` brings it back" in forced
    assert data.read_text() == "data\n" and not data.is_symlink()
    clones.merkl(clones.here, "gc", "--keep-days", "0")
    clones.merkl(clones.here, "restore", "t")
    assert os.readlink(data) == where and other.read_text() == "other\n"


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_link_to_outdated_data_is_left_too(clones: Any, kind: str) -> None:
    inner = "v" if kind == "file" else "v/f"
    clones.write(clones.here, inner, "old\n")
    clones.track(clones.here, "v")
    clones.merkl(clones.here, "push")
    clones.hand_over()
    clones.merkl(clones.there, "pull")
    clones.write(clones.here, inner, "newer\n")
    clones.track(clones.here, "v")
    clones.merkl(clones.here, "push")
    clones.hand_over()
    disk, data = clones.there.parent / "disk", clones.there / "v"
    data.rename(disk)
    data.symlink_to("../disk")

    assert "v is a link of yours, -> ../disk" in clones.merkl(clones.there, "pull", "v", code=6).stderr
    clones.merkl(clones.there, "pull", "--force", "v")

    assert not data.is_symlink() and (clones.there / inner).read_text() == "newer\n"
    assert (disk if kind == "file" else disk / "f").read_text() == "old\n"


@pytest.mark.parametrize("before", ["nothing", "file", "directory", "a few files of many"])
def test_what_is_written_while_the_new_data_is_made_ready_is_left(
    clones: Any, snapshot: Any, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    inner = "v" if before in ("nothing", "file") else "v/f"
    clones.write(clones.here, inner, "old\n")
    if before == "a few files of many":
        for number in range(20):
            clones.write(clones.here, f"v/{number}", f"{number}\n")
    clones.track(clones.here, "v")
    clones.merkl(clones.here, "push")
    clones.hand_over()
    if before != "nothing":
        clones.merkl(clones.there, "pull")
    clones.write(clones.here, inner, "newer\n")
    clones.track(clones.here, "v")
    clones.merkl(clones.here, "push")
    clones.hand_over()

    def and_edit(*arguments: Any, **more: Any) -> Any:
        clones.write(clones.there, inner, "mine\n")  # As the user does, after all has been looked at.
        return copied(*arguments, **more)

    copied = merkl.workspace.copying.copy_into
    with monkeypatch.context() as patched:
        patched.setattr(merkl.workspace.copying, "copy_into", and_edit)
        patched.setattr(merkl.workspace.trees, "copy_into", and_edit)
        said = clones.merkl(clones.there, "pull", code=6).stderr

    assert "v was changed while it was pulled, and is left as it is" in said
    assert (clones.there / inner).read_text() == "mine\n"
    assert not [
        each
        for each in snapshot(clones.there)
        if ".merkl" in each and not each.endswith(".merkl") and each != "merkl.yaml"
    ]


def test_what_is_outdated_is_replaced_and_saved_if_no_store_has_it(clones: Any) -> None:
    clones.write(clones.there, "data.txt", "old\n")
    clones.track(clones.there, "data.txt", store=False)
    clones.merkl(clones.there, "pull")  # They are seen in agreement.
    clones.write(clones.here, "data.txt", "new\n")
    clones.track(clones.here, "data.txt")
    clones.merkl(clones.here, "push")
    clones.hand_over()

    pulled = clones.merkl(clones.there, "pull")

    assert (clones.there / "data.txt").read_text() == "new\n"
    assert "`merkl restore data.txt` brings it back" in pulled.stdout
    clones.merkl(clones.there, "restore", "data.txt")
    assert (clones.there / "data.txt").read_text() == "old\n"


def test_the_stores_copy_is_on_the_disk_before_outdated_data_goes(
    clones: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "b.txt"):
        clones.write(clones.there, name, f"old {name}\n")
        clones.track(clones.there, name)
    clones.merkl(clones.there, "pull")
    for name in ("a.txt", "b.txt"):
        clones.write(clones.here, name, f"new {name}\n")
        clones.track(clones.here, name)
    clones.merkl(clones.here, "push")
    clones.hand_over()
    seen: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: seen.append((clones.there / "a.txt").read_text()))

    clones.merkl(clones.there, "pull")

    assert seen == ["old a.txt\n"], "once for all"
    assert (clones.there / "b.txt").read_text() == "new b.txt\n"


def test_fresh_data_gets_the_time_of_its_sidecar(clones: Any) -> None:
    where = clones.write(clones.here, "data.txt", "data\n", mtime=1_000_000_000)
    clones.track(clones.here, "data.txt")
    os.utime(where)

    assert "1 fresh" in clones.merkl(clones.here, "pull").stdout

    assert where.stat().st_mtime == 1_000_000_000


def test_data_may_come_as_another_kind(clones: Any) -> None:
    clones.write(clones.here, "data", "a file\n")
    clones.track(clones.here, "data")
    clones.merkl(clones.here, "push")
    clones.hand_over()
    clones.merkl(clones.there, "pull")
    (clones.here / "data").unlink()
    clones.write(clones.here, "data/inside", "in a directory\n")
    clones.track(clones.here, "data")
    clones.merkl(clones.here, "push")
    clones.hand_over()

    clones.merkl(clones.there, "pull")

    assert (clones.there / "data/inside").read_text() == "in a directory\n"


# ---- directories -----------------------------------------------------------------------------------------------------


def shared_directory(clones: Any) -> Path:
    for number in range(40):
        clones.write(clones.here, f"data/{number % 4}/{number}", f"{number}\n")
    clones.write(clones.here, "data/old/only", "x")
    clones.track(clones.here, "data")
    clones.merkl(clones.here, "push")
    clones.hand_over()
    clones.merkl(clones.there, "pull")
    data: Path = clones.there / "data"
    assert len(list(data.rglob("*"))) == 40 + 4 + 2
    return data


def edit_directory(clones: Any) -> None:
    clones.write(clones.here, "data/1/5", "another five\n")
    clones.write(clones.here, "data/new/deep/file", "new\n")
    (clones.here / "data/2/6").chmod(0o755)
    shutil.rmtree(clones.here / "data/old")
    clones.track(clones.here, "data")
    clones.merkl(clones.here, "push")
    clones.hand_over()


def inodes(top: Path) -> dict[str, tuple[int, int]]:
    return {
        str(p.relative_to(top)): (p.stat().st_ino, p.stat().st_ctime_ns)
        for p in top.rglob("*")
        if p.is_file()
    }


def test_of_a_directory_only_what_differs_is_touched(clones: Any, snapshot: Any) -> None:
    data = shared_directory(clones)
    before = inodes(data)
    edit_directory(clones)

    clones.merkl(clones.there, "pull")

    assert snapshot(data) == snapshot(clones.here / "data")
    after = inodes(data)
    assert {name for name in after if after[name] != before.get(name)} == {"1/5", "2/6", "new/deep/file"}
    assert data.stat().st_mtime_ns == clones.sidecar(clones.there, "data").modified_ns
    assert "1 fresh" in clones.merkl(clones.there, "pull").stdout


def test_a_directory_with_a_modified_file_is_left_whole(clones: Any, snapshot: Any) -> None:
    data = shared_directory(clones)
    edit_directory(clones)
    clones.write(clones.there, "data/3/7", "mine\n")
    before = snapshot(data)

    assert "data was modified" in clones.merkl(clones.there, "pull", code=6).stderr

    assert snapshot(data) == before
    clones.merkl(clones.there, "pull", "--force")
    assert snapshot(data) == snapshot(clones.here / "data")


def test_a_directory_that_a_killed_pull_left_half_way_is_finished(clones: Any, snapshot: Any) -> None:
    data = shared_directory(clones)
    edit_directory(clones)
    clones.write(clones.there, "data/1/5", "another five\n")  # As if this had come, and the rest had not.
    (clones.there / "data/new").mkdir()

    clones.merkl(clones.there, "pull")

    assert snapshot(data) == snapshot(clones.here / "data")


def test_a_file_that_cannot_be_had_leaves_the_directory_as_it_was(clones: Any, snapshot: Any) -> None:
    data = shared_directory(clones)
    before = snapshot(data)
    edit_directory(clones)
    shutil.rmtree(clones.share / "packs")
    shutil.rmtree(clones.there / ".merkl/remote", ignore_errors=True)

    assert "data" in clones.merkl(clones.there, "pull", code=None).stderr

    assert snapshot(data) == before


# ---- what is not to be had -------------------------------------------------------------------------------------------


def test_what_no_cache_has_is_named_and_the_rest_is_pulled(clones: Any) -> None:
    for name in ("a", "b"):
        clones.write(clones.here, name, f"{name}\n")
        clones.track(clones.here, name)
    clones.merkl(clones.here, "push", "a")
    clones.hand_over()

    left = clones.merkl(clones.there, "pull", code=6)

    assert (clones.there / "a").exists() and not (clones.there / "b").exists()
    assert "cannot pull b: neither the store nor the remote has it" in left.stderr
    assert "merkl push b" in left.stderr


def test_without_a_remote_the_line_to_add_is_named(clones: Any) -> None:
    clones.write(clones.here, "a", "a\n")
    clones.track(clones.here, "a")
    clones.hand_over()
    (clones.there / "merkl.yaml").write_text("jobs: 1\n")

    assert "remote: {url: /mnt/team/merkl}" in clones.merkl(clones.there, "pull", code=6).stderr


def test_a_remote_that_fails_is_an_error_that_says_what_is_left(clones: Any) -> None:
    clones.write(clones.here, "a", "a\n")
    clones.track(clones.here, "a")
    clones.hand_over()
    clones.write(clones.there, "b", "b\n")
    clones.track(clones.there, "b")
    shutil.rmtree(clones.share)

    failed = clones.merkl(clones.there, "pull", code=3).stderr

    assert f"the remote {clones.share} is not there" in failed
    assert "not pulled: a\n" in failed and "`merkl pull` goes on" in failed


def test_a_word_that_has_no_sidecar_is_an_error(clones: Any) -> None:
    clones.write(clones.here, "plain.txt", "text")

    assert (
        "nothing at plain.txt has a sidecar" in clones.merkl(clones.here, "pull", "plain.txt", code=2).stderr
    )


def test_a_conflicted_sidecar_is_named_and_the_rest_is_pulled(clones: Any) -> None:
    for name in ("a", "b"):
        clones.write(clones.here, name, f"{name}\n")
        clones.track(clones.here, name)
        (clones.here / name).unlink()
    sidecar = clones.here / "a.merkl"
    sidecar.write_text("<<<<<<< ours\n" + sidecar.read_text())

    left = clones.merkl(clones.here, "pull", code=2)

    assert "a.merkl:1: git left its conflict markers here" in left.stderr
    assert (clones.here / "b").exists()


# ---- how it speaks ---------------------------------------------------------------------------------------------------


def test_a_dry_run_says_how_many_bytes_and_writes_nothing(clones: Any, snapshot: Any) -> None:
    clones.write(clones.here, "large", b"x" * 300_000)
    clones.track(clones.here, "large")
    clones.merkl(clones.here, "push")
    clones.hand_over()
    before = snapshot(clones.there)

    out = clones.merkl(clones.there, "pull", "-n").stdout

    assert out.splitlines() == ["would pull  large  300.0 kB", "would pull 1 file, 300.0 kB"]
    assert snapshot(clones.there) == before


@pytest.mark.parametrize("reads", ["", "open('data.txt').close()\n"], ids=["its task", "the Merklfile"])
def test_a_dry_run_of_a_target_whose_data_is_not_here_says_what_is_known(
    clones: Any, snapshot: Any, reads: str
) -> None:
    clones.write(clones.here, "data.txt", "data\n")
    clones.track(clones.here, "data.txt")
    clones.merklfile(CHAIN)
    clones.write(clones.there, "Merklfile.py", reads + (clones.there / "Merklfile.py").read_text())
    clones.build(clones.here)
    clones.merkl(clones.here, "push")
    (clones.here / "build/both.txt.merkl").unlink()
    clones.hand_over()
    before = snapshot(clones.there)

    done = clones.merkl(clones.there, "pull", "-n", "both")

    assert done.stdout.splitlines() == ["would pull  data.txt  5 bytes", "would pull 1 file, 5 bytes"]
    assert done.stderr.startswith("note: what else would be pulled is known when these are here: ")
    assert snapshot(clones.there) == before
    if not reads:  # Else nobody knows which targets there are.
        assert "no target named 'bath'" in clones.merkl(clones.there, "pull", "-n", "bath", code=2).stderr


def test_json_has_an_object_for_each_path(clones: Any) -> None:
    for name in ("a", "b"):
        clones.write(clones.here, name, f"{name}\n")
        clones.track(clones.here, name)
    clones.write(clones.here, "a", "mine\n")
    (clones.here / "b").unlink()

    out = clones.merkl(clones.here, "pull", "--json", code=6).stdout

    found = {item["path"]: item for item in map(json.loads, out.splitlines())}
    assert {path: item["state"] for path, item in found.items()} == {"a": "left", "b": "moved"}
    assert found["a"]["error"].startswith("a was modified") and found["a"]["exit_code"] == 6


def test_without_a_target_no_merklfile_is_run(clones: Any) -> None:
    clones.merklfile(CANARY)
    clones.write(clones.here, "a/b", "text")
    clones.track(clones.here, "a/b")
    for command in (
        ["push"],
        ["push", "a"],
        ["pull"],
        ["pull", "a/b"],
        ["pull", "a"],
        ["pull", "-n", "--json"],
    ):
        clones.merkl(clones.here, *command)

    assert not (clones.here / "canary").exists()
    assert "nobody may run this" in clones.merkl(clones.here, "pull", "target", code=None).stderr


# ---- targets ---------------------------------------------------------------------------------------------------------


def test_pull_of_a_target_places_its_results_and_replaces_nothing_of_the_users(clones: Any) -> None:
    clones.merklfile(
        """
        say = bash_task("echo {arg('text')} > {out_file_arg('out')}")

        @target
        def said():
            say("a") > "build/a.txt"
            say("b") > "build/b.txt"
        """
    )
    clones.build(clones.here, "said")
    clones.merkl(clones.here, "push", "said")
    clones.write(clones.there, "build/a.txt", "mine\n")

    left = clones.merkl(clones.there, "pull", "said", code=6)

    assert "build/a.txt is not merkl's" in left.stderr
    assert (clones.there / "build/a.txt").read_text() == "mine\n"
    assert (clones.there / "build/b.txt").read_text() == "b\n"
    clones.merkl(clones.there, "pull", "--force", "said")
    assert (clones.there / "build/a.txt").read_text() == "a\n"


def test_build_with_pull_runs_nothing_and_names_what_no_cache_has(clones: Any) -> None:
    clones.merklfile(CHAIN.replace(", sidecar=True", ""))
    clones.write(clones.here, "data.txt", "data\n")
    clones.track(clones.here, "data.txt")
    clones.build(clones.here)
    clones.merkl(clones.here, "push")
    clones.hand_over()

    assert clones.build(clones.there, "--pull") == []  # It reads data.txt, which was not there.
    assert (clones.there / "build/both.txt").read_text() == "a\ndata\n"

    clones.merklfile(CHAIN.replace(", sidecar=True", "").replace('first("a")', 'first("other")'))
    missing = clones.merkl(clones.there, "build", "--pull", code=6).stderr
    assert "no cache has the results of 2 tasks" in missing and "first text='other'" in missing
    assert (clones.there / "build/both.txt").read_text() == "a\ndata\n"


def test_build_with_pull_runs_nothing_that_a_merklfile_evaluates(clones: Any) -> None:
    clones.merklfile(
        """
        say = bash_task("touch ran; echo 1 > {out_file_arg('out')}", cwd=".")
        number = say().eval()

        @target(default=True)
        def nothing():
            pass
        """
    )

    clones.merkl(clones.here, "build", "--pull", code=6)

    assert not list(clones.here.rglob("ran"))
    assert "leave out one" in clones.merkl(clones.here, "build", "--pull", "--force", code=2).stderr


def test_a_file_of_the_users_where_a_directory_is_tracked_is_left_and_the_rest_is_pulled(clones: Any) -> None:
    clones.write(clones.here, "data/a", "old\n")
    clones.write(clones.here, "other", "other\n")
    clones.track(clones.here, "data")
    clones.track(clones.here, "other")
    clones.merkl(clones.here, "status")  # Data and sidecars are seen to agree.
    shutil.rmtree(clones.here / "data")
    clones.write(clones.here, "data", "mine\n")
    (clones.here / "other").unlink()

    done = clones.merkl(clones.here, "pull", code=6)

    assert "data was modified, and is left as it is" in done.stderr
    assert (clones.here / "data").read_text() == "mine\n"
    assert (clones.here / "other").read_text() == "other\n"


WORDS = """
    shout = bash_task("tr a-z A-Z < {file_arg('text')} > {out_file_arg('out')}")

    @target
    def shouted():
        shout("data/words.txt") > "build/shouted.txt"
"""


def words_pushed(clones: Any) -> None:
    """A target that reads a tracked file, built and sent; the other clone has sidecars only."""
    clones.merklfile(WORDS)
    clones.write(clones.here, "data/words.txt", "words\n")
    clones.track(clones.here, "data/words.txt")
    clones.build(clones.here, "shouted")
    clones.merkl(clones.here, "push")
    clones.merkl(clones.here, "push", "shouted")
    clones.hand_over()


def test_pull_of_a_target_in_a_fresh_clone_first_brings_the_tracked_file_that_it_reads(clones: Any) -> None:
    words_pushed(clones)

    done = clones.merkl(clones.there, "pull", "shouted")

    assert (clones.there / "data/words.txt").read_text() == "words\n"
    assert (clones.there / "build/shouted.txt").read_text() == "WORDS\n"
    assert done.stdout.count("pulled 1 file") == 1 and "pulled 0" not in done.stdout
    assert clones.build(clones.there, "shouted") == []


def test_pull_of_a_target_leaves_a_tracked_file_that_nobody_has_and_says_so_once(clones: Any) -> None:
    words_pushed(clones)
    clones.write(clones.there, "other", "other\n")
    clones.track(clones.there, "other", store=False)
    (clones.there / "other").unlink()

    done = clones.merkl(clones.there, "pull", "shouted", code=6)

    assert done.stderr.count("cannot pull other: neither the store nor the remote has it") == 1
    assert (clones.there / "build/shouted.txt").read_text() == "WORDS\n"


def test_status_and_push_of_a_target_name_the_tracked_file_that_is_missing_and_pull(clones: Any) -> None:
    words_pushed(clones)

    for command in (("status", "shouted"), ("status", "--check", "shouted"), ("push", "shouted")):
        said = clones.merkl(clones.there, *command, code=2).stderr
        assert "data/words.txt does not exist" in said and "merkl pull data/words.txt" in said


def test_what_cannot_be_saved_in_a_tracked_directory_is_called_no_output_of_a_task(clones: Any) -> None:
    clones.write(clones.here, "data/a", "a\n")
    clones.track(clones.here, "data")
    os.mkfifo(clones.here / "data/pipe")

    for force in ((), ("--force",)):
        said = clones.merkl(clones.here, "pull", *force, code=2).stderr
        assert (
            "cannot pull data: data/pipe is a fifo, so data cannot be saved" in said
            and "move it away" in said
        )
        assert "output" not in said and "task" not in said
    (clones.here / "data/pipe").unlink()
    (clones.here / "data/.git").mkdir()
    said = clones.merkl(clones.here, "pull", "--force", code=2).stderr
    assert "data/.git belongs to version control" in said and "hint: move it " in said
    assert "output" not in said and "task" not in said

"""``merkl gc --remote``: what goes by age, what branches keep, and who may push meanwhile."""

import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from merkl.store.remote import collect
from merkl.store.remote.collect import KeepThere, collect_remote
from merkl.store.remote.directory import DirectoryObjects
from merkl.store.remote.remote import Remote

DAY = 86_400
TWO = """
make = bash_task("{ echo {arg('word')}; head -c {arg('size', type=int)} /dev/zero; } > {out_file_arg('made', '.txt')}")

@target(default=True)
def all():
    make("small", size=1000) > "small.txt"
    make("large", size=400_000) > "large.txt"
"""


def grow_old(share: Path, days: float, *kinds: str) -> None:
    """Let everything there, or what is of some kinds, be as old as that."""
    when = time.time() - days * DAY
    for path in share.rglob("*"):
        if path.is_file() and (not kinds or path.relative_to(share).parts[0] in kinds):
            os.utime(path, (when, when))


def kinds(clones) -> set[str]:
    """What kinds of objects the share has, but for those that it always has."""
    return {name.partition("/")[0] for name in clones.sent()} - {"merkl-remote", "signers"}


def git(at: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *words], cwd=at, check=True, capture_output=True)


def gc(clones, *words: str, at: Path | None = None) -> dict[str, int]:
    done = clones.merkl(at or clones.there, "gc", "--remote", "--json", *words)
    return json.loads(done.stdout)


@pytest.fixture
def pushed(clones):
    """Results that were pushed from ``here``; ``there`` has built nothing."""
    clones.merklfile(TWO)
    clones.build(clones.here, "--push")
    assert kinds(clones) == {"blobs", "packs", "index", "records", "made"}
    return clones


def test_what_was_not_pushed_for_long_goes_with_its_bytes(pushed):
    grow_old(pushed.share, 40)

    done = gc(pushed)

    assert (done["records"], done["blobs"]) == (4, 2)  # Each under its key and its content key.
    assert kinds(pushed) == set()
    assert pushed.build(pushed.there) == ["make", "make"]


def test_a_dry_run_says_the_same_and_does_nothing(pushed):
    grow_old(pushed.share, 40)
    before = pushed.sent()

    said = gc(pushed, "--dry-run")

    assert pushed.sent() == before
    assert said == gc(pushed)


@pytest.mark.parametrize("days", [0, 6.9, 29])
def test_what_is_younger_stays(pushed, days):
    grow_old(pushed.share, days)
    before = pushed.sent()

    assert gc(pushed)["records"] == 0

    assert pushed.sent() == before


def test_nothing_of_the_last_week_can_be_asked_for(pushed):
    done = pushed.merkl(pushed.there, "gc", "--remote", "--keep-days", "6", code=2)

    assert "--keep-days of a remote is 7 at least" in done.stderr


@pytest.mark.parametrize(
    "words",
    [["--branch", "main"], ["--remote", "--max-size", "1G"], ["--remote", "--saved-edits"]],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_refused(clones, words):
    clones.merklfile("")

    assert "--remote" in clones.merkl(clones.here, "gc", *words, code=2).stderr


def test_bytes_of_the_last_week_stay_though_their_record_is_gone(pushed):
    grow_old(pushed.share, 40, "records", "made")

    assert gc(pushed)["blobs"] == 0

    assert kinds(pushed) == {"blobs", "packs", "index"}


def test_what_the_outputs_here_were_made_from_stays(pushed):
    grow_old(pushed.share, 400)
    before = pushed.sent()

    gc(pushed, at=pushed.here)

    assert pushed.sent() == before


@pytest.mark.needs("git")
def test_only_what_given_branches_track_stays(clones):
    git(clones.here, "init", "-q", "-b", "main")
    for branch, name in (("main", "a.bin"), ("old", "b.bin")):
        git(clones.here, "checkout", "-q", "-B", branch)
        clones.write(clones.here, name, name.encode() * 100_000)
        clones.merkl(clones.here, "track", name)
        git(clones.here, "add", "-f", f"{name}.merkl")
        git(clones.here, "commit", "-qm", branch)
        clones.merkl(clones.here, "push")
        if branch == "main":
            git(clones.here, "rm", "-q", f"{name}.merkl")
    grow_old(clones.share, 40)

    assert gc(clones, "--keep-days", "30", at=clones.here)["blobs"] == 0  # Both branches count.
    assert gc(clones, "--keep-days", "30", "--branch", "main", at=clones.here)["blobs"] == 1

    (clones.here / "a.bin").unlink()
    git(clones.here, "checkout", "-q", "main")
    clones.merkl(clones.here, "pull", "a.bin")
    done = clones.merkl(clones.here, "gc", "--remote", "--branch", "none", code=2)
    assert done.stderr.startswith("git knows no commit none")


def test_tracked_bytes_go_only_if_an_age_is_given(clones):
    clones.write(clones.here, "data.bin", b"data" * 100_000)
    clones.track(clones.here, "data.bin")
    clones.merkl(clones.here, "push")
    grow_old(clones.share, 400)

    assert gc(clones)["blobs"] == 0  # For all this project knows it is another's.
    assert gc(clones, "--keep-days", "500")["blobs"] == 0
    assert gc(clones, "--keep-days", "30")["blobs"] == 1


def test_another_namespace_is_left_alone(pushed):
    grow_old(pushed.share, 40)
    before = pushed.sent()
    (pushed.there / "merkl.yaml").write_text(f"remote: {{url: {pushed.share}, namespace: other}}\n")

    gc(pushed)

    assert pushed.sent() == before


def test_a_push_makes_young_again_what_it_relies_on(pushed):
    grow_old(pushed.share, 4)

    pushed.merkl(pushed.here, "push", "all")

    old = {
        str(path.relative_to(pushed.share)).partition("/")[0]
        for path in pushed.share.rglob("*")
        if path.is_file() and path.stat().st_mtime < time.time() - DAY
    }
    assert old <= {"merkl-remote", "signers"}
    before = pushed.sent()
    pushed.merkl(pushed.here, "push", "all")
    assert pushed.sent() == before  # And once is enough.


def test_a_push_in_the_middle_of_a_gc_loses_nothing(pushed, monkeypatch):
    grow_old(pushed.share, 40)
    real = collect._Clearing.carry_out

    def pushing_first(self, plan):
        pushed.merkl(pushed.here, "push", "all")
        return real(self, plan)

    monkeypatch.setattr(collect._Clearing, "carry_out", pushing_first)
    gc(pushed)
    monkeypatch.undo()

    assert pushed.build(pushed.there) == []
    assert "nothing is wrong" in pushed.merkl(pushed.here, "fsck", "--remote").stdout


@pytest.mark.parametrize("kind", ["made", "packs", "blobs"])
def test_a_push_between_the_last_look_of_a_gc_and_its_removal_loses_nothing(pushed, monkeypatch, kind):
    grow_old(pushed.share, 40)
    looked, sent_again = threading.Event(), threading.Event()
    real = collect._Clearing._still

    def looking(self, some):
        still = real(self, some)
        if any(each.name.startswith(kind) for each in some) and not looked.is_set() and named(pushed):
            looked.set()
            assert sent_again.wait(60)
        return still

    def watch(self, name, data):
        put(self, name, data)
        if name.startswith(kind):
            sent_again.set()

    put = DirectoryObjects.put
    monkeypatch.setattr(collect._Clearing, "_still", looking)
    monkeypatch.setattr(DirectoryObjects, "put", watch)
    with ThreadPoolExecutor(1) as clearing:
        done = clearing.submit(lambda: collect_there(pushed))
        assert looked.wait(60)
        pushed.merkl(pushed.here, "push", "all")
        done.result()
    monkeypatch.undo()

    assert pushed.build(pushed.there) == []
    assert "nothing is wrong" in pushed.merkl(pushed.here, "fsck", "--remote").stdout
    assert "going" not in kinds(pushed)


def named(clones) -> bool:
    """Whether a gc has named what it is about to remove."""
    return "going" in kinds(clones)


def collect_there(clones) -> None:
    remote = Remote(DirectoryObjects(str(clones.share)))
    try:
        collect_remote(remote, KeepThere("default", loose=True))
    finally:
        remote.close()


def test_a_pack_of_which_little_is_needed_is_written_anew(clones):
    make = "make = bash_task(\"echo {arg('n')} > {out_file_arg('o', '.txt')}\")\n"
    clones.merklfile(
        make + "@target(default=True)\ndef all():\n    for n in range(20): make(n) > f'{n}.txt'\n"
    )
    clones.build(clones.here, "--push")
    clones.merklfile(make + "@target(default=True)\ndef all():\n    make(7) > '7.txt'\n")
    assert clones.build(clones.there) == []
    grow_old(clones.share, 40)

    done = gc(clones)

    assert (done["records"], done["blobs"]) == (38, 19)
    assert "nothing is wrong" in clones.merkl(clones.there, "fsck", "--remote").stdout
    subprocess.run(["rm", "-r", str(clones.there / ".merkl")], check=True)
    assert clones.build(clones.there) == []


def test_a_pack_whose_index_is_damaged_stays(pushed):
    (index,) = (pushed.share / name for name in pushed.sent() if name.startswith("index/"))
    index.chmod(0o644)
    index.write_bytes(index.read_bytes()[:-1])
    grow_old(pushed.share, 40)

    gc(pushed)

    assert kinds(pushed) == {"packs", "index"}


def test_a_gc_that_is_killed_leaves_no_promise_without_its_bytes(pushed, monkeypatch):
    grow_old(pushed.share, 40)
    removed: list[str] = []
    stop = 0
    real = DirectoryObjects.remove

    def remove(self, names):
        for name in names:
            if len(removed) == stop and not name.startswith("incoming/"):
                raise KeyboardInterrupt
            real(self, [name])
            removed.extend([name] * (not name.startswith("incoming/")))

    monkeypatch.setattr(DirectoryObjects, "remove", remove)
    keep = KeepThere("default", loose=True)
    while True:
        removed.clear()
        remote = Remote(DirectoryObjects(str(pushed.share)))
        try:
            collect_remote(remote, keep)
            break
        except KeyboardInterrupt:
            assert not collect_lacks(pushed)
            stop += 1
        finally:
            remote.close()
    monkeypatch.undo()
    assert stop > 0 and kinds(pushed) == {"going"}
    grow_old(pushed.share, 2, "going")
    gc(pushed)
    assert kinds(pushed) == set()


def collect_lacks(clones) -> dict[str, object]:
    found = json.loads(clones.merkl(clones.there, "fsck", "--remote", "--json", code=None).stdout)
    return found["remote"]["incomplete"]


def test_a_record_of_a_newer_merkl_stops_it(pushed):
    name = next(name for name in pushed.sent() if name.startswith("records/"))
    path = pushed.share / name
    path.chmod(0o644)
    path.write_bytes(b"merkl record 99\n{}\n")
    grow_old(pushed.share, 40)
    before = pushed.sent()

    done = pushed.merkl(pushed.there, "gc", "--remote", code=3)

    assert "nothing was removed: a newer merkl wrote records/" in done.stderr
    assert pushed.sent() == before
    assert gc(pushed, "--skip-unreadable")["records"] == 3

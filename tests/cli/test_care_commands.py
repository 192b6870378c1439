"""``gc``, ``fsck`` and ``cache``: what a project keeps is kept, what is damaged comes back, and what there is is told."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from merkl.digest import Digest
from merkl.store.local import LocalStore
from merkl.tree import Tree, TreeEntry
from merkl.workspace.sidecar import Sidecar, render_sidecar

CHAIN = """
first = bash_task("seq {arg('n')} > {out_file_arg('out', '.txt')}")
second = bash_task("(cat {file_arg('text', '.txt')}; seq 30000) > {out_file_arg('out', '.txt')}")

@target(default=True)
def all(n: int = 20000):
    second(first(n)) > "build/out.txt"
"""
LARGE = b"tracked " * 20_000


class Care:
    """A project whose store's clock can be turned back."""

    def __init__(self, project: Any) -> None:
        self.project = project
        self.root: Path = project.path
        self.where = self.root / ".merkl/store"

    def store(self) -> LocalStore:
        return LocalStore(self.where)

    def age(self, days: float) -> None:
        """Let everything be last used some days ago."""
        database = max(self.where.glob("store-*.db"))
        then = int(time.time() - days * 86_400)
        connection = sqlite3.connect(database)
        for table in ("blob", "record"):
            connection.execute(f"UPDATE {table} SET used_at = ?", (then,))
        connection.commit()
        connection.close()

    def keep(self, *data: bytes) -> list[Digest]:
        """Put contents into the store."""
        store = self.store()
        try:
            return [store.put([each]) for each in data]
        finally:
            store.close()

    def has(self, *data: bytes) -> list[bool]:
        """Which contents the store has."""
        store = self.store()
        try:
            return [bool(store.has([Digest.of(each)])) for each in data]
        finally:
            store.close()

    def track(self, name: str, data: bytes) -> None:
        """A sidecar for data that is in the store, and nowhere else."""
        self.project.write(f"{name}.merkl", render_sidecar(Sidecar("file", *self.keep(data), len(data), 0)))

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
        subprocess.run(["git", *who, *words], cwd=self.root, capture_output=True, check=True)

    def gc(self, *words: str, code: int = 0) -> dict[str, Any]:
        done = self.project.merkl("gc", "--json", *words, code=code)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def care(inside: Any) -> Care:
    inside.merklfile(CHAIN)
    inside.merkl("list")
    return Care(inside)


# ---- gc --------------------------------------------------------------------------------------------------------------


def test_gc_removes_after_thirty_days_what_nothing_here_needs(care: Care) -> None:
    care.project.build()
    care.project.build("all", "n=5")  # Of the output in place the result stays, and what it was made from.
    care.age(29)
    assert care.gc()["records"] == 0
    care.age(31)

    planned = care.gc("-n")

    assert (planned["records"], planned["blobs"]) == (2, 2)
    assert planned["freed"] > 100_000
    assert care.gc() == planned
    assert care.gc()["records"] == 0
    shutil.rmtree(care.root / "build")
    assert care.project.build("all", "n=5") == []
    assert care.project.build() == ["first", "second"]
    care.project.merkl("fsck")


def test_gc_keeps_what_an_output_in_place_was_made_from(care: Care) -> None:
    care.project.build()
    care.age(400)

    assert care.gc("--keep-days", "0")["records"] == 0

    care.project.merklfile(CHAIN.replace("30000", "30001"))
    assert care.project.build() == ["second"]


def test_gc_lets_go_of_an_output_that_is_gone_with_its_target(care: Care) -> None:
    care.project.build()
    care.project.merklfile(CHAIN.replace("def all", "def other").replace("build/", "other/"))
    care.project.merkl("list")
    care.age(400)
    assert care.gc("-n")["records"] == 0, "the file is still there"

    shutil.rmtree(care.root / "build")

    assert care.gc()["records"] == 2


def test_gc_by_size_alone_asks_for_no_age(care: Care) -> None:
    care.project.build("all", "n=5")
    care.project.build()
    care.age(400)

    assert care.gc("-n", "--max-size", "1G")["records"] == 0
    assert care.gc("-n", "--max-size", "1")["records"] == 2
    assert care.gc("-n", "--max-size", "1G", "--keep-days", "30")["records"] == 2


def test_gc_keeps_tracked_data(care: Care) -> None:
    care.track("data/one.bin", LARGE)
    inner = care.keep(b"in the directory")[0]
    tree = Tree((TreeEntry(b"f", "file", inner, 16),)).encode()
    (digest,) = care.keep(tree)
    care.project.write("data/folder.merkl", render_sidecar(Sidecar("dir", digest, 16, 0)))
    care.keep(b"nobody's")
    care.age(400)

    assert care.gc("--keep-days", "0")["blobs"] == 1
    assert care.has(LARGE, tree, b"in the directory", b"nobody's") == [True, True, True, False]
    (care.root / "data/one.bin.merkl").unlink()
    assert care.gc()["blobs"] == 1
    assert care.has(LARGE) == [False]


@pytest.mark.needs("git")
def test_gc_keeps_what_another_branch_or_a_stash_tracks(care: Care) -> None:
    care.git("init", "-q", "-b", "main")
    care.track("data", b"main's")
    care.git("add", "-A")
    care.git("commit", "-q", "-m", "one")
    care.git("checkout", "-q", "-b", "other")
    care.track("data", b"other's")
    care.git("commit", "-q", "-a", "-m", "two")
    care.track("data", b"stashed")
    care.git("stash", "-q")
    care.git("checkout", "-q", "main")
    care.age(2)

    assert care.gc("--keep-days", "0")["blobs"] == 0
    care.git("stash", "drop", "-q")
    assert care.gc("--keep-days", "1")["blobs"] == 1
    care.git("branch", "-q", "-D", "other")
    assert care.gc("--keep-days", "1")["blobs"] == 0, "git reset, which stash calls, left a way back"
    care.git("update-ref", "-d", "ORIG_HEAD")
    assert care.gc("--keep-days", "1")["blobs"] == 1
    assert care.has(b"main's", b"other's", b"stashed") == [True, False, False]


@pytest.mark.needs("git")
def test_gc_removes_nothing_if_it_cannot_know_what_is_tracked(care: Care) -> None:
    care.keep(b"nobody's")
    care.age(2)
    care.project.write("data.merkl", "merkl: 1\nkind: fi")
    done = care.project.merkl("gc", code=2)
    assert done.stderr.startswith("nothing was removed, since nobody knows what is tracked: data.merkl:2: ")
    assert "`merkl gc --skip-unreadable` goes on without it" in done.stderr

    (care.root / "data.merkl").rename(care.root / "other.merkl")
    care.git("init", "-q")
    care.git("add", "-A")
    care.git("commit", "-q", "-m", "one")
    (care.root / "other.merkl").unlink()
    assert "tracked: HEAD:other.merkl:2: not a sidecar" in care.project.merkl("gc", code=2).stderr
    (care.root / ".git/HEAD").rename(care.root / ".git/lost")
    assert "git rev-parse" in care.project.merkl("gc", code=1).stderr
    (care.root / ".git/lost").rename(care.root / ".git/HEAD")

    assert care.has(b"nobody's") == [True]
    done = care.project.merkl("gc", "--skip-unreadable", "--keep-days", "1")
    assert done.stdout.startswith("removed 0 results and 1 blob, 8 bytes")
    assert "note: passed over: HEAD:other.merkl:2" in done.stderr


def test_gc_stops_at_a_sidecar_that_is_no_file_and_at_one_that_leads_nowhere(care: Care) -> None:
    care.keep(b"nobody's")
    care.age(2)
    sidecar = care.root / "data.merkl"
    for make, what in (
        (lambda: os.mkfifo(sidecar), "data.merkl is no file"),
        (lambda: sidecar.symlink_to("nothing"), "data.merkl is a symbolic link that leads nowhere"),
    ):
        make()
        done = care.project.merkl("gc", "--keep-days", "1", code=2)
        assert f"nobody knows what is tracked: {what}\n" in done.stderr
        sidecar.unlink()
    assert care.gc("--keep-days", "1")["blobs"] == 1


@pytest.mark.needs("setpriv")
def test_gc_stops_at_a_directory_that_cannot_be_listed(care: Care) -> None:
    care.track("inside/data", b"tracked")
    care.age(2)
    gc = [sys.executable, "-m", "merkl", "gc", "--keep-days", "1"]
    who = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"] if os.geteuid() == 0 else []
    (care.root / "inside").chmod(0)
    try:
        done = subprocess.run([*who, *gc], cwd=care.root, capture_output=True, text=True, timeout=60)
    finally:
        (care.root / "inside").chmod(0o755)

    assert done.returncode == 2, done.stdout + done.stderr
    assert "sidecars may lie in inside, which cannot be listed: Permission denied" in done.stderr
    assert care.has(b"tracked") == [True]


def test_gc_keeps_both_sides_of_a_conflict(care: Care) -> None:
    sides = []
    for data in (b"ours", b"theirs"):
        care.track("data", data)
        sides.append((care.root / "data.merkl").read_text())
    care.project.write("data.merkl", f"<<<<<<< HEAD\n{sides[0]}=======\n{sides[1]}>>>>>>> other\n")
    care.keep(b"nobody's")
    care.age(2)

    assert care.gc("--keep-days", "1")["blobs"] == 1
    assert care.has(b"ours", b"theirs") == [True, True]


def test_gc_removes_saved_edits_only_if_it_is_told_to(care: Care) -> None:
    care.project.build("all", "n=5")
    care.project.write("build/out.txt", "by hand")
    care.project.build("all", "n=6")
    care.age(400)
    care.gc("--keep-days", "0", "--max-size", "0")
    assert care.has(b"by hand") == [True]
    assert care.gc("--saved-edits")["blobs"] == 0, "it was saved a moment ago"
    assert care.gc("-n", "--saved-edits", "--keep-days", "0")["blobs"] == 0

    assert care.gc("--saved-edits", "--keep-days", "0")["blobs"] == 1

    assert care.has(b"by hand") == [False]
    assert care.project.merkl("restore").stdout == "nothing of yours was replaced\n"


def test_in_a_shared_store_bytes_of_other_projects_stay_unless_an_age_is_given(
    care: Care, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    care.where = tmp_path / "shared"
    monkeypatch.setenv("MERKL_STORE", str(care.where))
    care.project.build()
    care.keep(b"what another project tracks")
    care.age(31)

    assert care.gc()["blobs"] == 0
    care.project.merklfile("")
    care.project.merkl("clean")
    assert care.gc()["records"] == 2
    assert care.has(b"what another project tracks") == [True]
    assert care.gc("--keep-days", "40")["blobs"] == 0
    assert care.gc("--keep-days", "30")["blobs"] == 1


def test_a_store_that_another_project_reads_is_a_shared_one(care: Care, tmp_path: Path) -> None:
    care.project.build()
    (tmp_path / "other").mkdir()
    shutil.copy(care.root / "Merklfile.py", tmp_path / "other")
    (tmp_path / "other/merkl.yaml").write_text(json.dumps({"store": str(care.where)}))
    care.project.merklfile(CHAIN.replace("20000", "2"))
    care.project.merkl("build", cwd=tmp_path / "other")
    care.project.merklfile(CHAIN)
    (tmp_path / "other/Merklfile.py").write_text(
        (care.root / "Merklfile.py").read_text().replace("20000", "3")
    )
    care.project.merkl("build", cwd=tmp_path / "other")
    care.keep(b"tracked there")
    care.age(31)
    care.gc()
    assert care.has(b"tracked there") == [True]

    shutil.rmtree(tmp_path / "other")

    care.gc()
    assert care.has(b"tracked there") == [False]


def test_what_only_an_earlier_commit_tracks_stays_as_long_as_a_result_would(care: Care) -> None:
    care.project.merkl("build")
    care.keep(b"an earlier version")
    care.age(29)
    care.gc()
    assert care.has(b"an earlier version") == [True]

    care.age(31)
    care.gc()

    assert care.has(b"an earlier version") == [False]


def test_gc_removes_what_was_set_aside_long_ago(care: Care, monkeypatch: pytest.MonkeyPatch) -> None:
    care.keep(LARGE)
    aside = care.where / "quarantine" / "ab"
    aside.parent.mkdir()
    aside.write_bytes(b"damaged")
    (care.where / "store-0.db.damaged-20200101T000000Z-wal").write_bytes(b"damaged")
    assert care.gc()["aside"] == 0
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 31 * 86_400)

    assert care.gc("-n")["aside"] == 2
    assert care.gc()["aside"] == 2
    assert not aside.exists()


# ---- fsck ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def team(care: Care, tmp_path: Path) -> Care:
    """A project that has built and pushed to a remote."""
    care.project.write("merkl.yaml", json.dumps({"remote": {"url": str(tmp_path / "share")}}))
    (tmp_path / "share").mkdir()
    care.project.merkl("build", "--push")
    return care


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_fsck_fetches_what_is_damaged_from_the_remote(team: Care) -> None:
    damaged = sorted((team.where / "blobs").rglob("*/*"))
    assert damaged
    for path in damaged:
        flip(path)

    done = team.project.merkl("fsck", code=3)

    assert done.stdout.count("damaged, set aside, fetched again from the remote: ") == len(damaged)
    assert done.stdout.endswith(": what was damaged is whole again\n")
    assert team.project.merkl("fsck").stdout.endswith(": nothing is wrong\n")
    shutil.rmtree(team.root / "build")
    assert team.project.build() == []


def test_fsck_takes_results_that_are_only_in_the_remote_for_no_damage(team: Care, tmp_path: Path) -> None:
    shutil.rmtree(team.root / ".merkl")
    shutil.rmtree(team.root / "build")
    assert team.project.build() == []
    team.project.merklfile(CHAIN.replace("30000", "30001"))
    assert team.project.build() == ["second"]
    shutil.rmtree(team.where / "blobs")

    found = json.loads(team.project.merkl("fsck", "--json", code=3).stdout)
    assert found["elsewhere"] == 2
    assert [each["task"] for each in found["incomplete"]] == ["second"], "what was made here and not pushed"
    (tmp_path / "share").rename(tmp_path / "away")
    away = team.project.merkl("fsck", "--repair", code=3)
    assert "the remote was not asked for what is missing" in away.stderr
    (tmp_path / "away").rename(tmp_path / "share")
    found = json.loads(team.project.merkl("fsck", "--repair", "--json", code=3).stdout)
    assert found["elsewhere"] == 2
    team.project.merkl("fsck")


@pytest.mark.parametrize("kind", ["packs", "index", "blobs", "records", "made"])
def test_fsck_finds_what_is_damaged_in_the_remote(team: Care, tmp_path: Path, kind: str) -> None:
    assert team.project.merkl("fsck", "--remote").stdout.endswith(": nothing is wrong\n")
    objects = sorted(path for path in (tmp_path / "share" / kind).rglob("*") if path.is_file())
    flip(objects[0])
    name = str(objects[0].relative_to(tmp_path / "share"))

    done = team.project.merkl("fsck", "--remote", "--json", code=3)

    found = json.loads(done.stdout)
    assert name in found["remote"]["bad"]
    lacking = found["remote"]["incomplete"]
    assert bool(lacking) is (kind in ("packs", "index", "blobs"))
    assert found["bad"] == []


def test_fsck_finds_records_in_the_remote_that_lack_contents(team: Care, tmp_path: Path) -> None:
    objects = sorted(path for path in (tmp_path / "share/blobs").rglob("*") if path.is_file())
    objects[0].unlink()

    done = team.project.merkl("fsck", "--remote", code=3)

    assert done.stdout.count("incomplete in the remote: ") == 2, "by key and by content key"
    assert Digest.parse(objects[0].name).short in done.stdout


def test_fsck_names_damaged_tracked_data_and_what_to_do_until_it_is_whole(care: Care) -> None:
    care.project.write("in-place", LARGE)
    care.project.write("folder/a", LARGE + b"a")
    care.project.merkl("track", "in-place", "folder")
    care.track("nowhere", LARGE + b"n")
    damaged = sorted((care.where / "blobs").rglob("*/*"))
    assert len(damaged) == 3
    for path in damaged:
        flip(path)

    first = care.project.merkl("fsck", code=3).stdout
    again = care.project.merkl("fsck", code=3).stdout

    aside = list((care.where / "quarantine").iterdir())
    assert len(aside) == 3
    for said in (first, again):
        assert all(f"  set aside: {file}\n" in said for file in aside)
        for name in ("in-place", "folder"):
            assert f"{name} itself is undamaged: `merkl track {name}` stores it again" in said
        assert "restore nowhere from a backup, then `merkl track nowhere` stores it" in said
        assert "made again when" not in said and "no task can make 3 tracked paths again" in said
    lost = json.loads(care.project.merkl("fsck", "--json", code=3).stdout)["lost"]
    assert [each["path"] for each in lost] == ["folder", "in-place", "nowhere"]
    care.project.write("nowhere", LARGE + b"n")
    care.project.merkl("track", "in-place", "folder", "nowhere")
    assert care.project.merkl("fsck").stdout.endswith(": nothing is wrong\n")


def test_fsck_calls_tracked_data_that_the_remote_has_whole_not_lost(team: Care) -> None:
    team.project.write("data", LARGE)
    team.project.merkl("track", "data")
    team.project.merkl("push")
    flip(team.where / "blobs" / Digest.of(LARGE).hex()[:2] / Digest.of(LARGE).hex())

    done = team.project.merkl("fsck", code=3)

    assert "the tracked data" not in done.stdout
    assert done.stdout.endswith(": what was damaged is whole again\n")


def test_fsck_of_a_remote_that_there_is_not_says_how_to_name_one(care: Care) -> None:
    done = care.project.merkl("fsck", "--remote", code=2)

    assert (
        done.stderr
        == "the project has no remote\n  hint: `remote:` in merkl.yaml names one, or MERKL_REMOTE\n"
    )


# ---- cache -----------------------------------------------------------------------------------------------------------


def test_cache_counts_by_task_and_by_age(care: Care) -> None:
    care.project.build()
    care.age(10)
    care.project.build("all", "n=5")
    care.keep(b"nobody's")

    found = json.loads(care.project.merkl("cache", "--json").stdout)

    assert found["records"] == 4
    tasks = {each["task"]: each for each in found["tasks"]}
    assert {name: task["records"] for name, task in tasks.items()} == {"first": 2, "second": 2}
    assert [each["records"] for each in found["ages"]] == [2, 0, 2, 0, 0]
    assert sum(each["bytes"] for each in found["ages"]) + found["unnamed"]["bytes"] == found["bytes"]
    assert found["unnamed"] == {"blobs": 1, "bytes": 8}
    size = len((care.root / "build/out.txt").read_bytes())
    assert tasks["second"]["bytes"] > size
    text = care.project.merkl("cache").stdout.splitlines()
    assert text[0].startswith(f"{care.where}: 4 results and 5 blobs, ")
    assert text[2].split() == ["task", "results", "bytes", "took"]
    assert text[3].split()[0:2] == ["second", "2"]
    assert "1 blob, 8 bytes: of no result" in text


def test_cache_lists_the_largest_tasks_and_all_of_them_if_asked(care: Care) -> None:
    care.project.merklfile(
        """
        for n in range(25):
            bash_task(f"echo {n} > {{out_file_arg('out', '.txt')}}", name=f"task{n}")() > f"build/{n}.txt"
        """
    )
    care.project.build()

    brief = care.project.merkl("cache").stdout
    full = care.project.merkl("cache", "-v").stdout

    assert "and 5 more tasks: -v lists them" in brief
    assert all(f"task{n} " in full for n in range(25))


def test_cache_of_an_empty_store(care: Care) -> None:
    assert care.project.merkl("cache").stdout == f"{care.where}: 0 results and 0 blobs, 0 bytes\n"


# ---- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["gc"], ["gc", "-n"], ["fsck"], ["fsck", "--repair"], ["cache"]])
def test_care_never_loads_the_merklfile(care: Care, words: list[str]) -> None:
    care.project.build()
    care.project.write("Merklfile.py", "open('canary', 'w').close()\nraise Exception('it was loaded')\n")

    care.project.merkl(*words)

    assert not (care.root / "canary").exists()

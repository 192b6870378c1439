"""gc is killed, and runs beside builds: FAULTS rows 13 and 48.  The same of the store alone is in tests/store/test_store_gc.py.

Which calls are hit is chosen by chance; the run's summary says from which seed, and MERKL_FAULT_SEED repeats it.
"""

import json
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from strace_runs import FULL, calls_of, chances, killed_at, quick_start
from test_changes_of_versions import make_version_1, version_of

from merkl.digest import Digest
from merkl.store.local import LocalStore
from merkl.workspace.database import VERSION
from merkl.workspace.sidecar import Sidecar, render_sidecar

PROJECT = """
    large = bash_task("(seq {arg('n')} {arg('m')}; seq 20000) > {out_file_arg('out', '.txt')}")
    small = bash_task("echo {arg('n')} {arg('m')}; echo {arg('n')} > {out_file_arg('out', '.txt')}")
    folder = bash_task("o={out_dir_arg('out')}; mkdir -p $o/sub; seq {arg('m')} > $o/a; seq 20001 > $o/sub/b")

    @target(default=True)
    def all(m: int = 30):
        for n in range(6):
            large(n, m) > f"build/large{n}.txt"
            small(n, m) > f"build/small{n}.txt"
        folder(m) > "build/folder"
"""
TRACKED = b"the only copy " * 10_000
GC = ("gc", "--keep-days", "0")


def age(root: Path, days: float = 2.0) -> None:
    """Let everything be last used some days ago."""
    connection = sqlite3.connect(root / ".merkl/store/store-1.db", timeout=60)
    then = int(time.time() - days * 86_400)
    with connection:
        for table in ("blob", "record"):
            connection.execute(f"UPDATE {table} SET used_at = ?", (then,))
    connection.close()


def kept(root: Path) -> bytes | None:
    store = LocalStore(root / ".merkl/store")
    try:
        return store.read(Digest.of(TRACKED))
    finally:
        store.close()


@pytest.fixture
def littered(inside: Any) -> Any:
    """A project whose store has much that nothing needs, and tracked data that is nowhere else."""
    inside.merklfile(PROJECT)
    for m in (10, 20, 30):
        inside.build("all", f"m={m}")
    store = LocalStore(inside.path / ".merkl/store")
    digest = store.put([TRACKED])
    for n in range(5):
        store.put([b"%d loose " % n * 20_000])
    store.close()
    inside.write("data.bin.merkl", render_sidecar(Sidecar("file", digest, len(TRACKED), 0)))
    age(inside.path)
    return inside


@pytest.mark.needs("strace")
def test_row_13_gc_killed_at_any_call(littered: Any, tmp_path: Path) -> None:
    root: Path = littered.path
    env = quick_start(tmp_path / "bytecode")
    template = tmp_path / "template"
    shutil.copytree(root, template, symlinks=True)
    before = json.loads(littered.merkl(*GC, "--json", "-n").stdout)
    assert before["records"] == 26 and before["blobs"] >= 26

    def again() -> None:
        shutil.rmtree(root)
        shutil.copytree(template, root, symlinks=True)
        os.chdir(root)

    littered.popen(*GC, env=env).communicate()  # It compiles the modules.
    again()
    counts = calls_of(littered, *GC, env=env)
    assert counts["rename"] > 5 and counts["unlink"] > 5
    chance = chances("row 13", "gc")
    moments = [
        (call, number)
        for call, count in sorted(counts.items())
        for number in (range(1, count + 1) if FULL else chance.sample(range(1, count + 1), min(2, count)))
    ]
    kills = 0
    for call, number in moments:
        again()
        print(f"killed at {call} {number}")  # Shown if the test fails.
        kills += killed_at(littered, *GC, call=call, number=number, env=env)
        littered.merkl("fsck")
        assert kept(root) == TRACKED
        littered.merkl(*GC)
        assert list((root / ".merkl/store/trash").glob("*")) == []
        left = json.loads(littered.merkl(*GC, "-n", "--json").stdout)
        assert left["records"] == 0
    assert kills > len(moments) / 2
    assert littered.build() == []
    assert json.loads(littered.merkl("cache", "--json").stdout)["records"] == 13


@pytest.mark.needs("strace")
def test_row_13_killed_while_the_index_is_brought_up_to_date(inside: Any, tmp_path: Path) -> None:
    index = inside.path / ".merkl/index.db"
    env = quick_start(tmp_path / "bytecode")
    inside.merklfile(PROJECT)
    inside.build()
    inside.write("build/small0.txt", "by hand")
    inside.build()

    def again() -> None:
        make_version_1(index, with_value=False)

    inside.popen("restore", env=env).communicate()  # It compiles the modules.
    chance = chances("row 13", "migration")
    kills = 0
    for path in (index, index.with_name("index.db-wal"), index.with_name("index.db-journal")):
        again()
        counts = calls_of(inside, "restore", env=env, path=path)
        for call, count in sorted(counts.items()):
            for number in range(1, count + 1) if FULL else chance.sample(range(1, count + 1), min(2, count)):
                again()
                print(f"killed at {call} {number} {path}")  # Shown if the test fails.
                kills += killed_at(inside, "restore", call=call, number=number, env=env, path=path)
                assert "build/small0.txt" in inside.merkl("restore").stdout
                assert version_of(index) == VERSION
    assert kills > 3
    assert inside.build() == []


def test_row_48_gc_beside_builds_takes_nothing_that_they_restore_or_have_stored(littered: Any) -> None:
    root: Path = littered.path
    expected = {}
    for m in (10, 20, 30):
        littered.build("all", f"m={m}")
        expected[m] = {
            p.relative_to(root): p.read_bytes() for p in (root / "build").rglob("*") if p.is_file()
        }
    chance = chances("row 48")
    removed = 0
    for _ in range(40 if FULL else 8):
        age(root, 2)
        m = chance.choice((10, 20, 30))
        shutil.rmtree(root / "build")
        gc = [littered.popen(*GC, "--max-size", "0", "--json") for _ in range(2)]
        time.sleep(chance.uniform(0, 0.6))
        littered.merkl("build", "all", f"m={m}")
        for each in gc:
            out, err = each.communicate(timeout=120)
            assert each.returncode == 0, err
            removed += json.loads(out)["blobs"]
        found = {p.relative_to(root): p.read_bytes() for p in (root / "build").rglob("*") if p.is_file()}
        assert found == expected[m]
        assert littered.build("all", f"m={m}") == [], "what the build has just stored or used is there"
        littered.merkl("fsck")
    assert removed
    assert kept(root) == TRACKED

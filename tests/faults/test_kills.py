"""merkl is killed at any system call and at any moment, and so is a task: FAULTS rows 1 to 4.

Which calls and moments is chosen by chance; the run's summary says from which seed, and MERKL_FAULT_SEED repeats it.  With
MERKL_FULL=1 every call is taken, and a thousand more by chance.
"""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kill_bench import Bench
from strace_runs import CALLS, chances
from twenty_tasks import expect_nothing_left, none_left, things

from merkl.digest import Digest
from merkl.store.check import check
from merkl.store.local import LocalStore

DATABASES = (".merkl/store/store-1.db-wal", ".merkl/index.db-wal")
# In how many parts a sweep over many calls is made, for several processes.
PARTS = {"openat": 16, "pwrite64": 8, "write": 4, "rename": 2, "unlink": 2}
SWEEPS = [(call, part, PARTS.get(call, 1)) for call in CALLS for part in range(PARTS.get(call, 1))]


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytecode") / "made"


@pytest.fixture
def bench(inside: Any, tmp_path: Path, bytecode: Path) -> Iterator[Bench]:
    yield Bench(inside, tmp_path, bytecode)
    assert none_left(inside.path)


# ---- 1: anywhere -----------------------------------------------------------------------------------------------------


@pytest.mark.needs("strace")
@pytest.mark.parametrize("part", range(2))
def test_row_01_killed_at_some_system_calls_of_every_kind(bench: Bench, part: int) -> None:
    chance = chances("row 1", part)
    counts = bench.calls()
    assert set(counts) <= set(CALLS)
    kills = 0
    for call in chance.sample(sorted(counts), 8):
        bench.again()
        kills += bench.kill(call, chance.randint(1, counts[call]))
        bench.expect_repaired()
    bench.expect_edits_kept()
    assert kills >= 6, "nearly each run comes to the call it is to be killed at"


def kill_again_and_again(bench: Bench, times: int, *names: object) -> None:
    """Edit, kill a build, kill some of the builds that would repair it, let one end; and so on in one project.

    Only a build that was alive until then counts as killed.
    """
    chance = chances(*names)
    counts = bench.calls()
    weights = [counts[call] ** 0.5 for call in counts]
    kills = attempts = 0
    while kills < times:
        bench.edit(chance)
        for _ in range(chance.choice((1, 1, 2, 3))):
            attempts += 1
            if chance.random() < 0.25:
                kills += bench.kill_after(chance.uniform(0.1, 0.8), chance.choice(("-j1", "-j2")))
            else:
                (call,) = chance.choices(list(counts), weights)
                kills += bench.kill(call, chance.randint(1, counts[call]), jobs=chance.choice(("-j1", "-j2")))
            bench.expect_whole()
        bench.expect_repaired()
        assert attempts < 10 * times, "hardly any build lives long enough to be killed"


@pytest.mark.needs("strace")
@pytest.mark.parametrize("part", range(1))
def test_row_01_killed_again_and_again_in_one_project(bench: Bench, part: int) -> None:
    kill_again_and_again(bench, 10, "again", part)


@pytest.mark.full
@pytest.mark.needs("strace")
@pytest.mark.parametrize("part", range(50))
def test_row_01_killed_a_thousand_times(bench: Bench, part: int) -> None:
    kill_again_and_again(bench, 20, "thousand", part)


@pytest.mark.full
@pytest.mark.needs("strace")
@pytest.mark.parametrize(("call", "part", "parts"), SWEEPS)
def test_row_01_killed_at_every_system_call(bench: Bench, call: str, part: int, parts: int) -> None:
    count = bench.calls().get(call, 0)
    for number in range(1 + part, count + 1, parts):
        bench.again()
        bench.kill(call, number)
        bench.expect_repaired()
        if number % 10 == 0:
            bench.expect_edits_kept()


# ---- 2: while a database is written ----------------------------------------------------------------------------------


@pytest.mark.needs("strace")
@pytest.mark.parametrize("database", DATABASES)
def test_row_02_killed_while_a_database_is_written(bench: Bench, database: str) -> None:
    chance = chances("row 2", database)
    wal = bench.root / database
    counts = bench.calls(wal)
    assert counts["pwrite64"] > 4
    for _ in range(5):
        bench.again()
        assert bench.kill("pwrite64", chance.randint(1, counts["pwrite64"] - 1), wal)
        bench.expect_repaired()
    bench.expect_edits_kept()


@pytest.mark.full
@pytest.mark.needs("strace")
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("tail", ["", "-wal"])
@pytest.mark.parametrize("database", DATABASES)
def test_row_02_killed_at_every_write_to_a_database(
    bench: Bench, database: str, tail: str, part: int
) -> None:
    path = bench.root / (database.removesuffix("-wal") + tail)
    counts = bench.calls(path)
    moments = [
        (call, n + 1) for call in ("pwrite64", "fdatasync", "ftruncate") for n in range(counts.get(call, 0))
    ]
    for call, number in moments[part::4]:
        bench.again()
        bench.kill(call, number, path)
        bench.expect_repaired()


# ---- 3: between one store of a result and the next ---------------------------------------------------------------------


@pytest.mark.needs("strace")
def test_row_03_killed_between_a_blob_and_its_record(bench: Bench) -> None:
    data = bench.new["build/large.bin"][2]
    digest = Digest.of(data)
    blob = bench.root / ".merkl/store/blobs" / digest.hex()[:2] / digest.hex()
    bench.calls()

    assert bench.kill("fchmod", 1, blob), "it is made read-only once it has its name"

    assert blob.read_bytes() == data
    assert digest in orphans(bench)
    bench.project.write("in/0.txt", "so that nobody will ever need it\n")
    bench.look()
    bench.expect_repaired()
    with sqlite3.connect(bench.root / ".merkl/store/store-1.db") as connection:
        connection.execute(
            "UPDATE blob SET used_at = used_at - 7200"
        )  # gc spares what is younger than an hour.
    connection.close()
    bench.project.merkl("gc", "--keep-days", "0")
    assert not blob.exists() and digest not in orphans(bench)
    assert bench.project.build("-j1") == []


def orphans(bench: Bench) -> list[Digest]:
    """The blobs that no record names."""
    store = LocalStore(str(bench.root / ".merkl/store"))
    try:
        found = check(store)
        assert found.is_clean
        return found.orphans
    finally:
        store.close()


@pytest.mark.needs("strace")
def test_row_03_killed_between_a_record_and_the_placing_of_its_output(bench: Bench) -> None:
    bench.calls()

    assert bench.kill("renameat", 1, "large.bin")

    assert things(bench.root, "build/large.bin") == things(bench.root.parent / "template", "build/large.bin")
    bench.expect_whole()
    assert bench.project.build("-j1").count("large") == 1, "the other of the two"
    bench.expect_repaired()


@pytest.mark.needs("strace")
def test_row_03_killed_between_a_record_and_its_sidecar(bench: Bench) -> None:
    bench.calls()

    assert bench.kill("renameat", 1, "large.bin.merkl")

    now = things(bench.root, "build/large.bin", "build/large.bin.merkl")
    assert now["build/large.bin"] == bench.new["build/large.bin"]
    assert now["build/large.bin.merkl"] == bench.old["build/large.bin.merkl"]
    (left,) = (bench.root / "build").glob(".*.merkl-tmp-*")
    assert left.name.startswith(".large.bin.merkl.")
    assert bench.project.build("-j1").count("large") == 1, "the other of the two"
    bench.expect_repaired()


# ---- 4: a task ---------------------------------------------------------------------------------------------------------

HALF = """
    half = bash_task('''
        echo {arg('word')} > {out_file_arg('out', '.txt')}
        echo $$ > pid
        [ ! -e wait ] || sleep 60
        echo second >> {out_file_arg('out', '.txt')}
    ''')

    @target(default=True)
    def all(word="old"):
        half(word) >> "out.txt"
"""


@pytest.mark.parametrize("before", [False, True])
def test_row_04_a_task_is_killed_half_way_through_its_output(project: Any, before: bool) -> None:
    project.merklfile(HALF)
    if before:
        project.merkl("build")
        (project.path / "pid").unlink()
    old = things(project.path, "out.txt", "out.txt.merkl")
    project.write("wait", "")
    process = project.popen("build", "word=new")
    pid = _pid(project)
    os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "half failed: killed by signal 9 (SIGKILL), likely out of memory" in out + err
    assert things(project.path, "out.txt", "out.txt.merkl") == old

    (project.path / "wait").unlink()
    assert project.build("word=new") == ["half"]
    assert project.read("out.txt") == "new\nsecond\n"
    assert project.build("word=new") == []  # It removes what was kept of the failure.
    expect_nothing_left(project.path)


def _pid(project: Any) -> int:
    deadline = time.monotonic() + 30
    while not (project.path / "pid").exists() or not project.read("pid").strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(project.read("pid"))

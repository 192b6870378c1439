"""Brief calls that use the directories of their worker one after another: each finds them empty, and what it leaves is its own."""

import os
import pickle
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from executor_bench import collect

from merkl.execute.base import NotStarted, Raised, Returned, WorkerDied
from merkl.execute.local import Local
from merkl.execute.scratch import Own, Scratch, in_use


def here(what="", *args):
    """Where a call runs, and what it found there; then do something."""
    place = in_use()
    top = Path(os.getcwd())
    tmp = top / os.fsdecode(place.run) / "tmp"
    found = os.fsdecode(place.run), os.listdir(tmp) + os.listdir(top / os.fsdecode(place.stage)), os.getpid()
    if what:
        _DEEDS[what](tmp, *args)
    return found


def _stay(tmp):
    print("waits", flush=True)
    while not (tmp.parent.parent.parent / "go").exists():
        time.sleep(0.005)


def _use_and_remove(tmp):
    with tempfile.TemporaryDirectory(dir=tmp) as inside:
        (Path(inside) / "note").write_text("x")


def _unpack(tmp):
    (tmp / "left").write_text("x")
    os.utime(tmp, ns=(0, 0))  # As an archive does whose times are all zero.


def _thread(_tmp):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def _orphan(_tmp):
    subprocess.run(["sh", "-c", "sleep 60 &"], check=True)


def _brief_thread(_tmp):
    threading.Thread(target=time.sleep, args=(0.2,), daemon=True).start()


def _one_thread_for_another(tmp):
    before = threading.active_count()
    assert before > 1
    _thread(tmp)
    while threading.active_count() > before:
        time.sleep(0.005)


def _beside(tmp):
    (tmp.parent / "beside").write_text("x")


def _raise(_tmp):
    raise ValueError("bad")


_DEEDS = {
    "print": lambda _tmp: print("said"),
    "file": lambda tmp: (tmp / "left").write_text("x"),
    "stage": lambda _tmp: Path(os.fsdecode(in_use().stage), "left").write_text("x"),
    "unpack": _unpack,
    "mode": lambda tmp: tmp.chmod(0),
    "child": lambda _tmp: subprocess.Popen(["sleep", "60"]),
    "thread": _thread,
    "orphan": _orphan,
    "brief_thread": _brief_thread,
    "one_thread_for_another": _one_thread_for_another,
    "beside": _beside,
    "raise": _raise,
    "tempfile": _use_and_remove,
    "stay": _stay,
    "die": lambda tmp: (print("last words", flush=True), os.kill(os.getpid(), signal.SIGKILL)),
}


@pytest.fixture
def lone(bench):
    """Two slots, of which a command has one, so that all calls go to one worker."""
    for folder in ("stage", "run"):
        (bench.root / folder).mkdir()
    with Local(2) as executor:
        executor.start(bench.bash("until [ -e free ]; do sleep 0.01; done"))
        yield executor
        (bench.root / "free").write_text("")
        collect(executor, 1)


def scratch_call(bench, number, *args):
    name = b"%06d" % number
    log = os.path.join(os.fsencode(bench.root), b"run", name, b"log")
    return bench.call(here, *args, log=log, scratch=Scratch(b"stage/" + name, b"run/" + name))


def value(ended):
    assert isinstance(ended.how, Returned), ended.how
    return pickle.loads(ended.how.payload)


def run(bench, executor, *deeds):
    tickets = [
        executor.start(scratch_call(bench, number, *deed.split()), brief=True)
        for number, deed in enumerate(deeds)
    ]
    found = collect(executor, len(deeds))
    return [found[ticket] for ticket in tickets]


def folders(bench):
    return sorted(path.name for path in (bench.root / "run").iterdir())


def test_calls_that_leave_nothing_share_directories_that_go_with_the_worker(bench, lone):
    ended = run(bench, lone, *[""] * 5, *["tempfile"] * 5)
    assert {value(each)[0] for each in ended} == {"run/000000"}
    assert all(not value(each)[1] and each.scratch is None for each in ended)
    assert folders(bench) == ["000000"]
    lone.expect(0)
    assert folders(bench) == []
    assert not list((bench.root / "stage").iterdir())


@pytest.mark.parametrize("deed", ["print", "file", "stage", "unpack", "mode", "child", "thread", "orphan"])
def test_what_leaves_something_keeps_its_directories_and_the_next_gets_others(bench, lone, deed):
    first, second, third = run(bench, lone, "", deed, "")
    assert first.scratch is None
    assert second.scratch == Scratch(b"stage/000000", b"run/000000")
    assert value(second)[0] == "run/000000"
    assert value(third)[0] == "run/000002"
    assert value(third)[1] == []
    assert (bench.root / "run" / "000000" / "log").read_text() == ("said\n" if deed == "print" else "")


def test_a_thread_that_ends_does_not_hide_one_that_begins(bench, lone):
    first, second, third = run(bench, lone, "brief_thread", "one_thread_for_another", "")
    assert first.scratch == Scratch(b"stage/000000", b"run/000000")
    assert second.scratch == Scratch(b"stage/000001", b"run/000001")
    assert value(third)[0] == "run/000002"


def test_what_calls_put_beside_their_directories_goes_with_the_worker(bench, lone):
    assert [each.scratch for each in run(bench, lone, "", "beside", "")] == [None] * 3
    lone.expect(0)
    assert folders(bench) == []


def test_one_that_raises_keeps_them(bench, lone):
    first, second = run(bench, lone, "raise", "")
    assert isinstance(first.how, Raised)
    assert first.scratch == Scratch(b"stage/000000", b"run/000000")
    assert value(second)[0] == "run/000001"


def test_one_that_cannot_be_started_keeps_them(bench, lone):
    lone.start(scratch_call(bench, 0), brief=True)
    collect(lone, 1)
    away = bench.root.with_name("away")
    bench.root.rename(away)
    lone.start(scratch_call(bench, 1), brief=True)
    [second] = collect(lone, 1).values()
    away.rename(bench.root)
    lone.start(scratch_call(bench, 2), brief=True)
    [third] = collect(lone, 1).values()
    assert isinstance(second.how, NotStarted)
    assert second.scratch == Scratch(b"stage/000000", b"run/000000")
    assert value(third)[0] == "run/000002"


def test_one_for_which_there_is_no_worker_has_what_was_made_for_it(bench, lone, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    lone.start(scratch_call(bench, 0), brief=True)
    [ended] = collect(lone, 1).values()
    assert isinstance(ended.how, NotStarted)
    assert ended.scratch == Scratch(b"stage/000000", b"run/000000")


def test_one_whose_worker_dies_has_what_it_left(bench, lone):
    _, second, third = run(bench, lone, "", "die", "")
    assert isinstance(second.how, WorkerDied)
    assert second.scratch == Scratch(b"stage/000000", b"run/000000")
    assert (bench.root / "run" / "000000" / "log").read_text() == "last words\n"
    assert value(third)[1] == []


def test_the_log_of_one_that_runs_on_is_found_where_it_was_asked_for(bench, lone):
    tickets = [
        lone.start(scratch_call(bench, number, *deed), brief=True)
        for number, deed in enumerate([[], ["stay"]])
    ]
    log = bench.root / "run" / "000001" / "log"
    limit = time.monotonic() + 30
    while not (log.exists() and log.read_text() == "waits\n"):
        assert time.monotonic() < limit
        lone.wait(0.01)
    assert log.parent.is_symlink()
    (bench.root / "go").write_text("")
    found = collect(lone, 1)
    assert found[tickets[1]].scratch == Scratch(b"stage/000000", b"run/000000")
    assert folders(bench) == ["000000"]


def test_where_directories_do_not_tell_of_changes_they_are_listed(tmp_path, monkeypatch):
    cwd, asked = os.fsencode(tmp_path), Scratch(b"stage/a", b"run/a")
    for folder in ("stage", "run"):
        (tmp_path / folder).mkdir()
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result([*real(path)[:7], 0, 0, 0]))
    own = Own()
    for left in (True, False):
        own.enter(cwd, asked.stage, cwd + b"/run/a/log")
        if not left:
            (tmp_path / "run" / "a" / "tmp" / "left").write_text("x")
        assert own.leave(well=True) == left

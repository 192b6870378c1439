"""Brief calls that wait in a worker behind others: in order, taken back in time, and nobody else's death is theirs."""

import errno
import os
import pickle
import random
import signal
import time
from pathlib import Path

import pytest
from executor_bench import appears, collect, log_of

from merkl.execute.base import NotStarted, Raised, Returned, WorkerDied
from merkl.execute.local import Local


def value(ended):
    assert isinstance(ended.how, Returned), ended.how
    return pickle.loads(ended.how.payload)


def note(path, text):
    with open(path, "a") as file:
        file.write(f"{text}\n")
    print(text)
    return os.getpid()


def note_and_sleep(path, seconds):
    note(path, os.getpid())
    time.sleep(seconds)
    return os.getpid()


@pytest.fixture
def lone():
    """Two slots, of which a command is to take one, so that all calls go to one worker."""
    with Local(2) as executor:
        yield executor


def occupy(bench, executor):
    """Take the other slot, until ``free`` is there."""
    executor.start(bench.bash("until [ -e free ]; do sleep 0.01; done"))


def free(bench):
    (bench.root / "free").write_text("")


def test_calls_behind_others_run_in_order_each_with_its_log(bench, lone):
    occupy(bench, lone)
    path = str(bench.root / "order")
    jobs = [bench.call(note, path, number) for number in range(5)]
    tickets = [lone.start(job, brief=True) for job in jobs]
    found = collect(lone, 5)
    free(bench)
    assert list(found) == tickets
    assert len({value(ended) for ended in found.values()}) == 1
    assert Path(path).read_text().split() == ["0", "1", "2", "3", "4"]
    assert [log_of(job) for job in jobs] == [f"{number}\n" for number in range(5)]


def test_only_so_many_wait_behind_brief_calls_and_none_behind_others(bench, pair):
    path = str(bench.root / "order")
    pair.start(bench.call(time.sleep, 0.1))
    assert pair.room_behind() == 0
    pair.start(bench.call(note, path, 0), brief=True)
    count = 0
    while pair.room_behind():
        pair.start(bench.call(note, path, 0), brief=True)
        count += 1
    assert 0 < count < 100
    assert len(collect(pair, 2 + count)) == 2 + count


def test_what_waits_behind_a_call_that_takes_long_runs_elsewhere(bench, pair):
    path = str(bench.root / "order")
    slow = pair.start(bench.call(note_and_sleep, path, 2), brief=True)
    tickets = [pair.start(bench.call(note, path, number), brief=True) for number in range(8)]
    assert set(collect(pair, 8, within=1.5)) == set(tickets)
    assert set(collect(pair, 1)) == {slow}


def test_a_death_is_that_of_the_call_that_ran_and_the_others_run_elsewhere(bench, lone):
    occupy(bench, lone)
    path = str(bench.root / "order")
    jobs = [
        bench.call(note, path, 0),
        bench.call(lambda: os.kill(os.getpid(), signal.SIGKILL)),
        bench.call(note, path, 1),
        bench.call(note, path, 2),
    ]
    first, died, *rest = [lone.start(job, brief=True) for job in jobs]
    found = collect(lone, 4)
    free(bench)
    assert found[died].how == WorkerDied(-signal.SIGKILL)
    assert len({value(found[ticket]) for ticket in rest} | {value(found[first])}) == 2
    assert Path(path).read_text().split() == ["0", "1", "2"]


def test_the_time_of_a_call_counts_from_when_it_begins(bench, lone):
    occupy(bench, lone)
    path = str(bench.root / "order")
    lone.start(bench.call(time.sleep, 0.5), brief=True)
    patient = lone.start(bench.call(note, path, 1, timeout=0.4), brief=True)
    late = lone.start(bench.call(time.sleep, 60, timeout=0.2), brief=True)
    found = collect(lone, 3)
    free(bench)
    assert value(found[patient])
    assert found[late].how.timed_out


def test_a_timeout_ends_only_its_own_call(bench, lone):
    occupy(bench, lone)
    path = str(bench.root / "order")
    late = lone.start(bench.call(time.sleep, 60, timeout=0.005), brief=True)
    rest = [lone.start(bench.call(note, path, number), brief=True) for number in range(3)]
    found = collect(lone, 4)
    free(bench)
    assert found[late].how.timed_out
    assert all(value(found[ticket]) for ticket in rest)


def test_what_is_recalled_never_runs(bench, lone):
    occupy(bench, lone)
    path = bench.root / "order"
    slow = lone.start(bench.call(note_and_sleep, str(path), 0.3), brief=True)
    rest = [lone.start(bench.call(note, str(path), "late"), brief=True) for _ in range(3)]
    appears(path)
    assert lone.recall() == rest
    free(bench)
    assert slow in collect(lone, 2)
    assert lone.wait(0.1) == []
    assert "late" not in path.read_text()


def test_an_interrupt_meets_the_call_that_runs_and_nothing_behind_it_begins(bench, lone):
    path = bench.root / "order"
    occupy(bench, lone)
    ran = lone.start(bench.call(note_and_sleep, str(path), 60), brief=True)
    behind = [lone.start(bench.call(note, str(path), "late"), brief=True) for _ in range(3)]
    appears(path)
    lone.interrupt()
    free(bench)  # Bash goes on after a SIGINT if its child ended well at that moment.
    found = collect(lone, 5)
    assert isinstance(found[ran].how, Raised)
    for ticket in behind:
        assert isinstance(found[ticket].how, NotStarted)
        assert found[ticket].how.error.errno == errno.ECANCELED
    assert "late" not in path.read_text()


def test_a_worn_worker_leaves_what_is_behind_to_another(bench, lone):
    def keep_threads():
        import threading

        for _ in range(40):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        return os.getpid()

    occupy(bench, lone)
    tickets = [lone.start(bench.call(keep_threads), brief=True) for _ in range(5)]
    found = collect(lone, 5)
    free(bench)
    assert len({value(found[ticket]) for ticket in tickets}) > 1


def test_large_calls_and_results_pass_in_between(bench, lone):
    occupy(bench, lone)
    tickets = [
        lone.start(bench.call(bytes.upper, b"a" * size), brief=True) for size in (1, 3_000_000, 5, 200_000)
    ]
    found = collect(lone, 4)
    free(bench)
    assert [value(found[ticket]) for ticket in tickets] == [b"A", b"A" * 3_000_000, b"AAAAA", b"A" * 200_000]


def whatever(number, kind):
    if kind == "die":
        os._exit(7)
    if kind == "raise":
        raise ValueError(number)
    time.sleep({"brief": 0, "late": 0.03, "large": 0.001}[kind])
    return number, b"x" * (300_000 if kind == "large" else 1)


@pytest.mark.parametrize("pidfd", [True, False])
def test_whatever_calls_do_each_ends_once_and_as_itself(bench, monkeypatch, pidfd):
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    kinds, found, number = {}, {}, 0
    with Local(2) as executor:
        while number < 150 or len(found) < len(kinds):
            while number < 150 and (executor.has_room() or executor.room_behind()):
                (kind,) = chance.choices(["brief", "late", "large", "raise", "die"], [60, 4, 4, 4, 2])
                kinds[executor.start(bench.call(whatever, number, kind), brief=chance.random() < 0.95)] = (
                    number,
                    kind,
                )
                number += 1
            if chance.random() < 0.03:
                for ticket in executor.recall():
                    del kinds[ticket]
            for ended in executor.wait(10):
                assert ended.ticket not in found, f"twice, seed {seed}"
                found[ended.ticket] = ended
    assert found.keys() == kinds.keys(), f"seed {seed}"
    for ticket, (number, kind) in kinds.items():
        how = found[ticket].how
        if kind == "die":
            assert how == WorkerDied(7), f"seed {seed}"
        elif kind == "raise":
            assert isinstance(how, Raised), f"seed {seed}"
            assert how.error.args == (number,), f"seed {seed}"
        else:
            assert value(found[ticket])[0] == number, f"seed {seed}"

"""Workers are used again, until calls have left too much behind in one."""

import os
import pickle
import sys
import threading
import time

import pytest
from executor_bench import finish, is_alive

from merkl.execute.base import Returned

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="it is read from /proc")


def value(ended):
    assert isinstance(ended.how, Returned), ended.how
    return pickle.loads(ended.how.payload)


def pids(bench, executor, function, *args, calls=3):
    """The process of each of some calls of ``function``, one after another."""
    return [value(finish(executor, bench.call(function, *args))[0]) for _ in range(calls)]


def keep_memory(size):
    sys.modules.setdefault("kept", []).append(b"x" * size)
    return os.getpid()


def keep_cycle(size):
    cycle = [b"x" * size]
    cycle.append(cycle)
    return os.getpid()


def keep_threads(count):
    for _ in range(count):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return os.getpid()


def keep_files(count):
    sys.modules.setdefault("kept", []).extend([os.open(os.devnull, os.O_RDONLY) for _ in range(count)])
    time.sleep(0.005)  # After a call that takes next to no time nobody looks.
    return os.getpid()


def keep_memory_once(size):
    if "kept" not in sys.modules:
        sys.modules["kept"] = [b"x" * size]
    return os.getpid()


@pytest.mark.parametrize(
    ("leak", "amount"), [(keep_memory, 160_000_000), (keep_threads, 40), (keep_files, 200)]
)
def test_a_worker_in_which_calls_leave_ever_more_is_replaced(bench, pair, leak, amount, monkeypatch):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        first, *between, last = pids(bench, pair, leak, amount, calls=4)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert between == [first, first]
    assert last != first


def test_the_worker_that_was_replaced_ends(bench, pair):
    first, second, third = pids(bench, pair, keep_threads, 70)
    assert first == second != third
    finish(pair, bench.bash("sleep 1.5"))
    assert not is_alive(first)


@pytest.mark.parametrize(("keep", "amount"), [(keep_cycle, 400_000_000), (keep_memory_once, 400_000_000)])
def test_neither_what_the_collector_frees_nor_what_the_first_call_keeps_is_a_leak(bench, pair, keep, amount):
    assert len(set(pids(bench, pair, keep, amount))) == 1


def test_hundreds_of_calls_that_leave_nothing_share_one_worker(bench, pair):
    assert len(set(pids(bench, pair, os.getpid, calls=300))) == 1

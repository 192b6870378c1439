"""What a call says before it ends."""

import os
import signal
import time
from pathlib import Path

import pytest
from executor_bench import appears

from merkl.execute.base import Raised, Returned, WorkerDied
from merkl.execute.local import Local


def say(count, size=1):
    from merkl.execute.emitting import emit

    for number in range(count):
        emit(str(number).encode() * size)
    return count


def say_and_wait(path):
    from merkl.execute.emitting import emit

    emit(b"first")
    with open(path, "w") as file:
        file.write("said\n")
    time.sleep(60)


def say_on(path):
    from merkl.execute.emitting import emit

    emit(b"x")
    with open(path, "w") as file:
        file.write("said\n")
    while True:
        emit(b"x" * 1000)


def die_after_two():
    from merkl.execute.emitting import emit

    emit(b"1" * 100_000)
    emit(b"2")
    os.kill(os.getpid(), signal.SIGKILL)


def heard(executor, *jobs, within=30.0):
    """What the jobs said until all had ended, and how each did."""
    tickets = [executor.start(job) for job in jobs]
    said, ends = {ticket: [] for ticket in tickets}, {}
    limit = time.monotonic() + within
    while len(ends) < len(tickets):
        assert time.monotonic() < limit
        ended = executor.wait(1.0)
        for ticket, payload in executor.take_emitted():
            assert ticket not in ends, "it had ended before"
            said[ticket].append(payload)
        ends |= {each.ticket: each for each in ended}
    return [(said[ticket], ends[ticket]) for ticket in tickets]


def test_all_that_calls_say_is_heard_in_order_before_their_end(executor, bench):
    (many, one), (large, other) = heard(executor, bench.call(say, 500), bench.call(say, 20, 300_000))

    assert many == [str(number).encode() for number in range(500)]
    assert large == [str(number).encode() * 300_000 for number in range(20)]
    assert isinstance(one.how, Returned) and isinstance(other.how, Returned)


def test_what_is_said_is_heard_while_the_call_goes_on(pair, bench):
    path = bench.root / "path"
    ticket = pair.start(bench.call(say_and_wait, str(path)))
    assert pair.wait(30.0) == []
    assert pair.take_emitted() == [(ticket, b"first")]
    pair.kill()
    (ended,) = pair.wait(30.0)
    assert isinstance(ended.how, WorkerDied)


def test_an_interrupt_does_not_cut_what_is_being_said(pair, bench):
    path = bench.root / "path"
    ticket = pair.start(bench.call(say_on, str(path)))
    pair.wait(30.0)
    appears(path)
    pair.interrupt()
    words, ends = [], []
    while not ends:
        ends = pair.wait(30.0)
        words += pair.take_emitted()
    assert isinstance(ends[0].how, Raised) and isinstance(ends[0].how.error, KeyboardInterrupt)
    assert {len(payload) for _, payload in words} <= {1, 1000} and {t for t, _ in words} == {ticket}
    (again,) = heard(pair, bench.call(say, 3))
    assert again[0] == [b"0", b"1", b"2"]


def test_what_a_call_said_before_it_died_is_heard(pair, bench):
    ((words, ended),) = heard(pair, bench.call(die_after_two))
    assert [len(word) for word in words] == [100_000, 1]
    assert isinstance(ended.how, WorkerDied)


def test_a_call_waits_while_nobody_takes_what_it_says(pair, bench):
    def count_up(path):
        from merkl.execute.emitting import emit

        for number in range(100_000):
            emit(b"x" * 1000)
            if number % 100 == 0:
                Path(path).write_text(f"{number}\n")

    path = bench.root / "count"
    pair.start(bench.call(count_up, str(path)))
    appears(path)
    for _ in range(20):
        pair.wait(0.02)
    time.sleep(0.2)
    said = int(appears(path))
    assert said < 5_000  # A pipe, and what has been read of it.
    pair.kill()
    while not pair.wait(30.0):
        pair.take_emitted()


@pytest.mark.parametrize("slots", [1, 2])
def test_a_child_that_a_call_forks_says_nothing(slots, bench):
    def fork():
        from merkl.execute.emitting import emit

        child = os.fork()
        if child == 0:
            try:
                emit(b"from the child")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        emit(b"from the call")

    with Local(slots) as executor:
        ((words, ended),) = heard(executor, bench.call(fork))
    assert (words, type(ended.how)) == ([b"from the call"], Returned)

"""Calls in the coordinator's own process: with one slot, or if they are interactive."""

import os
import pickle
import signal
import sys
import threading

import pytest
from executor_bench import collect, finish, log_of

from merkl.execute.base import Raised, Returned
from merkl.execute.local import Local


def interrupt_self(times=1):
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)  # To this thread: another one would tell it a little later.
    return "not reached"


@pytest.fixture
def single():
    with Local(1) as local:
        yield local


def test_with_one_slot_a_call_runs_in_this_process_and_ends_in_start(single, bench):
    single.start(bench.call(os.getpid))
    (ended,) = single.wait(0)
    assert pickle.loads(ended.how.payload) == os.getpid()


def test_with_a_timeout_it_does_not(single, bench):
    (ended,) = finish(single, bench.call(os.getpid, timeout=20))
    assert pickle.loads(ended.how.payload) != os.getpid()


def test_an_interrupt_is_raised_in_the_call_after_the_handler_has_heard_of_it(single, bench):
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        (ended,) = finish(single, bench.call(interrupt_self))
        handler = signal.getsignal(signal.SIGINT)
        assert heard == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGINT)
        assert heard == [signal.SIGINT] * 2
    finally:
        signal.signal(signal.SIGINT, before)
    assert handler.__name__ == "<lambda>"
    assert isinstance(ended.how, Raised)
    assert type(ended.how.error) is KeyboardInterrupt
    assert ended.how.trace.splitlines()[1].endswith("in interrupt_self")
    assert ended.interrupted


def test_a_call_may_catch_the_interrupt(single, bench):
    def survive():
        try:
            interrupt_self()
        except KeyboardInterrupt:
            return "survived"

    (ended,) = finish(single, bench.call(survive))
    assert (pickle.loads(ended.how.payload), ended.interrupted) == ("survived", True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_that_the_call_installed_does_not_stay(single, bench):
    finish(single, bench.call(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN) and None))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_our_streams_are_ours_again(single, bench, capfd):
    streams = sys.stdin, sys.stdout, sys.stderr
    print("before", end=" ")
    job = bench.call(lambda: print("during"))
    finish(single, job)
    print("after")
    os.system("echo child")
    assert (sys.stdin, sys.stdout, sys.stderr) == streams
    assert capfd.readouterr().out.split() == ["before", "after", "child"]
    assert log_of(job) == "during\n"


def test_a_stream_that_somebody_kept_still_writes_to_the_log(single, bench, capfd):
    kept = open(1, "w", closefd=False)

    import builtins

    builtins.kept_stream = kept  # type: ignore[attr-defined]
    try:
        job = bench.call(lambda: builtins_print("kept"))
        finish(single, job)
    finally:
        del builtins.kept_stream  # type: ignore[attr-defined]
    assert log_of(job) == "kept\n"
    assert capfd.readouterr().out == ""


def builtins_print(text):
    import builtins

    print(text, file=builtins.kept_stream, flush=True)


@pytest.mark.parametrize("slots", [1, 2])
def test_an_interactive_call_has_our_streams_whatever_the_slots(bench, capfd, slots):
    def speak():
        print("to the terminal")
        return os.getpid()

    job = bench.call(speak, interactive=True)
    with Local(slots) as executor:
        (ended,) = finish(executor, job)
    assert pickle.loads(ended.how.payload) == os.getpid()
    assert capfd.readouterr().out == "to the terminal\n"
    assert log_of(job) == ""


def test_a_call_behind_a_command_runs_when_the_slot_is_free(single, bench):
    first = single.start(bench.bash("echo command >> order; sleep 0.1; echo done >> order"))
    second, third = (
        single.start(bench.call(os.system, f"echo {word} >> order")) for word in ("second", "third")
    )
    assert list(collect(single, 3)) == [first, second, third]
    assert (bench.root / "order").read_text().split() == ["command", "done", "second", "third"]


def test_in_another_thread_calls_run_too(bench):
    found = []

    def run():
        with Local(1) as executor:
            found.extend(finish(executor, bench.call(abs, -5), bench.bash("exit 0")))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert isinstance(found[0].how, Returned)
    assert pickle.loads(found[0].how.payload) == 5


def test_a_build_inside_a_call_leaves_the_outer_jobs_alone(bench):
    with Local(2) as outer:
        outer.start(bench.bash("sleep 0.4; exit 0"))
        outer.start(bench.call(os.getpid))
        with Local(1) as inner:
            finish(inner, bench.bash("setsid sleep 60 & exit 0"))
        found = collect(outer, 2)
    assert sorted(str(ended.how)[:6] for ended in found.values()) == ["Exited", "Return"]
    assert all(getattr(ended.how, "code", 0) == 0 for ended in found.values())

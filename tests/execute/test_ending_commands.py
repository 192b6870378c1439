"""How commands end that would rather not, and what becomes of those they leave behind."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest
from executor_bench import BASH, appears, collect, finish, is_alive, log_of

from merkl.execute.base import Exited, NotStarted
from merkl.execute.local import Local

DEAF = "trap '' TERM INT HUP; echo $BASHPID > {pid}; exec sleep 60"


def pid_in(bench, name):
    return int(appears(bench.root / name))


def test_a_command_that_takes_too_long_is_stopped(executor, bench):
    (ended,) = finish(executor, bench.bash("sleep 30", timeout=0.1))
    assert ended.how == Exited(-signal.SIGTERM, timed_out=True)
    assert 0.1 <= ended.seconds < 20


def test_a_command_that_is_asked_to_stop_in_time_may_tidy_up(executor, bench):
    job = bench.bash("trap 'echo tidy; exit 5' TERM; while :; do sleep 0.02; done", timeout=0.3)
    (ended,) = finish(executor, job)
    assert ended.how == Exited(5, timed_out=True)
    assert log_of(job).endswith("tidy\n")


def test_a_command_that_ignores_sigterm_is_killed_with_its_group(executor, bench):
    (ended,) = finish(
        executor, bench.bash(f"({DEAF.format(pid='child')}) & {DEAF.format(pid='self')}", timeout=0.2)
    )
    assert ended.how == Exited(-signal.SIGKILL, timed_out=True)
    assert 1.2 <= ended.seconds < 30
    assert not is_alive(pid_in(bench, "self"))
    assert not is_alive(pid_in(bench, "child"))


def test_a_stopped_command_can_be_told_to_end(executor, bench):
    (ended,) = finish(executor, bench.bash("kill -STOP $$", timeout=0.1))
    assert ended.how == Exited(-signal.SIGTERM, timed_out=True)
    assert ended.seconds < 20


def test_kill_waits_as_long_as_it_is_told_to(executor, bench):
    ticket = executor.start(bench.bash(DEAF.format(pid="pid")))
    pid = pid_in(bench, "pid")
    executor.kill([ticket], grace=0.3)
    started = time.monotonic()
    assert executor.wait(0.1) == []
    assert is_alive(pid)
    found = collect(executor, 1)
    assert found[ticket].how == Exited(-signal.SIGKILL)
    assert time.monotonic() - started < 30


def test_a_second_kill_can_shorten_the_grace(executor, bench):
    ticket = executor.start(bench.bash(DEAF.format(pid="pid")))
    pid_in(bench, "pid")
    executor.kill([ticket], grace=100)
    executor.kill([ticket], grace=0)
    assert collect(executor, 1, within=30)[ticket].how == Exited(-signal.SIGKILL)


def test_kill_spares_the_others(bench, pair):
    one, two = (pair.start(bench.bash(f"sleep {seconds}")) for seconds in (30, 0.3))
    pair.kill([one, 12345])
    found = collect(pair, 2)
    assert (found[one].how, found[two].how) == (Exited(-signal.SIGTERM), Exited(0))


def test_interrupt_reaches_the_whole_group(executor, bench):
    job = bench.bash("trap 'echo heard; exit 130' INT; echo $$ > pid; while :; do sleep 30; done")
    executor.start(job)
    pid_in(bench, "pid")
    executor.interrupt()
    (ended,) = collect(executor, 1, within=30).values()
    assert ended.how == Exited(130)
    assert ended.interrupted
    assert log_of(job) == "heard\n"


def test_interrupt_cancels_what_waits_for_a_slot(bench):
    with Local(1) as executor:
        executor.start(bench.bash("sleep 30"))
        second = executor.start(bench.bash("echo ran > ran"))
        executor.interrupt()
        found = collect(executor, 2)
    assert isinstance(found[second].how, NotStarted)
    assert all(ended.interrupted for ended in found.values())
    assert not (bench.root / "ran").exists()


# ---- what is left behind ----


def test_a_background_child_that_holds_the_log_delays_nothing(executor, bench):
    (ended,) = finish(executor, bench.bash("sleep 30 & echo $! > pid"))
    assert ended.how == Exited(0)
    assert ended.seconds < 20
    assert not is_alive(pid_in(bench, "pid"))


def test_a_background_child_writes_nothing_once_its_job_has_ended(executor, bench):
    (ended,) = finish(executor, bench.bash(f"({DEAF.format(pid='pid')}) & until [ -s pid ]; do :; done"))
    assert ended.how == Exited(0)
    assert not is_alive(pid_in(bench, "pid"))


def test_a_background_child_may_end_by_itself_when_told_to(executor, bench):
    job = bench.bash("""
        (trap 'echo tidy > tidied; exit' TERM; echo up > up; while :; do sleep 0.02; done) &
        until [ -s up ]; do :; done
    """)
    finish(executor, job)
    assert (bench.root / "tidied").read_text() == "tidy\n"


def test_a_daemon_holds_up_nothing_and_ends_with_the_executor(bench):
    with Local(2) as executor:
        job = bench.bash("setsid bash -c 'echo $$ > pid; exec sleep 60' & until [ -s pid ]; do :; done")
        (ended,) = finish(executor, job)
        pid = pid_in(bench, "pid")
        assert ended.how == Exited(0)
        assert is_alive(pid)
    assert not is_alive(pid)


def test_a_deaf_daemon_with_children_of_its_own_ends_with_the_executor(bench):
    (bench.root / "inner.sh").write_text(DEAF.format(pid="inner"))
    (bench.root / "outer.sh").write_text("setsid bash inner.sh & " + DEAF.format(pid="outer"))
    with Local(1) as executor:
        finish(executor, bench.bash("setsid bash outer.sh & until [ -s inner ] && [ -s outer ]; do :; done"))
        outer, inner = pid_in(bench, "outer"), pid_in(bench, "inner")
        assert outer != inner
    assert not is_alive(outer)
    assert not is_alive(inner)


def test_a_daemon_of_somebody_else_in_this_process_is_spared(bench):
    import subprocess

    with subprocess.Popen(["sleep", "60"], start_new_session=True) as older:
        with Local(1) as executor, subprocess.Popen(["sleep", "60"]) as newer:
            finish(executor, bench.bash("exit 0"))
            executor.close()
            assert newer.poll() is None
            newer.kill()
        assert older.poll() is None
        older.kill()


def test_closing_ends_what_runs(bench):
    with Local(2) as executor:
        executor.start(bench.bash(f"({DEAF.format(pid='deaf')}) & echo $$ > pid; sleep 60"))
        executor.start(bench.bash("echo $$ > other; exec sleep 60"))
        pids = [pid_in(bench, name) for name in ("pid", "deaf", "other")]
    assert not any(map(is_alive, pids))


def test_hundreds_of_orphans_leave_no_zombies_before_the_end(bench):
    from merkl.execute.orphans import children

    with Local(2) as executor:
        jobs = [bench.bash("setsid true & wait -n & :") for _ in range(300)]
        finish(executor, *jobs)
        assert len(children()) < 290


# ---- a coordinator in a strange state ----


def test_exit_codes_are_known_although_sigchld_was_ignored(bench):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with Local(1) as executor:
            (ended,) = finish(executor, bench.bash("exit 3"))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert ended.how == Exited(3)


def test_a_process_that_somebody_else_waited_for_is_no_success(executor, bench):
    executor.start(bench.bash("echo $$ > pid; exit 0"))
    os.waitpid(pid_in(bench, "pid"), 0)
    (ended,) = collect(executor, 1).values()
    assert isinstance(ended.how, NotStarted)
    assert isinstance(ended.how.error, ChildProcessError)


COORDINATOR = """
    import os, pickle, sys
    from merkl.execute.base import *
    from merkl.execute.local import Local

    cwd = os.getcwdb()
    def calm(slots):
        with Local(slots) as executor:
            executor.start(ProcessJob([b"/bin/bash", b"-c", b"echo out; echo err >&2"], {}, cwd, b"log"))
            executor.start(CallJob(pickle.dumps((print, ("call",))), b"call-log", cwd))
            ended = []
            while len(ended) < 2:
                ended += executor.wait(None)
        return [type(one.how).__name__ for one in ended]
    with open("said", "w") as file:
        file.write(" ".join(sorted(calm(1) + calm(2))) + chr(10))
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_coordinator_without_standard_streams_runs_jobs_all_the_same(bench, closed):
    python = bench.python(COORDINATOR)
    with Local(1) as executor:
        program, script = map(os.fsdecode, python.argv)
        job = bench.bash(f"exec {program} {script} {closed}")
        (ended,) = finish(executor, job)
    assert (ended.how, log_of(job)) == (Exited(0), "")
    assert (bench.root / "said").read_text() == "Exited Exited Returned Returned\n"
    assert (bench.root / "log").read_text() == "out\nerr\n"
    assert (bench.root / "call-log").read_text() == "call\n"


def test_memory_is_what_the_job_needed_or_unknown(bench):
    job = bench.python("""
        import os, pickle, sys
        from merkl.execute.base import *
        from merkl.execute.local import Local

        big, small = b"x = bytearray(240 << 20)", b"pass"
        def peak(executor, job):
            executor.start(job)
            return executor.wait(None)[0].peak_memory >> 20
        def command(code):
            return ProcessJob([os.fsencode(sys.executable), b"-c", code], dict(os.environb), os.getcwdb(), b"log")
        def call(size):
            return CallJob(pickle.dumps((bytearray, (size,))), b"log", os.getcwdb())
        with Local(2) as executor:
            print(peak(executor, command(big)) >= 200, peak(executor, command(small)) < 50)
            print(peak(executor, call(200 << 20)) >= 200, peak(executor, call(1)))
        hoard = bytearray(300 << 20)
        with Local(1) as executor:
            print(peak(executor, command(big)), peak(executor, call(1)))
    """)
    # A process begins with the peak of the one that started it, and this one, after many tests, is large: so by way of a
    # shell, which forks.
    program = b" ".join(job.argv)
    job = dataclasses.replace(job, argv=[*BASH, program + b"; exit $?"])
    with Local(1) as executor:
        finish(executor, job)
    assert log_of(job) == "True True\nTrue 0\n0 0\n"


def test_an_interactive_command_shares_our_streams_and_session(bench, capfd):
    job = bench.bash("echo to the terminal; ps -o sid= -p $$ 2>/dev/null || :", interactive=True)
    with Local(1) as executor:
        (ended,) = finish(executor, job)
    assert ended.how == Exited(0)
    assert capfd.readouterr().out.startswith("to the terminal\n")
    assert not Path(os.fsdecode(job.log)).exists()


def test_an_interactive_command_can_be_interrupted_and_killed_alone(bench):
    with Local(1) as executor:
        executor.start(
            bench.bash("trap 'exit 9' INT; echo $$ > pid; while :; do sleep 0.02; done", interactive=True)
        )
        pid_in(bench, "pid")
        if not os.isatty(0):
            executor.interrupt()
            (ended,) = collect(executor, 1).values()
            assert (ended.how, ended.interrupted) == (Exited(9), True)
        executor.start(bench.bash(DEAF.format(pid="deaf"), interactive=True))
        pid_in(bench, "deaf")
        executor.kill(grace=0.05)
        (ended,) = collect(executor, 1).values()
        assert ended.how == Exited(-signal.SIGKILL)

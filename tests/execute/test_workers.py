"""Worker processes: how they die, are interrupted, reused and replaced."""

import os
import pickle
import signal
import sys
import time
from pathlib import Path

import pytest
from executor_bench import appears, collect, finish, is_alive, log_of

from merkl.execute.base import Exited, Raised, Returned, WorkerDied
from merkl.execute.local import Local


def value(ended):
    assert isinstance(ended.how, Returned), ended.how
    return pickle.loads(ended.how.payload)


def sleep_after_telling(path, seconds=60):
    with open(path, "w") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return "slept"


# ---- death ----


def exit_at_once():
    os._exit(3)


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def crash():
    import ctypes

    ctypes.string_at(0)


@pytest.mark.parametrize(
    ("function", "code"), [(exit_at_once, 3), (kill_self, -signal.SIGKILL), (crash, -signal.SIGSEGV)]
)
def test_a_worker_that_dies_takes_no_other_job_with_it(bench, pair, function, code):
    other = pair.start(bench.call(lambda: time.sleep(0.3) or "fine"))
    died = pair.start(bench.call(function))
    found = collect(pair, 2)
    assert found[died].how == WorkerDied(code)
    assert value(found[other]) == "fine"
    assert [value(ended) for ended in finish(pair, *[bench.call(abs, -n) for n in range(4)])] == [0, 1, 2, 3]


def test_the_stack_of_a_crash_is_in_the_log(bench, pair):
    job = bench.call(crash)
    finish(pair, job)
    assert "Segmentation fault" in log_of(job)
    assert "in crash" in log_of(job)


def test_what_was_printed_before_a_crash_is_in_the_log(bench, pair):
    job = bench.call(lambda: (print("last words"), os._exit(1)))
    finish(pair, job)
    assert log_of(job) == "last words\n"


def test_children_of_a_worker_that_died_end_too(bench, pair):
    def leave_child(path):
        import subprocess

        child = subprocess.Popen(["sleep", "60"])
        Path(path).write_text(f"{child.pid}\n")
        os._exit(1)

    finish(pair, bench.call(leave_child, str(bench.root / "pid")))
    assert not is_alive(int(appears(bench.root / "pid")))


def test_an_idle_worker_that_was_killed_is_replaced(bench, pair):
    (first,) = finish(pair, bench.call(os.getpid))
    os.kill(value(first), signal.SIGKILL)
    os.waitid(os.P_PID, value(first), os.WEXITED | os.WNOWAIT)
    (second,) = finish(pair, bench.call(os.getpid))
    assert value(second) != value(first)


def test_an_idle_worker_that_is_killed_during_a_wait_is_noticed(bench, pair):
    (first,) = finish(pair, bench.call(os.getpid))
    pair.start(bench.bash("sleep 0.2"))
    os.kill(value(first), signal.SIGKILL)
    collect(pair, 1)
    assert not Path(f"/proc/{value(first)}").exists()


def test_a_worker_killed_while_its_fork_lives_is_noticed(bench, pair):
    def fork_and_die(path):
        if os.fork() == 0:
            os.setsid()
            Path(path).write_text(f"{os.getpid()}\n")
            time.sleep(60)
        while not Path(path).exists():
            time.sleep(0.005)
        os._exit(9)

    (ended,) = finish(pair, bench.call(fork_and_die, str(bench.root / "pid")))
    assert ended.how == WorkerDied(9)
    pair.close()
    assert not is_alive(int(appears(bench.root / "pid")))


def test_a_worker_that_cannot_start_leaves_its_reason_in_the_log(bench, monkeypatch):
    (bench.root / "sitecustomize.py").write_text("import os; os.write(2, b'broken site\\n'); os._exit(7)\n")
    monkeypatch.setenv("PYTHONPATH", str(bench.root))
    job = bench.call(int)
    with Local(2) as executor:
        (ended,) = finish(executor, job)
    assert ended.how == WorkerDied(7)
    assert log_of(job) == "broken site\n"


def test_a_coordinator_that_is_killed_takes_busy_and_idle_workers_with_it(bench):
    coordinator = bench.python("""
        import os, cloudpickle, time
        from merkl.execute.base import CallJob
        from merkl.execute.local import Local

        def busy():
            with open("busy", "w") as file:
                file.write(f"{os.getpid()}\\n")
            while True:
                pass

        with open("coordinator", "w") as file:
            file.write(f"{os.getpid()}\\n")
        executor = Local(2)
        def start(function):
            executor.start(CallJob(cloudpickle.dumps((function, ())), b"log", os.getcwdb()))
        start(busy)
        start(os.getpid)
        (ended,) = executor.wait(None)
        with open("idle", "w") as file:
            file.write(f"{cloudpickle.loads(ended.how.payload)}\\n")
        executor.wait(None)
    """)
    with Local(1) as executor:
        executor.start(coordinator)
        pids = [int(appears(bench.root / name)) for name in ("busy", "idle")]
        os.kill(int(appears(bench.root / "coordinator")), signal.SIGKILL)
        limit = time.monotonic() + 5
        while any(map(is_alive, pids)) and time.monotonic() < limit:
            time.sleep(0.01)
        alive = [is_alive(pid) for pid in pids]
        collect(executor, 1)
    assert alive == [False, False]


def test_thousands_of_small_calls_all_return(bench, pair):
    job = bench.call(abs, -7)
    for ended in finish(pair, *[job] * 5000):
        assert value(ended) == 7


# ---- stopping ----


def test_a_call_that_takes_too_long_is_stopped_with_its_children(bench, executor):
    def start_child(path):
        import subprocess

        child = subprocess.Popen(["sleep", "60"])
        Path(path).write_text(f"{child.pid}\n")
        child.wait()

    (ended,) = finish(executor, bench.call(start_child, str(bench.root / "pid"), timeout=1.0))
    assert ended.how == WorkerDied(-signal.SIGTERM, timed_out=True)
    assert not is_alive(int(appears(bench.root / "pid")))


def test_a_call_that_ignores_sigterm_is_killed(bench, pair):
    def ignore(path):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sleep_after_telling(path)

    ticket = pair.start(bench.call(ignore, str(bench.root / "pid")))
    appears(bench.root / "pid")
    pair.kill([ticket], grace=0.1)
    assert collect(pair, 1)[ticket].how == WorkerDied(-signal.SIGKILL)


def test_closing_ends_busy_and_idle_workers(bench):
    def linger(path):
        import threading

        threading.Thread(target=time.sleep, args=(60,)).start()  # Python would wait for it.
        return os.getpid()

    with Local(2) as executor:
        (idle,) = finish(executor, bench.call(linger, ""))
        executor.start(bench.call(sleep_after_telling, str(bench.root / "pid")))
        pids = [value(idle), int(appears(bench.root / "pid"))]
    assert not any(map(is_alive, pids))


def test_a_worker_runs_its_exit_handlers(bench):
    def register(path):
        import atexit

        atexit.register(Path(path).write_text, "goodbye\n")

    with Local(2) as executor:
        finish(executor, bench.call(register, str(bench.root / "bye")))
    assert (bench.root / "bye").read_text() == "goodbye\n"


def test_a_file_that_a_call_leaves_open_is_whole_once_its_worker_has_ended(bench):
    def leave_open(path):
        import builtins

        builtins.left = open(path, "w")
        builtins.left.write("not flushed")

    with Local(2) as executor:
        finish(executor, bench.call(leave_open, str(bench.root / "left")))
    assert (bench.root / "left").read_text() == "not flushed"


# ---- interrupts ----


def test_an_interrupted_call_raises_keyboard_interrupt(bench, pair):
    ticket = pair.start(bench.call(sleep_after_telling, str(bench.root / "pid")))
    appears(bench.root / "pid")
    pair.interrupt()
    ended = collect(pair, 1)[ticket]
    assert isinstance(ended.how, Raised)
    assert type(ended.how.error) is KeyboardInterrupt
    assert ended.how.trace.splitlines()[1].endswith("in sleep_after_telling")
    assert ended.interrupted


def test_a_call_may_catch_the_interrupt_and_return(bench, pair):
    def best_so_far(path):
        try:
            sleep_after_telling(path)
        except KeyboardInterrupt:
            return "best so far"

    ticket = pair.start(bench.call(best_so_far, str(bench.root / "pid")))
    appears(bench.root / "pid")
    pair.interrupt()
    ended = collect(pair, 1)[ticket]
    assert value(ended) == "best so far"
    assert ended.interrupted


def test_an_interrupt_reaches_a_call_whose_worker_is_not_up_yet(bench, pair):
    ticket = pair.start(bench.call(sleep_after_telling, str(bench.root / "pid")))
    pair.interrupt()
    ended = collect(pair, 1, within=20)[ticket]
    assert type(ended.how.error) is KeyboardInterrupt


def test_an_interrupt_at_any_time_meets_its_own_call_and_no_other(bench, pair):
    for delay in range(12):
        (warm,) = finish(pair, bench.call(abs, -1))
        assert (value(warm), warm.interrupted) == (1, False)
        ticket = pair.start(bench.call(time.sleep, 0.002))
        time.sleep(delay * 0.0004)
        pair.interrupt()
        ended = collect(pair, 1)[ticket]
        assert ended.interrupted
        assert isinstance(ended.how, Returned) or type(ended.how.error) is KeyboardInterrupt


def test_idle_workers_are_not_interrupted(bench, pair):
    (before,) = finish(pair, bench.call(os.getpid))
    pair.interrupt()
    (after,) = finish(pair, bench.call(os.getpid))
    assert value(after) == value(before)


def test_a_handler_that_a_call_installed_is_gone_in_the_next(bench):
    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with Local(2) as executor:
        finish(executor, bench.call(ignore))
        (ended,) = finish(executor, bench.call(lambda: signal.getsignal(signal.SIGINT).__name__))
        assert value(ended) == "default_int_handler"


# ---- what a worker is like ----


def close_what_is_printed_to():
    sys.stdout.close()
    os.close(1)
    os.close(2)


def test_a_call_that_closes_what_it_prints_to_takes_it_from_no_other(bench):
    first = bench.call(close_what_is_printed_to, timeout=60)
    jobs = [bench.call(os.system, f"echo {n}", timeout=60) for n in range(3)]
    with Local(1, inline=False) as executor:
        assert value(finish(executor, first)[0]) is None
        for n, job in enumerate(jobs):
            assert value(finish(executor, job)[0]) == 0
            assert log_of(job) == f"{n}\n"


def print_and_close():
    sys.stdout.write("held back")
    os.close(1)


def print_and_replace():
    sys.stdout.write("held back")
    sys.stdout = open(os.devnull, "w")


def print_in_c_and_close():
    import ctypes

    ctypes.CDLL(None).printf(b"held back")
    os.close(1)


@pytest.mark.parametrize("end", [print_and_close, print_and_replace, print_in_c_and_close])
def test_what_a_call_printed_and_held_back_is_in_no_other_log(bench, end, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # Nothing would be held back.
    first, second = bench.call(end, timeout=60), bench.call(print, "said", timeout=60)
    with Local(1, inline=False) as executor:
        finish(executor, first)
        finish(executor, second)
    assert log_of(first) == ("held back" if end is print_and_replace else "")
    assert log_of(second) == "said\n"


def test_workers_are_started_when_needed_and_reused(bench):
    with Local(4) as executor:
        assert {value(finish(executor, bench.call(os.getpid))[0]) for _ in range(5)}.__len__() == 1
        pids = {value(ended) for ended in finish(executor, *[bench.call(_pid_after, 0.1) for _ in range(12)])}
    assert 2 <= len(pids) <= 4
    assert os.getpid() not in pids


def _pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def test_a_worker_has_our_search_path_environment_and_umask(bench, monkeypatch):
    (bench.root / "lib").mkdir()
    (bench.root / "lib" / "only_here.py").write_text("ANSWER = 42\n")
    monkeypatch.chdir(bench.root)
    monkeypatch.setattr(sys, "path", ["lib", *sys.path])
    monkeypatch.setenv("ONLY_HERE", "yes")

    def look():
        import only_here

        return (
            only_here.ANSWER,
            os.environ["ONLY_HERE"],
            os.umask(0),
            sys.argv,
            sys.modules["__main__"].__dict__.keys(),
        )

    umask = os.umask(0o027)
    try:
        with Local(2) as executor:
            (ended,) = finish(executor, bench.call(look, cwd=b"/"))
    finally:
        os.umask(umask)
    assert value_of(ended)[:4] == (42, "yes", 0o027, ["-c"])


def value_of(ended):
    import cloudpickle

    assert isinstance(ended.how, Returned), ended.how
    return cloudpickle.loads(ended.how.payload)


def test_a_module_of_the_directory_shadows_none_of_ours(bench, monkeypatch):
    for name in ("pickle", "struct", "signal", "merkl", "cloudpickle"):
        (bench.root / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    monkeypatch.chdir(bench.root)
    with Local(2) as executor:
        (ended,) = finish(executor, bench.call(lambda: "fine"))
    assert value(ended) == "fine"


def _is_private(fd):
    try:
        return fd >= 64 and not os.get_inheritable(fd)
    except OSError:
        return False


def test_children_of_a_call_get_none_of_the_pipes(bench, pair):
    def links():
        import subprocess

        private = [fd for fd in os.listdir("/proc/self/fd") if _is_private(int(fd))]
        own = {os.readlink(f"/proc/self/fd/{fd}") for fd in private}
        child = subprocess.run(
            ["/bin/bash", "-c", "readlink /proc/$$/fd/*"], close_fds=False, capture_output=True, text=True
        )
        return own, set(child.stdout.split())

    own, child = value(finish(pair, bench.call(links))[0])
    pipes = {link for link in own if link.startswith("pipe:")}
    assert len(pipes) == 4
    assert not pipes & child


def test_warnings_and_optimisation_are_those_of_the_coordinator(bench):
    script = """
        import os, pickle, sys, cloudpickle
        from merkl.execute.base import CallJob
        from merkl.execute.local import Local

        def flags():
            import sys
            return sys.flags.optimize, sys.warnoptions, sys.flags.dev_mode, sys.flags.utf8_mode
        with Local(2) as executor:
            executor.start(CallJob(cloudpickle.dumps((flags, ())), b"log", os.getcwdb()))
            (ended,) = executor.wait(None)
        print(pickle.loads(ended.how.payload) == flags(), __debug__)
    """
    job = bench.python(script)
    job = type(job)(
        argv=[job.argv[0], b"-O", b"-W", b"error::FutureWarning", b"-X", b"utf8", job.argv[1]],
        env=job.env, cwd=job.cwd, log=job.log,
    )  # fmt: skip
    with Local(1) as executor:
        finish(executor, job)
    assert log_of(job) == "True False\n"


MAIN = """
    import os, pickle, sys
    from dataclasses import dataclass

    import cloudpickle

    from merkl.execute.base import CallJob
    from merkl.execute.local import Local

    @dataclass
    class Point:
        x: int

    class Trouble(Exception):
        pass

    FACTOR = 3

    def scale(point):
        return Point(point.x * FACTOR)

    def fail():
        raise Trouble("deep")

    def run(executor, function, *args):
        executor.start(CallJob(cloudpickle.dumps((function, args)), b"log", os.getcwdb()))
        (ended,) = executor.wait(None)
        return ended.how

    for slots in (1, 2):
        with Local(slots) as executor:
            result = pickle.loads(run(executor, scale, Point(14)).payload)
            raised = run(executor, fail).error
            print(result, isinstance(result, Point), isinstance(raised, Trouble), raised)
"""


def test_functions_and_classes_of_a_script_without_a_guard_travel(bench):
    job = bench.python(MAIN)
    with Local(1) as executor:
        (ended,) = finish(executor, job)
    assert log_of(job) == "Point(x=42) True True deep\n" * 2
    assert ended.how == Exited(0)


CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")
needs_children = pytest.mark.skipif(not CHILDREN.exists(), reason="the system does not list children")


def children():
    return {int(pid) for pid in CHILDREN.read_text().split()}


def imported_before(module):
    return os.getpid(), module in sys.modules


@needs_children
def test_workers_that_are_expected_are_there_with_their_modules_and_take_the_calls(bench):
    with Local(2, modules=["fileinput"]) as executor:
        before = children()
        executor.expect(5)
        executor.expect(1)
        there = children() - before
        found = [value(ended) for ended in finish(executor, *[bench.call(imported_before, "fileinput")] * 2)]
        executor.expect(0)
        limit = time.monotonic() + 30
        while any(map(is_alive, there)):
            assert time.monotonic() < limit
            executor.wait(0.01)
    assert len(there) == 2
    assert {pid for pid, _ in found} <= there
    assert all(imported for _, imported in found)


@needs_children
def test_none_is_expected_where_one_slot_runs_calls_here(bench):
    with Local(1) as executor:
        before = children()
        executor.expect(1)
        assert children() == before
        assert value(*finish(executor, bench.call(os.getpid))) == os.getpid()


def test_the_time_of_a_call_begins_when_its_worker_has_come_to_it(executor, bench, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(1.5)\n")
    slow = {"PYTHONPATH": str(tmp_path)}

    brief = bench.call(time.sleep, 0, timeout=1.0, variables=slow)
    late = bench.call(time.sleep, 60, timeout=0.2, variables=slow)

    assert isinstance(finish(executor, brief)[0].how, Returned)
    (ended,) = finish(executor, late)
    assert ended.how.timed_out and ended.seconds < 30

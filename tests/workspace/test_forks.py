"""Shares of work are done by other processes too, all of them, and nobody stays behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from merkl.workspace import forks

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing is forked")

# In a process of its own, since that of the tests may have threads.
BEFORE = """
import os, signal, sys, time
from merkl.workspace import forks
from merkl.workspace.forks import shared

forks._FIRST_S, forks._WORTH_S = -1.0, -1.0  # At once, whatever it is worth.
forks.hands = lambda: 3
us = os.getpid()

def alone():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False
"""


def ran(script):
    text = BEFORE + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_each_share_is_done_once_and_by_several():
    assert ran("""
        def work(n):
            time.sleep(0.002)
            return b"%d %d" % (n, os.getpid())
        found = list(shared(60, work))
        print(sorted(n for n, _ in found) == list(range(60)))
        print(all(data.split()[0] == b"%d" % n for n, data in found))
        print(len({data.split()[1] for _, data in found}) > 1)
        print(alone())
    """) == ["True"] * 4  # fmt: skip


def test_more_may_come_of_a_share_than_fits_into_a_pipe():
    assert ran("""
        found = dict(shared(9, lambda n: bytes([n]) * 3_000_000 if n else b""))
        print(all(found[n] == bytes([n]) * 3_000_000 for n in range(1, 9)), found[0] == b"", alone())
    """) == ["True True True"]


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(3)", "raise ValueError", "sys.exit(1)"]
)
def test_what_a_process_took_and_did_not_do_is_done_here(end):
    assert ran(f"""
        def work(n):
            if os.getpid() != us and n % 4 == 3:
                {end}
            time.sleep(0.001)
            return b"%d" % n
        print(dict(shared(40, work)) == {{n: b"%d" % n for n in range(40)}}, alone())
    """) == ["True True"]


def test_an_error_is_raised_here_and_nobody_is_left():
    assert ran("""
        def work(n):
            time.sleep(0.001)
            if n == 20:
                raise ValueError("of share 20")
            return b""
        try:
            list(shared(40, work))
        except ValueError as error:
            print(error, alone())
    """) == ["of share 20 True"]


def test_whoever_wants_no_more_leaves_nobody_behind():
    assert ran("""
        def work(n):
            time.sleep(0 if os.getpid() == us else 60)
            return b""
        for done, _ in enumerate(shared(40, work)):
            if done == 5:
                break
        print(alone())
    """) == ["True"]


def test_few_or_brief_shares_are_done_here():
    assert ran("""
        forks._FIRST_S, forks._WORTH_S = 0.004, 0.008
        def work(n):
            assert os.getpid() == us
            return b""
        print(len(list(shared(4000, work))), len(list(shared(1, work))), list(shared(0, work)))
    """) == ["4000 1 []"]


def test_with_another_thread_all_is_done_here():
    assert ran("""
        import threading
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        thread.start()
        pids = {data for _, data in shared(20, lambda n: b"%d" % os.getpid())}
        end.set()
        thread.join()
        print(pids == {b"%d" % us})
    """) == ["True"]


def test_where_no_process_can_be_started_all_is_done_here():
    assert ran("""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
        taken = [os.dup(0) for _ in range(8 - len(os.listdir("/proc/self/fd")) + 1)]
        print(len(list(shared(20, lambda n: b""))))
    """) == ["20"]


SLOW = """
def work(n):
    if os.getpid() != us:
        os.write(1, b"%d\\n" % os.getpid())
    time.sleep(0.05)
    return bytes(100_000)
try:
    for _ in shared(400, work):
        pass
except KeyboardInterrupt:
    print("interrupted", alone(), flush=True)
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_or_a_kill_leaves_nobody(by):
    """Ctrl-C reaches all; SIGKILL only the one, and the others find that nobody reads what they say."""
    with subprocess.Popen(
        [sys.executable, "-c", BEFORE + SLOW], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        others = {int(process.stdout.readline()) for _ in range(2)}
        if by == signal.SIGINT:
            os.killpg(process.pid, by)
        else:
            process.kill()
        rest = process.stdout.read().split("\n")  # Until the last of them has closed it.
        others |= {int(line) for line in rest if line.isdigit()}
        assert ("interrupted True" in rest) == (by == signal.SIGINT)
        assert process.wait(timeout=60) is not None
    deadline = time.monotonic() + 60
    while any(map(_runs, others)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_there_are_as_many_hands_as_processors_that_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert forks.hands() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert 1 <= forks.hands() <= len(allowed)


def test_a_control_group_may_have_less_than_its_machine(tmp_path):
    groups = tmp_path / "cgroup"
    groups.write_text("12:cpu,cpuacct:/old\n3:memory:/old\n0::/new/inner\n")
    for name, text in {
        "cpu.max": "max 100000\n",
        "new/cpu.max": "250000 100000\n",
        "new/inner/cpu.max": "400000 100000\n",
        "cpu/cpu.cfs_quota_us": "-1\n",
        "cpu/cpu.cfs_period_us": "100000\n",
        "cpu/old/cpu.cfs_quota_us": "50000\n",
        "cpu/old/cpu.cfs_period_us": "100000\n",
    }.items():
        (tmp_path / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys" / name).write_text(text)

    assert sorted(forks.quotas(str(groups), str(tmp_path / "sys"))) == [1, 3, 4]
    assert list(forks.quotas(str(tmp_path / "none"), str(tmp_path))) == []


def test_this_process_does_not_fork_beside_a_thread():
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert not forks.may_fork()
    finally:
        end.set()
        thread.join()

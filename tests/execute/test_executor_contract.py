"""What every executor promises, whatever it runs jobs in."""

import errno
import os
import pickle
import signal
import sys
import time
from pathlib import Path

import pytest
from executor_bench import appears, collect, finish, log_of

from merkl.execute.base import Exited, NotStarted, Raised, Returned, Unportable
from merkl.execute.local import Local


def value(ended):
    assert isinstance(ended.how, Returned), ended.how
    return pickle.loads(ended.how.payload)


# ---- commands ----


@pytest.mark.parametrize("code", [0, 1, 2, 3, 126, 127, 255])
def test_an_exit_code_comes_back_as_it_is(executor, bench, code):
    (ended,) = finish(executor, bench.bash(f"exit {code}"))
    assert ended.how == Exited(code)


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV", "INT", "HUP", "PIPE"])
def test_a_signal_comes_back_as_its_negative_number(executor, bench, name):
    (ended,) = finish(executor, bench.bash(f"kill -{name} $$; sleep 5"))
    assert ended.how == Exited(-getattr(signal, f"SIG{name}"))


def test_stdout_and_stderr_are_in_the_log_in_order(executor, bench):
    job = bench.bash("echo one; echo two >&2; echo three")
    finish(executor, job)
    assert log_of(job) == "one\ntwo\nthree\n"


def test_stdout_can_have_a_file_of_its_own(executor, bench):
    out = bench.root / "out"
    job = bench.bash("echo one; echo two >&2", stdout=os.fsencode(out))
    finish(executor, job)
    assert (out.read_text(), log_of(job)) == ("one\n", "two\n")


def test_an_old_log_is_replaced(executor, bench):
    job = bench.bash("echo new")
    Path(os.fsdecode(job.log)).write_text("a much longer old text\n")
    finish(executor, job)
    assert log_of(job) == "new\n"


def test_stdin_is_empty(executor, bench):
    (ended,) = finish(executor, bench.bash("! read line"))
    assert ended.how == Exited(0)


def test_a_command_has_the_environment_and_directory_given_and_no_other(executor, bench):
    below = bench.root / "a b"
    below.mkdir()
    job = bench.bash("pwd; /usr/bin/env", env={b"ONLY": b"caf\xff"}, cwd=os.fsencode(below))
    finish(executor, job)
    lines = Path(os.fsdecode(job.log)).read_bytes().split(b"\n")
    assert lines[0] == os.fsencode(below)
    assert b"ONLY=caf\xff" in lines
    assert {line.partition(b"=")[0] for line in lines[1:-1]} == {b"ONLY", b"PWD", b"SHLVL", b"_"}


def test_a_relative_log_is_taken_from_the_coordinators_directory(executor, bench, monkeypatch):
    monkeypatch.chdir(bench.root)
    below = bench.root / "below"
    below.mkdir()
    finish(executor, bench.bash("echo here", cwd=os.fsencode(below), log=b"command.log"))
    finish(executor, bench.call(print, "there", cwd=os.fsencode(below), log=b"call.log"))
    assert (bench.root / "command.log").read_text() == "here\n"
    assert (bench.root / "call.log").read_text() == "there\n"


def test_a_command_leads_a_session_of_its_own(executor, bench):
    job = bench.bash(
        "read -r _ _ _ _ group session _ < /proc/$$/stat; echo $(($$ == group && $$ == session))"
    )
    finish(executor, job)
    assert log_of(job) == "1\n"


def test_a_command_does_not_inherit_ignored_or_blocked_signals(executor, bench):
    ignored = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE]
    saved = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        job = bench.bash("grep -E '^Sig(Blk|Ign)' /proc/self/status")
        finish(executor, job)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        for number, handler in saved.items():
            signal.signal(number, handler)
    masks = {line.split()[0]: int(line.split()[1], 16) for line in log_of(job).splitlines()}
    assert masks["SigBlk:"] == 0
    assert not any(masks["SigIgn:"] >> (number - 1) & 1 for number in ignored)


def test_a_command_gets_none_of_our_descriptors(executor, bench):
    finish(executor, bench.call(int))  # So that there are pipes to a worker, if there are workers.
    pipes = _private_pipes()
    job = bench.bash("readlink /proc/$$/fd/*")
    finish(executor, job)
    assert pipes
    assert not pipes & set(log_of(job).split())


def _private_pipes() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.get_inheritable(int(name)):
                found.add(_link(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    # One end may be inherited on purpose by whoever started us; then the other is no secret.
    shared = {_link(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)}
    return {target for target in found - shared if target.startswith("pipe:")}


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def test_a_reader_that_goes_away_ends_the_writer_with_sigpipe(executor, bench):
    (ended,) = finish(executor, bench.bash("set -o pipefail; yes | head -n 1"))
    assert ended.how == Exited(141)


# ---- what cannot be started ----


def test_a_program_that_is_not_there_is_named(executor, bench):
    job = bench.bash("")
    (ended,) = finish(executor, type(job)(argv=[b"/no/such/program"], env={}, cwd=job.cwd, log=job.log))
    assert isinstance(ended.how, NotStarted)
    assert (ended.how.error.errno, ended.how.error.filename) == (errno.ENOENT, b"/no/such/program")


def test_an_interpreter_that_is_not_there_is_named(executor, bench):
    script = bench.root / "script"
    script.write_text("#!/no/such/interpreter -x\n")
    script.chmod(0o755)
    job = bench.bash("")
    (ended,) = finish(executor, type(job)(argv=[os.fsencode(script)], env={}, cwd=job.cwd, log=job.log))
    assert isinstance(ended.how, NotStarted)
    assert (ended.how.error.errno, ended.how.error.filename) == (errno.ENOENT, b"/no/such/interpreter")


def test_a_file_that_is_no_program_is_not_started(executor, bench):
    plain = bench.root / "plain"
    plain.write_text("text")
    job = bench.bash("")
    (ended,) = finish(executor, type(job)(argv=[os.fsencode(plain)], env={}, cwd=job.cwd, log=job.log))
    assert isinstance(ended.how, NotStarted)
    assert (ended.how.error.errno, ended.how.error.filename) == (errno.EACCES, os.fsencode(plain))


@pytest.mark.parametrize("kind", ["bash", "call"])
@pytest.mark.parametrize("missing", ["log", "cwd"])
def test_a_log_or_directory_that_cannot_be_used_is_named(executor, bench, kind, missing):
    path = os.fsencode(bench.root / "missing" / "x")
    make = {"bash": lambda **o: bench.bash("exit 0", **o), "call": lambda **o: bench.call(int, **o)}[kind]
    ended, after = finish(executor, make(**{missing: path}), make())
    assert isinstance(ended.how, NotStarted)
    assert (ended.how.error.errno, ended.how.error.filename) == (errno.ENOENT, path)
    assert isinstance(after.how, Exited | Returned)


def test_more_arguments_than_the_system_takes_are_not_started(executor, bench):
    (ended,) = finish(executor, bench.bash("x" * 200_000))
    assert isinstance(ended.how, NotStarted)
    assert ended.how.error.errno == errno.E2BIG


def test_with_no_descriptor_left_jobs_are_not_started_and_later_ones_are(executor, bench):
    import resource

    command, call = bench.bash("exit 0"), bench.call(int)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 8, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(0))
        refused = finish(executor, command, call)
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [type(ended.how) for ended in refused] == [NotStarted, NotStarted]
    assert [ended.how.error.errno for ended in refused] == [errno.EMFILE, errno.EMFILE]
    assert [ended.how for ended in finish(executor, command)] == [Exited(0)]
    assert value(finish(executor, call)[0]) == 0


# ---- slots, order, waiting ----


def test_no_more_jobs_run_at_once_than_there_are_slots(executor, bench):
    jobs = [bench.bash("echo + >> journal; sleep 0.05; echo - >> journal") for _ in range(7)]
    finish(executor, *jobs)
    running, most = 0, 0
    for line in (bench.root / "journal").read_text().split():
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert most == executor.slots


def test_commands_and_calls_share_the_slots(bench, pair):
    def note(path):
        with open(path, "a", buffering=1) as file:
            file.write("+\n")
            time.sleep(0.05)
            file.write("-\n")

    journal = str(bench.root / "journal")
    commands = [bench.bash("echo + >> journal; sleep 0.05; echo - >> journal") for _ in range(4)]
    calls = [bench.call(note, journal) for _ in range(4)]
    finish(pair, *(job for two in zip(commands, calls, strict=True) for job in two))
    running, most = 0, 0
    for line in Path(journal).read_text().split():
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert most == 2


def test_the_job_that_ends_first_is_told_first(bench):
    with Local(3) as executor:
        tickets = [executor.start(bench.bash(f"sleep {seconds}")) for seconds in (0.5, 0.1, 0.3)]
        found = collect(executor, 3)
    assert list(found) == [tickets[1], tickets[2], tickets[0]]


def test_times_are_of_the_job(executor, bench):
    before = time.time_ns()
    for job in (bench.bash("sleep 0.2"), bench.call(time.sleep, 0.2)):
        (ended,) = finish(executor, job)
        assert before <= ended.started_ns <= time.time_ns()
        assert 0.2 <= ended.seconds < 5


def test_waiting_ends_with_the_timeout(executor, bench):
    executor.start(bench.bash("while [ ! -e go ]; do sleep 0.02; done"))
    started = time.monotonic()
    assert executor.wait(0.1) == []
    assert time.monotonic() - started >= 0.1
    (bench.root / "go").touch()
    assert len(executor.wait(None)) == 1


def test_with_no_job_waiting_for_ever_ends_at_once(executor):
    assert executor.wait(None) == []


def test_with_no_job_waiting_takes_as_long_as_asked_for(executor):
    started = time.monotonic()
    assert executor.wait(0.05) == []
    assert time.monotonic() - started >= 0.05


@pytest.mark.parametrize("by", ["handler", "wakeup-fd"])
def test_a_signal_handler_wakes_a_wait(executor, bench, by):
    executor.start(bench.bash("sleep 60"))
    handler = signal.signal(signal.SIGALRM, lambda *_: executor.wake() if by == "handler" else None)
    wakeup = signal.set_wakeup_fd(executor.wake_fd) if by == "wakeup-fd" else None
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        started = time.monotonic()
        assert executor.wait(None) == []
        assert time.monotonic() - started < 30
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if wakeup is not None:
            signal.set_wakeup_fd(wakeup)
    executor.kill(grace=0)
    assert len(executor.wait(None)) == 1


def test_a_wake_before_the_wait_counts_once(executor, bench):
    executor.start(bench.bash("until [ -e go ]; do sleep 0.01; done"))
    for _ in range(100_000):  # More than the pipe holds.
        executor.wake()
    assert executor.wait(5) == []
    (bench.root / "go").touch()
    while not (found := executor.wait(5)):
        pass
    assert found[0].how == Exited(0)


# ---- calls ----


def test_a_call_returns_its_result(executor, bench):
    offset = 40
    (ended,) = finish(executor, bench.call(lambda x, y: {"sum": x + y + offset, "raw": b"\0"}, 1, 1))
    assert value(ended) == {"sum": 42, "raw": b"\0"}


class Refusal(Exception):
    def __init__(self, what: str, *, code: int) -> None:
        super().__init__(f"{what} refused")
        self.code = code


def test_an_exception_comes_back_with_the_users_part_of_the_traceback(executor, bench):
    def inner(x):
        raise LookupError("nothing there", x)

    def outer(x):
        return inner(x)

    (ended,) = finish(executor, bench.call(outer, 3))
    assert isinstance(ended.how, Raised)
    assert type(ended.how.error) is LookupError
    assert ended.how.error.args == ("nothing there", 3)
    lines = ended.how.trace.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith(", in outer")
    assert lines[-1] == "LookupError: ('nothing there', 3)"
    assert f"merkl{os.sep}execute" not in ended.how.trace


def test_notes_and_causes_are_in_the_traceback(executor, bench):
    def fail():
        try:
            {}["key"]
        except KeyError as error:
            error.add_note("look elsewhere")
            raise ValueError("bad") from error

    (ended,) = finish(executor, bench.call(fail))
    assert type(ended.how.error) is ValueError
    for text in ("KeyError: 'key'", "look elsewhere", "direct cause", "ValueError: bad"):
        assert text in ended.how.trace


def test_an_exception_that_cannot_be_read_back_has_a_stand_in(executor, bench):
    def fail():
        raise Refusal("entry", code=3)

    def fail_with_a_lock():
        import threading

        raise ValueError("locked", threading.Lock())

    one, two = finish(executor, bench.call(fail), bench.call(fail_with_a_lock))
    assert isinstance(one.how.error, Unportable)
    assert str(one.how.error).endswith(".Refusal: entry refused")
    assert one.how.trace.splitlines()[-1].endswith("Refusal: entry refused")
    assert isinstance(two.how.error, Unportable)
    assert str(two.how.error).startswith("ValueError: ('locked', <unlocked _thread.lock")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_whose_text_raises_is_still_an_exception(executor, bench):
    def fail():
        raise Mute

    (ended,) = finish(executor, bench.call(fail))
    assert isinstance(ended.how, Raised)
    assert "Mute" in ended.how.trace


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), KeyboardInterrupt(), MemoryError(), RecursionError()]
)
def test_whatever_is_raised_is_an_outcome(executor, bench, error):
    def fail():
        raise error

    (ended,) = finish(executor, bench.call(fail))
    assert isinstance(ended.how, Raised)
    assert type(ended.how.error) is type(error)
    assert not ended.interrupted


def test_a_result_that_cannot_be_pickled_says_so(executor, bench):
    from merkl.errors import SerializationError

    def lock():
        import threading

        return threading.Lock()

    (ended,) = finish(executor, bench.call(lock))
    assert isinstance(ended.how.error, SerializationError)
    assert "of type _thread.lock, cannot be pickled" in str(ended.how.error)


def test_a_function_that_cannot_be_found_is_an_outcome(executor, bench):
    payload = pickle.dumps((finish, ())).replace(b"finish", b"fin1sh")
    job = bench.call(int)
    (ended,) = finish(executor, type(job)(payload=payload, log=job.log, cwd=job.cwd))
    assert isinstance(ended.how, Raised)


def test_every_kind_of_output_is_in_the_log(executor, bench):
    def speak():
        import ctypes
        import subprocess

        print("print", flush=False)
        print("error", file=sys.stderr)
        os.write(1, b"write\n")
        subprocess.run(["/bin/echo", "child"], check=True)
        libc = ctypes.CDLL(None)
        libc.printf(b"printf\n")
        print("caf\udcff")

    job = bench.call(speak)
    (ended,) = finish(executor, job)
    assert isinstance(ended.how, Returned), ended.how
    assert sorted(log_of(job).splitlines()) == [r"caf\udcff", "child", "error", "print", "printf", "write"]


def test_output_is_in_the_log_while_the_call_runs(bench, pair):
    job = bench.call(lambda: (print("begun"), time.sleep(30)))
    pair.start(job)
    assert appears(Path(os.fsdecode(job.log))) == "begun"
    pair.kill(grace=0)
    collect(pair, 1)


def test_output_of_one_call_is_not_in_the_log_of_the_next(executor, bench):
    def close_stdout():
        print("first", end="")
        sys.stdout.close()

    def replace_stdout():
        import io

        sys.stdout = io.StringIO()
        print("swallowed")

    jobs = [bench.call(close_stdout), bench.call(replace_stdout), bench.call(print, "third")]
    for job in jobs:
        finish(executor, job)
    assert [log_of(job) for job in jobs] == ["first", "", "third\n"]


def test_stdin_of_a_call_is_empty(executor, bench):
    def read():
        import subprocess

        child = subprocess.run(["/bin/cat"], stdout=subprocess.PIPE)
        return sys.stdin.read(), os.read(0, 10), child.stdout, child.returncode

    (ended,) = finish(executor, bench.call(read))
    assert value(ended) == ("", b"", b"", 0)


def test_a_call_runs_in_its_directory_and_the_next_one_in_its_own(executor, bench):
    below = bench.root / "below"
    below.mkdir()

    def wander():
        here = os.getcwd()
        os.chdir("/")
        os.umask(0o777)
        return here

    seen = [value(finish(executor, bench.call(wander, cwd=os.fsencode(at)))[0]) for at in (below, bench.root)]
    assert seen == [str(below), str(bench.root)]
    umask = os.umask(0)
    os.umask(umask)
    assert value(finish(executor, bench.call(lambda: os.umask(0)))[0]) == umask


def test_a_child_that_a_call_forks_and_forgets_does_not_answer_too(executor, bench):
    def fork():
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return "parent" if pid else "child"

    assert value(finish(executor, bench.call(fork))[0]) == "parent"
    assert value(finish(executor, bench.call(lambda: "next"))[0]) == "next"


def test_a_hundred_megabytes_come_and_go(executor, bench):
    data = b"\xa5" * 100_000_000
    big, small = finish(executor, bench.call(lambda given: given[::-1], data), bench.call(lambda: "small"))
    assert len(big.how.payload) > len(data)
    assert value(big) == data
    assert value(small) == "small"


# ---- ending ----


def test_closing_twice_is_closing_once(executor, bench):
    executor.start(bench.bash("sleep 30"))
    executor.close()
    executor.close()
    (ended,) = executor.wait(None)
    assert ended.how == Exited(-signal.SIGTERM)
    with pytest.raises(RuntimeError, match="closed"):
        executor.start(bench.bash(":"))


def test_jobs_that_wait_for_a_slot_are_cancelled_by_a_kill(bench):
    with Local(1) as executor:
        first = executor.start(bench.bash("sleep 30"))
        second, third = (executor.start(bench.bash("echo ran >> ran; exit 7")) for _ in range(2))
        executor.kill([second])
        executor.kill([first], grace=5)
        found = collect(executor, 3)
    assert isinstance(found[second].how, NotStarted)
    assert found[second].how.error.errno == errno.ECANCELED
    assert found[first].how == Exited(-signal.SIGTERM)
    assert found[third].how == Exited(7)
    assert (bench.root / "ran").read_text() == "ran\n"


def test_no_slots_are_refused():
    with pytest.raises(ValueError, match="0 slots"):
        Local(0)

"""A build is suspended, told to end and killed, whenever it happens to be: FAULTS rows 6, 7 and 14 together.

Each signal alone, and what is said of it, is tested in test_interrupts_of_builds.py.  Here chance chooses signals and moments
for a build of thirty tasks of every kind, and after each round /proc, the kernel's list of locks and the directories of
merkl are searched for what is left.
"""

import json
import os
import random
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from strace_runs import chances
from twenty_tasks import expect_nothing_left, none_left, processes_in

THIRTY = """
    plain = bash_task("echo >> ran; sleep 0.05; echo plain {arg('n')} > {out_file_arg('out', '.txt')}")
    deaf = bash_task("trap '' INT TERM; echo >> ran; sleep 0.1; echo deaf {arg('n')} > {out_file_arg('out', '.txt')}")
    family = bash_task('''
        echo >> ran
        (sleep 60 | sleep 60) & setsid sleep 60 &
        sleep 0.05; echo family {arg('n')} > {out_file_arg('out', '.txt')}
    ''')
    large = bash_task("echo >> ran; printf '%0200000d' {arg('n', type=int)} > {out_file_arg('out', '.bin')}; sleep 0.02")
    tree = bash_task('''
        echo >> ran; mkdir -p {out_dir_arg('made')}; printf '%0150000d' 7 > {out_dir_arg('made')}/large; sleep 0.02
        echo {arg('n')} > {out_dir_arg('made')}/small
    ''')
    join = bash_task("echo >> ran; cat {files_arg('parts')} > {out_file_arg('out', '.txt')}")

    def began():
        with open("ran", "a") as file:
            file.write("\\n")

    @task
    def sleeper(n):
        import time
        began()
        time.sleep(0.05)
        return [n] * n

    @task
    def parent(n):
        import subprocess
        began()
        subprocess.run(["sleep", "0.05"], check=True)
        return n

    @task
    def stubborn(n):
        import time
        began()
        try:
            time.sleep(0.1)
        except KeyboardInterrupt:
            return "the best so far"
        return "all of it"

    @target(default=True)
    def everything():
        parts = [plain(n) for n in range(8)]
        for n, each in enumerate(parts):
            each > f"out/plain{n}.txt"
        join(parts) >> "out/joined.txt"
        for n in range(3):
            deaf(n) > f"out/deaf{n}.txt"
            family(n) > f"out/family{n}.txt"
            large(n) >> f"out/large{n}.bin"
            parent(n) > f"out/parent{n}.json"
        for n in range(5):
            sleeper(n) > f"out/sleeper{n}.json"
        for n in range(2):
            tree(n) > f"out/tree{n}"
            stubborn(n) >> f"out/stubborn{n}.txt"
"""
OUTPUTS = {
    **{f"plain{n}.txt": f"plain {n}\n" for n in range(8)},
    "joined.txt": "".join(f"plain {n}\n" for n in range(8)),
    **{f"{name}{n}.txt": f"{name} {n}\n" for name in ("deaf", "family") for n in range(3)},
    **{f"large{n}.bin": f"{n:0200000d}" for n in range(3)},
    **{f"parent{n}.json": f"{n}\n" for n in range(3)},
    **{f"tree{n}/small": f"{n}\n" for n in range(2)},
    **{f"tree{n}/large": f"{7:0150000d}" for n in range(2)},
    **{f"stubborn{n}.txt": "all of it" for n in range(2)},
}

# What may be sent one after another; the last decides how the build ends.
ENDINGS = (
    (signal.SIGINT,),
    (signal.SIGINT, signal.SIGINT),
    (signal.SIGTERM,),
    (signal.SIGHUP,),
    (signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT),
    (signal.SIGTSTP, signal.SIGCONT),
    (signal.SIGTSTP, signal.SIGCONT, signal.SIGINT),
    (signal.SIGSTOP, signal.SIGKILL),
    (signal.SIGINT, signal.SIGKILL),
    (signal.SIGKILL,),
    (signal.SIGQUIT,),
)
KILLS = (signal.SIGKILL, signal.SIGQUIT)


@pytest.mark.parametrize("part", [0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, 7))])
def test_row_06_07_14_signals_of_all_kinds_at_any_moment_leave_nothing(project: Any, part: int) -> None:
    project.merklfile(THIRTY)
    project.write("ran", "")
    chance = chances("all signals", part)
    for numbers in _endings(chance, 25 if part else 4):
        _one_round(project, chance, numbers)
    project.build("-j3")

    for name, text in OUTPUTS.items():
        assert project.read(f"out/{name}") == text, name
    assert [json.loads(project.read(f"out/sleeper{n}.json")) for n in range(5)] == [[n] * n for n in range(5)]
    assert project.build() == []
    assert "nothing is wrong" in project.merkl("fsck").stdout
    _expect_clean(project)


def _endings(chance: random.Random, rounds: int) -> list[tuple[signal.Signals, ...]]:
    """Some of each kind: every list of so many has some that kill and some that do not."""
    kind: list[tuple[signal.Signals, ...]] = []
    while len(kind) < rounds:
        kind += chance.sample(ENDINGS, len(ENDINGS))
    return kind[:rounds]


def _one_round(project: Any, chance: random.Random, numbers: tuple[signal.Signals, ...]) -> None:
    enough = len(project.read("ran")) + chance.randint(1, 12)
    seconds = chance.uniform(0.0, 0.15)
    jobs = chance.randint(1, 4)
    print(f"-j{jobs}: {[number.name for number in numbers]}, {seconds:.3f} s after {enough} tasks")
    process = project.popen("build", f"-j{jobs}", "-B" if chance.random() < 0.5 else "-k")
    resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    while process.poll() is None and len(project.read("ran")) < enough:
        time.sleep(0.005)
    time.sleep(seconds)
    for number in numbers:
        process.send_signal(number)
        time.sleep(chance.uniform(0.0, 0.1))
    out, err = process.communicate(timeout=60)

    assert process.returncode in (0, 130, *(-number for number in numbers)), out + err
    assert "Traceback" not in out + err, out + err
    if -process.returncode in KILLS:
        _end_orphans(project)
    else:
        _expect_clean(project)


def _end_orphans(project: Any) -> None:
    """After a kill that cannot be heard of, commands may live on; workers may not."""
    deadline = time.monotonic() + 10
    # One that was forked has merkl's own words.
    words = "merkl.execute.worker", "-m merkl"
    while workers := [line for line in processes_in(project.path) if any(word in line for word in words)]:
        assert time.monotonic() < deadline, workers
        time.sleep(0.02)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "cwd") == str(project.path) and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue
    assert none_left(project.path), processes_in(project.path)
    assert not _locks(project.path / ".merkl")


def _expect_clean(project: Any) -> None:
    assert none_left(project.path), processes_in(project.path)
    assert not _locks(project.path / ".merkl")
    expect_nothing_left(project.path)


def _locks(folder: Path) -> list[str]:
    """The files below a directory that the kernel knows a lock of."""
    held = {
        line.split()[5].rsplit(":", 1)[1]
        for line in Path("/proc/locks").read_text().splitlines()
        if "->" not in line
    }
    return [str(path) for path in folder.rglob("*") if path.is_file() and str(path.stat().st_ino) in held]


# ---- 14: suspended with a lock in its hand -----------------------------------------------------------------------------

SLOW = """
    slow = bash_task("echo >> ran; until [ -e go ]; do sleep 0.02; done; echo slow > {out_file_arg('out', '.txt')}")

    @target(default=True)
    def all():
        slow() > "slow.txt"
"""


def _suspended(project: Any) -> "subprocess.Popen[str]":
    """A build that was stopped while it ran its only task."""
    project.merklfile(SLOW)
    process: subprocess.Popen[str] = project.popen("build")
    deadline = time.monotonic() + 30
    while not (project.path / "ran").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    return process


def _waiting(project: Any, first: "subprocess.Popen[str]") -> "subprocess.Popen[str]":
    """A second build, which has said whom it waits for, and goes on waiting."""
    second: subprocess.Popen[str] = project.popen("build")
    assert second.stdout is not None
    said = ""
    while f"process {first.pid} on {socket.gethostname()}, since " not in said:
        line = second.stdout.readline()
        assert line, f"it did not wait: {said}"
        said += line
    assert "slow" in said
    time.sleep(0.5)
    assert second.poll() is None
    assert project.read("ran").count("\n") == 1, "a lock that is held was not taken"
    return second


def test_row_14_a_suspended_build_keeps_its_lock_and_others_say_whom_they_wait_for(project: Any) -> None:
    first = _suspended(project)
    second = _waiting(project, first)
    project.write("go", "")
    time.sleep(0.3)
    assert second.poll() is None, "the task is done, but its result is not kept yet"

    first.send_signal(signal.SIGCONT)
    for process in (first, second):
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, out + err
    assert project.read("ran").count("\n") == 1
    assert project.read("slow.txt") == "slow\n"
    _expect_clean(project)


def test_row_14_when_a_suspended_build_is_killed_the_one_that_waits_goes_on(project: Any) -> None:
    first = _suspended(project)
    second = _waiting(project, first)
    first.kill()
    first.communicate(timeout=30)
    project.write("go", "")

    out, err = second.communicate(timeout=30)
    assert second.returncode == 0, out + err
    assert project.read("ran").count("\n") == 2
    _end_orphans(project)
    assert project.build() == []
    _expect_clean(project)

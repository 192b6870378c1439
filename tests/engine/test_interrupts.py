"""Signals: what a build does when it is told to stop, and what the next one finds.

Tasks that catch Ctrl-C and return are in test_interrupted_results.py.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SLOW = """
    import os
    import time

    def note(word):
        with open(f"{word}.{os.getpid()}", "w") as f:
            f.write(word)

    slow = bash_task("echo $$ > shell.pid; sleep 300 & wait; : {out_file_arg('out', '.txt')}")
    deaf = bash_task("trap '' INT TERM; echo $$ > shell.pid; sleep 300; : {out_file_arg('out', '.txt')}")
    quick = bash_task("echo {arg('word')} > {out_file_arg('out', '.txt')}")

    @task
    def sleeps():
        note("sleeping")
        time.sleep(300)

    @target
    def both():
        slow() > "slow.txt"
        sleeps() > "sleeps.txt"
        quick("never") > "never.txt"

    @target
    def python():
        sleeps() > "sleeps.txt"
        quick("never") > "never.txt"

    @target
    def stubborn():
        deaf() > "deaf.txt"
"""


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    """Wait until something holds while the build runs."""
    deadline = time.monotonic() + 30
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def written(project: Any, pattern: str) -> Callable[[], bool]:
    return lambda: any(path.stat().st_size for path in project.path.glob(pattern))


def processes_of(project: Any) -> list[str]:
    """The command lines of processes that work in the project."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "cwd").startswith(os.path.realpath(project.path)):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def none_left(project: Any) -> bool:
    """Whether no process of the project is left; one that was killed just now may take a moment."""
    deadline = time.monotonic() + 5
    while processes_of(project) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not processes_of(project)


@pytest.mark.parametrize("jobs", ["-j2", "-j4"])
def test_ctrl_c_stops_both_kinds_of_tasks_and_names_them(project: Any, jobs: str) -> None:
    project.merklfile(SLOW)
    process = project.popen("build", jobs, "both")
    wait_for(lambda: written(project, "shell.pid")() and written(project, "sleeping.*")(), process)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "slow" in out + err and "sleeps" in out + err and "interrupted" in out + err
    assert "Traceback" not in err
    assert none_left(project)
    assert not (project.path / "slow.txt").exists()


def test_ctrl_c_stops_a_task_that_runs_in_the_building_process(project: Any) -> None:
    project.merklfile(SLOW)
    process = project.popen("build", "--json", "-j1", "python")
    wait_for(written(project, "sleeping.*"), process)

    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)

    assert process.returncode == 130
    last = json.loads(out.splitlines()[-1])
    assert last["interrupted"] == ["sleeps sleeps.txt"] and last["ok"] is False
    assert not (project.path / "never.txt").exists()


def test_a_second_ctrl_c_ends_what_does_not_listen(project: Any) -> None:
    project.merklfile(SLOW)
    process = project.popen("build", "stubborn")
    wait_for(written(project, "shell.pid"), process)

    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None and processes_of(project)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode == 130
    assert none_left(project)


@pytest.mark.parametrize(
    ("number", "jobs", "target", "started"),
    [
        (signal.SIGTERM, "-j2", "both", ("shell.pid", "sleeping.*")),
        (signal.SIGHUP, "-j2", "both", ("shell.pid", "sleeping.*")),
        (signal.SIGTERM, "-j1", "python", ("sleeping.*",)),
        (signal.SIGTERM, "-j1", "stubborn", ("shell.pid",)),
    ],
)
def test_a_terminated_build_leaves_no_process(
    project: Any, number: signal.Signals, jobs: str, target: str, started: tuple[str, ...]
) -> None:
    project.merklfile(SLOW)
    process = project.popen("build", jobs, target)
    wait_for(lambda: all(written(project, name)() for name in started), process)

    process.send_signal(number)
    process.communicate(timeout=30)

    assert process.returncode == 130
    assert none_left(project)


def test_after_an_interrupt_the_next_build_goes_on_where_it_was(project: Any) -> None:
    project.merklfile("""
        step = bash_task(
            "echo {arg('n')} >> ran; [ {arg('n')} != 3 ] || [ -e go ] || { echo > started; sleep 300; }; "
            "echo {arg('n')} > {out_file_arg('out', '.txt')}"
        )

        @target(default=True)
        def all():
            for n in range(6):
                step(n) > f"{n}.txt"
    """)
    process = project.popen("build", "-j1")
    wait_for(written(project, "started"), process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    project.write("go", "")

    assert project.build("-j1") == ["step"] * 3
    assert project.read("ran").split() == ["0", "1", "2", "3", "3", "4", "5"]


def test_a_killed_build_needs_no_repair(project: Any) -> None:
    project.merklfile(SLOW)
    process = project.popen("build", "-j2", "both")
    wait_for(lambda: written(project, "shell.pid")() and written(project, "sleeping.*")(), process)
    process.kill()
    process.communicate(timeout=30)

    project.merklfile("""
        quick = bash_task("echo {arg('word')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            quick("now") > "slow.txt"
    """)
    assert project.build() == ["quick"]
    assert project.read("slow.txt") == "now\n"
    assert sorted(os.listdir(project.path / ".merkl/stage")) == []
    for line in processes_of(project):
        assert (
            "merkl.execute" not in line
        )  # Workers end with the coordinator; a killed build may leave a command.
    os.killpg(int(project.read("shell.pid")), signal.SIGKILL)


def test_a_retry_that_is_waiting_ends_at_ctrl_c(project: Any) -> None:
    project.merklfile("""
        flaky = bash_task("echo x >> tries; false; : {out_file_arg('out', '.txt')}", retries=50)

        @target(default=True)
        def all():
            flaky() > "out.txt"
    """)
    process = project.popen("build")
    wait_for(lambda: written(project, "tries")() and project.read("tries").count("x") >= 3, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)

    assert process.returncode == 130

"""A build is told to stop, or its tasks do not end as they should: FAULTS rows 6 to 11.

How the executor ends what it started is tested in tests/execute/test_ending_commands.py, and what Ctrl-C means to Python
tasks in tests/engine/test_interrupts.py; here whole builds are looked at from outside.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest
from strace_runs import chances
from twenty_tasks import expect_nothing_left, none_left, processes_in

EIGHT = """
    plain = bash_task("echo $$ > pid.{arg('n')}; sleep 300; : {out_file_arg('out', '.txt')}")
    deaf = bash_task("trap '' INT TERM; echo $$ > pid.{arg('n')}; sleep 300 & wait; sleep 300; : {out_file_arg('out', '.txt')}")
    family = bash_task("(sleep 300 | sleep 300) & echo $$ > pid.{arg('n')}; wait; : {out_file_arg('out', '.txt')}")

    @task
    def python(n):
        import time
        with open(f"pid.{n}", "w") as file:
            file.write("python")
        time.sleep(300)

    @target(default=True)
    def all():
        for n in range(8):
            (plain, deaf, family, python)[n % 4](n) > f"{n}.txt"

    @target
    def done():
        bash_task("echo done > {out_file_arg('out', '.txt')}", name="done")() > "done.txt"
"""
LABELS = [
    "plain 0.txt",
    "deaf 1.txt",
    "family 2.txt",
    "python 3.txt",
    "plain 4.txt",
    "deaf 5.txt",
    "family 6.txt",
]


def all_run(project: Any) -> bool:
    return sum(path.stat().st_size > 0 for path in project.path.glob("pid.*")) == 8


def wait_until(condition: Callable[[], bool], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def in_terminal(project: Any, *words: str) -> "pexpect.spawn[str]":
    """merkl as it is typed at a terminal, which it controls."""
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    return pexpect.spawn(
        sys.executable, ["-m", "merkl", *words], cwd=str(project.path), env=env, encoding="utf-8", timeout=60,
        dimensions=(40, 100), codec_errors="replace",
    )  # fmt: skip


def expect_next_build_works(project: Any) -> None:
    """Nothing is left, nothing half done is in place, and nothing hinders the next build."""
    assert none_left(project.path), processes_in(project.path)
    assert list(project.path.glob("[0-9].txt")) == []
    assert project.build("done") == ["done"]
    expect_nothing_left(project.path)


# ---- 6: Ctrl-C at a terminal -------------------------------------------------------------------------------------------


def test_row_06_ctrl_c_twice_in_the_middle_of_eight_tasks(project: Any) -> None:
    project.merklfile(EIGHT)
    terminal = in_terminal(project, "build", "-j8")
    wait_until(lambda: all_run(project))

    terminal.sendintr()
    wait_until(lambda: sum("sleep" in line for line in processes_in(project.path)) < 6)
    time.sleep(0.3)
    assert terminal.isalive(), "it waits for those that do not listen"
    assert any("sleep" in line for line in processes_in(project.path))
    terminal.sendintr()
    said = terminal.read()
    terminal.close()

    assert terminal.exitstatus == 130, said
    listed = said[said.rindex("interrupted") :]
    for label in [*LABELS, "python 7.txt"]:
        assert label in listed, said
    assert "Traceback" not in said
    expect_next_build_works(project)


def test_row_06_ctrl_c_once_is_enough_for_those_that_listen(project: Any) -> None:
    project.merklfile(EIGHT.replace("trap '' INT TERM; ", ""))
    terminal = in_terminal(project, "build", "-j8")
    wait_until(lambda: all_run(project))

    terminal.sendintr()
    said = terminal.read()
    terminal.close()

    assert terminal.exitstatus == 130, said
    expect_next_build_works(project)


# ---- 7: other signals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_row_07_a_build_that_is_told_to_end_takes_its_tasks_with_it(
    project: Any, number: signal.Signals
) -> None:
    project.merklfile(EIGHT)
    process = project.popen("build", "-j8")
    wait_until(lambda: all_run(project))
    process.send_signal(number)
    out, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "interrupted" in out + err and "Traceback" not in out + err
    expect_next_build_works(project)


def test_row_07_a_build_whose_terminal_is_closed_ends_with_its_tasks(project: Any) -> None:
    project.merklfile(EIGHT)
    terminal = in_terminal(project, "build", "-j8")
    wait_until(lambda: all_run(project))

    os.close(
        terminal.child_fd
    )  # The window is closed: the kernel sends SIGHUP, and writing fails from now on.
    terminal.child_fd = -1
    terminal.closed = True

    expect_next_build_works(project)


CHATTY = """
    part = bash_task("echo {arg('n')} > {out_file_arg('out', '.txt')}; echo {arg('n')} >> ran")

    @target(default=True)
    def all():
        for n in range(40):
            part(n) > f"{n}.txt"
"""


@pytest.mark.parametrize("json", ["", "--json"])
def test_row_07_a_build_whose_reader_goes_away_keeps_what_it_has_done(project: Any, json: str) -> None:
    project.merklfile(CHATTY)
    merkl = f"{sys.executable} -m merkl build -v {json} 2>&1; echo ${{PIPESTATUS[0]}} > code"
    done = subprocess.run(
        ["bash", "-c", f"({merkl}) | head -1"], cwd=project.path, capture_output=True, text=True, timeout=60
    )
    wait_until(lambda: (project.path / "code").exists())

    assert len(done.stdout.splitlines()) == 1 and done.stderr == ""
    assert project.read("code").strip() in ("141", "0"), "it was cut off, or done before it noticed"
    assert none_left(project.path)
    ran = project.read("ran").split()
    again = project.build()
    assert len(ran) + len(again) == 40, "what had ended is not run again"
    assert [project.read(f"{n}.txt") for n in range(40)] == [f"{n}\n" for n in range(40)]
    expect_nothing_left(project.path)


def test_row_07_signals_at_any_moment_leave_nothing_and_lose_nothing(project: Any) -> None:
    project.merklfile(CHATTY.replace("; echo", "; sleep 0.05; echo"))
    project.write("ran", "")
    chance = chances("row 7")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) * 2:
        enough = len(project.read("ran").split()) + chance.randint(0, 6)
        seconds = chance.uniform(0.0, 0.2)
        print(f"{number!r}, {seconds:.3f} s after {enough} tasks")
        process = project.popen("build", "-j4")
        while process.poll() is None and len(project.read("ran").split()) < enough:
            time.sleep(0.005)
        time.sleep(seconds)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        # While Python starts, a signal ends merkl as it ends any program.
        assert process.returncode in (0, 130, -number), out + err
        assert none_left(project.path)
    before = len(project.read("ran").split())
    again = project.build()
    assert 40 <= before + len(again) <= 40 + 6 * 4, "at most those that were interrupted run again"
    assert [project.read(f"{n}.txt") for n in range(40)] == [f"{n}\n" for n in range(40)]
    expect_nothing_left(project.path)


# A build that is told to end as it comes to a function of its own, by that function's module and name.
AT_A_MOMENT = """
import signal, sys
from merkl.__main__ import main

number, module, function = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.argv[:] = [sys.argv[0], "build"]

def look(frame, event, called):
    what = {"call": frame.f_code.co_qualname, "c_call": f"{frame.f_code.co_name}:{getattr(called, '__name__', '')}"}
    if frame.f_globals.get("__name__") == module and what.get(event) == function:
        sys.setprofile(None)
        print("it came to", function)
        signal.raise_signal(number)

sys.setprofile(look)
raise SystemExit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "moment",
    [
        "merkl.cli.keeping Keeping.end",
        "merkl.snapshot.writing write_file:write",
        "merkl.workspace.database Database.close",
        "merkl.store.database Database.close",
    ],
)
def test_row_07_a_build_that_is_told_to_end_after_its_last_task_puts_everything_away(
    project: Any, number: int, moment: str
) -> None:
    project.merklfile(
        """
        one = bash_task("echo one > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            one() > "one.txt"
        """
    )
    project.write("driver.py", AT_A_MOMENT)
    ended = subprocess.run(
        [sys.executable, "driver.py", str(int(number)), *moment.split()],
        cwd=project.path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert f"it came to {moment.split()[1]}" in ended.stdout, ended.stdout + ended.stderr
    assert ended.returncode in (130, -number) and "Traceback" not in ended.stderr, ended.stderr
    expect_nothing_left(project.path)
    assert not list(project.path.glob(".merkl/*/*.new"))
    assert project.build() == []
    assert project.read("one.txt") == "one\n"


# ---- 8: memory ---------------------------------------------------------------------------------------------------------


def test_row_08_a_task_that_the_kernel_kills_is_said_to_lack_memory(project: Any) -> None:
    project.merklfile("""
        killed = bash_task("echo about to; kill -9 $$; : {out_file_arg('out', '.txt')}")
        inside = bash_task("sh -c 'kill -9 $$'; : {out_file_arg('out', '.txt')}")

        @task
        def python():
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)

        @target(default=True)
        def all():
            killed() > "killed.txt"
            inside() > "inside.txt"
            python() > "python.txt"
    """)
    done = project.merkl("build", "-k", "-j2", code=1)
    said = done.stdout + done.stderr
    assert "killed failed: killed by signal 9 (SIGKILL), likely out of memory" in said
    assert "a command in it was killed by signal 9 (SIGKILL), likely out of memory" in said
    assert "python lost its process: killed by signal 9 (SIGKILL), likely out of memory" in said


def test_row_08_a_task_may_limit_its_memory_and_says_what_it_lacked(project: Any) -> None:
    program = f"{sys.executable} -c 'bytearray(1 << 30)'"
    project.merklfile(f"""
        limited = bash_task("ulimit -v 400000; {program}; : {{out_file_arg('out', '.txt')}}", literal=False)

        @target(default=True)
        def all():
            limited() > "out.txt"
    """)
    done = project.merkl("build", code=1)
    assert "limited failed" in done.stdout + done.stderr
    assert "MemoryError" in done.stdout + done.stderr
    assert not (project.path / "out.txt").exists()


# ---- 9 to 11: tasks that do not end ------------------------------------------------------------------------------------

LEFT = """
    left = bash_task({command!r})

    @target(default=True)
    def all():
        left() > "out.txt"
"""


def built_within(project: Any, seconds: float, command: str) -> None:
    project.merklfile(LEFT.format(command=command + "; echo made > {out_file_arg('out', '.txt')}"))
    project.merkl("build", "-q")  # What comes first takes longest: this is about the second.
    (project.path / "out.txt").unlink()
    started = time.monotonic()
    project.merkl("build", "-B", "-q")
    assert time.monotonic() - started < seconds
    assert project.read("out.txt") == "made\n"
    assert none_left(project.path, within=1.0), processes_in(project.path)
    expect_nothing_left(project.path)


def test_row_09_a_daemon_that_a_task_starts_holds_nothing_up_and_ends_with_the_build(project: Any) -> None:
    built_within(
        project,
        10,
        "setsid sleep 60 & setsid bash -c 'trap \"\" TERM HUP; sleep 60 & wait; sleep 60' & sleep 0.1",
    )


def test_row_10_a_child_that_keeps_the_output_open_holds_nothing_up(project: Any) -> None:
    built_within(project, 10, "(sleep 60; echo late) & :")


def test_row_10_a_thread_that_a_task_left_in_merkl_itself_holds_its_end_up_for_a_moment(project: Any) -> None:
    project.merklfile("""
        import threading
        import time

        @task
        def leaves():
            threading.Thread(target=lambda: time.sleep(60)).start()
            return "done"

        @target(default=True)
        def all():
            leaves() > "out.txt"
    """)
    started = time.monotonic()
    done = project.merkl("build", "-j1")
    assert time.monotonic() - started < 30
    assert "1 task: 1 ran" in done.stdout + done.stderr and project.read("out.txt") == "done"


def test_row_11_a_child_that_ignores_sigterm_is_killed_with_its_task(project: Any) -> None:
    built_within(project, 10, "(trap '' TERM INT HUP; while :; do sleep 60; done) & sleep 0.1")


def test_row_11_a_task_that_ignores_sigterm_is_killed_at_its_timeout(project: Any) -> None:
    project.merklfile("""
        deaf = bash_task("trap '' TERM; echo $$ > pid; sleep 60; sleep 60; : {out_file_arg('out', '.txt')}", timeout=0.3)

        @target(default=True)
        def all():
            deaf() > "out.txt"
    """)
    started = time.monotonic()
    done = project.merkl("build", code=1)
    assert time.monotonic() - started < 15
    assert "deaf took longer than 0.3 s and was stopped" in done.stdout + done.stderr
    assert none_left(project.path, within=1.0)
    assert not Path(f"/proc/{project.read('pid').strip()}").exists()

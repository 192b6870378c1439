"""How Python tasks fail: what is shown, and what goes on."""

import os
import signal
from typing import Any

import pytest

BOTH = pytest.mark.parametrize("jobs", ["-j1", "-j2"])


@BOTH
def test_an_exception_shows_the_users_frames_and_nothing_of_merkl(inside: Any, jobs: str) -> None:
    inside.write("lib.py", "def deep(n):\n    return 1 / n\n")
    inside.merklfile("""
        import lib

        def middle(n):
            return lib.deep(n)

        @task
        def divide(n):
            print("before it failed")
            return middle(n)

        @target(default=True)
        def all():
            divide(0) > "out.txt"
    """)
    said = inside.merkl("build", jobs, code=1).stderr

    assert "divide raised ZeroDivisionError: division by zero" in said
    frames = [line.strip() for line in said.splitlines() if line.strip().startswith('File "')]
    assert [frame.rpartition("/")[2] for frame in frames] == [
        'Merklfile.py", line 11, in divide',
        'Merklfile.py", line 6, in middle',
        'lib.py", line 2, in deep',
    ]
    assert "return 1 / n" in said and "before it failed" in said
    assert "Merklfile.py:15" in said
    assert not (inside.path / "out.txt").exists()


@BOTH
def test_an_exception_of_the_users_own_class_is_shown_by_its_text(inside: Any, jobs: str) -> None:
    inside.merklfile("""
        class Wrong(Exception):
            def __init__(self, code, *, why):
                super().__init__(f"code {code} because {why}")

        @task
        def f():
            raise Wrong(7, why="of this")

        @target(default=True)
        def all():
            return f()
    """)
    said = inside.merkl("build", jobs, code=1).stderr

    assert "Wrong: code 7 because of this" in said


@BOTH
def test_sys_exit_in_a_task_is_a_failure_of_that_task(inside: Any, jobs: str) -> None:
    inside.merklfile("""
        import sys

        @task
        def leaves():
            sys.exit(0)

        @target(default=True)
        def all():
            return leaves()
    """)
    assert "leaves raised SystemExit: 0" in inside.merkl("build", jobs, code=1).stderr


@pytest.mark.parametrize(
    ("death", "says"),
    [("os._exit(3)", "exit code 3"), ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL")],
)
def test_a_task_that_ends_its_worker_is_named_and_the_rest_goes_on(
    inside: Any, death: str, says: str
) -> None:
    inside.merklfile(f"""
        import os
        import signal

        @task
        def dies(n):
            {death}

        @task
        def lives(n):
            return n

        @task
        def after(n):
            return n

        @target(default=True)
        def all():
            after(dies(1)) > "after.txt"
            for n in range(4):
                lives(n) > f"{{n}}.txt"
    """)
    events = inside.events("-k", "-j2", code=1)

    failed = [event for event in events if event["event"] == "failed"]
    assert [event["task"] for event in failed] == ["dies"]
    assert "dies lost its process" in failed[0]["error"] and says in failed[0]["error"]
    assert [event["task"] for event in events if event["event"] == "skipped"] == ["after"]
    assert [inside.read(f"{n}.txt") for n in range(4)] == ["0\n", "1\n", "2\n", "3\n"]


def test_the_text_of_an_exception_may_be_a_whole_table_and_is_cut(inside: Any) -> None:
    inside.merklfile("""
        @task
        def fails():
            raise ValueError("x" * 1_000_000)

        @target(default=True)
        def all():
            return fails()
    """)
    said = inside.merkl("build", "-j1", code=1)

    assert (
        "fails raised ValueError: xxxx" in said.stdout + said.stderr
        and len(said.stdout + said.stderr) < 20_000
    )


def test_a_failed_task_is_not_remembered_as_done(inside: Any) -> None:
    inside.merklfile("""
        import os

        @task
        def sometimes():
            if not os.path.exists("ready"):
                raise RuntimeError("not ready")
            return 1

        @target(default=True)
        def all():
            sometimes() > "out.txt"
    """)
    assert inside.build(code=1) == []
    inside.write("ready", "")

    assert inside.build() == ["sometimes"]


def test_a_task_is_tried_again_as_often_as_it_says(inside: Any) -> None:
    inside.merklfile("""
        import os

        @task(retries=2)
        def flaky():
            with open("tries", "a") as f:
                f.write("x")
            if os.path.getsize("tries") < 2:
                raise RuntimeError("not yet")
            return "done"

        @target(default=True)
        def all():
            flaky() > "out.txt"
    """)
    events = inside.events("-j1")

    assert [e["event"] for e in events].count("ran") == 1
    assert inside.read("tries") == "xx" and inside.read("out.txt") == "done"


def test_a_timeout_ends_the_task_and_says_so(inside: Any) -> None:
    inside.merklfile("""
        import time

        @task(timeout=0.3)
        def slow():
            time.sleep(60)

        @target(default=True)
        def all():
            return slow()
    """)
    for jobs in ("-j1", "-j2"):
        assert "slow took longer than 0.3 s" in inside.merkl("build", jobs, code=1).stderr


@BOTH
def test_what_a_task_does_to_the_process_is_undone(inside: Any, jobs: str) -> None:
    inside.merklfile("""
        import os

        @task
        def rude():
            os.makedirs("elsewhere", exist_ok=True)
            os.chdir("elsewhere")
            os.umask(0o077)
            return 1

        @task
        def after(n):
            return os.getcwd()

        @target(default=True)
        def all():
            after(rude()) > "cwd.txt"
    """)
    inside.build(jobs)

    assert inside.read("cwd.txt") == os.path.realpath(inside.path)
    plain = inside.write("plain.txt", "")
    assert (inside.path / "cwd.txt").stat().st_mode == plain.stat().st_mode


def test_a_dead_worker_leaves_no_process(inside: Any) -> None:
    inside.merklfile("""
        import os
        import subprocess

        @task
        def leaves_a_child():
            child = subprocess.Popen(["sleep", "300"])
            with open("child", "w") as f:
                f.write(str(child.pid))
            os._exit(1)

        @target(default=True)
        def all():
            return leaves_a_child()
    """)
    inside.merkl("build", "-j2", code=1)

    with pytest.raises(ProcessLookupError):
        os.kill(int(inside.read("child")), signal.SIG_DFL)


@BOTH
def test_a_global_that_cannot_travel_is_an_error_that_says_where_to_put_it(inside: Any, jobs: str) -> None:
    inside.write("lib.py", "import threading\nLOCK = threading.Lock()\n")
    inside.merklfile("""
        import threading
        import lib

        LOCK = threading.Lock()

        @task
        def own():
            with LOCK:
                return 1

        @task
        def imported():
            with lib.LOCK:
                return 2

        @target(default=True)
        def all():
            own() > "own.txt"
            imported() > "imported.txt"
    """)
    said = inside.merkl("build", "-k", jobs, code=1).stderr

    assert "own cannot be sent to a worker: cannot pickle '_thread.lock' object" in said
    assert "in a module that it imports" in said
    assert inside.read("imported.txt") == "2\n"

"""The code a task runs: where it may be defined, one key everywhere, and never another text than the one counted."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest

BOTH = pytest.mark.parametrize("jobs", ["-j1", "-j2"])


@BOTH
def test_tasks_of_modules_and_of_the_merklfile_build_together(project: Any, jobs: str) -> None:
    project.write("pkg/__init__.py", "")
    project.write("pkg/base.py", "FACTOR = 2\n\ndef scaled(n):\n    return n * FACTOR\n")
    project.write(
        "pkg/tasks.py",
        "from merkl import task\nfrom pkg.base import scaled\n\n@task\ndef remote(n):\n    return scaled(n)\n",
    )
    project.merklfile("""
        from pkg.tasks import remote
        from pkg import base

        OFFSET = {"by": 100}

        def moved(n):
            return base.scaled(n) + OFFSET["by"]

        @task
        def local(n):
            return moved(n)

        @target(default=True)
        def all():
            remote(1) > "remote.txt"
            local(1) > "local.txt"
    """)
    assert sorted(project.build(jobs)) == ["local", "remote"]
    assert (project.read("remote.txt"), project.read("local.txt")) == ("2\n", "102\n")

    project.write("pkg/base.py", "FACTOR = 3\n\ndef scaled(n):\n    return n * FACTOR\n")

    assert sorted(project.build(jobs)) == ["local", "remote"]
    assert (project.read("remote.txt"), project.read("local.txt")) == ("3\n", "103\n")


@BOTH
def test_a_merklfile_is_run_once_whatever_its_tasks_use_of_it(project: Any, jobs: str) -> None:
    project.write("lib/Merklfile.py", "def doubled(n):\n    return n * 2\n")
    project.merklfile("""
        from dataclasses import dataclass
        import os

        with open("loads", "a") as f:
            f.write("x")
        lib = include("lib/Merklfile.py")

        @dataclass
        class Box:
            n: int

        def helper(n):
            return Box(n)

        @task
        def use(box):
            return lib.doubled(helper(box.n).n)

        @target(default=True)
        def all():
            use(Box(4)) > "out.txt"
    """)
    assert project.build(jobs) == ["use"]
    assert project.read("out.txt") == "8\n"
    assert project.read("loads") == "x"


@BOTH
def test_a_result_of_a_class_of_the_merklfile_is_refused(project: Any, jobs: str) -> None:
    project.merklfile("""
        from dataclasses import dataclass

        @dataclass
        class Box:
            n: int

        @task
        def make():
            return Box(1)

        @target(default=True)
        def all():
            return make()
    """)
    said = project.merkl("build", jobs, code=1).stderr

    assert "Box, which is defined in a Merklfile" in said
    assert "define Box in a module of the project" in said


def test_a_task_may_use_its_own_function(project: Any) -> None:
    project.merklfile("""
        @task
        def factorial(n):
            return n * factorial.function(n - 1) if n else 1

        @target(default=True)
        def all():
            factorial(5) > "out.txt"
    """)
    for jobs in ("-j1", "-j2"):
        project.build("-B", jobs)
        assert project.read("out.txt") == "120\n"


TASKS = """
from merkl import task

LIMIT = 5

def helper(n):
    return n + LIMIT

@task
def add(n):
    return helper(n)

@task
def key_of_add(n):
    return add(n).hash
"""


def test_one_call_has_one_key_as_a_script_a_module_a_merklfile_and_in_a_worker(project: Any) -> None:
    script = TASKS + "\nif __name__ == '__main__':\n    print(add(3).hash, key_of_add(3).eval())\n"
    project.write("work.py", script)
    project.write("merkl.yaml", "jobs: 2\n")
    keys = set()
    for command in (
        ["work.py"],
        ["-m", "work"],
        ["-c", "import work; print(work.add(3).hash, work.key_of_add(3).eval())"],
    ):
        done = subprocess.run(
            [sys.executable, *command], cwd=project.path, capture_output=True, text=True, check=True
        )
        keys |= set(done.stdout.split())
    project.merklfile("import work\n@target(default=True)\ndef all():\n    return work.add(3)\n")
    keys |= {event["key"] for event in project.events() if event["event"] in ("ran", "cached")}

    assert len(keys) == 1


@BOTH
def test_a_call_inside_a_task_of_the_merklfile_has_the_key_it_has_outside(project: Any, jobs: str) -> None:
    project.merklfile(
        TASKS.replace("from merkl import task", "").strip()
        + textwrap.dedent("""

        @target(default=True)
        def all():
            key_of_add(3) > "inside.txt"
            print(add(3).hash)
    """)
    )
    outside = project.merkl("build", jobs).stderr.split()

    assert project.read("inside.txt") in outside


@BOTH
def test_a_task_that_asks_for_the_value_of_another_call_is_refused(project: Any, jobs: str) -> None:
    project.merklfile("""
        @task
        def inner(n):
            return n

        @task
        def outer(n):
            return inner(n).eval()

        @target(default=True)
        def all():
            return outer(1)
    """)
    said = project.merkl("build", jobs, code=1).stderr

    assert "outer asked for the value of inner while it ran, which a task cannot do" in said
    assert "at: Merklfile.py:9" in said
    assert "pass the Future to the task as an argument" in said


@BOTH
def test_a_global_rebound_after_the_call_is_an_error_not_a_wrong_result(project: Any, jobs: str) -> None:
    project.merklfile("""
        made = []
        for n in (1, 2, 3):
            @task
            def f():
                return n
            made.append(f())

        @target(default=True)
        def all():
            for number, future in enumerate(made):
                future > f"{number}.txt"
    """)
    said = project.merkl("build", "-k", jobs, code=None).stderr

    assert "f uses what was changed after it was called: " in said and "n" in said
    assert "pass what differs from call to call as an argument" in said
    assert not (project.path / "0.txt").exists()
    assert project.read("2.txt") == "3\n"


def test_a_closure_keeps_what_it_was_made_with(project: Any) -> None:
    project.merklfile("""
        def maker(n):
            @task
            def f():
                return n
            return f

        @target(default=True)
        def all():
            for n in (1, 2, 3):
                maker(n)() > f"{n}.txt"
    """)
    assert project.build("-j2") == ["f", "f", "f"]
    assert [project.read(f"{n}.txt") for n in (1, 2, 3)] == ["1\n", "2\n", "3\n"]


def test_a_helper_edited_while_a_build_runs_is_run_as_it_was_counted(project: Any) -> None:
    project.write("lib.py", "def helper():\n    return 'old'\n")
    project.merklfile("""
        import lib

        wait = bash_task("touch started; while [ ! -e go ]; do sleep 0.02; done; echo > {out_file_arg('out', '.txt')}")

        @task
        def late(after):
            return lib.helper()

        @target(default=True)
        def all():
            late(wait()) > "out.txt"
    """)
    process = project.popen("build", "-j2")
    deadline = time.monotonic() + 30
    while not (project.path / "started").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    project.write("lib.py", "def helper():\n    return 'new'\n")
    project.write("go", "")
    assert process.communicate(timeout=60) and process.returncode == 0

    assert project.read("out.txt") == "old"
    assert project.build("-j2") == ["late"]
    assert project.read("out.txt") == "new"


SCRIPT = """
import sys
from merkl import task, file

SCALE = 1

@task
def load(path):
    with open(path) as f:
        return [int(line) for line in f]

@task
def total(numbers):
    print("running")
    return sum(numbers) * SCALE

if __name__ == "__main__":
    SCALE = int(sys.argv[1])
    future = total(load(file("{root}/numbers.txt")))
    print(future.eval())
    SCALE = 10
    print(total(load(file("{root}/numbers.txt"))).v)
"""


def test_a_plain_script_evaluates_and_remembers_wherever_it_is_run_from(project: Any, tmp_path: Any) -> None:
    project.write("numbers.txt", "1\n2\n")
    script = project.write("work.py", SCRIPT.replace("{root}", str(project.path)))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(cwd: Any, scale: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, str(script), scale], cwd=cwd, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert run(project.path, "1") == ["3", "30"]
    records = _records(project)
    assert run(elsewhere, "1") == ["3", "30"]
    assert _records(project) == records
    assert run(elsewhere, "2") == ["6", "30"]
    assert os.listdir(elsewhere) == []


def _records(project: Any) -> int:
    from merkl.store.local import LocalStore

    store = LocalStore(project.path / ".merkl/store")
    try:
        count: int = store.database.read(lambda c: c.execute("SELECT count(*) FROM record").fetchone()[0])
        return count
    finally:
        store.close()


@BOTH
def test_a_value_evaluated_while_the_merklfile_loads_decides_what_is_built(project: Any, jobs: str) -> None:
    project.write("names.txt", "a\nb\n")
    project.merklfile("""
        @task
        def names(path):
            return open(path).read().split()

        @task
        def shout(name):
            return name.upper()

        COUNT = len(names(file("names.txt")).eval())

        @target(default=True)
        def all():
            for name in names(file("names.txt")).eval():
                shout(name) > f"{name}.txt"
            shout(str(COUNT)) > "count.txt"
    """)
    project.build(jobs)
    assert (project.read("a.txt"), project.read("b.txt"), project.read("count.txt")) == ("A", "B", "2")
    project.write("names.txt", "a\nb\nc\n")

    assert project.build(jobs) == ["shout", "shout"]
    assert (project.read("c.txt"), project.read("count.txt")) == ("C", "3")


EVALUATED = """
    import os
    import time

    @task
    def slow(n):
        with open("started", "w") as f:
            f.write("x")
        time.sleep(300)

    @task
    def bad(n):
        return 1 // n

    @target
    def waits():
        slow(1).eval()

    @target
    def fails():
        try:
            bad(0).eval()
        finally:
            with open("finally", "w") as f:
                f.write("x")
"""


@BOTH
def test_ctrl_c_while_a_target_evaluates_ends_the_build(project: Any, jobs: str) -> None:
    project.merklfile(EVALUATED)
    process = project.popen("build", jobs, "waits")
    deadline = time.monotonic() + 30
    while not (project.path / "started").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert process.returncode == 130, out + err
    assert "Traceback" not in err


@BOTH
def test_a_task_that_fails_while_a_target_evaluates_ends_the_build(project: Any, jobs: str) -> None:
    project.merklfile(EVALUATED)
    done = project.merkl("build", jobs, "fails", code=1)

    assert "bad raised ZeroDivisionError" in done.stderr and "Merklfile.py:23, in fails" in done.stderr
    assert (project.path / "finally").exists()

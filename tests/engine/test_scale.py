"""Large graphs: neither the stack nor the time may depend on them in a worse than linear way."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from merkl.config import load_config
from merkl.engine.judge import Judge
from merkl.engine.project import Project
from merkl.engine.step import State
from merkl.nodes import using
from merkl.python.task import task
from merkl.store.memory import MemoryStore

FULL = bool(os.environ.get("MERKL_FULL"))

CHAIN = """
    step = bash_task("cat {files_arg('before')} > {out_file_arg('out', '.txt')}; : {arg('n')}")

    @task
    def plus(n, i):
        return n + 1

    @target
    def chain(length: int):
        future = 0
        for i in range(length):
            future = plus(future, i)
        future > "end.txt"

    @target
    def fan(width: int):
        step([step([], n) for n in range(width)], -1) > "fan.txt"
"""


def test_a_chain_of_a_thousand_tasks_runs_and_answers_by_its_last_key(project: Any) -> None:
    project.merklfile(CHAIN)
    events = project.events("-j1", "chain", "length=1000")

    assert events[-1]["ran"] == 1000 and project.read("end.txt") == "1000\n"
    again = project.events("chain", "length=1000")[-1]
    assert (again["ran"], again["cached"]) == (0, 1)
    longer = project.events("chain", "length=1001")[-1]
    assert longer["ran"] == 1


def test_what_would_run_of_ten_thousand_is_said_quickly(project: Any) -> None:
    project.merklfile(CHAIN)
    began = os.times()
    done = project.merkl("build", "-n", "--json", "fan", "width=10000")
    ended = os.times()
    seconds = ended.children_user - began.children_user + ended.children_system - began.children_system

    assert len(done.stdout.splitlines()) == 10_001
    assert seconds < 20  # Of processors. It takes two; a plan that is quadratic takes minutes.


def test_a_chain_of_a_hundred_thousand_calls_is_made_and_planned_without_recursion(tmp_path: Path) -> None:
    @task(version="1")
    def step(before: object) -> object:
        return before

    project = Project(load_config(str(tmp_path), environ={}))
    with using(project):
        future: Any = 0
        for _ in range(100_000):
            future = step(future)
    judge = Judge(MemoryStore(), lambda _: None)
    judge.want([future.node])

    assert len(judge.steps) == 100_000
    assert sum(step.state is State.READY for step in judge.steps.values()) == 1
    project.close()


@pytest.mark.full
def test_a_chain_of_a_hundred_thousand_tasks_is_run(project: Any) -> None:
    project.merklfile(CHAIN)
    process = project.popen("build", "-j1", "-q", "chain", "length=100000")
    _, errors = process.communicate(timeout=3600)

    assert process.returncode == 0, errors
    assert project.read("end.txt") == "100000\n"
    again = project.events("chain", "length=100000")[-1]
    assert (again["ran"], again["cached"]) == (0, 1)


MANY = 200_000 if FULL else 10_000
READERS = """
    import os

    lines = bash_task("printf '%s\\\\0' {files_arg('inputs', '.txt')} | xargs -0 cat | wc -l > {out_file_arg('out', '.txt')}")
    listed = bash_task("xargs -a {argfile('inputs')} cat | wc -l > {out_file_arg('out', '.txt')}")

    @task
    def size(inputs):
        return sum(os.path.getsize(path) for path in inputs)

    @target(default=True)
    def all():
        inputs = files("in/*/*.txt")
        lines(inputs) > "lines.txt"
        listed(inputs) > "listed.txt"
        size(inputs) > "size.txt"
"""


def test_a_task_takes_tens_of_thousands_of_inputs(project: Any) -> None:
    project.merklfile(READERS)
    for n in range(MANY):
        if n % 1000 == 0:
            (project.path / f"in/{n // 1000:03d}").mkdir(parents=True)
        (project.path / f"in/{n // 1000:03d}/{n:06d}.txt").write_text("x\n")

    peak = _peak_mb(project, "build", "-j2")
    assert (project.read("lines.txt").split(), project.read("size.txt").split()) == (
        [str(MANY)],
        [str(2 * MANY)],
    )
    assert project.read("listed.txt") == project.read("lines.txt")
    assert peak < 200 + MANY / 200  # MB: some five kilobytes for each input, of which each task has its own.

    assert project.build() == []
    project.write("in/000/000007.txt", "x\nx\n")
    assert sorted(project.build()) == ["lines", "listed", "size"]
    assert project.read("lines.txt").split() == [str(MANY + 1)]
    (project.path / "in/000/000008.txt").unlink()
    assert sorted(project.build()) == ["lines", "listed", "size"]
    assert project.read("lines.txt").split() == [str(MANY)]


MEASURED = """
import sys
from merkl.cli.main import run
code = run(sys.argv[2:])
with open("/proc/self/status") as status, open(sys.argv[1], "w") as out:
    out.write(next(line.split()[1] for line in status if line.startswith("VmHWM")))
sys.exit(code)
"""


def _peak_mb(project: Any, *words: str) -> float:
    """Run merkl, which must end well; its own peak memory.  Not ``ru_maxrss``: a child's begins with its parent's."""
    report = project.path.parent / "peak"
    subprocess.run(
        [sys.executable, "-c", MEASURED, str(report), *words],
        cwd=project.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return int(report.read_text()) / 1024


def test_to_find_nothing_to_do_takes_work_in_proportion_to_the_graph(inside: Any) -> None:
    """Counted in calls of functions, which no load of the machine changes."""
    inside.merklfile("""
        @task
        def double(n):
            return 2 * n

        @target(default=True)
        def all(count: int = 0):
            for n in range(count):
                double(double(n)) > f"out/{n % 7}/{n}.txt"
    """)
    calls = []
    for count in (100, 200, 400):
        inside.merkl("build", "-q", f"count={count}")
        inside.merkl("build", "-q", f"count={count}")  # Now all stamps are settled, and all modules imported.
        counted = _Counted()
        with counted:
            inside.merkl("build", "-q", f"count={count}")
        calls.append(counted.calls)

    first, second = calls[1] - calls[0], calls[2] - calls[1]
    assert first / 100 < 1500  # For a placed output and the two nodes that it needs.
    assert second < 2.2 * first, calls


class _Counted:
    """How many functions are called within the block."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> None:
        sys.setprofile(self._note)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, _frame: object, event: str, _argument: object) -> None:
        self.calls += event in ("call", "c_call")


def test_a_wide_build_keeps_all_slots_busy(project: Any) -> None:
    project.merklfile("""
        wait = bash_task("echo start >> log; sleep 0.2; echo end >> log; : {arg('n')}", name="wait")

        @target(default=True)
        def all():
            for n in range(8):
                wait(n)
    """)
    project.merkl("build", "-j4")
    running, most = 0, 0
    for line in project.read("log").split():
        running += 1 if line == "start" else -1
        most = max(most, running)

    assert most == 4


def test_a_build_that_finds_nothing_to_do_asks_the_store_once_for_all(project: Any) -> None:
    project.merklfile("""
        small = bash_task("echo {arg('n')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            for n in range(300):
                small(n) > f"out/{n}.txt"
    """)
    assert len(project.build("-j2")) == 300
    last = json.loads(project.merkl("build", "--json").stdout.splitlines()[-1])

    assert (last["ran"], last["cached"]) == (0, 300)

"""Large graphs: neither the stack nor the time may depend on them in a worse than linear way."""

import json
import time
from pathlib import Path
from typing import Any

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
    began = time.monotonic()
    done = project.merkl("build", "-n", "--json", "fan", "width=10000")
    seconds = time.monotonic() - began

    assert len(done.stdout.splitlines()) == 10_001
    assert seconds < 20  # It takes two; a plan that is quadratic takes minutes.


def test_a_chain_of_ten_thousand_calls_is_made_and_judged_without_recursion(tmp_path: Path) -> None:
    from merkl.engine.judge import Judge, State
    from merkl.python.task import task
    from merkl.store.memory import MemoryStore

    @task(version="1")
    def step(before: object) -> object:
        return before

    from merkl.config import load_config
    from merkl.engine.project import Project
    from merkl.nodes import using

    project = Project(load_config(str(tmp_path), environ={}))
    with using(project):
        future: Any = 0
        for _ in range(10_000):
            future = step(future)
    judge = Judge(MemoryStore(), lambda _: None)
    judge.want([future.node])

    assert len(judge.steps) == 10_000
    assert sum(step.state is State.READY for step in judge.steps.values()) == 1
    project.close()


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
    began = time.monotonic()
    last = json.loads(project.merkl("build", "--json").stdout.splitlines()[-1])

    assert (last["ran"], last["cached"]) == (0, 300)
    assert time.monotonic() - began < 10

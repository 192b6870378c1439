"""Tasks run in the order of the code, and pipelines say by ``yield`` what must have ended before what follows."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TASKS = """
    import time
    from merkl import *

    @task
    def step(name, seconds=0.0):
        with open("log", "a") as log:
            log.write(f"+{name} ")
        time.sleep(seconds)
        with open("log", "a") as log:
            log.write(f"-{name} ")
        return name

    @pipeline
    def steps():
        one, two = step("a", 0.05), step("b")
        yield one, [two]
        three = step("c", 0.05)
        yield three
        yield {"four": step("d" if three.eval() == "c" else "?", 0.05)}
        last = step("e")
        assert last.eval() == "e"
        return {"first": one, "last": [last, step("f")]}

    @target(default=True)
    def all_of_it():
        found = steps()
        found["last"][1] > "f.json"
        return found
"""


def in_order(log: str) -> bool:
    """Whether what was yielded had ended before anything after it began."""
    words = log.split()
    stages = [{"a", "b"}, {"c"}, {"d"}, {"e"}, {"f"}]
    ended = [max(words.index(f"-{name}") for name in stage) for stage in stages]
    begun = [min(words.index(f"+{name}") for name in stage) for stage in stages]
    return len(words) == 12 and all(end < begin for end, begin in zip(ended, begun[1:], strict=False))


@pytest.mark.parametrize("command", ["build -j2", "build -j1", "run tasks.steps -j1"])
def test_a_command_obeys_the_order_of_yields_and_returns_the_result(inside: Any, command: str) -> None:
    inside.merklfile("from tasks import *")
    inside.write("tasks.py", "\n".join(line[4:] for line in TASKS.splitlines()))

    done = inside.merkl(*command.split())

    assert in_order(inside.read("log")), inside.read("log")
    if "run" in command:
        assert done.stdout.endswith("first: a\nlast:\n  0: e\n  1: f\n")
    else:
        assert inside.read("f.json") == '"f"\n'
    inside.merkl(*command.split())
    assert len(inside.read("log").split()) == 12


def test_a_script_obeys_the_order_of_yields_and_evaluates_in_between(tmp_path: Path) -> None:
    (tmp_path / ".merkl").mkdir()
    program = "\n".join(line[4:] for line in TASKS.partition("    @target")[0].splitlines())
    program += "\nfound = steps()\nprint(found['last'][1].eval(), found['first'].eval())\n"
    (tmp_path / "script.py").write_text(program)

    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout == "f a\n"
    assert in_order((tmp_path / "log").read_text())


def test_one_task_at_a_time_they_run_in_the_order_of_their_calls(inside: Any) -> None:
    inside.merklfile(
        TASKS.partition("    @pipeline")[0]
        + """
    @target(default=True)
    def some():
        made = [step(name) for name in "qpaz"]
        return made[::-1]
    """
    )
    inside.merkl("build", "-j1")

    assert inside.read("log") == "+q -q +p -p +a -a +z -z "

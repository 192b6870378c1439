"""Modules that evaluate at their top level, and that workers import."""

import os
import subprocess
import sys
from typing import Any

STEPS = """
from merkl import task

@task
def one(n):
    return n

{global_} = {value}

@task
def more(n):
    return n + total
"""


def script(project: Any, jobs: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "MERKL_JOBS": jobs}
    project.write("script.py", "import steps\nprint(steps.more(1).eval(), steps.more(2).eval())")
    return subprocess.run(
        [sys.executable, "script.py"], cwd=project.path, env=env, capture_output=True, text=True, timeout=60
    )


def test_a_worker_that_imports_a_module_which_evaluates_starts_no_workers_of_its_own(project: Any) -> None:
    project.write("steps.py", STEPS.format(global_="total", value="one(3).eval()"))

    done = script(project, "2")

    assert done.stderr.splitlines()[-4:] == [
        "merkl.errors.FutureAccessError: one would have to run while a worker imports the module that asks for it",
        "  at: steps.py:8",
        "  task: one(n=3)",
        '  hint: put what asks below `if __name__ == "__main__":`, or into a function',
    ]
    assert "merkl/" not in done.stderr

    assert script(project, "1").stdout == "4 5\n"  # Nobody imports it again.
    assert script(project, "2").stdout == "4 5\n"  # It asks the store.


def test_eager_calls_of_a_module_are_started_by_the_program_alone(project: Any) -> None:
    steps = STEPS.format(global_="started", value="[one(n) for n in range(2)]").replace(
        "@task\ndef one", "@task(eager=True)\ndef one"
    )
    project.write("steps.py", steps.replace("n + total", "os.getpid()").replace("from", "import os\nfrom", 1))
    project.write(
        "script.py",
        "import steps\nprint([each.eval() for each in steps.started], steps.more(1).eval() > 0)",
    )

    done = subprocess.run(
        [sys.executable, "script.py"], cwd=project.path, capture_output=True, text=True, timeout=60
    )

    assert done.stdout == "[0, 1] True\n", done.stderr

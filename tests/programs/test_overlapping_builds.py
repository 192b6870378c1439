"""Builds of one program that go on at once: eager calls, and what is evaluated meanwhile, share slots and resources."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

HEAD = """
import os, time
from pathlib import Path
from merkl import *
from tasks import note
from tasks import traced, held, broken

def command(n, **options):
    return bash_task(f"echo +{n} >> trace; sleep 0.05; echo -{n} >> trace", cache=False, **options)()

def seen(name):
    deadline = time.monotonic() + 20
    while f"+{name}" not in (Path("trace").read_text() if os.path.exists("trace") else "").split():
        assert time.monotonic() < deadline, name
        time.sleep(0.01)
"""

TASKS = """
import os, time
from merkl import task

def note(text):
    with open("trace", "a") as file:
        file.write(f"{text}\\n")

@task(eager=True)
def traced(n, seconds=0.05):
    note(f"+{n}")
    time.sleep(seconds)
    note(f"-{n}")
    return n

@task(eager=True, resources={"gpu": 1})
def held(n, until=""):
    note(f"+{n}")
    while until and not os.path.exists(until):
        time.sleep(0.01)
    time.sleep(0.05)
    note(f"-{n}")
    return os.environ["CUDA_VISIBLE_DEVICES"]

@task(eager=True, resources={"gpu": 1})
def broken(n):
    note(f"+{n}")
    time.sleep(0.05)
    note(f"-{n}")
    raise ValueError("no")
"""


class Program:
    """A program in a project of its own, whose tasks write down when they begin (``+``) and end (``-``)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / ".merkl").mkdir()
        (path / "tasks.py").write_text(TASKS)

    def start(self, text: str, jobs: int) -> subprocess.Popen[str]:
        (self.path / "program.py").write_text(HEAD + textwrap.dedent(text))
        environ = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        return subprocess.Popen(
            [sys.executable, "-W", "error", "program.py"], cwd=self.path, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**environ, "MERKL_JOBS": str(jobs)},
        )  # fmt: skip

    def run(self, text: str, jobs: int = 2) -> str:
        with self.start(text, jobs) as process:
            try:
                out, err = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert (process.returncode, err) == (0, "")
        return out

    def most_at_once(self, counts: Callable[[str], bool] = lambda name: True) -> int:
        """The most tasks that ran at one time, of those whose names count."""
        now = most = 0
        for line in (self.path / "trace").read_text().split():
            if counts(line[1:]):
                now += 1 if line[0] == "+" else -1
                most = max(most, now)
        assert now == 0
        return most


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@pytest.mark.parametrize("jobs", [1, 2])
def test_eager_calls_and_what_is_evaluated_meanwhile_share_the_slots(program: Program, jobs: int) -> None:
    out = program.run(
        """
        first = [traced(n, 0.4) for n in range(3)]
        seen(0)

        @task
        def here(n):
            note(f"+here{n}")
            note(f"-here{n}")
            return n

        print(len(build(*[here(n) for n in range(3)], *[command(f"c{n}") for n in range(4)]).ran))
        print([each.eval() for each in first])
        """,
        jobs,
    )

    assert out == "7\n[0, 1, 2]\n"
    assert program.most_at_once() <= jobs


def test_one_gpu_is_never_given_out_twice_and_a_task_that_fails_gives_it_back(program: Program) -> None:
    (program.path / "merkl.yaml").write_text("resources: {gpu: 1}\n")
    out = program.run(
        """
        from merkl.errors import TaskFailed

        started = [held("gpu1", until="go"), broken("gpu2"), held("gpu3")]
        seen("gpu1")
        with Eval():
            command("free")  # Needs no GPU.
        open("go", "w").close()
        for n in range(2):
            try:
                bash_task(f"echo +gpua{n} >> trace; sleep 0.05; echo -gpua{n} >> trace; false", resources={"gpu": 1})().eval()
            except TaskFailed:
                print("failed")
        print(started[0].eval(), started[2].eval())
        """
    )

    assert out == "failed\nfailed\n0 0\n"
    assert program.most_at_once(lambda name: name.startswith("gpu")) == 1
    assert program.most_at_once() == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_evaluated_when_a_call_is_done_waits_for_no_slot_of_those_who_wait_for_it(
    program: Program, jobs: int
) -> None:
    out = program.run(
        """
        @task
        def plain(n):
            return n

        def done(future):
            print(future.eval(), traced("more").eval(), plain("now").eval())

        made = [plain(n) for n in range(4)]
        made[0].on_completed(done)
        print(len(build(*made).ran))
        """,
        jobs,
    )

    assert out == "0 more now\n4\n"


def test_after_ctrl_c_nothing_of_either_build_runs_on(program: Program) -> None:
    process = program.start(
        """
        bash_task("echo $$ > one; exec sleep 60", eager=True)()
        bash_task("while [ ! -e one ]; do sleep 0.01; done; echo $$ > two; echo ready; exec sleep 60", interactive=True)().eval()
        """,
        jobs=2,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert process.returncode != 0
    for name in ("one", "two"):
        with pytest.raises(ProcessLookupError):
            os.kill(int((program.path / name).read_text()), 0)


def test_a_signal_that_comes_while_a_call_is_started_ends_the_program_a_moment_later(
    program: Program,
) -> None:
    process = program.start(
        """
        from merkl.nodes import session

        bash_task("echo $$ > one; echo +one >> trace; exec sleep 60", eager=True)()
        seen("one")
        with session().begun.news:  # As while something is noted there.
            os.kill(os.getpid(), 15)
        time.sleep(60)
        """,
        jobs=1,
    )
    process.communicate(timeout=30)

    assert process.returncode == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int((program.path / "one").read_text()), 0)


def test_what_an_eager_call_calls_when_it_is_done_may_not_wait_for_a_build(program: Program) -> None:
    process = program.start(
        """
        @task
        def plain(n):
            return n

        future = traced(1, 0.5)
        future.on_completed(lambda done: print(done.eval()))
        future.on_completed(lambda done: print(plain(done).eval()))
        seen(1)
        """,
        jobs=1,
    )
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (0, "1\n")
    assert "plain would have to run before the build can go on that calls this" in err

"""``eager=True`` and ``Eval``: calls that are run when they are made."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from merkl import Eval, task
from merkl.errors import TaskError
from merkl.nodes import evaluating

TASKS = """
    import os, time
    from pathlib import Path
    from merkl import *

    def add(path, text="x"):
        with open(path, "a") as file:
            file.write(text)

    def text(path):
        return Path(path).read_text()

    @task(eager=True)
    def noted(name, wait_for=""):
        add(f"began-{name}")
        deadline = time.monotonic() + 20
        while wait_for and not os.path.exists(wait_for) and time.monotonic() < deadline:
            time.sleep(0.01)
        if name == "bad":
            raise ValueError("no")
        return [name, os.getpid()]

    @task
    def names(*made):
        return "".join(name for name, _ in made)

    def seen(path):
        deadline = time.monotonic() + 20
        while not os.path.exists(path):
            assert time.monotonic() < deadline, path
            time.sleep(0.01)
        return True
"""


class Scripts:
    """Scripts of a directory of their own, which share the tasks above."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / ".merkl").mkdir()
        (path / "tasks.py").write_text(textwrap.dedent(TASKS).replace("merkl import *", "merkl import task"))

    def start(self, text: str, jobs: int = 2) -> subprocess.Popen[str]:
        (self.path / "script.py").write_text(
            "from merkl import *\nfrom tasks import *\nimport os, time\n" + textwrap.dedent(text)
        )
        return subprocess.Popen(
            [sys.executable, "-W", "error", "script.py"], cwd=self.path, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "MERKL_JOBS": str(jobs)},
        )  # fmt: skip

    def run(self, text: str, jobs: int = 2) -> str:
        process = self.start(text, jobs)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        return out


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


def test_an_eager_call_runs_at_once_in_another_process_and_a_second_time_not_at_all(scripts: Scripts) -> None:
    text = """
        one, two = noted("a", wait_for="go"), noted("b")
        print(type(one).__name__, seen("began-a"), seen("began-b"))  # Nothing was evaluated.
        add("go")
        inputs = names(one, two)
        print(inputs.eval(), one.v[1] != os.getpid())
        with Eval():
            print(names(noted("a", wait_for="go")).in_cache())
        print(noted("c", wait_for="end").in_cache())
        add("end")  # Nobody waits for it, but the program does not end before it.
    """

    assert scripts.run(text) == "Future True True\nab True\nTrue\nFalse\n"
    assert scripts.run(text) == "Future True True\nab True\nTrue\nTrue\n"
    assert (scripts.path / "began-a").read_text() == (scripts.path / "began-b").read_text() == "x"


def test_no_more_eager_calls_run_at_once_than_there_are_jobs_and_inputs_are_made_first(
    scripts: Scripts,
) -> None:
    out = scripts.run(
        """
        @task
        def first():
            add("first")
            return ""

        @task(eager=True)
        def alone(n, _):
            add("log", "(")
            time.sleep(0.05)
            add("log", ")")
            return os.path.exists("first")

        made = [alone(n, first()) for n in range(4)]
        print(all(one.v for one in made), text("log"))
        """,
        jobs=1,
    )

    assert out == "True ()()()()\n"


FAILS = """
        from merkl.errors import TaskFailed
        for _ in range(2):
            bad = noted("bad")
            for future in (bad, names(bad)):
                try:
                    future.eval()
                except TaskFailed as error:
                    print(error.headline)
        print(text("began-bad"))
"""


def test_all_kinds_of_tasks_are_started_and_errors_surface_where_a_value_is_asked_for(
    scripts: Scripts,
) -> None:
    out = scripts.run(
        """
        shell = bash_task("touch began-shell; echo hi", stdout=str, eager=True)
        said = shell()

        @batch(eager=True)
        def lengths(words: list[str]) -> list[int]:
            add("began-batch", str(len(words)))
            return [len(word) for word in words]

        @task(eager=True, cache=False)
        def fresh():
            add("began-fresh")
            return os.getpid()

        counts, once = lengths(["a", "bb"]), fresh()
        print(seen("began-shell"), seen("began-batch"), seen("began-fresh"))
        print(repr(said.v), [count.v for count in counts], text("began-batch"))
        print(once.v == once.v != os.getpid(), text("began-fresh"))
        """
        + FAILS
    )

    assert out == "True True True\n'hi\\n' [1, 2] 2\nTrue x\n" + "noted raised ValueError: no\n" * 4 + "xx\n"


def test_eval_runs_each_call_where_it_is_made_with_the_keys_that_it_has_outside(scripts: Scripts) -> None:
    out = scripts.run(
        """
        from merkl.errors import TaskFailed

        @task
        def half(n):
            return n // 2

        @batch
        def doubled(numbers):
            return [2 * n for n in numbers]

        @pipeline
        def halves(n):
            first = half(n)
            yield first
            return half(first)

        @task(cache=False)
        def counted():
            add("counted")
            return 1

        with Eval():
            one = half(9)
            print(one.in_cache(), one.v, all(each.in_cache() for each in doubled([1, 2])))
            with Eval():
                print(bash_task("echo {arg('n')}", stdout=str)(one).in_cache())
            print(half.map([10, 20])[1].in_cache(), halves(8).in_cache())
            half(4) > "two.json"
            print(text("two.json").strip(), counted().v, text("counted"))
            try:
                half("x")
            except TaskFailed as error:
                print(error.headline.split(":")[0])
        later = half(50)
        print(later.in_cache(), half(9) == one)
        """,
        jobs=1,
    )

    assert out == "True 4 True\nTrue\nTrue True\n2 1 x\nhalf raised TypeError\nFalse True\n"


@pytest.mark.parametrize("waits", [True, False])
def test_ctrl_c_ends_what_was_started(scripts: Scripts, waits: bool) -> None:
    process = scripts.start(
        f"""
        shell = bash_task("echo $$ > pid; exec sleep 60", eager=True)
        shell()
        made = noted("a", wait_for="never")
        seen("pid"), seen("began-a")
        print("ready", flush=True)
        {"made.eval()" if waits else "time.sleep(60)"}
        """
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode != 0
    assert not _alive(int((scripts.path / "pid").read_text()))


def test_a_program_that_is_told_to_end_ends_what_it_started(scripts: Scripts) -> None:
    process = scripts.start(
        """
        bash_task("echo $$ > pid; exec sleep 60", eager=True)()
        seen("pid")
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.terminate()
    process.communicate(timeout=30)

    assert process.returncode == -signal.SIGTERM
    assert not _alive(int((scripts.path / "pid").read_text()))


def _alive(pid: int) -> bool:
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.01)
    return True


MERKLFILE = (
    TASKS
    + """
    @target(default=True)
    def both():
        one = noted("a")
        if os.environ.get("LOOK"):
            seen("began-a")
        names(one, noted("b")) > "names.json"

    @batch(eager=True)
    def lengths(words):
        add("began-batch", str(len(words)))
        return [len(word) for word in words]

    @pipeline
    def measured(words):
        yield noted("first")
        return lengths(words)

    @target
    def measures():
        found = measured(["a", "bb"])
        if os.environ.get("LOOK"):
            seen("began-batch")
        return found

    @target
    def broken():
        return names(noted("bad"))

    @target
    def at_once():
        with Eval():
            names(noted("c")) > "c.json"
            assert os.environ.get("IDLE") or os.path.exists("c.json")
"""
)


def test_a_child_that_the_program_forks_waits_for_the_result_like_any_other_process(scripts: Scripts) -> None:
    out = scripts.run("""
        import warnings
        warnings.simplefilter("ignore")  # Newer Pythons warn of forks beside threads.
        made = noted("one", wait_for="go")
        seen("began-one")
        child = os.fork()
        if not child:
            add("go")
            print(names(made).eval(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(names(made).eval())
    """)
    assert out.split() == ["one", "one"] and (scripts.path / "began-one").read_text() == "x"


def test_a_merklfile_starts_eager_calls_only_in_commands_that_run(inside: Any) -> None:
    inside.merklfile(MERKLFILE)
    inside.write("merkl.yaml", "")

    idle = {**os.environ, "IDLE": "1"}
    for command in ("build -n", "list", "why both", "dag", "build -n at_once", "build --frozen"):
        inside.merkl(*command.split(), code=None, env=idle)
        assert not list(inside.path.glob("began-*")), command

    inside.merkl("build", "-j1", env={**os.environ, "LOOK": "1"})
    assert inside.read("names.json") == '"ab"\n' and inside.read("began-a") == "x"
    assert inside.build() == []
    failed = inside.merkl("build", "broken", "-j1", code=1)
    assert "noted raised ValueError: no" in failed.stdout + failed.stderr and inside.read("began-bad") == "x"
    inside.merkl("build", "measures", "-j1", env={**os.environ, "LOOK": "1"})
    assert inside.read("began-batch") == "2" and inside.build("measures") == []
    inside.merkl("build", "at_once", "-j1")
    assert inside.read("c.json") == '"c"\n'


def test_an_interactive_task_cannot_be_eager() -> None:
    with pytest.raises(TaskError, match="the terminal to itself"):
        task(eager=True, interactive=True)


def test_one_eval_is_shared_by_threads_that_leave_it_in_any_order() -> None:
    shared, seen = Eval(), list[bool]()
    entered, left = threading.Event(), threading.Event()

    def other() -> None:
        with shared:
            entered.set()
            left.wait(20)
            seen.append(evaluating())
        seen.append(evaluating())

    thread = threading.Thread(target=other)
    with shared:
        thread.start()
        entered.wait(20)
        with shared:
            pass
        assert evaluating()
    assert not evaluating()
    left.set()
    thread.join()
    assert seen == [True, False]

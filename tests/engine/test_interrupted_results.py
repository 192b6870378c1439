"""Python tasks that catch Ctrl-C and return: who gets what they returned, and who does not."""

import os
import subprocess
import sys
import textwrap
import time
from typing import Any

import pexpect
import pytest

from merkl.errors import TaskError

PRESSED = """
    import os
    import signal
    import time

    def train_until_pressed(name="press"):
        if os.path.exists(name):
            os.kill(int(os.environ["BUILDER"]), signal.SIGINT)
            time.sleep(60)

"""


@pytest.fixture
def pressed(inside: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project whose tasks can press Ctrl-C, which they do if there is a file ``press``."""
    monkeypatch.setenv("BUILDER", str(os.getpid()))
    inside.write("press", "")
    return inside


TRAIN = (
    PRESSED
    + """
    @task({options})
    def train(n):
        try:
            train_until_pressed()
        except KeyboardInterrupt:
            return "half"
        return "whole"

    @task
    def score(model):
        return f"score of {{model}}"

    @task
    def report(score):
        return f"report: {{score}}"

    @target(default=True)
    def all():
        report(score(train(1))) > "report.txt"
"""
)


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_what_was_made_from_an_interrupted_result_is_not_the_result_of_the_next_build(
    pressed: Any, jobs: str
) -> None:
    pressed.merklfile(TRAIN.format(options=""))
    assert pressed.build(jobs) == ["train", "score", "report"]
    assert pressed.read("report.txt") == "report: score of half"

    (pressed.path / "press").unlink()
    assert "would run" in pressed.merkl("build", "--frozen", jobs, code=6).stderr
    assert pressed.build(jobs) == ["train", "score", "report"]
    assert pressed.read("report.txt") == "report: score of whole"
    assert pressed.build(jobs) == []


def test_the_same_interrupted_result_again_runs_nothing_after_it_and_is_still_not_kept(pressed: Any) -> None:
    pressed.merklfile(TRAIN.format(options=""))
    pressed.build("-j1")

    for _ in range(2):
        assert pressed.build("-j1") == ["train"]  # What follows is cut off, by its content.
    (pressed.path / "press").unlink()
    assert pressed.build("-j1") == ["train", "score", "report"]


def test_cache_interrupted_keeps_what_was_returned(pressed: Any) -> None:
    pressed.merklfile(TRAIN.format(options="cache_interrupted=True"))
    assert pressed.build("-j1") == ["train", "score", "report"]

    (pressed.path / "press").unlink()
    assert pressed.build("-j1") == []
    assert pressed.read("report.txt") == "report: score of half"


def test_after_an_interrupted_result_why_and_status_say_that_the_task_runs(pressed: Any) -> None:
    pressed.merklfile(TRAIN.format(options=""))
    pressed.build("-j1")

    said = pressed.merkl("why", "all").stdout
    assert "would run  train" in said and "no result of it is in the store" in said
    status = pressed.merkl("status", "all", code=None).stdout
    assert "report.txt  depends on what score makes" in status and "1 stale" in status


BATCH = (
    PRESSED
    + """
    @task
    def square(n):
        return n * n

    @batch(square)
    def squares(numbers):
        try:
            train_until_pressed()
        except KeyboardInterrupt:
            return [-1 for n in numbers]
        return [n * n for n in numbers]

    @task
    def total(numbers):
        return sum(numbers)

    @target(default=True)
    def all():
        total(squares([1, 2, 3])) > "total.json"
"""
)


def test_no_item_of_a_batch_that_was_interrupted_is_kept(pressed: Any) -> None:
    pressed.merklfile(BATCH)
    pressed.build("-j1")
    assert pressed.read("total.json") == "-3\n"

    (pressed.path / "press").unlink()
    assert pressed.build("-j1") == ["square"] * 3 + ["total"]
    assert pressed.read("total.json") == "14\n"


LISTS = (
    PRESSED
    + """
    @task
    def numbers():
        for n in range(4):
            try:
                if n == 2:
                    while os.path.exists("others first") and not os.path.exists("doubled 1"):
                        time.sleep(0.01)
                    train_until_pressed()
            except KeyboardInterrupt:
                return
            yield n

    @task
    def double(n):
        try:
            if n == 1:
                train_until_pressed("press item")
        except KeyboardInterrupt:
            return -1
        open(f"doubled {n}", "w").close()
        return 2 * n

    @task
    def total(numbers):
        return sum(numbers)

    @target(default=True)
    def all():
        total(double.map(numbers())) > "total.json"
"""
)


def test_a_list_that_ended_early_is_made_again(pressed: Any) -> None:
    pressed.merklfile(LISTS)
    pressed.write("others first", "")
    ran = pressed.build("-j2")
    assert (
        sorted(ran) == ["double", "double", "double.map", "numbers", "total"]
        and pressed.read("total.json") == "2\n"
    )

    (pressed.path / "press").unlink()
    again = pressed.build("-j2")
    assert {"double.map", "numbers", "total"} < set(again), again
    assert pressed.read("total.json") == "12\n"
    assert pressed.build("-j2") == []


def test_a_list_with_an_item_that_was_interrupted_is_not_kept(pressed: Any) -> None:
    (pressed.path / "press").rename(pressed.path / "press item")
    pressed.merklfile(LISTS)
    pressed.build("-j1")
    assert pressed.read("total.json") == f"{-1 + 2 * (0 + 2 + 3)}\n"

    (pressed.path / "press item").unlink()
    assert pressed.build("-j1") == ["double", "double.map", "total"]
    assert pressed.read("total.json") == "12\n"


ERRORS = (
    PRESSED
    + """
    @task(retries=3)
    def fails():
        try:
            train_until_pressed()
        except KeyboardInterrupt:
            {how}

    @task
    def other():
        return "other"

    @target(default=True)
    def all():
        fails() > "fails.txt"
        other() > "other.txt"
"""
)


@pytest.mark.parametrize(
    ("how", "word", "counts"),
    [
        ("raise ValueError('no model yet')", "no model yet", "2 tasks: 1 failed, 1 skipped"),
        ("raise SystemExit(1)", "interrupted: fails", "2 tasks: 1 skipped, 1 interrupted"),
    ],
)  # fmt: skip
def test_a_task_that_answers_ctrl_c_with_an_error_ends_the_build_and_is_not_repeated(
    pressed: Any, how: str, word: str, counts: str
) -> None:
    pressed.merklfile(ERRORS.format(how=how))
    done = pressed.merkl("build", "-k", "-j1", code=130)
    assert word in done.stdout + done.stderr and "interrupted: fails" in done.stderr
    assert "attempt" not in done.stdout + done.stderr and counts in done.stdout + done.stderr
    assert "inline.py" not in done.stdout + done.stderr
    assert not (pressed.path / "other.txt").exists()


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_what_a_task_with_a_handler_of_its_own_returned_after_ctrl_c_is_not_kept(
    pressed: Any, jobs: str
) -> None:
    pressed.merklfile(
        PRESSED
        + """
    @task
    def handles():
        came = []
        before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
        if os.path.exists("press"):
            os.kill(int(os.environ["BUILDER"]), signal.SIGINT)
            while not came:
                time.sleep(0.01)
        signal.signal(signal.SIGINT, before)
        return len(came)

    @target(default=True)
    def all():
        handles() > "came.json"
    """
    )
    assert pressed.build(jobs) == ["handles"] and pressed.read("came.json") == "1\n"
    (pressed.path / "press").unlink()
    assert pressed.build(jobs) == ["handles"] and pressed.read("came.json") == "0\n"


def test_a_second_ctrl_c_ends_a_loop_around_keyboard_interrupt_that_runs_in_merkl_itself(
    pressed: Any,
) -> None:
    pressed.merklfile(
        PRESSED
        + """
    @task
    def stubborn():
        while True:
            try:
                train_until_pressed()
            except KeyboardInterrupt:
                print("not yet")

    @target(default=True)
    def all():
        stubborn() > "never.txt"
    """
    )
    assert "interrupted: stubborn" in pressed.merkl("build", "-j1", code=130).stderr
    assert not (pressed.path / "never.txt").exists()


def test_a_pipeline_goes_on_after_its_yield(pressed: Any) -> None:
    pressed.merklfile(
        TRAIN.format(options="").partition("    @target")[0]
        + """
    @pipeline
    def study():
        model = train(1)
        yield model
        return report(score(model))

    @target(default=True)
    def all():
        study() > "report.txt"
    """
    )
    assert pressed.build("-j1") == ["train", "score", "report"]
    (pressed.path / "press").unlink()
    assert pressed.build("-j1") == ["train", "score", "report"]
    assert pressed.read("report.txt") == "report: score of whole"


def test_a_pipeline_that_asked_for_an_interrupted_value_goes_on_with_it_and_asks_again_next_time(
    pressed: Any,
) -> None:
    pressed.merklfile(
        TRAIN.format(options="").partition("    @target")[0]
        + """
    @pipeline
    def study():
        model = train(1)
        return report(score(model)) if model.eval() == "half" else report(model)

    @target(default=True)
    def all():
        study() > "report.txt"
    """
    )
    assert pressed.build("-j1") == [
        "score",
        "report",
    ]  # It was trained before the graph was known, and once only.
    assert pressed.read("report.txt") == "report: score of half"

    (pressed.path / "press").unlink()
    assert pressed.build("-j1") == ["report"]
    assert pressed.read("report.txt") == "report: whole"
    assert pressed.build("-j1") == []


def test_a_program_goes_on_with_an_interrupted_value_until_that_is_cleared(
    pressed: Any, monkeypatch: Any
) -> None:
    pressed.merklfile("")
    pressed.write(
        "script.py",
        textwrap.dedent(TRAIN.format(options="").partition("    @target")[0])
        + textwrap.dedent("""
            model = train(1)
            print(model.eval(), model.eval(), score(model).eval(), model.in_cache())
            model.clear_cache()
            os.unlink("press")
            print(model.eval(), score(model).eval(), model.in_cache())
        """).replace("\n\n", "\n"),
    )
    script = (pressed.path / "script.py").read_text()
    pressed.write(
        "script.py", "import os\nos.environ['BUILDER'] = str(os.getpid())\nfrom merkl import *\n" + script
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=pressed.path, env={**os.environ, "MERKL_JOBS": "1"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "half half score of half False\nwhole score of whole True\n", done.stderr


def test_what_an_eager_task_returned_after_ctrl_c_is_used_by_the_program(project: Any) -> None:
    project.write(
        "script.py",
        textwrap.dedent("""
            import os, signal, time
            from merkl import task

            signal.signal(signal.SIGINT, signal.default_int_handler)

            @task(eager=True)
            def train(pid):
                try:
                    time.sleep(0.5)  # Until the program waits.
                    os.kill(pid, signal.SIGINT)
                    time.sleep(60)
                except KeyboardInterrupt:
                    return "half"

            @task
            def score(model):
                return f"score of {model}"

            model = train(os.getpid())
            print(model.eval(), score(model).eval(), model.in_cache())
        """),
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=project.path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "half score of half False\n", done.stderr


# ---- at a terminal -----------------------------------------------------------------------------------------------------

LOOP = """
    import os
    import time

    @task({options})
    def train():
        steps = 0
        try:
            while True:
                steps += 1
                print("step", steps, flush=True)
                open("training", "w").close()
                time.sleep(0.02)
        except KeyboardInterrupt:
            {caught}
        return f"model after {{min(steps, 1)}}"

    @task
    def evaluate(model):
        return f"evaluated {{model}}"

    @target(default=True)
    def all():
        model = train()
        model > "model.txt"
        evaluate(model) > "score.txt"
"""


def at_terminal(project: Any, *words: str) -> "pexpect.spawn[str]":
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    return pexpect.spawn(
        sys.executable, ["-m", "merkl", *words], cwd=str(project.path), env=env, encoding="utf-8", timeout=60,
        dimensions=(30, 100), codec_errors="replace",
    )  # fmt: skip


def until_there(project: Any, name: str, terminal: "pexpect.spawn[str]") -> None:
    deadline = time.monotonic() + 60
    while not (project.path / name).exists():
        assert terminal.isalive() and time.monotonic() < deadline, terminal.read()
        time.sleep(0.02)
    (project.path / name).unlink()


def pressed_once(project: Any, jobs: str) -> str:
    """Build, and press Ctrl-C while the loop trains."""
    terminal = at_terminal(project, "build", jobs)
    until_there(project, "training", terminal)
    terminal.sendintr()
    said = terminal.read()
    terminal.close()
    assert terminal.exitstatus == 0, said
    (project.path / "training").unlink(missing_ok=True)
    return said


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_ctrl_c_stops_the_training_and_the_build_goes_on_with_the_model(project: Any, jobs: str) -> None:
    project.merklfile(LOOP.format(options="", caught="pass"))
    said = pressed_once(project, jobs)
    assert project.read("model.txt") == "model after 1"
    assert project.read("score.txt") == "evaluated model after 1"
    assert "2 tasks: 2 ran" in said and "Traceback" not in said

    assert "1 cached" in pressed_once(project, jobs)  # It trains again; of the same model the score is known.


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_a_second_ctrl_c_ends_a_task_that_does_not_come_to_its_end(project: Any, jobs: str) -> None:
    project.merklfile(LOOP.format(options="", caught='open("saving", "w").close(); time.sleep(300)'))
    terminal = at_terminal(project, "build", jobs)
    until_there(project, "training", terminal)
    terminal.sendintr()
    until_there(project, "saving", terminal)
    terminal.sendintr()
    said = terminal.read()
    terminal.close()

    assert terminal.exitstatus == 130, said
    assert "interrupted: train" in said and "Traceback" not in said
    assert not (project.path / "model.txt").exists() and not (project.path / "score.txt").exists()


def test_cache_interrupted_is_for_the_single_task_of_a_batch_to_say(inside: Any) -> None:
    inside.merklfile(BATCH.replace("@batch(square)", "@batch(square, cache_interrupted=True)"))
    said = inside.merkl("build", code=2).stderr
    assert "cache_interrupted= is for the single task to say" in said


def test_cache_interrupted_is_yes_or_no() -> None:
    from merkl import task

    with pytest.raises(TaskError, match="did you mean cache_interrupted"):
        task(cache_interupted=True)  # type: ignore[call-overload]

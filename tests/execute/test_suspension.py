"""Jobs that are stopped for a while, and calls in which somebody asks for a debugger."""

import sys
import time

import pytest
from executor_bench import appears, finish

from merkl.errors import TaskFailed
from merkl.execute.base import Exited, Raised
from merkl.execute.local import Local

TICKING = "echo > begun; while [ ! -e go ]; do echo >> ticks; sleep 0.01; done"


def ticks(bench):
    return (bench.root / "ticks").stat().st_size


def test_a_suspended_command_does_nothing_until_it_may_proceed(pair, bench):
    pair.start(bench.bash(TICKING))
    appears(bench.root / "ticks")

    pair.suspend()
    time.sleep(0.1)  # A signal takes its time.
    before = ticks(bench)
    time.sleep(0.2)
    assert ticks(bench) == before

    pair.proceed()
    (bench.root / "go").touch()
    (ended,) = pair.wait(10)
    assert ended.how == Exited(0)


def test_the_time_in_which_it_was_suspended_does_not_count(pair, bench):
    pair.start(bench.bash(TICKING, timeout=2.0))
    appears(bench.root / "ticks")

    pair.suspend()
    time.sleep(2.2)
    pair.proceed()
    (bench.root / "go").touch()
    (ended,) = pair.wait(10)

    assert ended.how == Exited(0)
    assert ended.seconds < 2.0


class Record:
    """A terminal that notes who has it."""

    def __init__(self):
        self.told = []

    def lend(self):
        self.told.append("lent")

    def take_back(self):
        self.told.append("back")


@pytest.mark.parametrize("slots", [1, 2])
def test_whoever_draws_is_told_when_an_interactive_job_has_the_terminal(bench, slots, capfd):
    terminal = Record()
    with Local(slots, terminal) as executor:
        finish(executor, bench.bash("echo from the command", interactive=True))
        assert terminal.told == ["lent", "back"]
        finish(executor, bench.call(print, "from the call", interactive=True))
        assert terminal.told == ["lent", "back"] * 2
        finish(executor, bench.bash("echo quiet"), bench.call(print, "quiet"))

    assert terminal.told == ["lent", "back"] * 2
    assert capfd.readouterr().out == "from the command\nfrom the call\n"


def test_an_interactive_command_that_cannot_start_gives_the_terminal_back(bench):
    from dataclasses import replace

    terminal = Record()
    job = replace(bench.bash("", interactive=True), argv=[b"/no/such/program"])
    with Local(2, terminal) as executor:
        finish(executor, job)

    assert terminal.told == ["lent", "back"]


def ask_for_a_debugger():
    breakpoint()
    return "went on"


@pytest.mark.parametrize("slots", [1, 2])
def test_without_a_terminal_breakpoint_is_an_error_that_says_what_to_do(bench, slots, monkeypatch):
    import merkl.execute.debugging

    monkeypatch.setattr(merkl.execute.debugging, "_TERMINAL", "/no/such/terminal")
    with Local(slots) as executor:
        (ended,) = finish(executor, bench.call(ask_for_a_debugger))

    assert isinstance(ended.how, Raised)
    assert isinstance(ended.how.error, TaskFailed)
    assert "breakpoint() cannot start a debugger" in str(ended.how.error)
    assert "merkl" in ended.how.error.hint
    assert sys.breakpointhook is sys.__breakpointhook__


@pytest.mark.parametrize("slots", [1, 2])
def test_breakpoint_can_be_switched_off(bench, slots, monkeypatch):
    import pickle

    monkeypatch.setenv("PYTHONBREAKPOINT", "0")
    with Local(slots) as executor:
        (ended,) = finish(executor, bench.call(ask_for_a_debugger))

    assert pickle.loads(ended.how.payload) == "went on"

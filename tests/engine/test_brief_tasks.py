"""Brief Python tasks, some of which are sent ahead to a worker that is busy with others: nothing else changes by that."""

import subprocess
import sys

import pytest

TASKS = """
import os, time

@task
def step(n, trace):
    with open(trace, "a") as file:
        file.write(f"{n}\\n")
    if os.path.exists(f"{trace}-bad-{n}"):
        raise ValueError(n)
    if os.path.exists(f"{trace}-long-{n}"):
        time.sleep(0.5)
    return n

@task
def end(steps):
    return sum(steps)

@target(default=True)
def all():
    end([step(n, TRACE) for n in range(COUNT)]) > "end.json"
"""
COUNT = 160
# What may still end once a build knows of a failure: in each worker one that runs and eight behind it, and
# what had ended already and was about to be stored together.
MOST_AFTER = 2 * (1 + 8) + 32


@pytest.fixture
def brief(inside):
    """Build the tasks, one of which may fail or take long; the numbers of those that ran, in the order of starting, and
    what was reported."""
    trace = inside.path.parent / "trace"
    inside.merklfile(TASKS.replace("TRACE", repr(str(trace))).replace("COUNT", str(COUNT)))

    def build(how=None):
        trace.write_text("")
        flag = inside.path.parent / f"trace-{how}"
        flag.write_text("")
        events = [event["event"] for event in inside.events("-j2", code=1 if how and "bad" in how else 0)]
        flag.unlink()
        return [int(line) for line in trace.read_text().split()], events

    return build


def test_those_behind_one_that_takes_long_do_not_wait_for_it(brief, inside):
    ran, _ = brief("long-40")
    assert sorted(ran) == list(range(COUNT))
    assert inside.read("end.json").strip() == str(sum(range(COUNT)))


def test_after_a_failure_what_was_sent_ahead_is_left_to_the_next_build(brief):
    ran, events = brief("bad-40")
    # Counted from when the build knows of it: until then, the other worker may run any number.
    assert events[events.index("failed") :].count("ran") <= MOST_AFTER
    again, _ = brief()
    assert sorted({*ran, *again}) == list(range(COUNT))
    assert set(ran) & set(again) <= {40}


def test_of_two_builds_at_once_each_task_is_run_by_one(inside):
    trace = inside.path.parent / "trace"
    inside.merklfile(TASKS.replace("TRACE", repr(str(trace))).replace("COUNT", str(COUNT)))
    command = [sys.executable, "-m", "merkl", "build", "-j2", "-q"]
    builds = [subprocess.Popen(command, cwd=inside.path) for _ in range(2)]
    assert [build.wait() for build in builds] == [0, 0]
    assert sorted(map(int, trace.read_text().split())) == list(range(COUNT))


def test_brief_calls_that_turn_out_to_be_alike_run_once_and_nobody_is_said_to_wait(inside):
    inside.merklfile("""
    @task
    def half(n):
        return n // 8

    @task
    def step(n, before):
        return n

    @task
    def end(steps):
        return sum(steps)

    @target(default=True)
    def all():
        halves = [half(n) for n in range(40)]
        first = end([step(-n, halves) for n in range(20)])
        end([step(each, first) for each in halves]) > "end.json"
    """)
    events = inside.events("-j2")
    assert inside.read("end.json").strip() == str(sum(n // 8 for n in range(40)))
    assert "waiting" not in {event["event"] for event in events}

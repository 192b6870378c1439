"""Brief Python tasks, some of which are sent ahead to a worker that is busy with others: nothing else changes by that."""

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
    end([step(n, TRACE) for n in range(80)]) > "end.json"
"""


@pytest.fixture
def brief(inside):
    """Build the tasks, one of which may fail or take long; the numbers of those that ran, in the order of starting."""
    trace = inside.path.parent / "trace"
    inside.merklfile(TASKS.replace("TRACE", repr(str(trace))))

    def build(how=None):
        trace.write_text("")
        flag = inside.path.parent / f"trace-{how}"
        flag.write_text("")
        inside.build("-j2", code=1 if how and "bad" in how else 0)
        flag.unlink()
        return [int(line) for line in trace.read_text().split()]

    return build


def test_those_behind_one_that_takes_long_do_not_wait_for_it(brief, inside):
    ran = brief("long-40")
    assert sorted(ran) == list(range(80))
    assert inside.read("end.json").strip() == str(sum(range(80)))


def test_after_a_failure_what_was_sent_ahead_is_left_to_the_next_build(brief):
    ran = brief("bad-40")
    assert len(ran) - ran.index(40) < 30
    again = brief()
    assert sorted({*ran, *again}) == list(range(80))
    assert set(ran) & set(again) <= {40}

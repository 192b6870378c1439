"""Brief Python tasks, some of which are sent ahead to a worker that is busy with others: nothing else changes by that."""

import json
import signal
import subprocess
import sys
import time

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
COUNT = 320
# What may still end once a build knows of a failure, or has ended meanwhile: in each worker one that runs and those behind it.
MOST_AFTER = 2 * (1 + 64)


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


AT_WORK = """
import os, pathlib, tempfile

@task
def step(n):
    tmp = pathlib.Path(os.environ["TMPDIR"])
    found = os.listdir(tmp)
    if n % 10 == 7:
        print(f"step {n}")
    if n % 10 == 8:
        (tmp / "left").write_text(str(n))
    if n in BAD:
        print(f"bad {n}")
        raise ValueError(n)
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    made = [tmp.parent.name, found]
    return made

@task
def end(steps):
    return steps

@target(default=True)
def all():
    end([step(n) for n in range(COUNT)]) > "end.json"
"""


def left_behind(inside):
    return sorted(
        path.name for folder in ("run", "stage") for path in (inside.path / ".merkl" / folder).iterdir()
    )


def test_brief_calls_find_their_directories_empty_and_each_has_its_own_log(inside):
    inside.merklfile(AT_WORK.replace("COUNT", str(COUNT)).replace("BAD", "()"))
    inside.events("-j2")
    assert [found for _, found in json.loads(inside.read("end.json"))] == [[]] * COUNT
    said = inside.merkl("log", "all").stdout
    assert [line.strip() for line in said.splitlines() if line.strip().startswith("step ")] == [
        f"step {n}" for n in range(7, COUNT, 10)
    ]
    assert left_behind(inside) == []


def test_brief_calls_that_leave_nothing_need_few_directories(inside):
    inside.merklfile(AT_WORK.replace("COUNT", str(COUNT)).replace("BAD", "()").replace("n % 10", "n % 1000"))
    inside.events("-j2")
    assert len({place for place, _ in json.loads(inside.read("end.json"))}) < COUNT // 2


LEFT_RUNNING = """
import os, subprocess, time

@task
def step(n):
    found = os.listdir(os.environ["TMPDIR"])
    if n % 4 == 1:
        late = f"(sleep 0.03; echo late {n}; echo x > late) &"
        subprocess.run(["sh", "-c", late], check=True, cwd=os.environ["TMPDIR"])
    else:
        time.sleep(0.002)
    return found

@task
def end(steps):
    return steps

@target(default=True)
def all():
    end([step(n) for n in range(COUNT)]) > "end.json"
"""


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_what_a_call_left_running_writes_where_no_other_call_is(inside, jobs):
    inside.merklfile(LEFT_RUNNING.replace("COUNT", "120"))
    inside.events(jobs)
    assert json.loads(inside.read("end.json")) == [[]] * 120
    logs = inside.merkl("log", "all").stdout.split("== step n=")[1:]
    assert all(said == f"late {n}" for n, _, said in (log.strip().partition("\n") for log in logs))
    assert left_behind(inside) == []


def test_what_a_brief_call_left_that_failed_is_there_to_be_looked_at(inside):
    inside.merklfile(AT_WORK.replace("COUNT", str(COUNT)).replace("BAD", "(308,)"))
    failed = [event for event in inside.events("-j2", "-k", code=1) if event["event"] == "failed"]
    assert [event["label"] for event in failed] == ["step n=308"]
    log = inside.path / failed[0]["log"]
    assert log.read_text() == "bad 308\n"
    assert (log.parent / "tmp" / "left").read_text() == "308"
    inside.merklfile(AT_WORK.replace("COUNT", str(COUNT)).replace("BAD", "()"))
    inside.events("-j2")
    assert set(left_behind(inside)) == {log.parent.name}


def test_beside_brief_calls_that_fail_each_other_one_is_told_of_once(inside):
    bad = range(20, COUNT, 3)
    inside.merklfile(AT_WORK.replace("COUNT", str(COUNT)).replace("BAD", repr(bad)))
    events = inside.events("-j2", "-k", code=1)
    told = {kind: [each["label"] for each in events if each["event"] == kind] for kind in ("ran", "failed")}
    assert sorted(told["failed"]) == sorted(f"step n={n}" for n in bad)
    assert sorted(told["ran"]) == sorted(f"step n={n}" for n in range(COUNT) if n not in bad)


def test_ctrl_c_ends_a_build_of_brief_calls(project):
    trace = project.path.parent / "trace"
    text = TASKS.replace("TRACE", repr(str(trace))).replace("COUNT", "4_000")
    project.merklfile(text)
    build = project.popen("build", "-j2", "-q")
    wait_until(lambda: trace.exists() and len(trace.read_bytes()) > 200)
    build.send_signal(signal.SIGINT)
    assert build.wait(60) == 130
    assert left_behind(project) == []
    assert len(trace.read_text().split()) < 4_000


def wait_until(done):
    limit = time.monotonic() + 60
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.005)

"""``merkl.build``, ``merkl.building`` and ``merkl.graph``: builds from programs, asyncio and notebooks."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import merkl
from merkl import events
from merkl.errors import ConfigError, Interrupted, MerklError, MerklfileError, TaskFailed, UsageError

MERKLFILE = """
    from merkl import bash_task, target, task

    upper = bash_task("tr a-z A-Z < {file_arg('text')} > {out_file_arg('out', '.txt')}")

    @task
    def length(path):
        with open(path) as file:
            return len(file.read())

    @target(default=True)
    def report(times: int = 1):
        big = upper("a.txt")
        big > "big.txt"
        return {"big": big, "length": length(big), "times": times}

    @target
    def broken():
        return bash_task("exit 3")()
"""
SLOW = """
    from merkl import bash_task, target

    @target(default=True)
    def slow():
        bash_task("echo > began; exec sleep 60")()
"""


@pytest.fixture
def story(project):
    project.merklfile(MERKLFILE)
    project.write("a.txt", "abc\n")
    return project


def test_a_target_is_built_and_its_values_are_there(story):
    built = merkl.build("report", "times=2", directory=story.path)

    assert built.ok and built.errors == ()
    assert set(built["report"]) == {"big", "length", "times"}
    assert (built["report"]["length"], built["report"]["times"]) == (4, 2)
    assert Path(built["report"]["big"]).read_text() == "ABC\n"
    assert built.placed == ("big.txt",)
    assert [(task.task, task.state) for task in built.tasks] == [("upper", "ran"), ("length", "ran")]

    again = merkl.build(directory=story.path / ".merkl" / "..")

    assert (again.ran, len(again.cached)) == ((), 2)
    assert again.values == [again["report"]]
    assert repr(again).startswith("<build: 2 cached in ")


def test_a_path_is_a_target_too(story):
    built = merkl.build("big.txt", directory=story.path)

    assert Path(built["big.txt"]).read_text() == "ABC\n"
    with pytest.raises(UsageError, match="'report' was not built"):
        built["report"]


def test_an_edit_of_the_merklfile_counts_the_next_time(story):
    merkl.build(directory=story.path)
    story.merklfile(MERKLFILE.replace("len(file.read())", "-len(file.read())"))

    assert merkl.build(directory=story.path)["report"]["length"] == -4


def test_what_fails_is_raised_or_told(story):
    with pytest.raises(TaskFailed):
        merkl.build("broken", directory=story.path)

    built = merkl.build("broken", "report", directory=story.path, keep_going=True, check=False)

    assert not built.ok
    assert len(built.failed) == 1 and isinstance(built.errors[0], TaskFailed)
    assert [task.state for task in built.tasks].count("ran") == 2
    assert built["report"]["length"] == 4


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        ((3,), UsageError, "a target is a name, a path or a Future, not 3"),
        (("nothing",), MerklfileError, "nothing"),
    ],
)
def test_what_cannot_be_built_is_an_error(story, words, error, text):
    with pytest.raises(error, match=text):
        merkl.build(*words, directory=story.path)


def test_jobs_are_checked(story):
    with pytest.raises(UsageError, match="jobs is a number from 1 up, not 0"):
        merkl.build(directory=story.path, jobs=0)


def test_an_executor_is_named_as_on_the_command_line(story):
    with pytest.raises(ConfigError, match="target: there is no executor 'lab'"):
        merkl.build(directory=story.path, target="lab")
    (story.path / "merkl.yaml").write_text(
        "executors: {lab: {engine: dask, address: 'tcp://127.0.0.1:1', timeout: 1}}"
    )

    with pytest.raises(MerklError, match="lab"):
        merkl.build(directory=story.path, target="lab")
    assert merkl.build(directory=story.path, target="local").ok


def test_futures_of_the_program_are_built_together(project):
    script = project.write(
        "script.py",
        textwrap.dedent("""
        import merkl

        @merkl.task
        def double(n):
            return 2 * n

        if __name__ == "__main__":
            futures = [double(n) for n in range(3)]
            built = merkl.build(*futures, jobs=2)
            print(built.values, len(built.ran))
            print(len(merkl.build(*futures).cached), futures[0].eval())
        """),
    )

    done = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[0, 2, 4] 3\n3 0\n"


def test_events_come_while_it_builds(story):
    with merkl.building("report", directory=story.path) as building:
        happened = list(building)

    assert isinstance(happened[0], events.BuildStarted)
    assert isinstance(happened[-1], events.BuildDone)
    assert [event.node.name for event in happened if isinstance(event, events.Ran)] == ["upper", "length"]
    assert building.built["report"]["length"] == 4


def test_an_event_comes_before_the_build_has_ended(project):
    project.merklfile(SLOW)

    with merkl.building(directory=project.path) as building:
        for event in building:
            if isinstance(event, events.Started):
                with pytest.raises(UsageError, match="the build has not ended"):
                    _ = building.built
                break  # Leaving the block stops it.

    assert building.built.interrupted


def test_it_can_be_stopped_from_another_thread(project):
    project.merklfile(SLOW)

    with merkl.building(directory=project.path) as building:
        timer = threading.Thread(target=lambda: (_wait_for(project.path / "began"), building.stop()))
        timer.start()
        happened = list(building)
        timer.join()

    assert [task.state for task in building.built.tasks] == ["interrupted"]
    assert isinstance(happened[-1], events.BuildDone)
    with pytest.raises(Interrupted):
        building.built.raise_failure()


def test_a_loop_of_asyncio_goes_on_while_it_builds(project):
    project.merklfile(SLOW.replace("exec sleep 60", "until test -e go; do sleep 0.01; done"))

    async def main():
        seen = []
        async with merkl.building(directory=project.path) as building:
            async for event in building:
                seen.append(type(event))
                if isinstance(event, events.Started):
                    await asyncio.sleep(0.01)  # The loop is free: it is the loop that lets the task end.
                    asyncio.get_running_loop().call_later(0.01, project.write, "go", "")
        return seen, building.built

    seen, built = asyncio.run(main())

    assert events.Ran in seen and built.ok


def test_a_task_of_asyncio_that_is_cancelled_stops_its_build(project):
    project.merklfile(SLOW)

    async def watch():
        async with merkl.building(directory=project.path) as building:
            async for _ in building:
                pass

    async def main():
        following = asyncio.create_task(watch())
        while not (project.path / "began").exists():
            await asyncio.sleep(0.01)
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following

    began = time.monotonic()
    asyncio.run(main())

    assert time.monotonic() - began < 30


def test_build_in_a_running_loop(story):
    async def main():
        return merkl.build(directory=story.path), await asyncio.to_thread(merkl.build, directory=story.path)

    first, second = asyncio.run(main())

    assert (len(first.ran), len(second.cached)) == (2, 2)


def test_ctrl_c_stops_it_and_passes_what_takes_all_errors(project):
    project.merklfile(SLOW)
    script = """
import merkl
try:
    merkl.build()
except Exception:
    print("an error like others")
except merkl.errors.Interrupted:
    print("stopped")
    raise
"""
    project.write("script.py", script)
    running = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for(project.path / "began")

    running.send_signal(signal.SIGINT)

    out, err = running.communicate(timeout=30)
    assert (out, running.returncode) == ("stopped\n", 130)
    assert err.endswith("merkl.errors.Interrupted: interrupted\n") and "/merkl/" not in err


def test_a_graph_is_a_picture_and_a_tree(story):
    drawn = merkl.graph("report", directory=story.path)

    assert repr(drawn) == "<graph of 2 tasks>"
    assert "[would run]" in str(drawn)
    assert drawn.dot.startswith("digraph merkl {") and drawn.mermaid.startswith("flowchart")
    bundle = drawn._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<svg") or "<svg" in bundle["image/svg+xml"][:200]

    merkl.build("report", directory=story.path)

    assert "[would run]" not in str(merkl.graph("report", directory=story.path))


def test_a_future_shows_its_state_and_value_as_text(project):
    script = project.write(
        "script.py",
        textwrap.dedent("""
        import merkl

        @merkl.task
        def shout(text):
            return f"<b>{text}</b>"

        @merkl.task
        def twice(text):
            return 2 * text

        future = twice(shout("hello"))
        before = future._repr_html_()
        future.eval()
        after = future._repr_html_()
        assert "not run yet" in before and "2 tasks" in before and "<svg" in before
        assert "cached" in after and "&lt;b&gt;hello&lt;/b&gt;" in after
        assert "<b>" not in before + after
        """),
    )

    subprocess.run([sys.executable, "-W", "error", script], check=True, cwd=project.path)


def _wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_does_not_listen_to_being_left_is_killed(project, monkeypatch):
    monkeypatch.setattr("merkl.programs.building.GRACE_S", 0.2)
    project.merklfile(SLOW.replace("echo > began", "trap '' INT TERM; echo > began"))

    with merkl.building(directory=project.path) as building:
        _wait_for(project.path / "began")

    assert building.built.interrupted

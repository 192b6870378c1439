"""Lost news, killed watches, other builds at the same time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from watched_projects import UPPER

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells of it")


def until(holds, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def descendants(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


@linux
def test_after_the_queue_overflowed_everything_is_looked_at_and_nothing_is_stale(project, watch):
    project.merklfile(UPPER)
    for name in "abc":
        project.write(f"src/{name}.txt", name)
    watching = watch()
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())

    watching.process.send_signal(signal.SIGSTOP)
    with open(project.path / "src/x", "wb", 0) as one, open(project.path / "src/y", "wb", 0) as other:
        for _ in range(most // 2 + 100):
            one.write(b"1")
            other.write(b"2")
    for name in "abc":
        project.write(f"src/{name}.txt", "lost")
    watching.process.send_signal(signal.SIGCONT)

    assert "everything is looked at" in watching.next("note")["text"]
    assert watching.round()["changed"] == ["src/a.txt", "src/b.txt", "src/c.txt"]
    assert project.read("out/c.txt") == "LOST"


@linux
def test_after_kill_9_of_a_watch_nothing_runs_on_and_the_next_build_ends_the_work(project, watch):
    project.merklfile(
        """
        slow = bash_task("sleep $(cat {file_arg('s')}); echo done > {out_file_arg('out', '.txt')}")
        slow("seconds.txt") > "out.txt"
        """
    )
    project.write("seconds.txt", "60")
    watching = watch("--then", "exec sleep 61", ready=False)
    watching.next("running")
    started = descendants(watching.process.pid)

    watching.process.kill()

    until(lambda: not any(map(is_alive, started)))
    project.write("seconds.txt", "0")
    assert project.build() == ["slow"]
    project.merkl("fsck")


@linux
def test_a_process_of_a_round_that_is_killed_is_a_failed_round(project, watch):
    project.merklfile(
        "import os, signal\nif os.path.exists('die'): os.kill(os.getpid(), signal.SIGKILL)\n" + UPPER
    )
    project.write("Merklfile.py", project.read("Merklfile.py").replace("\n    ", "\n"))
    project.write("src/a.txt", "a")
    project.write("die", "")
    watching = watch()
    assert "SIGKILL" in watching.events[-2]["error"]

    (project.path / "die").unlink()

    assert watching.round()["ok"]


def test_another_build_of_the_same_work_runs_nothing_twice_and_is_no_change(project, watch):
    project.merklfile(
        """
        slow = bash_task("sleep 1; cat {file_arg('text')} > {out_file_arg('out', '.txt')}")
        slow("a.txt") > "out.txt"
        """
    )
    project.write("a.txt", "a")
    watching = watch()
    project.write("a.txt", "b")
    watching.next("running")
    assert project.build() == []  # It waits for the watch.
    first = watching.round()
    project.build()
    project.write("a.txt", "c")
    second = watching.round()

    assert [len(each["ran"]) for each in (first, second)] == [1, 1]


def test_polling_sees_changes_new_files_and_removed_ones(project, watch):
    project.merklfile(UPPER)
    project.write("src/a.txt", "a")
    watching = watch("--poll")

    project.write("src/a.txt", "b")
    edited = watching.rounds()[-1]
    project.write("src/c.txt", "c")
    added = watching.rounds()[-1]

    assert (edited["changed"], added["changed"]) == (["src/a.txt"], ["src/c.txt"])
    assert project.read("out/c.txt") == "C"


def test_a_project_that_goes_away_ends_the_watch(project, watch):
    project.merklfile(UPPER)
    watching = watch()

    os.rename(project.path, project.path.parent / "elsewhere")

    assert watching.process.wait(60) == 2
    error = next(e for e in map(json.loads, iter(watching._lines.get, "")) if e["event"] == "error")
    assert "is gone" in error["error"]


@pytest.mark.needs("strace")
@linux
def test_a_watch_that_waits_asks_nothing_of_the_system(project, watch):
    project.merklfile(UPPER)
    project.write("src/a.txt", "a")
    watching = watch()
    time.sleep(1.0)  # Until the process of the next round has started.
    trace = project.path.parent / "trace"
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", trace, "-p", str(watching.process.pid)], stderr=subprocess.PIPE, text=True
    )
    tracer.stderr.readline()  # It is attached.
    with pytest.raises(subprocess.TimeoutExpired):
        tracer.wait(1.0)
    tracer.terminate()
    tracer.communicate()

    calls = [line for line in trace.read_text().splitlines() if "resumed" not in line and "SIG" not in line]
    assert len(calls) <= 1  # The one that it waits in.


def test_a_watch_that_nobody_reads_any_more_ends(project):
    project.merklfile(UPPER)
    with project.popen("watch") as watching:
        assert watching.stdout.readline().startswith("first build")
        watching.stdout.close()

        assert watching.wait(60) == 141
        assert watching.stderr.read() == ""

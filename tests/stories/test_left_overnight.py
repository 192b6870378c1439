"""A build is left overnight: its terminal is closed, it is suspended, the power fails, and in the morning it is resumed."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Shards are fetched, counted by Python, and a model is refined over rounds; each task says when it is done.
MERKLFILE = """
    fetch = bash_task(
        "sleep 0.05; seq {arg('n')} > {out_file_arg('out', '.txt')}; echo fetch {arg('n')} >> done", timeout=5
    )
    summary = bash_task("cat {files_arg('checkpoints', '.json')} > {out_file_arg('out', '.txt')}; echo summary >> done")

    def say(text):
        with open("done", "a") as file:
            file.write(text + "\\n")

    @task
    def counted(shard):
        import time
        time.sleep(0.05)
        return len(open(shard).read().split())

    @task(timeout=2)
    def refined(model, n, counts):
        import time
        time.sleep(0.15)
        say(f"refined {n}")
        return [*model, sum(counts) * (n + 1)]

    @task
    def polished(model):
        import os
        import time
        while os.path.exists("hold"):
            time.sleep(0.02)
        say("polished")
        return model

    @target(default=True)
    def night():
        counts = [counted(fetch(n)) for n in range(6)]
        model, checkpoints = [], []
        for n in range(9):
            model = refined(model, n, counts)
            model >> f"checkpoints/{n:02d}.json"
            checkpoints.append(model)
        polished(model) > "model.json"
        summary([f"notes/{n}.json" for n in range(2)]) > "summary.txt"
"""
TASKS = [*(f"fetch {n}" for n in range(6)), *(f"refined {n}" for n in range(9)), "polished", "summary"]


def test_a_build_left_overnight_is_killed_suspended_and_resumed(project: Any) -> None:
    write(project)
    project.write("hold", "")  # So long no build comes to its end, however slow those are that watch it.
    night = left_alone(project)

    # The terminal it was started from is closed: under nohup that is no reason to end.
    until(lambda: done(project) >= 2, night)
    night.send_signal(signal.SIGHUP)
    # Later somebody suspends it, for longer than a task may take, and lets it go on.
    until(lambda: done(project) >= 7, night)
    night.send_signal(signal.SIGTSTP)
    until(lambda: state(night.pid) == "T", night)
    before = done(project)
    time.sleep(2.2)
    assert done(project) == before, "its tasks are suspended with it"
    night.send_signal(signal.SIGCONT)
    # The power fails.
    until(lambda: done(project) >= 10, night)
    power_fails(project, night)
    finished = done(project)
    assert night.returncode == -signal.SIGKILL
    assert "failed" not in project.read("nohup.out")
    assert finished < len(TASKS) and not (project.path / "model.json").exists()

    # In the morning it is resumed, interrupted once more for something urgent, and resumed again.
    morning = left_alone(project)
    until(lambda: done(project) >= min(finished + 2, len(TASKS) - 1), morning)
    morning.send_signal(signal.SIGINT)
    assert morning.wait(timeout=30) == 130
    assert "interrupted" in project.read("nohup.out")
    (project.path / "hold").unlink()
    events = project.events("-j2")

    ran = [event["label"] for event in events if event["event"] == "ran"]
    assert len(ran) <= len(TASKS) - finished + 2, "what was done stays done"
    again = sorted(line for line in set(lines(project)) if lines(project).count(line) > 1)
    assert len(again) <= 4, "at most what was running or about to be stored is done twice"
    assert set(lines(project)) == set(TASKS)
    assert [event["event"] for event in project.events()].count("ran") == 0
    assert outputs(project) == of_a_quiet_night()


def write(project: Any) -> None:
    project.merklfile(MERKLFILE)
    for n in range(2):
        project.write(f"notes/{n}.json", f'"note {n}"\n')


def left_alone(project: Any) -> "subprocess.Popen[bytes]":
    """A build in the background that its user has turned away from, as from ``nohup merkl build -j2 &``."""
    with open(project.path / "nohup.out", "ab") as out:
        process = subprocess.Popen(
            ["nohup", sys.executable, "-m", "merkl", "build", "-j2"], cwd=project.path, stdin=subprocess.DEVNULL,
            stdout=out, stderr=out, process_group=0,  # As an interactive shell starts it; that of an orphan cannot be suspended.
        )  # fmt: skip
    resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    return process


def power_fails(project: Any, night: "subprocess.Popen[bytes]") -> None:
    """Everything that works in the project is gone at once: merkl, its workers, its commands."""
    night.kill()
    night.wait(timeout=30)
    for _ in range(3):  # A command that is just being started has not come to its directory yet.
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(entry / "cwd") == str(project.path) and int(entry.name) != os.getpid():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue
        time.sleep(0.05)


def until(condition: Callable[[], bool], build: "subprocess.Popen[bytes]", within: float = 60.0) -> None:
    """Wait for something to become true while a build goes on."""
    deadline = time.monotonic() + within
    while not condition():
        assert build.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def lines(project: Any) -> list[str]:
    """What said that it was done."""
    path = project.path / "done"
    return path.read_text().splitlines() if path.exists() else []


def done(project: Any) -> int:
    return len(lines(project))


def state(pid: int) -> str:
    """As the kernel has it: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def outputs(project: Any) -> dict[str, str]:
    """What the build made, by path."""
    files = [
        *project.path.glob("*.txt"),
        *project.path.glob("*.json"),
        *project.path.glob("checkpoints/*.json"),
    ]
    return {str(file.relative_to(project.path)): file.read_text() for file in files}


def of_a_quiet_night() -> dict[str, str]:
    """What it would have made if nothing had happened."""
    model = [sum(range(6)) * (n + 1) for n in range(9)]
    checkpoints = {f"checkpoints/{n:02d}.json": written(model[: n + 1]) for n in range(9)}
    return {**checkpoints, "model.json": written(model), "summary.txt": '"note 0"\n"note 1"\n'}


def written(model: list[int]) -> str:
    return json.dumps(model) + "\n"

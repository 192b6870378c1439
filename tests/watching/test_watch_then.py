"""``merkl watch --then``: a command that is started again after each good build; and what people see."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from watched_projects import UPPER

from merkl.cli.notify import notify
from merkl.watching.command import Command


def until(holds, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def started(path):
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return [int(word) for word in path.read_text().split()]


def test_the_whole_group_of_a_command_is_ended_before_it_is_started_again(tmp_path):
    command = Command("sleep 61 & echo $$ $! > pids; wait", str(tmp_path))
    command.restart()
    first = started(tmp_path / "pids")
    (tmp_path / "pids").unlink()

    command.restart()
    second = started(tmp_path / "pids")

    assert [is_alive(pid) for pid in (*first, *second)] == [False, False, True, True]
    command.stop()
    assert not any(is_alive(pid) for pid in second)
    command.stop()


def test_what_ignores_sigterm_is_killed_and_what_left_the_group_goes_too(tmp_path):
    command = Command(
        "trap '' TERM; setsid sleep 61 & echo $$ $! > pids; while :; do sleep 0.1; done",
        str(tmp_path),
        grace=0.3,
    )
    command.restart()
    pids = started(tmp_path / "pids")

    command.stop()

    assert not is_alive(pids[0])
    until(lambda: not is_alive(pids[1]))


def test_a_command_that_has_ended_by_itself_says_how(tmp_path):
    command = Command("exit 3", str(tmp_path))
    assert command.ended() is None
    command.restart()
    until(lambda: command.ended() is not None)

    assert command.ended() == 3
    command.stop()


def test_the_command_follows_good_builds_only_and_ends_with_the_watch(project, watch):
    project.merklfile(UPPER)
    project.write("src/a.txt", "a")
    watching = watch("--then", "cat out/a.txt >> ran; echo $$ > pid; exec sleep 61")
    first = started(project.path / "pid")[0]

    project.merklfile(UPPER.replace("tr a-z", "exit 1; tr a-z"))
    assert not watching.round()["ok"]
    assert is_alive(first)
    project.merklfile(UPPER)
    project.write("src/a.txt", "b")
    watching.rounds()
    until(lambda: started(project.path / "pid")[0] != first)
    second = started(project.path / "pid")[0]

    assert not is_alive(first)
    assert project.read("ran") == "AB"
    assert watching.end(signal.SIGTERM) == (0, "")
    assert not is_alive(second)


def test_a_second_signal_has_no_patience_with_the_command_and_leaves_none_of_it_either(project, watch):
    project.merklfile(UPPER)
    watching = watch("--then", "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done")
    command = started(project.path / "pid")[0]

    watching.process.send_signal(signal.SIGINT)
    time.sleep(0.5)  # So that it waits for the command.
    assert watching.end(signal.SIGTERM)[0] == 130

    assert not is_alive(command)


def test_people_get_one_line_a_round(project):
    project.merklfile(UPPER)
    project.write("src/a.txt", "a")
    with project.popen("watch", stderr=subprocess.STDOUT) as watching:
        lines = [watching.stdout.readline() for _ in range(2)]
        project.write("src/a.txt", "b")
        lines.append(watching.stdout.readline())
        project.write("out/a.txt", "mine")
        lines += [watching.stdout.readline() for _ in range(2)]
        (project.path / "src/a.txt").unlink()
        lines.append(watching.stdout.readline())
        watching.send_signal(signal.SIGINT)
        assert (watching.stdout.read(), watching.wait(60)) == ("", 0)

    shown = [line.strip().rpartition(", ")[0] or line.strip() for line in lines]
    assert shown == [
        "first build: 1 task ran (upper out/a.txt)",
        "watching 5 files and 1 pattern; Ctrl-C ends it",
        "src/a.txt changed: 1 task ran (upper out/a.txt)",
        "saved your edited out/a.txt before replacing it; bring it back with: merkl restore out/a.txt",
        "out/a.txt changed: 1 output placed",
        "src/a.txt changed: nothing to run",
    ]


def test_streams_that_are_closed_end_no_build(project):
    project.merklfile(UPPER + '    print("to nobody")')
    project.write("src/a.txt", "a")
    command = f"exec '{sys.executable}' -m merkl watch >&- 2>&-"
    watching = subprocess.Popen(["bash", "-c", command], cwd=project.path)
    try:
        until(lambda: (project.path / "out/a.txt").exists())
        project.write("src/a.txt", "b")
        until(lambda: project.read("out/a.txt") == "B")
    finally:
        watching.send_signal(signal.SIGINT)
        watching.wait(60)


@pytest.mark.parametrize(
    ("words", "headline"),
    [
        (["--force"], "--force makes no sense for a watch"),
        (["--debounce", "-1"], "invalid value for '--debounce'"),
        (["-C", "nowhere"], "-C nowhere: there is no such directory"),
    ],
)
def test_what_makes_no_sense_is_refused(inside, words, headline):
    inside.merklfile(UPPER)

    assert inside.merkl("watch", *words, code=2).stderr.startswith(headline)


class Terminal:
    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_a_notification_goes_to_the_desktop_or_else_to_the_terminal(tmp_path, monkeypatch):
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {tmp_path}/told\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    terminal = Terminal()

    monkeypatch.setenv("DISPLAY", ":0")
    notify("built", terminal)
    assert ((tmp_path / "told").read_text(), terminal.text) == ("--app-name=merkl|merkl|built|", "")
    monkeypatch.delenv("DISPLAY")
    notify("built", terminal)
    assert terminal.text == "\x1b]9;built\x07\a"

"""The live display on a real terminal's end, and the bytes that come out of the other."""

import os
import re
import sys
import termios
import threading
import time

import pytest

from merkl import events, gauge
from merkl.errors import TaskFailed
from merkl.report import hashed, live, moving
from merkl.report.color import PLAIN, can_redraw
from merkl.report.hashed import HashingBar
from merkl.report.lines import Lines, Shown
from merkl.report.live import Live
from merkl.snapshot import recorder

MARK = b"\x00all read\x00"


class Terminal:
    """A terminal of 60 columns and 12 rows, read from its other end."""

    def __init__(self):
        self.master, slave = os.openpty()
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        termios.tcsetwinsize(slave, (12, 60))
        self._written = bytearray()
        self._reader = threading.Thread(target=self._take, daemon=True)
        self._reader.start()

    def _take(self):
        while True:
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:  # The last of those who could write has closed it.
                return
            self._written += data

    def read(self):
        """What was written since the last time."""
        os.write(self.stream.fileno(), MARK)  # It comes out behind everything else, however long that takes.
        while not self._written.endswith(MARK):
            time.sleep(0.001)
        found = self._written[: -len(MARK)].decode()
        self._written.clear()
        return found

    def close(self):
        self.stream.close()
        self._reader.join()
        os.close(self.master)


@pytest.fixture
def terminal():
    opened = Terminal()
    yield opened
    opened.close()


def live_on(terminal, err=None):
    def lines(out, err):
        return Lines(out, err, "", Shown(), PLAIN)

    return Live(lines, terminal.stream, err or terminal.stream, PLAIN)


@pytest.fixture
def shown(terminal):
    display = live_on(terminal)
    yield display
    display.close()


def started(node, label="train", inline=False):
    return events.Started(node, label, "log", 1, "", inline)


def due(display):
    """A tick that finds that the last frame was long ago."""
    display._drawn_at -= live.FRAME_S
    display.tick()


CLEAR = "\r\x1b[2K \x1b[J\r"
BLOCK = re.compile(
    r"\x1b\[\?2026h\x1b\[\?25l(.*?)\r\x1b\[\?7l(.*?)\x1b\[J(?:\x1b\[\d+A)?\r\x1b\[\?7h\x1b\[\?2026l", re.S
)


def test_a_frame_is_what_scrolls_up_and_the_block_below_it(terminal, shown, node, other):
    shown.report(events.BuildStarted("0", 3, 2, [], 2, {node: 5.0, other: 1.0}))
    shown.report(started(node))
    shown.report(events.Ran(other, "report", 1.0, ""))
    due(shown)

    [(above, block)] = BLOCK.findall(terminal.read())
    assert above == CLEAR + "[1/3] report  1.0s\r\n"
    head, row = block.split("\x1b[K\r\r\n")  # The terminal makes two of a newline.
    assert head == "[1/3] 1 running, about 5.0s left"
    assert re.fullmatch(r"   0\.\ds of 5\.0s    train", row)


def test_the_end_of_a_build_leaves_the_lines_and_a_visible_cursor(terminal, shown, node):
    shown.report(started(node))
    due(shown)
    terminal.read()

    shown.report(events.Ran(node, "train", 1.0, ""))
    shown.report(events.BuildDone(1, 0, 0, 0, 0, 1.0, 0.0))

    assert terminal.read() == CLEAR + "[1/1] train  1.0s\r\n1 task: 1 ran in 1.0s\r\n\x1b[?7h\x1b[?25h"
    shown.close()
    assert terminal.read() == ""


def test_a_display_that_is_closed_in_the_middle_leaves_no_block_and_a_visible_cursor(terminal, shown, node):
    shown.report(started(node))
    due(shown)
    terminal.read()

    shown.close()

    assert terminal.read() == CLEAR + "\x1b[?7h\x1b[?25h"


def test_frames_are_drawn_ten_times_a_second_at_most(terminal, shown, node):
    begun = time.monotonic()
    while time.monotonic() - begun < 0.5:
        shown.report(started(node))
        shown.tick()
        shown.report(events.Ran(node, "train", 0.0, ""))

    assert len(BLOCK.findall(terminal.read())) <= 5


def test_a_frame_that_would_look_the_same_is_not_written(terminal, shown, node):
    for _ in range(5):
        due(shown)

    assert len(BLOCK.findall(terminal.read())) == 1


def test_a_failure_can_be_seen_at_once(terminal, shown, node):
    shown.report(events.Failed(node, "train", TaskFailed("train failed"), 1.0, ""))

    assert "failed train  1.0s\r\n  train failed\r\n" in terminal.read()


def test_a_task_that_runs_right_here_is_shown_before_it_begins(terminal, shown, node):
    shown.report(started(node, inline=True))

    assert re.search(r" since \d\d:\d\d:\d\d  train", terminal.read())


def test_a_thousand_short_tasks_that_run_right_here_do_not_make_a_thousand_frames(terminal, shown, node):
    for _ in range(1000):
        shown.report(started(node, inline=True))
        shown.report(events.Ran(node, "train", 0.0, ""))
        shown.tick()

    assert len(BLOCK.findall(terminal.read())) < 50


def test_a_task_that_has_the_terminal_finds_it_free_and_the_block_comes_back_below(terminal, shown, node):
    shown.report(started(node))
    due(shown)
    terminal.read()

    shown.pause()
    assert terminal.read() == CLEAR + "\x1b[?7h\x1b[?25h"
    due(shown)
    shown.report(events.Failed(node, "train", TaskFailed("train failed"), 1.0, ""))
    assert terminal.read() == ""

    shown.resume()
    due(shown)
    text = terminal.read()
    assert text.startswith(" " * 59 + "\r\x1b[K")  # A row of its own, wherever the task left the cursor.
    assert "train failed" in text


def test_what_somebody_else_in_the_process_prints_stays_above_the_block(terminal, monkeypatch, node):
    monkeypatch.setattr(sys, "stdout", terminal.stream)
    display = live_on(terminal)
    try:
        display.report(started(node))
        print("from a callback")
        due(display)
        assert BLOCK.findall(terminal.read())[0][0] == CLEAR + "from a callback\r\n"
        print("no end", end="")
    finally:
        display.close()
    assert terminal.read() == CLEAR + "no end\r\n\x1b[?7h\x1b[?25h"
    assert sys.stdout is terminal.stream


def test_failures_go_where_stderr_goes(terminal, tmp_path, node):
    with open(tmp_path / "err", "w") as err:
        display = live_on(terminal, err)
        display.report(events.Failed(node, "train", TaskFailed("train failed"), 1.0, ""))
        display.close()

    assert (tmp_path / "err").read_text() == "[1/1] failed train  1.0s\n  train failed\n"
    assert "train failed" not in terminal.read()


def test_a_terminal_that_was_closed_does_not_end_the_build(node):
    master, slave = os.openpty()
    with open(slave, "w") as stream:
        display = Live(lambda out, err: Lines(out, err, "", Shown(), PLAIN), stream, stream, PLAIN)
        os.close(master)
        display.report(started(node))
        due(display)
        display.report(events.BuildDone(1, 0, 0, 0, 0, 1.0, 0.0))
        display.close()


def test_while_the_building_thread_hashes_the_head_says_how_much(terminal, shown, node):
    """No tick comes then."""
    shown.report(events.BuildStarted("0", 1, 1, [], 1, {}))
    shown.report(started(node))
    terminal.read()
    gauge.expect(4_000_000)
    shown._drawn_at -= live.FRAME_S
    gauge.came(1_000_000)

    assert "[0/1] 1 running, hashing 1.0 MB of 4.0 MB" in terminal.read()

    gauge.came(3_000_000)
    due(shown)
    assert "hashing" not in terminal.read()
    shown.report(events.BuildDone(1, 0, 0, 0, 0, 1.0, 0.0))
    shown._drawn_at -= live.FRAME_S
    gauge.expect(5)
    gauge.came(1)
    assert "hashing" not in terminal.read()  # It looks on no more.


def patient(monkeypatch, seconds):
    monkeypatch.setattr(hashed, "_PATIENCE_S", seconds)
    monkeypatch.setattr(hashed, "FRAME_S", 0.0)


def test_hashing_before_a_build_is_a_bar_that_leaves_nothing(terminal, monkeypatch):
    patient(monkeypatch, 0.0)
    monkeypatch.setattr(sys, "stdout", terminal.stream)
    bar = HashingBar(terminal.stream, sys.stderr, PLAIN)

    bar.told(1_000_000, 4_000_000)
    print("a Merklfile prints")
    bar.told(2_000_000, 4_000_000)
    text = terminal.read()
    bar.close()

    assert "25%  hashing 1.0 MB of 4.0 MB" in text
    assert CLEAR + "a Merklfile prints\r\n" in text
    assert sys.stdout is terminal.stream
    assert terminal.read().endswith("\x1b[?25h")


def test_what_is_hashed_at_once_is_not_shown(terminal, monkeypatch):
    patient(monkeypatch, 60.0)
    bar = HashingBar(terminal.stream, sys.stderr, PLAIN)
    bar.told(1, 2)
    bar.told(2, 2)
    bar.close()

    assert terminal.read() == ""


def test_what_a_merklfile_prints_above_a_bar_leaves_no_snapshot(terminal, monkeypatch):
    """It would be missing from the answer."""
    patient(monkeypatch, 0.0)
    monkeypatch.setattr(sys, "stdout", terminal.stream)
    recording = recorder.start(())
    try:
        bar = HashingBar(terminal.stream, sys.stderr, PLAIN)
        bar.told(1, 2)
        assert not recording.spoiled
        print("x")
        bar.close()
    finally:
        recorder.stop()
    assert "printed" in recording.spoiled


def test_a_pull_that_hashes_what_is_there_says_so(terminal, monkeypatch):
    monkeypatch.setattr(moving, "_PATIENCE_S", 0.0)
    bar = moving.Bar(terminal.stream, "pulling", PLAIN)
    bar.hashed(1_000_000, 2_000_000)
    assert "hashing 1.0 MB of 2.0 MB" in terminal.read()
    bar._drawn_at = 0.0
    bar.expect(100)
    bar.came(100)
    bar.hashed(2_000_000, 2_000_000)
    bar.close()
    assert "hashing" not in terminal.read()


@pytest.mark.parametrize(
    ("environ", "expected"), [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({}, False)]
)
def test_only_a_terminal_with_a_cursor_gets_a_block(terminal, environ, expected, monkeypatch):
    monkeypatch.setattr(os, "isatty", lambda fd: True)

    assert can_redraw(terminal.stream, environ) is expected

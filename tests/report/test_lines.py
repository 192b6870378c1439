"""Plain lines, from real events; live output from real files."""

import io
import os

import pytest

from merkl import events
from merkl.errors import TaskFailed
from merkl.report import printed
from merkl.report.color import painter, wanted
from merkl.report.lines import Lines, Shown


class Told:
    """Lines and what they wrote."""

    def __init__(self, root="", shown=None, colored=False):
        self.out, self.err = io.StringIO(), io.StringIO()
        self.lines = Lines(self.out, self.err, str(root), shown or Shown(), painter(colored))

    def tell(self, *told):
        for event in told:
            self.lines.report(event)
        return self

    @property
    def text(self):
        return self.out.getvalue()


def done(**counts):
    every = {"ran": 0, "cached": 0, "cutoff": 0, "failed": 0, "skipped": 0, "seconds": 1.0, "saved": 0.0}
    return events.BuildDone(**{**every, **counts})


def test_a_task_that_ran_is_one_line_with_its_place_in_the_build(node):
    told = Told().tell(
        events.BuildStarted("00000000", 14, 2, []),
        events.Started(node, "train build/model.json", "log", 1, "runs: forced"),
        events.Ran(node, "train build/model.json", 1.2, ""),
    )

    assert told.text == "[1/14] train build/model.json  1.2s\n"


def test_what_is_cached_or_cut_off_or_skipped_is_told_only_if_asked_for(node):
    happened = [
        events.Cached(node, "a", 60.0),
        events.CutOff(node, "b", 0.0),
        events.Skipped(node, "c", "a\nb"),
        events.Placed(node, "a", "out/a"),
    ]

    assert Told().tell(*happened).text == ""
    assert Told(shown=Shown(verbose=True)).tell(*happened).text == (
        "[1/1] cached a: it ran before with the same code and inputs  (saves 1m)\n"
        "[2/2] cut off b: its inputs have the same bytes as before\n"
        "[3/3] skipped c: it needs a\\nb\n"
        "        placed out/a\n"
    )


def test_the_reason_for_each_decision_is_told_if_asked_for(node):
    told = Told(shown=Shown(verbose=True)).tell(events.Started(node, "train", "log", 1, "runs: forced"))

    assert told.text == "        train runs: forced\n"


def test_a_failure_goes_to_stderr_with_everything_its_error_says(node):
    error = TaskFailed("train failed: exit code 3", output="first\n\x1b]0;x\x07", hint="look at it")
    told = Told(shown=Shown("quiet")).tell(
        events.BuildStarted("00000000", 2, 2, []),
        events.Failed(node, "train", error, 0.5, "log"),
        done(failed=1),
    )

    assert told.text == ""
    assert told.err.getvalue() == (
        "[1/2] failed train  0.5s\n"
        "  train failed: exit code 3\n"
        "    output:\n"
        "      first\n"
        "      ^[]0;x^G\n"
        "    hint: look at it\n"
    )


def test_an_unexpected_exception_of_a_task_keeps_its_traceback(node):
    try:
        raise RuntimeError("unexpected")
    except RuntimeError as error:
        told = Told().tell(events.Failed(node, "train", error, 0.0, ""))

    assert "test_lines.py" in told.err.getvalue()
    assert told.err.getvalue().endswith("RuntimeError: unexpected\n")


def test_a_saved_edit_is_told_with_the_command_that_brings_it_back():
    told = Told().tell(events.Saved("report.html"), events.Saved("my report.html"))

    assert told.text.splitlines() == [
        "saved your edited report.html before replacing it; bring it back with: merkl restore report.html",
        "saved your edited my report.html before replacing it; bring it back with: merkl restore 'my report.html'",
    ]


def test_waiting_and_retrying_and_notes_are_told(node):
    told = Told().tell(
        events.Waiting(node, "train", "train in process 12 on host, since 12:01:00 UTC"),
        events.Retrying(node, "train", 1, 0.5, "train failed: exit code 1"),
        events.Note("the index was damaged", "nothing to do"),
    )

    assert told.text.splitlines() == [
        "waiting for train, which runs elsewhere: train in process 12 on host, since 12:01:00 UTC",
        "train: attempt 1 failed, another follows in 0.5s: train failed: exit code 1",
        "note: the index was damaged",
        "  hint: nothing to do",
    ]


def test_what_a_task_did_not_declare_is_told_up_to_twenty_lines_of_it(node):
    uses = [events.Use("read", f"f{n}", "lib.py:3" if n == 0 else "", "deps=[…]") for n in range(22)]
    faint = [events.Use("sought", "gone.ini")]

    told = Told().tell(
        events.Undeclared(node, "train", uses, faint), events.Undeclared(node, "train", uses, [], strict=True)
    )

    first, second, *_, last = told.text.splitlines()
    assert first == "train does not declare all that it uses:"
    assert second == "        read f0 (lib.py:3): deps=[…]"
    assert last == "        and 2 more, which --json shows"
    assert len(told.text.splitlines()) == 22


def test_interrupted_tasks_are_listed():
    told = Told().tell(done(interrupted=["train build/a", "", "report"]))

    assert told.text == "2 tasks: 2 interrupted in 1.0s\n"
    assert told.err.getvalue() == "interrupted: train build/a, report\n"


def test_a_build_that_was_interrupted_while_nothing_ran_says_so():
    told = Told().tell(done(interrupted=[""]))

    assert told.err.getvalue() == "interrupted\n"


def test_without_progress_only_the_last_line_is_left(node):
    told = Told(shown=Shown(endings=False)).tell(events.Ran(node, "train", 1.0, ""), done(ran=1))

    assert told.text == "1 task: 1 ran in 1.0s\n"


def test_colors_begin_and_end_on_their_line(node):
    told = Told(colored=True).tell(events.Ran(node, "train", 1.0, ""), done(ran=1))

    for line in told.text.splitlines():
        assert line.count("\x1b[") == 2 * line.count("\x1b[0m") > 0


@pytest.mark.parametrize(
    ("when", "environ", "colored"),
    [("auto", {}, False), ("always", {"NO_COLOR": "1"}, True), ("never", {"FORCE_COLOR": "1"}, False),
     ("auto", {"FORCE_COLOR": "1"}, True), ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)  # fmt: skip
def test_an_option_decides_on_colors_then_the_environment_then_the_stream(when, environ, colored):
    assert wanted(when, io.StringIO(), environ) is colored


def test_a_terminal_gets_colors_unless_it_is_dumb():
    _, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal:
        assert wanted("auto", terminal, {"TERM": "xterm"})
        assert not wanted("auto", terminal, {"TERM": "dumb"})
        assert not wanted("auto", terminal, {"TERM": "xterm", "NO_COLOR": "1"})


def test_a_reader_that_is_gone_does_not_end_the_build(node):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", closefd=False) as out:
        told = Lines(out, out, "")
        told.report(events.Ran(node, "train", 1.0, ""))
        told.report(done(ran=1))
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)
    os.close(write)


# ---- live output ------------------------------------------------------------------------------------------------------


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(printed, "ALONE_S", 0.0)


def started(tmp_path, node, label="train"):
    (tmp_path / label).mkdir()
    (tmp_path / label / "log").write_bytes(b"")
    return events.Started(node, label, f"{label}/log", 1, "")


def test_the_output_of_the_only_task_that_runs_is_shown_as_it_comes(tmp_path, node, at_once):
    told = Told(tmp_path).tell(started(tmp_path, node))
    log = tmp_path / "train" / "log"

    told.lines.tick()
    assert told.text == ""
    log.write_bytes(b"one\ntw")
    told.lines.tick()
    assert told.text == "train prints:\none\n"
    log.write_bytes(b"one\ntwo\n\x1b[2Jthree")
    told.lines.tick()
    assert told.text == "train prints:\none\ntwo\n"
    log.unlink()
    told.tell(events.Ran(node, "train", 2.5, ""))

    assert told.text == "train prints:\none\ntwo\n^[[2Jthree\n[1/1] train  2.5s\n"


def test_output_is_not_shown_before_a_task_has_been_alone_for_two_seconds(tmp_path, node):
    told = Told(tmp_path).tell(started(tmp_path, node))
    (tmp_path / "train" / "log").write_bytes(b"one\n")

    told.lines.tick()
    told.tell(events.Ran(node, "train", 0.1, ""))

    assert printed.ALONE_S == 2.0
    assert told.text == "[1/1] train  0.1s\n"


def test_output_is_not_shown_while_another_task_runs_and_goes_on_afterwards(tmp_path, node, other, at_once):
    told = Told(tmp_path).tell(started(tmp_path, node))
    log = tmp_path / "train" / "log"
    log.write_bytes(b"one\n")
    told.lines.tick()

    told.tell(started(tmp_path, other, "report"))
    log.write_bytes(b"one\ntwo\n")
    told.lines.tick()
    assert told.text == "train prints:\none\n"

    told.tell(events.Ran(other, "report", 0.1, ""))
    told.lines.tick()
    assert told.text == "train prints:\none\n[1/1] report  0.1s\ntrain prints:\ntwo\n"
    told.lines.close()


def test_a_value_that_goes_to_stdout_is_shown_once_though_the_log_gets_a_copy(tmp_path, node, at_once):
    told = Told(tmp_path).tell(started(tmp_path, node))
    (tmp_path / "train" / "log").write_bytes(b"to stderr\n")
    (tmp_path / "train" / "stdout").write_bytes(b"the value\n")
    told.lines.tick()

    (tmp_path / "train" / "log").write_bytes(b"to stderr\nthe value\n")
    told.tell(events.Ran(node, "train", 2.5, ""))

    assert told.text == "train prints:\nto stderr\nthe value\n[1/1] train  2.5s\n"


@pytest.mark.parametrize("well", [True, False])
def test_what_was_printed_to_a_log_that_is_elsewhere_in_the_end_is_shown(tmp_path, node, well):
    told = Told(tmp_path, Shown(output="live")).tell(events.Started(node, "train", "asked/log", 1, ""))
    told.lines.tick()
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "log").write_bytes(b"one\n")

    if well:
        told.tell(events.Ran(node, "train", 0.1, "got/log"))
    else:
        told.tell(events.Failed(node, "train", TaskFailed("bad"), 0.1, "got/log"))

    assert "train | one\n" in told.text


def test_nothing_is_shown_live_if_only_failures_are_wanted(tmp_path, node, at_once):
    told = Told(tmp_path, Shown("quiet")).tell(started(tmp_path, node))
    (tmp_path / "train" / "log").write_bytes(b"one\n")

    told.lines.tick()

    assert told.text == ""

"""When what tasks print is shown: with ``-o each`` once they have ended, with ``live`` as it comes, with ``quiet`` never."""

import io

import pytest

from merkl import events
from merkl.bash.task import bash_task
from merkl.errors import TaskFailed
from merkl.report import printed
from merkl.report.color import PLAIN
from merkl.report.lines import Lines, Shown


class Build:
    """Lines of a build whose tasks print to real files."""

    def __init__(self, root, **shown):
        self.root = root
        self.out, self.err = io.StringIO(), io.StringIO()
        self.lines = Lines(self.out, self.err, str(root), Shown(**shown), PLAIN)

    def start(self, node, label):
        (self.root / label).mkdir()
        self.lines.report(events.Started(node, label, f"{label}/log", 1, ""))

    def print(self, label, data):
        with open(self.root / label / "log", "ab") as log:
            log.write(data)
        self.lines.tick()

    def end(self, node, label, printed=True):
        self.lines.report(events.Ran(node, label, 1.0, f"{label}/log" if printed else ""))

    @property
    def text(self):
        return self.out.getvalue()


def test_each_shows_the_output_of_a_task_below_its_line_when_it_has_ended(tmp_path, node, other):
    build = Build(tmp_path)
    build.start(node, "train")
    build.start(other, "report")
    build.print("train", b"one\n")
    build.print("report", b"half a line\x1b[2J")
    build.print("train", b"two\n")
    assert build.text == ""

    build.end(other, "report")
    build.end(node, "train")

    assert build.text == (
        "[1/1] report  1.0s\n"
        "  half a line^[[2J\n"
        "[2/2] train  1.0s\n"
        "  one\n"
        "  two\n"
    )  # fmt: skip


def test_what_was_shown_while_a_task_was_alone_is_not_shown_again(tmp_path, node, other, monkeypatch):
    monkeypatch.setattr(printed, "ALONE_S", 0.0)
    build = Build(tmp_path)
    build.start(node, "train")
    build.print("train", b"one\n")
    build.start(other, "report")
    build.print("train", b"two\n")
    build.end(node, "train")

    assert build.text == "train prints:\none\n[1/1] train  1.0s\n  two\n"


def test_a_task_that_printed_nothing_is_one_line(tmp_path, node):
    build = Build(tmp_path)
    build.start(node, "train")
    build.end(node, "train", printed=False)

    assert build.text == "[1/1] train  1.0s\n"


def test_without_a_line_for_each_task_its_output_has_a_header(tmp_path, node):
    build = Build(tmp_path, endings=False)
    build.start(node, "train")
    build.print("train", b"one\n")
    build.end(node, "train")

    assert build.text == "train prints:\none\n"


def test_live_shows_each_line_as_it_comes_with_its_task_before_it(tmp_path, node, other):
    build = Build(tmp_path, output="live")
    build.start(node, "train")
    build.start(other, "report")
    build.print("train", b"one\nhal")
    build.print("report", b"\rten %\r\x1b[31mtwenty %\n")
    build.print("train", b"f\n\n")
    build.print("report", b"no end")
    build.end(other, "report")
    build.end(node, "train")

    assert build.text == (
        "train | one\n"
        "report | \n"
        "report | ten %\n"
        "report | twenty %\n"
        "train | half\n"
        "train | \n"
        "report | no end\n"
        "[1/1] report  1.0s\n"
        "[2/2] train  1.0s\n"
    )


def test_live_shows_a_task_that_ended_before_anybody_looked_and_one_that_failed(tmp_path, node, other):
    build = Build(tmp_path, output="live")
    build.start(node, "train")
    (tmp_path / "train/log").write_bytes(b"quick\n")
    build.end(node, "train")
    build.start(other, "report")
    (tmp_path / "report/log").write_bytes(b"oops\n")
    build.lines.report(events.Failed(other, "report", TaskFailed("report failed"), 1.0, "report/log"))

    assert build.text == "train | quick\n[1/1] train  1.0s\nreport | oops\n"
    assert build.err.getvalue() == "[2/2] failed report  1.0s\n  report failed\n"


def test_quiet_shows_failures_only(tmp_path, node, other):
    build = Build(tmp_path, output="quiet")
    build.start(node, "train")
    build.print("train", b"one\n")
    build.end(node, "train")
    build.lines.report(events.Failed(other, "report", TaskFailed("report failed"), 1.0, "report/log"))

    assert build.text == ""
    assert build.err.getvalue() == "[2/2] failed report  1.0s\n  report failed\n"


def test_a_result_that_goes_to_stdout_is_no_output(tmp_path, project):
    node = bash_task("echo 7; echo hint >&2", stdout="json", name="count")().node
    build = Build(tmp_path)
    build.start(node, "count")
    (tmp_path / "count/stdout").write_bytes(b"7\n")
    (tmp_path / "count/log").write_bytes(b"hint\n7\n")  # As it is when the task has ended.
    build.end(node, "count")

    assert build.text == "[1/1] count  1.0s\n  hint\n"


def test_the_stdout_of_a_task_without_outputs_is_a_result_if_somebody_uses_it(tmp_path, project):
    node = bash_task("echo 7; echo hint >&2", name="count")().node
    for used, text in ((True, "  hint\n"), (False, "  hint\n  7\n")):
        build = Build(tmp_path / str(used))
        (tmp_path / str(used) / "count").mkdir(parents=True)
        build.lines.report(events.Started(node, "count", "count/log", 1, "", used=used))
        (build.root / "count/stdout").write_bytes(b"7\n")
        (build.root / "count/log").write_bytes(b"hint\n7\n")
        build.end(node, "count")

        assert build.text == f"[1/1] count  1.0s\n{text}"


def test_a_secret_is_shown_in_no_way(tmp_path, project, monkeypatch):
    monkeypatch.setenv("TOKEN", "hunter2")
    node = bash_task("echo {secret_arg('TOKEN')}", name="login")().node
    for output in ("each", "live"):
        (tmp_path / output).mkdir()
        build = Build(tmp_path / output, output=output)
        build.start(node, "login")
        build.print("login", b"token hunter2\n")
        build.end(node, "login")

        assert "token ***" in build.text
        assert "hunter2" not in build.text


@pytest.mark.parametrize("output", ["each", "live"])
def test_of_a_long_output_the_end_is_shown_and_how_much_is_not(tmp_path, node, output):
    build = Build(tmp_path, output=output)
    build.start(node, "train")
    (tmp_path / "train/log").write_bytes(b"line\n" * 1_000_000 + b"the end\n")
    build.end(node, "train")

    assert "4.0 MB are left out here" in build.text.replace("3.9 MB", "4.0 MB")
    assert "the end" in build.text
    assert len(build.text) < 5_000_000

"""The list of what a build runs now, as another process sees it."""

import os
import time

from merkl import events
from merkl.engine.evaluating import Quiet
from merkl.report.running import MOMENT, Listed, Running, running_tasks
from merkl.store.builds import register_build


def test_only_what_runs_now_in_a_live_build_is_listed(tmp_path, node, other):
    (tmp_path / "run").mkdir()
    lease = register_build(str(tmp_path))
    reporter = Listed(str(tmp_path), Quiet())
    reporter.report(events.BuildStarted(lease.id, 2, 2, []))
    assert running_tasks(str(tmp_path)) == []

    reporter.report(events.Started(node, "train", "a/log", 1, ""))
    reporter.report(events.Started(other, "report\n2", "b/log", 1, ""))
    assert running_tasks(str(tmp_path)) == [Running("train", "a/log"), Running("report\n2", "b/log")]

    reporter.report(events.Ran(node, "train", 1.0, ""))
    assert running_tasks(str(tmp_path)) == [Running("report\n2", "b/log")]

    lease.close()
    assert running_tasks(str(tmp_path)) == []
    reporter.close()
    assert os.listdir(tmp_path / "run") == []


def test_of_brief_calls_only_those_are_listed_that_run_for_a_moment(tmp_path, node):
    (tmp_path / "run").mkdir()
    lease = register_build(str(tmp_path))
    reporter = Listed(str(tmp_path), Quiet())
    reporter.report(events.BuildStarted(lease.id, 2, 2, []))
    for _ in range(2):
        reporter.report(events.Started(node, "train", "a/log", 1, ""))
        reporter.report(events.Ran(node, "train", MOMENT / 2, ""))
    assert (tmp_path / "run" / f"{lease.id}-tasks").read_text().count("train") == 2

    reporter.report(events.Started(node, "train", "b/log", 1, ""))
    reporter.report(events.Started(node, "right here", "c/log", 1, "", inline=True))
    assert running_tasks(str(tmp_path)) == [Running("right here", "c/log")]
    time.sleep(MOMENT)
    reporter.tick()
    assert running_tasks(str(tmp_path)) == [Running("right here", "c/log"), Running("train", "b/log")]
    reporter.report(events.Ran(node, "train", 2 * MOMENT, ""))
    reporter.report(events.Started(node, "train", "d/log", 1, ""))
    assert running_tasks(str(tmp_path))[-1] == Running("train", "d/log")
    reporter.close()
    lease.close()


def test_the_end_of_what_has_no_name_is_not_listed(tmp_path, node):
    (tmp_path / "run").mkdir()
    lease = register_build(str(tmp_path))
    reporter = Listed(str(tmp_path), Quiet())
    reporter.report(events.BuildStarted(lease.id, 1, 1, []))
    reporter.report(events.Started(node, "train", "a/log", 1, ""))
    listed = (tmp_path / "run" / f"{lease.id}-tasks").read_text()

    reporter.report(events.Ran(node, "", 1.0, ""))

    assert (tmp_path / "run" / f"{lease.id}-tasks").read_text() == listed
    reporter.close()
    lease.close()


def test_a_build_that_cannot_write_the_list_goes_on(tmp_path, node):
    told = Quiet()
    reporter = Listed(str(tmp_path / "nowhere"), told)
    error = RuntimeError("x")

    reporter.report(events.BuildStarted("00000000", 1, 1, []))
    reporter.report(events.Started(node, "train", "a/log", 1, ""))
    reporter.report(events.Failed(node, "train", error, 1.0, ""))
    reporter.close()

    assert told.errors == [error]

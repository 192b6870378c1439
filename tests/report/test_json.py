"""Objects on lines."""

import io
import json
import os
import typing

import pytest

from merkl import __version__, events
from merkl.errors import TaskFailed
from merkl.report.json import JsonLines, error_object


def objects(*told):
    out = io.StringIO()
    reporter = JsonLines(out)
    for event in told:
        reporter.report(event)
    reporter.close()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def samples(node):
    label = "train build/a"
    return {
        events.BuildStarted: events.BuildStarted("0a1b2c3d", 3, 1, ["train"]),
        events.Grown: events.Grown(5),
        events.Started: events.Started(node, label, ".merkl/run/x/log", 1, "runs: forced"),
        events.Ran: events.Ran(node, label, 1.5, ""),
        events.Cached: events.Cached(node, label, 2.0),
        events.CutOff: events.CutOff(node, label, 2.0),
        events.Failed: events.Failed(node, label, TaskFailed("no", hint="do", at="M:3"), 0.5, "log"),
        events.Skipped: events.Skipped(node, label, "other"),
        events.Interrupted: events.Interrupted(node, label),
        events.Waiting: events.Waiting(node, label, "pid 12"),
        events.Retrying: events.Retrying(node, label, 1, 0.5, "no"),
        events.Undeclared: events.Undeclared(node, label, [events.Use("read", "config.ini")], []),
        events.Placed: events.Placed(node, label, "build/a"),
        events.Saved: events.Saved("build/a"),
        events.Note: events.Note("text", "hint"),
        events.BuildDone: events.BuildDone(1, 2, 3, 4, 5, 6.0, 7.0, interrupted=["", "x"]),
    }


def test_every_event_is_an_object_of_its_own_kind(node):
    told = samples(node)
    assert set(told) == set(typing.get_args(events.Event))

    found = objects(*told.values())

    assert [each["event"] for each in found] == [
        "start", "grown", "running", "ran", "cached", "cutoff", "failed", "skipped", "interrupted", "waiting", "retrying",
        "undeclared", "placed", "saved", "note", "done",
    ]  # fmt: skip


def test_the_first_object_has_the_version(node):
    assert objects(samples(node)[events.BuildStarted]) == [
        {"event": "start", "version": 1, "merkl": __version__, "build": "0a1b2c3d", "total": 3, "to_run": 1,
         "targets": ["train"]}
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [events.Ran, events.Cached, events.CutOff, events.Failed, events.Skipped])
def test_each_ending_names_task_label_key_and_seconds(node, kind):
    [found] = objects(samples(node)[kind])

    assert found["task"] == "train"
    assert found["label"] == "train build/a"
    assert found["key"] == node.key.hex()
    assert isinstance(found["seconds"], (int, float))


def test_a_failure_has_the_parts_of_its_error(node):
    [found] = objects(samples(node)[events.Failed])

    assert found["error"] == "no"
    assert found["hint"] == "do"
    assert found["details"] == {"at": "M:3"}
    assert found["exit_code"] == 1


def test_the_last_object_counts(node):
    assert objects(samples(node)[events.BuildDone]) == [
        {"event": "done", "ran": 1, "cached": 2, "cutoff": 3, "failed": 4, "skipped": 5, "seconds": 6.0, "saved": 7.0,
         "interrupted": ["x"], "ok": False}
    ]  # fmt: skip


def test_a_path_that_is_not_utf_8_comes_back_as_the_same_bytes():
    [found] = objects(events.Saved(os.fsdecode(b"caf\xe9\n.txt")))

    assert os.fsencode(found["path"]) == b"caf\xe9\n.txt"


def test_an_exception_that_is_none_of_ours_is_an_object_too():
    assert error_object(ValueError("x"))["error"] == "ValueError: x"

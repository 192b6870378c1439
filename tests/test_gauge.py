"""How many bytes were hashed is told to whoever looks on, while it goes on; and what is cut short meanwhile is an error."""

import io
import json
import os
import threading

import pytest

from merkl import gauge
from merkl.cli.given import Options
from merkl.digest import Digest
from merkl.engine.project import Project
from merkl.engine.tracking import track
from merkl.errors import InputMissing
from merkl.report import hashed
from merkl.report.hashed import HashingEvents
from merkl.store import streams
from merkl.workspace.hashing import fast_hash, hash_file
from merkl.workspace.index import FileIndex

LARGE = 20 << 20


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(LARGE)
    return path


@pytest.mark.parametrize("how", ["digest", "fast", "store"])
def test_a_large_file_is_told_of_as_it_is_read(large, how):
    told = []
    with gauge.watched(lambda came, expected: told.append((came, expected))):
        if how == "digest":
            hash_file(str(large))
        elif how == "fast":
            fast_hash(str(large), 1)
        else:
            with open(large, "rb") as file:
                streams.hash_file(file.fileno())

    assert len(told) > 2
    assert told == sorted(told)
    assert {expected for _, expected in told} == {LARGE}
    assert told[-1][0] == LARGE


def test_many_small_files_are_told_of_together(tmp_path):
    for n in range(1000):
        (tmp_path / f"{n}.txt").write_text("x" * 100)
    told = []
    index = FileIndex(str(tmp_path), str(tmp_path))
    with gauge.watched(lambda *both: told.append(both)):
        index.tree(".", "look")
    index.close()

    assert told[-1][0] == told[-1][1] >= 100_000
    assert len(told) > 2


def test_another_thread_is_not_told_of(large):
    told = []
    with gauge.watched(lambda *both: told.append(both)):
        thread = threading.Thread(target=hash_file, args=(str(large),))
        thread.start()
        thread.join()
    hash_file(str(large))  # Nor what comes after.

    assert told == []


def test_a_file_cut_short_while_it_is_hashed_is_hashed_as_it_is_then(large):
    def cut(came, expected):
        if os.path.getsize(large) == LARGE:
            os.truncate(large, 1000)

    with gauge.watched(cut):
        found = hash_file(str(large))

    assert (found.digest, found.stamp.size) == (Digest.of(bytes(1000)), 1000)


def test_a_file_cut_short_again_and_again_is_an_error(large):
    def cut(came, expected):
        os.truncate(large, os.path.getsize(large) - (3 << 20))

    with gauge.watched(cut), pytest.raises(InputMissing, match="large keeps changing while it is read"):
        hash_file(str(large))


def test_a_file_cut_short_while_it_is_tracked_is_an_error_and_leaves_no_sidecar(large):
    def cut(came, expected):
        os.truncate(large, 10)

    (large.parent / "merkl.yaml").touch()
    project = Project(Options(directory=str(large.parent)).config())
    try:
        with gauge.watched(cut), pytest.raises(InputMissing, match="large changed while it was being stored"):
            track(project, ["large"])
    finally:
        project.close()

    assert large.read_bytes() == bytes(10)
    assert not (large.parent / "large.merkl").exists()


def test_events_come_a_second_apart(monkeypatch):
    out = io.StringIO()
    events = HashingEvents(out)
    times = iter([10.0, 10.9, 11.0, 11.5, 12.1])
    monkeypatch.setattr(hashed.time, "monotonic", lambda: next(times))
    for came in range(1, 6):
        events.told(came, 9)
    events.close()

    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "hashing", "bytes": 3, "of": 9},
        {"event": "hashing", "bytes": 5, "of": 9},
    ]

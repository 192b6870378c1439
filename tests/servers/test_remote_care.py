"""``merkl doctor``, ``merkl fsck`` and ``merkl gc`` of a bucket."""

import dataclasses
import json
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from servers import fault_proxy as faults

from merkl.cli.fsck import share_of
from merkl.config import load_config
from merkl.engine.project import Project
from merkl.errors import UsageError
from merkl.store.remote.collect import KeepThere, collect_remote


def findings(users, code=0, **env):
    done = users.merkl(users.here, "doctor", "--json", code=code, **env)
    return {each["what"]: each for each in json.loads(done.stdout)["findings"]}


def test_a_doctor_tries_the_remote_and_leaves_nothing_there(users):
    found = findings(users)

    for what in ("remote", "pushing", "remote's clock", "conditions", "signing key", "trusted keys"):
        assert found[what]["verdict"] == "ok", found[what]
    assert found["remote"]["text"].startswith(f"{users.url} answers in ")
    assert "nobody has pushed there yet" in found["remote"]["text"]
    assert users.objects() == []


def test_a_remote_that_does_not_answer_is_told_with_what_to_do(users):
    users.proxy.rule(faults.failing(403, "AccessDenied"))

    found = findings(users)

    assert found["remote"]["verdict"] == "lacks" and "refuses requests" in found["remote"]["text"]
    assert "pushing" not in found
    users.settings(required=True)
    assert findings(users, code=1)["remote"]["verdict"] == "broken"


def test_a_remote_that_can_only_be_read_is_told(pushed):
    pushed.proxy.rule(faults.failing(403, "AccessDenied"), "PUT|POST|DELETE")

    found = findings(pushed)

    assert found["remote"]["verdict"] == "ok"
    assert found["pushing"]["verdict"] == "lacks" and "only reading works" in found["pushing"]["text"]


@pytest.mark.parametrize("server", ["moto"], indirect=True)  # Others see that the request was changed.
def test_a_remote_that_writes_over_what_is_there_is_told(users):
    users.proxy.rule(faults.ignoring_conditions)

    assert findings(users)["conditions"]["verdict"] == "lacks"


def test_a_remote_with_another_time_is_told(users):
    def late(request: faults.Request, forward: faults.Forward) -> faults.Response:
        when = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
        answer = forward(request)
        headers = {name: text for name, text in answer.headers.items() if name.lower() != "last-modified"}
        return dataclasses.replace(answer, headers={**headers, "Last-Modified": when})

    users.proxy.rule(late, "HEAD ")

    found = findings(users)["remote's clock"]

    assert found["verdict"] == "lacks" and "seconds behind this machine's clock" in found["text"]


def test_a_key_that_others_can_read_is_told(pushed, tmp_path):
    pushed.merkl(pushed.here, "push", HOME=str(tmp_path))
    [key] = (path for path in tmp_path.rglob("signing.key"))
    key.chmod(0o644)

    found = findings(pushed, code=1, HOME=str(tmp_path))

    assert found["keys"]["verdict"] == "broken" and str(key) in found["keys"]["text"]


# ---- fsck of a sample ------------------------------------------------------------------------------------------------


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same objects are chosen each time."""
    source = random.Random(7)
    monkeypatch.setattr(random, "random", source.random)
    monkeypatch.setattr(random, "sample", source.sample)


def fsck(users, *words, code=0):
    done = users.merkl(users.here, "fsck", "--remote", "--json", *words, code=code)
    return json.loads(done.stdout)["remote"]


def test_a_sample_reads_less_and_sets_aside_what_it_finds(pushed, chosen):
    whole = fsck(pushed)
    assert whole["objects"] == whole["total"] == 7
    [blob] = pushed.objects("blobs")
    pushed.write(blob, pushed.read(blob)[:-1] + b"?")

    there = fsck(pushed, "--sample", "20%", code=3)  # Of each kind one at least.

    assert there["bad"] == there["aside"] == [blob]
    assert (there["objects"], there["total"]) == (5, 7)


def test_a_sample_of_records_names_those_whose_bytes_are_gone(pushed, chosen):
    pushed.remove(*pushed.objects("blobs"))

    found = [fsck(pushed, "--sample", "50", code=None)["incomplete"] for _ in range(5)]

    assert any(found)


@pytest.mark.parametrize("text", ["0%", "101%", "5 %%", "-1", "half", "nan", ""])
def test_a_sample_is_a_percentage(text):
    assert share_of("5%") == share_of("5 %") == share_of("5") == 0.05
    with pytest.raises(UsageError, match="--sample takes a percentage"):
        share_of(text)


def test_a_sample_is_of_the_remote_only(inside):
    done = inside.merkl("fsck", "--sample", "5%", code=2)

    assert "--sample is for --remote" in done.stderr


# ---- gc, and places with many objects --------------------------------------------------------------------------------


def remote_of(users):
    return Project(load_config(str(users.here)))


def test_gc_removes_what_nothing_needs_and_keeps_what_a_key_names(pushed):
    project = remote_of(pushed)
    try:
        [kept] = [row.key for path, row in project.index.all_placed().items() if path == "out/large.txt"]
        keep = KeepThere("default", keys=frozenset({kept}), days=-1, grace_s=-3600)  # As if in an hour.
        assert project.remote is not None
        done = collect_remote(project.remote, keep)
    finally:
        project.close()

    assert (done.records, done.contents) == (2, 1)
    assert len(pushed.objects("records")) == len(pushed.objects("blobs")) == 1
    assert pushed.objects("packs") == pushed.objects("index") == []
    assert pushed.build(pushed.there) == ["make"]
    pushed.merkl(pushed.here, "push")
    pushed.expect_sound()


@pytest.mark.full
def test_more_objects_than_one_listing_has_are_found_and_removed(users):
    from concurrent.futures import ThreadPoolExecutor

    names = {f"aside/{n:04}" for n in range(1100)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: users.write(name, b""), names))
    project = remote_of(users)
    try:
        assert project.remote is not None
        objects = project.remote.objects
        assert {each.name for each in objects.names("aside")} == names
        assert len(users.proxy.asked("continuation-token")) == 1
        objects.remove(sorted(names))
        assert list(objects.names("aside")) == []
    finally:
        project.close()

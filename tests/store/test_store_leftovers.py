"""What killed processes leave in a store and beside it goes with the next build, and what others are at work on stays."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_samples import large, python

from merkl.digest import content_key_of
from merkl.store.builds import draft_of, live_builds, register_build, sweep_stale
from merkl.store.local import LocalStore

WRITING = """
    import sys
    from merkl.digest import content_key_of
    from merkl.store.local import LocalStore
    from store_samples import large

    store = LocalStore(sys.argv[1])
    assert store.try_lock(content_key_of(sys.argv[2]), "f")

    def chunks():
        yield large(1)
        print("half", flush=True)
        sys.stdin.read()

    store.put(chunks())
    store.close()
    """


def writer(directory: Path, name: str) -> "subprocess.Popen[str]":
    """A process that holds a lock and has written half a blob."""
    process = python(WRITING, directory, name)
    assert process.stdout is not None and process.stdout.readline() == "half\n"
    return process


@pytest.fixture
def dead_and_alive(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """The store in ``tmp_path`` as a killed writer left it; the other writer, which lives, is the value."""
    dead, alive = writer(tmp_path, "one"), writer(tmp_path, "two")
    dead.kill()
    dead.communicate()
    yield alive
    alive.kill()
    alive.communicate()


def test_half_a_blob_and_a_note_go_if_their_writer_is_dead(
    tmp_path: Path, dead_and_alive: "subprocess.Popen[str]"
) -> None:
    assert [len(os.listdir(tmp_path / name)) for name in ("incoming", "holders")] == [2, 2]
    store = LocalStore(tmp_path)

    store.sweep()

    assert [len(os.listdir(tmp_path / name)) for name in ("incoming", "holders")] == [1, 1]
    assert store.try_lock(content_key_of("two"), "f") is None
    assert f"process {dead_and_alive.pid} " in store.holder(content_key_of("two"))
    dead_and_alive.communicate("")
    assert dead_and_alive.returncode == 0
    assert [os.listdir(tmp_path / name) for name in ("incoming", "holders")] == [[], []], (
        "it took its own with it"
    )
    store.close()


def test_sweeping_beside_writers_takes_nothing_away(tmp_path: Path) -> None:
    code = """
    import itertools, sys
    from merkl.digest import content_key_of
    from merkl.store.local import LocalStore
    from store_samples import large
    for n in range(40):
        store = LocalStore(sys.argv[1])
        with store.try_lock(content_key_of(sys.argv[2], n), "f"):
            assert store.has([store.put([large(n), sys.argv[2].encode()])])
        store.close()
    """
    writers = [python(code, tmp_path, name) for name in "ab"]
    store = LocalStore(tmp_path)
    while any(process.poll() is None for process in writers):
        store.sweep()
    for process in writers:
        process.communicate()
    assert [process.returncode for process in writers] == [0, 0]
    assert [os.listdir(tmp_path / name) for name in ("incoming", "holders")] == [[], []]
    store.close()


def test_a_database_that_was_never_finished_goes_when_one_is_made(tmp_path: Path) -> None:
    for name in ("new-0123456789abcdef.db", "new-0123456789abcdef.db-wal"):
        (tmp_path / name).write_bytes(b"half")
    store = LocalStore(tmp_path)
    store.put([b"x"])
    store.close()
    assert [name for name in os.listdir(tmp_path) if name.startswith("new-")] == []


def test_a_build_that_was_killed_while_it_made_itself_known_leaves_nothing(tmp_path: Path) -> None:
    with register_build(str(tmp_path)) as lease:
        (tmp_path / "builds" / ".01234567").touch()
        assert live_builds(str(tmp_path)) == {lease.id}
    assert os.listdir(tmp_path / "builds") == []


def test_half_made_views_go_with_their_build(tmp_path: Path) -> None:
    drafts = tmp_path / "view/.new"
    drafts.mkdir(parents=True)
    with register_build(str(tmp_path)) as lease:
        mine, unbound, old = draft_of(lease), draft_of(None), draft_of(None)
        for name in (mine, unbound, old, "01234567-89abcdef"):
            (drafts / name).write_bytes(large())
        os.utime(drafts / old, (time.time() - 7200,) * 2)

        assert sweep_stale(str(tmp_path)) == 2
        assert sorted(os.listdir(drafts)) == sorted([mine, unbound])
    assert sweep_stale(str(tmp_path)) == 1
    assert os.listdir(drafts) == [unbound]

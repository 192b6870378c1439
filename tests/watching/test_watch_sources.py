"""The contract of a source of news, and what each does with the limits of its system."""

import ctypes
import errno
import os
import select
import sys
import time

import pytest

from merkl.watching.choice import source_for
from merkl.watching.inotify import Inotify
from merkl.watching.news import Heard, Looking
from merkl.watching.observer import Watchdog

linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture(params=[pytest.param(Inotify, marks=linux), Watchdog])
def source(request):
    made = request.param()
    yield made
    made.close()
    made.close()


def hear(source, enough, seconds=20.0):
    """All that is heard until ``enough`` says so."""
    heard = Heard()
    deadline = time.monotonic() + seconds
    while not enough(heard):
        assert time.monotonic() < deadline, heard
        select.select([source.fileno()], [], [], 1)
        more = source.hear()
        heard.paths |= more.paths
        heard.listed |= more.listed
        heard.moved |= more.moved
        heard.missed |= more.missed
    return heard


def test_a_new_an_edited_and_a_removed_file_are_heard_of(source, tmp_path):
    path = tmp_path / "a"
    assert source.watch({str(tmp_path)}) == {str(tmp_path)}
    assert source.watch({str(tmp_path)}) == set()

    path.write_text("a")
    assert str(tmp_path) in hear(source, lambda heard: str(path) in heard.paths and heard.listed).listed
    path.write_text("b")
    hear(source, lambda heard: str(path) in heard.paths)
    path.unlink()
    hear(source, lambda heard: str(tmp_path) in heard.listed)


def test_a_renamed_file_is_heard_of_by_both_names(source, tmp_path):
    (tmp_path / "a").write_text("a")
    source.watch({str(tmp_path)})

    (tmp_path / "a").rename(tmp_path / "b")

    hear(source, lambda heard: {str(tmp_path / "a"), str(tmp_path / "b")} <= heard.paths)


def test_a_directory_that_comes_later_is_heard_of_and_listened_to(source, tmp_path):
    inner = tmp_path / "inner"
    directories = {str(tmp_path), str(inner)}
    source.watch(directories)

    inner.mkdir()
    hear(source, lambda heard: str(inner) in heard.moved)
    source.again(str(inner))
    assert source.watch(directories) == {str(inner)}
    (inner / "a").write_text("a")

    hear(source, lambda heard: str(inner / "a") in heard.paths)


def test_a_directory_that_is_no_longer_asked_for_is_not_heard_of(source, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    source.watch({str(tmp_path / "one"), str(tmp_path / "two")})
    source.watch({str(tmp_path / "two")})

    (tmp_path / "one" / "a").write_text("a")
    (tmp_path / "two" / "b").write_text("b")

    heard = hear(source, lambda heard: str(tmp_path / "two" / "b") in heard.paths)
    assert str(tmp_path / "one" / "a") not in heard.paths


@linux
def test_a_directory_that_was_replaced_is_heard_of_and_its_old_self_is_not(tmp_path):
    source, inner = Inotify(), tmp_path / "inner"
    inner.mkdir()
    directories = {str(tmp_path), str(inner)}
    source.watch(directories)

    inner.rename(tmp_path / "away")
    inner.mkdir()
    assert str(inner) in source.hear().moved
    source.again(str(inner))
    assert source.watch(directories) == {str(inner)}
    (tmp_path / "away" / "old").write_text("")
    (inner / "new").write_text("")

    assert source.hear().paths == {str(inner / "new")}
    source.close()


@linux
def test_one_directory_with_two_paths_is_heard_of_by_both(tmp_path):
    source = Inotify()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    source.watch({str(tmp_path / "real"), str(tmp_path / "link")})

    (tmp_path / "real" / "a").write_text("a")

    assert source.hear().paths == {str(tmp_path / "real/a"), str(tmp_path / "link/a")}
    source.close()


@linux
def test_that_the_queue_of_the_kernel_overflowed_is_heard(tmp_path):
    source = Inotify()
    source.watch({str(tmp_path)})
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        most = int(file.read())

    with open(tmp_path / "a", "wb", 0) as one, open(tmp_path / "b", "wb", 0) as other:
        for _ in range(most // 2 + 100):  # In turns: two equal events would be one.
            one.write(b"1")
            other.write(b"2")

    assert source.hear().missed
    assert not source.hear().missed
    source.close()


@linux
def test_where_no_more_watches_are_allowed_the_rest_is_looked_at_and_that_is_said(tmp_path, monkeypatch):
    source = Inotify()
    real = source._add

    def limited(fd, path, mask):
        if len(source._numbers) < 2:
            return real(fd, path, mask)
        ctypes.set_errno(errno.ENOSPC)
        return -1

    monkeypatch.setattr(source, "_add", limited)
    directories = {str(tmp_path / name) for name in "abcd"}
    for each in directories:
        os.mkdir(each)

    assert source.watch(directories) == directories
    assert source.look_every == 1.0
    assert source.notes[0].text.startswith("2 directories give no news")
    assert "max_user_watches" in source.notes[0].hint

    monkeypatch.setattr(source, "_add", real)  # Somebody raised it.
    assert len(source.watch(directories)) == 2
    assert source.look_every is None
    source.close()


@linux
def test_where_no_more_programs_may_listen_merkl_looks_and_says_so(tmp_path, monkeypatch):
    def refused(self):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Inotify, "__init__", refused)

    source = source_for(str(tmp_path), poll=False)

    assert isinstance(source, Looking)
    assert "max_user_instances" in source.notes[0].hint


def test_on_a_file_system_of_a_network_it_is_said_that_others_changes_bring_no_news(tmp_path, monkeypatch):
    monkeypatch.setenv("MERKL_FILE_SYSTEM", "nfs4")

    source = source_for(str(tmp_path), poll=False)

    assert "nfs4" in source.notes[0].text
    assert "--poll" in source.notes[0].hint
    assert source_for(str(tmp_path), poll=True).notes == []
    source.close()

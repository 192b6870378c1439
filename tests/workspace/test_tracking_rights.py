"""Tracking where the system says no: the error names the file, and nothing is lost."""

import os

import pytest

from merkl.config import load_config
from merkl.engine.project import Project
from merkl.engine.tracking import track, untrack
from merkl.errors import MerklError, UsageError, WorkspaceError


@pytest.fixture
def imported(tmp_path):
    """All modules are loaded: whoever has no rights may not be able to read them."""
    (tmp_path / "data").write_text("1")
    opened = Project(load_config(str(tmp_path)))
    track(opened, ["data"])
    untrack(opened, ["data"])
    opened.close()


@pytest.fixture
def project(imported, unprivileged):
    (unprivileged / "merkl.yaml").write_text("jobs: 1\n")
    (unprivileged / "d").mkdir()
    opened = Project(load_config(str(unprivileged)))
    yield opened
    opened.close()


@pytest.mark.parametrize("size", [10, 200_000])
def test_what_may_not_be_removed_stays_and_is_in_the_store(project, unprivileged, size):
    data = os.urandom(size)
    (unprivileged / "d/a").write_bytes(data)
    track(project, ["d/a"])
    (unprivileged / "d").chmod(0o500)

    with pytest.raises(WorkspaceError, match="d/a cannot be removed: Permission denied") as caught:
        track(project, ["d/a"], move=True)

    assert caught.value.hint
    assert (unprivileged / "d/a").read_bytes() == data


def test_a_directory_that_may_not_be_removed_stays(project, unprivileged):
    (unprivileged / "d/in").mkdir()
    (unprivileged / "d/in/a").write_text("precious")
    track(project, ["d/in"])
    (unprivileged / "d").chmod(0o500)

    with pytest.raises(MerklError, match="d/in"):
        track(project, ["d/in"], move=True)

    assert (unprivileged / "d/in/a").read_text() == "precious"


def test_a_sidecar_that_may_not_be_removed_or_written_is_named(project, unprivileged):
    (unprivileged / "d/a").write_text("1")
    (unprivileged / "d/b").write_text("1")
    track(project, ["d/a"])
    (unprivileged / "d").chmod(0o500)

    with pytest.raises(WorkspaceError, match=r"d/a\.merkl cannot be removed"):
        untrack(project, ["d/a"])
    with pytest.raises(WorkspaceError, match=r"d/b\.merkl"):
        track(project, ["d/b"])


def test_what_may_not_be_read_is_refused(project, unprivileged):
    (unprivileged / "d/a").write_text("1")
    (unprivileged / "d/a").chmod(0)
    with pytest.raises(MerklError, match="d/a") as caught:
        track(project, ["d"])
    assert not isinstance(caught.value, WorkspaceError)
    with pytest.raises((UsageError, MerklError), match="d/a"):
        track(project, ["d/a"])
    (unprivileged / "d/a").chmod(0o600)

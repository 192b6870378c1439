"""Fixtures for executors: a bench of jobs, every way of running, and nothing left behind after any test."""

import os
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest
from executor_bench import Bench

from merkl.execute.local import Local
from merkl.execute.orphans import children


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    # The worker must not import the test's module, with pytest and all.
    cloudpickle.register_pickle_by_value(request.module)
    yield Bench(tmp_path)
    cloudpickle.unregister_pickle_by_value(request.module)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """No child, descriptor or change of this process outlives a test's executors."""
    before = set(children()), _descriptors(), os.getcwd(), os.umask(0o022)
    os.umask(before[3])
    yield
    umask = os.umask(0o022)
    os.umask(umask)
    assert set(children()) <= before[0]
    assert (_descriptors(), os.getcwd(), umask) == before[1:]


def _descriptors() -> set[str]:
    here = os.open("/proc/self/fd", os.O_RDONLY)
    found = set(os.listdir(here)) - {str(here)}
    os.close(here)
    return {fd for fd in found if os.path.lexists(f"/proc/self/fd/{fd}")}


@pytest.fixture(params=["inline", "workers", "no-pidfd"])
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    """Every way of running on this machine: with one slot, with two, and where the system has no pidfd."""
    if request.param == "no-pidfd":
        monkeypatch.delattr(os, "pidfd_open")
    with Local(1 if request.param == "inline" else 2) as local:
        yield local


@pytest.fixture
def pair() -> Iterator[Local]:
    with Local(2) as local:
        yield local

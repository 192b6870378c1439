"""Sidecars that go away between being found and being read, as during a ``git checkout``."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@contextlib.contextmanager
def coming_and_going(sidecar: Path) -> Iterator[None]:
    """Let a sidecar be there and not be there, in turns, for as long as this lasts."""
    data, ended = sidecar.read_bytes(), threading.Event()

    def work() -> None:
        while not ended.is_set():
            sidecar.unlink()
            sidecar.write_bytes(data)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("command", ["status", "pull", "push"])
def test_a_sidecar_that_vanishes_is_no_bug(clones: Any, command: str) -> None:
    clones.write(clones.here, "data.txt", "data\n")
    clones.track(clones.here, "data.txt")

    with coming_and_going(clones.here / "data.txt.merkl"):
        for _ in range(25):
            done = clones.merkl(clones.here, command, code=None)
            assert done.returncode in (0, 2, 6), done.stdout + done.stderr
            assert "bug in merkl" not in done.stderr

    assert clones.merkl(clones.here, command).returncode == 0
    assert (clones.here / "data.txt").read_text() == "data\n"

"""A bench for executors: real commands and calls in an empty directory."""

import itertools
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle

from merkl.execute.base import CallJob, Ended, Executor, Job, ProcessJob

BASH = (b"/bin/bash", b"--noprofile", b"--norc", b"-c")


@dataclass
class Bench:
    root: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def log(self) -> bytes:
        return os.fsencode(self.root / f"log-{next(self.numbers)}")

    def bash(self, script: str, **options: Any) -> ProcessJob:
        env = {b"PATH": os.environb[b"PATH"]}
        options = {"cwd": os.fsencode(self.root), "log": self.log(), "env": env, **options}
        return ProcessJob(argv=[*BASH, os.fsencode(textwrap.dedent(script))], **options)

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> CallJob:
        options = {"cwd": os.fsencode(self.root), "log": self.log(), **options}
        return CallJob(payload=cloudpickle.dumps((function, args)), **options)

    def python(self, code: str, **options: Any) -> ProcessJob:
        env = {b"PATH": os.environb[b"PATH"], b"HOME": os.environb[b"HOME"]}
        options = {"cwd": os.fsencode(self.root), "log": self.log(), "env": env, **options}
        script = self.root / f"script-{next(self.numbers)}.py"
        script.write_text(textwrap.dedent(code))
        return ProcessJob(argv=[os.fsencode(sys.executable), os.fsencode(script)], **options)


def finish(executor: Executor, *jobs: Job, within: float = 30.0) -> list[Ended]:
    """Start all ``jobs`` and return how each ended, in the order given."""
    tickets = [executor.start(job) for job in jobs]
    found = collect(executor, len(jobs), within)
    assert sorted(found) == sorted(tickets)
    return [found[ticket] for ticket in tickets]


def collect(executor: Executor, count: int, within: float = 30.0) -> dict[int, Ended]:
    """Wait for ``count`` jobs to end; in the order in which they did."""
    found: dict[int, Ended] = {}
    limit = time.monotonic() + within
    while len(found) < count:
        left = limit - time.monotonic()
        assert left > 0, f"{count - len(found)} jobs have not ended"
        for ended in executor.wait(left):
            assert ended.ticket not in found, "a job ended twice"
            found[ended.ticket] = ended
    return found


def appears(path: Path, within: float = 30.0) -> str:
    """The text of a file, once there is any."""
    limit = time.monotonic() + within
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < limit, f"{path.name} does not appear"
        time.sleep(0.005)
    return path.read_text().strip()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped by a stranger does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def log_of(job: Job) -> str:
    return Path(os.fsdecode(job.log)).read_text()

"""Timing whole processes in turns (A, B, A, B, …), so that a machine whose speed drifts slows all alike.

It decides what a round is: for each contender its preparation, which is not timed, and its command, which is.
"""

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

ROUNDS = 7


@dataclass
class Contender:
    """A command to be timed.  ``prepare`` brings its directory to the state in which it starts."""

    name: str
    command: Sequence[str]
    directory: str
    prepare: Callable[[], None] = lambda: None
    seconds: list[float] = field(default_factory=list)
    peak_kb: int = 0

    @property
    def median(self) -> float:
        """Median of the timed rounds, in seconds."""
        return statistics.median(self.seconds)


def run_in_turns(contenders: Sequence[Contender], rounds: int = ROUNDS, *, warm: bool = True) -> None:
    """Time each contender ``rounds`` times; ``warm``: after one round that does not count."""
    for counted in [False] * warm + [True] * rounds:
        for contender in contenders:
            contender.prepare()
            seconds, peak = _time(contender)
            if counted:
                contender.seconds.append(seconds)
                contender.peak_kb = max(contender.peak_kb, peak)


def _time(contender: Contender) -> tuple[float, int]:
    """Seconds of wall clock, and the peak memory in kB of the largest process."""
    began = time.perf_counter()
    # As an installed program: with bytecode, and without what a developer may have set.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        contender.command,
        cwd=contender.directory,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{contender.name} failed: {errors.decode(errors='replace')[-2000:]}")
    process.returncode = 0
    return seconds, usage.ru_maxrss


def report(title: str, contenders: Sequence[Contender], against: str) -> str:
    """A Markdown table: medians, spread, and the ratio of each to the contender called ``against``."""
    base = next(c.median for c in contenders if c.name == against)
    lines = [
        f"### {title}",
        "",
        f"| | median | min … max | × {against} | peak memory |",
        "|---|---|---|---|---|",
    ]
    for c in contenders:
        spread = f"{_ms(min(c.seconds))} … {_ms(max(c.seconds))}"
        lines.append(
            f"| {c.name} | {_ms(c.median)} | {spread} | {c.median / base:.2f} | {c.peak_kb / 1024:.0f} MB |"
        )
    return "\n".join(lines) + "\n"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def limits() -> None:
    """Allow as many open files as the system does, for all contenders alike."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

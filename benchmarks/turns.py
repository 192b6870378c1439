"""Timing whole processes in turns (A, B, A, B, …), so that a machine whose speed drifts slows all alike.

It decides what a round is: for each contender its preparation, which is not timed, its command, which is, and its check,
which is not.  Invariant: a round that fails its check ends the measurement; no ratio is of a failure.
"""

import atexit
import contextlib
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.results import Result, Row

ROUNDS = 7
WARMED = 5.0  # Seconds: the first round of what takes longer counts; it needs no warming.
LONG_ROUNDS = 5  # At most, of what takes longer than that.
SLOW, VERY_SLOW = 2.0, 10.0  # Seconds a round: peers slower than this get three rounds, or one.
PATIENCE = 30 * 60  # Seconds until a round is given up.
MERKL = os.path.join(os.path.dirname(sys.executable), "merkl")


class Failed(Exception):
    """A contender did not do what it should."""


@dataclass
class Contender:
    """A command to be timed.

    ``prepare`` brings its directory to the state in which it starts.  ``check`` is given what it printed, says how many
    commands it ran, if that can be said, and raises ``Failed``.  ``hurried``: fewer rounds will do if it is slow.
    ``optional``: if it fails, the others go on without it, and ``failed`` says why.
    """

    name: str
    command: Sequence[str]
    directory: str
    prepare: Callable[[], None] = lambda: None
    check: Callable[[str], int | None] = lambda _: None
    hurried: bool = False
    optional: bool = False
    failed: str = ""
    seconds: list[float] = field(default_factory=list)
    peak_kb: int = 0
    ran: set[int | None] = field(default_factory=set)

    def once(self) -> float:
        """One round, and its seconds."""
        self.prepare()
        seconds, peak, printed = _timed(self)
        ran = self.check(printed)
        self.seconds.append(seconds)
        self.peak_kb = max(self.peak_kb, peak)
        self.ran.add(ran)
        if len(self.ran) > 1:
            raise Failed(f"{self.name} ran {sorted(map(str, self.ran))} commands for the same work")
        return seconds

    def tried(self) -> None:
        """One round; the failure of an optional one is kept, and nothing more is asked of it."""
        if self.failed:
            return
        try:
            self.once()
        except Failed as error:
            if not self.optional:
                raise
            self.failed = str(error)

    def row(self) -> Row:
        """What was measured."""
        return Row(self.name, self.seconds, self.peak_kb / 1024, next(iter(self.ran), None))


def run_in_turns(contenders: Sequence[Contender], rounds: int = ROUNDS, *, warm: bool = True) -> None:
    """Time each contender ``rounds`` times; ``warm``: after one round that does not count, if it is short."""
    left = {id(contender): rounds for contender in contenders}
    if warm:
        for contender in contenders:
            contender.tried()
            if not contender.failed:
                left[id(contender)] = _after_first(contender, rounds)
    for turn in range(rounds):
        for contender in contenders:
            if turn < left[id(contender)]:
                contender.tried()


def _after_first(contender: Contender, rounds: int) -> int:
    """How many rounds are to follow; the first is forgotten if it was short."""
    seconds = contender.seconds[-1]
    if contender.hurried and seconds > SLOW:
        rounds = min(rounds, 1 if seconds > VERY_SLOW else 3)
    if seconds <= WARMED:
        contender.seconds.clear()
        return rounds
    return min(rounds, LONG_ROUNDS) - 1


def report(title: str, contenders: Sequence[Contender], against: str) -> str:
    """A Markdown table: medians, spread, and the ratio of each to the contender called ``against``."""
    from benchmarks.table import table

    return table(Result("", title, [contender.row() for contender in contenders], against))


def median(contender: Contender) -> float:
    """Of the timed rounds, in seconds."""
    return statistics.median(contender.seconds)


def environ() -> dict[str, str]:
    """As of an installed program: with bytecode, and without what a developer may have set."""
    home = _scratch()
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPATH", "MAKEFLAGS")
        and not name.startswith(("MERKL_", "XDG_", "GIT_"))
    }
    return {**kept, "HOME": home, "LC_ALL": "C.UTF-8", "DVC_NO_ANALYTICS": "1"}


def limits() -> None:
    """Allow as many open files as the system does, for all contenders alike."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _timed(contender: Contender) -> tuple[float, int, str]:
    """Seconds, the peak memory in kB of the largest process, and what was printed."""
    printed = os.path.join(_scratch(), "printed")
    asked = {
        "command": list(contender.command),
        "cwd": contender.directory,
        "environ": environ(),
        "printed": printed,
        "patience": PATIENCE,
    }
    launcher = _launcher()
    assert launcher.stdin is not None and launcher.stdout is not None
    launcher.stdin.write(json.dumps(asked) + "\n")
    launcher.stdin.flush()
    answered = launcher.stdout.readline()
    if not answered:
        raise KeyboardInterrupt
    answer = json.loads(answered)
    with open(printed, encoding="utf-8", errors="replace") as file:
        text = file.read()
    if answer["code"] != 0:
        raise Failed(f"{contender.name} ended with {answer['code']}:\n{text[-2000:]}")
    return answer["seconds"], answer["peak_kb"], text


@functools.cache
def _launcher() -> "subprocess.Popen[str]":
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launcher.py")
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(_end, process)
    return process


def _end(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(OSError):
        process.communicate()


@functools.cache
def _scratch() -> str:
    kept = tempfile.TemporaryDirectory()
    atexit.register(kept.cleanup)
    return kept.name

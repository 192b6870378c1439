"""``merkl watch`` in a process of its own, and what it says."""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TIMEOUT = 60  # Seconds; the machine is shared.


class Watching:
    """One watch that runs, and the events that it prints."""

    def __init__(self, directory: Path, *words: str, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "merkl", "watch", "--json", *words],
            **{"cwd": directory, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
               "text": True, **options},
        )  # fmt: skip
        self.events: list[dict[str, Any]] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def next(self, kind: str) -> dict[str, Any]:
        """The next event of a kind; those before it are passed over."""
        while True:
            line = self._lines.get(timeout=TIMEOUT)
            assert line, f"the watch has ended: {self.process.stderr.read()}"
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == kind:
                return self.events[-1]

    def rounds(self) -> list[dict[str, Any]]:
        """The rounds until it waits again; there is at least one."""
        seen = len(self.events)
        self.next("round")
        self.next("watching")
        return [event for event in self.events[seen:] if event["event"] == "round"]

    def round(self) -> dict[str, Any]:
        """The one round until it waits again."""
        rounds = self.rounds()
        assert len(rounds) == 1, rounds
        return rounds[0]

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; the exit code, and what was said on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        said = "" if self.process.stderr.closed else self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return code, said


@pytest.fixture
def watch(project) -> Iterator[Callable[..., Watching]]:
    """Starts watches of the project, and waits until the first build is over; they are ended with the test."""
    started: list[Watching] = []

    def start(*words: str, ready: bool = True, **options: Any) -> Watching:
        started.append(Watching(project.path, *words, **options))
        if ready:
            started[-1].next("watching")
        return started[-1]

    yield start
    for each in started:
        each.end()

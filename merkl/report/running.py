"""Which tasks of a build run right now, for ``merkl log -f`` in another process.

It decides nothing.  The list is a file of the build's own, ``run/<build>-tasks`` in the project's state directory, to which
one line is appended when a task starts and when it ends; it goes with what else a build leaves there.

The invariant: a build that cannot write the list is not disturbed.
"""

import json
import os
from dataclasses import dataclass
from typing import Final

from merkl import events
from merkl.events import Event, Reporter
from merkl.store.builds import live_builds

_SUFFIX: Final = "-tasks"


@dataclass(frozen=True, slots=True)
class Running:
    """One task that runs: ``log`` is the file that it prints to, relative to the project."""

    label: str
    log: str


class Listed:
    """A reporter that keeps the list, and passes every event on to ``inner``."""

    def __init__(self, state_dir: str, inner: Reporter) -> None:
        self._state = state_dir
        self._inner = inner
        self._path = ""
        self._fd = -1

    def report(self, event: Event) -> None:
        """Write down a start or an end."""
        match event:
            case events.BuildStarted():
                self._path = os.path.join(self._state, "run", f"{event.build}{_SUFFIX}")
            case events.Started():
                self._append({"label": event.label, "log": event.log})
            case events.Ran() | events.Failed() | events.Retrying():
                if self._fd >= 0:
                    self._append({"label": event.label})
        self._inner.report(event)

    def tick(self) -> None:
        """Nothing of our own to draw."""
        self._inner.tick()

    def close(self) -> None:
        """Remove the list."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            try:
                os.unlink(self._path)
            except OSError:
                pass
        self._inner.close()

    def _append(self, item: dict[str, str]) -> None:
        try:
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._fd = os.open(self._path, flags, 0o666)
            os.write(self._fd, json.dumps(item).encode() + b"\n")
        except OSError:
            pass


def running_tasks(state_dir: str) -> list[Running]:
    """The tasks that the live builds of a project run now, in the order in which they started."""
    found: list[Running] = []
    for build in sorted(live_builds(state_dir)):
        try:
            with open(os.path.join(state_dir, "run", f"{build}{_SUFFIX}"), "rb") as file:
                lines = file.read().split(b"\n")[:-1]
        except OSError:
            continue
        running: dict[str, Running] = {}
        for line in lines:
            item = json.loads(line)
            running.pop(item["label"], None)
            if "log" in item:
                running[item["label"]] = Running(item["label"], item["log"])
        found += running.values()
    return found

"""Which tasks of a build run right now, for ``merkl log -f`` in another process.

It decides nothing.  The list is a file of the build's own, ``run/<build>-tasks`` in the project's state directory, to which
one line is appended when a task starts and when it ends; it goes with what else a build leaves there.  Of a task whose calls end
within a moment, those are listed that run for longer.

What a task prints that takes secrets is not for everyone: the list names a copy without them, ``run/<build>-shown-<n>``,
which is written here as the task goes on, since only this process knows what must not be shown.

The invariant: a build that cannot write the list is not disturbed.
"""

import json
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from merkl import events
from merkl.dataclass import dataclass
from merkl.digest import Key
from merkl.events import Event, Forwarding, Reporter
from merkl.execute.secrets import secrets_of
from merkl.store.builds import live_builds

if TYPE_CHECKING:
    from merkl.report.tail import Tail

# Made once, where ``json.dumps`` looks each time whether it will do.
_as_json: Final = json.JSONEncoder().encode
_SUFFIX: Final = "-tasks"
MOMENT: Final = 0.05  # Seconds: what is expected to end sooner is listed only once it has not.


@dataclass(frozen=True, slots=True)
class Running:
    """One task that runs: ``log`` is the file with what it prints, relative to the project."""

    label: str
    log: str


class Listed(Forwarding):
    """A reporter that keeps the list, and passes every event on to ``inner``."""

    def __init__(self, state_dir: str, inner: Reporter) -> None:
        super().__init__(inner)
        self._state = state_dir
        self._path = ""
        self._fd = -1
        self._copies: dict[Key, _Copy] = {}
        self._count = 0
        self._brief: set[str] = set()  # Tasks whose last call ended within a moment.
        # Calls of these: when (monotonic) they started, and logs.
        self._fresh: dict[str, tuple[float, str]] = {}
        self._unwritten: list[bytes] = []  # Lines, until the next tick.

    def report(self, event: Event) -> None:
        """Write down a start or an end."""
        match event:
            case events.BuildStarted():
                self._path = os.path.join(self._state, "run", f"{event.build}{_SUFFIX}")
            case events.Started() if event.together is not None:
                if event.together.label:
                    self._begun(event, event.together.label, event.log)
            case events.Started():
                self._begun(event, event.label, self._shown(event))
            case events.Ran() | events.Failed() | events.Retrying() | events.Interrupted():
                copy = self._copies.pop(event.node.key, None)
                if copy is not None:
                    copy.finish()
                together = None if isinstance(event, events.Interrupted) else event.together
                self._ended(event.label if together is None else together.label)
                if event.node.name not in self._brief:
                    self._write()
                if isinstance(event, events.Ran):
                    (self._brief.add if event.seconds < MOMENT else self._brief.discard)(event.node.name)
                if copy is not None:
                    copy.close()
        super().report(event)

    def _begun(self, event: events.Started, label: str, log: str) -> None:
        # If it were, no tick would come before it ends.
        if event.node.name in self._brief and not event.inline:
            self._fresh[label] = time.monotonic(), log
        else:
            self._append({"label": label, "log": log})
            self._write()

    def _ended(self, label: str) -> None:
        if label and self._fresh.pop(label, None) is None:
            self._append({"label": label})

    def _write_fresh(self, until: float) -> None:
        """Write down those that have started before, in that order."""
        while self._fresh:
            label, (since, log) = next(iter(self._fresh.items()))
            if since > until:
                return
            del self._fresh[label]
            self._append({"label": label, "log": log})

    def tick(self) -> None:
        """Write down those that have turned out to run for a moment, and bring the copies up to date."""
        if self._fresh:
            self._write_fresh(time.monotonic() - MOMENT)
        self._write()
        for copy in self._copies.values():
            copy.update()
        super().tick()

    def close(self) -> None:
        """Remove the list, and the copies."""
        for copy in self._copies.values():
            copy.close()
        self._copies.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            try:
                os.unlink(self._path)
            except OSError:
                pass
        super().close()

    def _shown(self, event: events.Started) -> str:
        """The file that others may read while a task runs."""
        if not event.node.call.secrets:
            return event.log
        self._count += 1
        attempt, name = os.path.split(event.log)
        run, own = os.path.split(attempt)
        copy = f"{own.partition('-')[0]}-shown-{self._count}"
        source = os.path.join(self._state, "run", own, name)
        from merkl.report.tail import Tail

        tail = Tail(source, secrets_of(event.node.call, os.environb))
        self._copies[event.node.key] = _Copy(tail, os.path.join(self._state, "run", copy))
        return os.path.join(run, copy)

    def _append(self, item: dict[str, str]) -> None:
        self._unwritten.append(_as_json(item).encode())

    def _write(self) -> None:
        """Write down what is not yet, all at once."""
        if not self._unwritten:
            return
        lines, self._unwritten = b"\n".join([*self._unwritten, b""]), []
        try:
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._fd = os.open(self._path, flags, 0o666)
            os.write(self._fd, lines)
        except OSError:
            pass


class _Copy:
    """What one attempt prints, without its secrets, in a file of its own."""

    def __init__(self, tail: "Tail", path: str) -> None:
        self._tail = tail
        self._path = path
        self._write([])

    def update(self) -> None:
        """Add what is new."""
        self._write(self._tail.new_text())

    def finish(self) -> None:
        """Add what is left."""
        self._write(self._tail.rest())

    def close(self) -> None:
        """Remove the file; who has it open can read on."""
        self._tail.close()
        try:
            os.unlink(self._path)
        except OSError:
            pass

    def _write(self, pieces: Iterable[str]) -> None:
        try:
            with open(self._path, "ab") as file:
                for piece in pieces:
                    file.write(piece.encode("utf-8", "replace"))
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

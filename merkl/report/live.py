"""The live display: the lines of another reporter scroll up, and below them a block shows what runs.

It decides when a frame is drawn: ten times a second at most, but at once for a failure and before what blocks everything.

The invariant: whoever else writes to the terminal, a task that has it, a shell after Ctrl-Z, or the next command, finds no
block there and a visible cursor.
"""

import contextlib
import os
import time
from collections.abc import Callable
from typing import Final, TextIO, cast

from merkl import events, gauge
from merkl.dataclass import dataclass, replace
from merkl.digest import Key
from merkl.events import Event, Reporter
from merkl.report.block import Progress, Task, rows
from merkl.report.color import Paint
from merkl.report.left import TimeLeft
from merkl.report.screen import Screen
from merkl.report.streams import Above, Instead

FRAME_S: Final = 0.1  # Seconds between two frames.
_LONG_S: Final = 0.2  # Seconds; a task that blocks everything for less is not worth a frame of its own.


class Live:
    """A reporter that draws on the terminal of ``out``.

    ``lines`` makes the reporter whose lines scroll up, from the streams that it is to write to in place of ``out`` and
    ``err``.
    """

    def __init__(
        self, lines: Callable[[TextIO, TextIO], Reporter], out: TextIO, err: TextIO, paint: Paint
    ) -> None:
        self._screen = Screen(out)
        above_out = cast(TextIO, Above(self._screen, out))
        above_err = cast(TextIO, Above(self._screen, err)) if _is_same_terminal(out, err) else err
        self._lines = lines(above_out, above_err)
        self._streams = Instead([(out, above_out), (err, above_err)])
        self._paint = paint
        self._total = self._ended = self._failed = 0
        self._left = TimeLeft({}, 1)
        self._expected: dict[Key, float | None] = {}
        self._running: dict[Key, _Running] = {}
        self._last_of: dict[str, float] = {}  # Seconds that the last call of a task took, by its name.
        self._drawn_at = time.monotonic()
        self._paused = self._closed = False
        self._paused_at = 0.0
        self._watch = contextlib.ExitStack()  # Over what the build hashes.
        self._hashing: tuple[int, int] | None = None  # Bytes done, and in all, while it does.
        self._hashed_before = 0
        self._streams.begin()

    # ---- the reporter ------------------------------------------------------------------------------------------------

    def report(self, event: Event) -> None:
        """Pass an event on, and draw if it cannot wait for the next tick."""
        self._note(event)
        self._lines.report(event)
        if isinstance(event, events.BuildDone):
            self._watch.close()
            self._screen.end()
        elif isinstance(event, events.Failed) or self._blocks_for_long(event):
            self._draw()

    def tick(self) -> None:
        """Draw if it is time."""
        self._lines.tick()
        if time.monotonic() - self._drawn_at >= FRAME_S:
            self._draw()

    def pause(self) -> None:
        """Leave the terminal to somebody else."""
        if not self._paused and not self._closed:
            self._screen.clear()
            self._streams.end()
            self._paused = True
            self._paused_at = time.monotonic()

    def resume(self) -> None:
        """Take it back."""
        if self._paused and not self._closed:
            self._paused = False
            away = time.monotonic() - self._paused_at
            for key, running in self._running.items():
                self._running[key] = replace(running, began=running.began + away)
            self._screen.to_new_row()
            self._streams.begin()

    def close(self) -> None:
        """Leave the terminal as it was found."""
        if not self._closed:
            self._closed = True
            self._watch.close()
            self._lines.close()
            self._screen.close()
            self._streams.end()

    # ---- what is known of the build ----------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        match event:
            case events.BuildStarted():
                self._watch.close()
                self._watch.enter_context(gauge.watched(self._hashed))
                self._total, self._ended = event.total, event.known
                self._left = TimeLeft(event.expected, event.slots)
                self._expected = {node.key: seconds for node, seconds in event.expected.items()}
            case events.Grown():
                self._total = event.total
            case events.Started():
                since = time.strftime("%H:%M:%S") if event.inline else ""
                label = event.label if event.together is None else event.together.label
                if label:  # A batch is one row, with its last item.
                    self._running[event.node.key] = _Running(label, time.monotonic(), since)
            case events.Retrying() | events.Interrupted():
                self._running.pop(event.node.key, None)
            case events.Ran() | events.Cached() | events.CutOff() | events.Failed() | events.Skipped():
                running = self._running.pop(event.node.key, None)
                if running is not None:
                    self._last_of[event.node.name] = time.monotonic() - running.began
                self._left.ended(event.node.key)
                self._ended += 1
                self._failed += isinstance(event, events.Failed)

    def _blocks_for_long(self, event: Event) -> bool:
        """Whether no tick will come for a while: a task begins to run right here, and will not be over in no time."""
        if not isinstance(event, events.Started) or not event.inline:
            return False
        if time.monotonic() - self._drawn_at >= FRAME_S:
            return True
        expected = self._expected.get(event.node.key)
        if expected is None:
            expected = self._last_of.get(event.node.name, _LONG_S)
        return expected >= _LONG_S

    def _hashed(self, came: int, expected: int) -> None:
        """Draw if it is time: while the building thread hashes no tick comes."""
        before = self._hashed_before
        if came < expected:
            self._hashing = came - before, expected - before
        else:
            self._hashing, self._hashed_before = None, came
        if time.monotonic() - self._drawn_at >= FRAME_S:
            self._draw()

    # ---- drawing -----------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        if self._paused or self._closed:
            return
        self._drawn_at = now = time.monotonic()
        width, height = self._screen.size()
        elapsed = {key: now - running.began for key, running in self._running.items()}
        left = self._left.seconds(elapsed)
        total = max(self._total, self._ended)
        progress = Progress(self._ended, total, self._failed, left, self._hashing)
        tasks = [
            Task(running.label, elapsed[key], self._expected.get(key), running.since)
            for key, running in self._running.items()
        ]
        # One column less: at the margin terminals differ.  One row less: something of what scrolls up is to be seen.
        self._screen.draw(rows(progress, tasks, max(1, width - 1), max(1, height - 1), self._paint))


@dataclass(frozen=True, slots=True)
class _Running:
    """A task that runs: when it began (monotonic), and the time of day if nothing is drawn until it ends."""

    label: str
    began: float
    since: str


def _is_same_terminal(out: TextIO, err: TextIO) -> bool:
    return err.isatty() and os.fstat(out.fileno()).st_rdev == os.fstat(err.fileno()).st_rdev

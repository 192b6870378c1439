"""Plain lines: what a build does, one line for each task that ended, without moving a cursor.

It decides what is worth a line.  It knows no terminal: colors come as a function, and the streams may be files.

The invariant: it never raises, also not when nobody reads any more; what failed is told whatever else is left out.
"""

import os
import time
from dataclasses import dataclass
from typing import Final, TextIO, assert_never

from merkl import events
from merkl.bash.secrets import secrets_of, text_without
from merkl.digest import Key
from merkl.errors import MerklError
from merkl.events import Event
from merkl.report.color import PLAIN, Paint
from merkl.report.tail import Tail
from merkl.report.words import duration, harmless, one_line, summary

ALONE_S: Final = 2.0  # Seconds after which the output of the only task that runs is shown.


@dataclass(frozen=True, slots=True)
class Shown:
    """What to tell.

    ``quiet``: nothing but failures; ``verbose``: every decision; ``endings``: a line for each task that ran;
    ``summary``: the last line.
    """

    quiet: bool = False
    verbose: bool = False
    endings: bool = True
    summary: bool = True


class Lines:
    """A reporter that writes lines to ``out``, and failures to ``err``.  ``root`` is what paths of logs start from."""

    def __init__(
        self, out: TextIO, err: TextIO, root: str, shown: Shown = Shown(), paint: Paint = PLAIN
    ) -> None:
        self._out = out
        self._err = err
        self._root = root
        self._shown = shown
        self._paint = paint
        self._total = 0
        self._ended = 0
        self._running: dict[Key, events.Started] = {}
        self._live = Live(root)

    def report(self, event: Event) -> None:
        """Write what the event is worth."""
        match event:
            case events.BuildStarted():
                self._total = event.total
            case events.Started():
                self._started(event)
            case events.Retrying():
                self._running.pop(event.node.key, None)
                self._write_live(self._live.ended(event.node.key))
                again = f"attempt {event.attempt} failed, another follows in {duration(event.delay)}"
                self._say(f"{one_line(event.label)}: {again}: {one_line(event.reason)}", "warning")
            case events.Ran() | events.Cached() | events.CutOff() | events.Failed() | events.Skipped():
                self._end(event)
            case events.Waiting():
                where = f"which runs elsewhere: {one_line(event.holder)}"
                self._say(f"waiting for {one_line(event.label)}, {where}", "warning")
            case events.Placed():
                self._say(f"        placed {one_line(event.path)}", "quiet", only_verbose=True)
            case events.Saved():
                path = one_line(event.path)
                back = f"bring it back with: merkl restore {_quoted(path)}"
                self._warn(f"saved your edited {path} before replacing it; {back}")
            case events.Note():
                self._say(harmless(f"note: {event.text}" + (f"\n  hint: {event.hint}" if event.hint else "")))
            case events.BuildDone():
                self._done(event)
            case other:
                assert_never(other)

    def tick(self) -> None:
        """Show what the only running task prints, once it has been alone for a while."""
        if len(self._running) == 1 and not self._shown.quiet:
            [started] = self._running.values()
            self._write_live(self._live.look(started))
        else:
            self._live.interrupt()

    def close(self) -> None:
        """Let go of the logs."""
        self._live.close()

    # ---- one event -----------------------------------------------------------------------------------------------

    def _started(self, event: events.Started) -> None:
        self._running[event.node.key] = event
        self._say(f"        {one_line(event.label)} {one_line(event.why)}", "quiet", only_verbose=True)

    def _end(
        self, event: events.Ran | events.Cached | events.CutOff | events.Failed | events.Skipped
    ) -> None:
        self._ended += 1
        self._running.pop(event.node.key, None)
        self._write_live(self._live.ended(event.node.key))
        place = f"[{self._ended}/{max(self._total, self._ended)}]"
        label = one_line(event.label)
        match event:
            case events.Ran():
                if self._shown.endings:
                    self._say(f"{self._paint(place, 'quiet')} {label}  {duration(event.seconds)}")
            case events.Cached():
                self._say(f"{place} cached {label}{_saves(event.saved)}", "quiet", only_verbose=True)
            case events.CutOff():
                same = "its inputs have the same bytes as before"
                self._say(f"{place} cut off {label}: {same}{_saves(event.saved)}", "quiet", only_verbose=True)
            case events.Skipped():
                because = one_line(event.because)
                self._say(f"{place} skipped {label}: it needs {because}", "quiet", only_verbose=True)
            case events.Failed():
                seconds = f"  {duration(event.seconds)}" if event.seconds else ""
                self._fail(f"{place} {self._paint('failed', 'bad')} {label}{seconds}", event.error)

    def _fail(self, line: str, error: BaseException) -> None:
        text = indented(harmless(error_text(error)))
        self._write(self._err, f"{line}\n{text}\n")

    def _done(self, event: events.BuildDone) -> None:
        style = "bad" if event.failed or event.interrupted else "good"
        if self._shown.summary:
            self._say(summary(event), style)
        labels = [one_line(label) for label in event.interrupted if label]
        if labels:
            self._write(self._err, f"interrupted: {', '.join(labels)}\n")

    # ---- writing -------------------------------------------------------------------------------------------------

    def _say(self, text: str, style: str = "", *, only_verbose: bool = False) -> None:
        if self._shown.quiet or (only_verbose and not self._shown.verbose):
            return
        self._write(self._out, (self._paint(text, style) if style else text) + "\n")

    def _warn(self, text: str) -> None:
        """Say what is said even if nothing else is."""
        stream = self._err if self._shown.quiet else self._out
        self._write(stream, self._paint(text, "warning") + "\n")

    def _write_live(self, pieces: list[str]) -> None:
        for piece in pieces:
            if not self._shown.quiet:
                self._write(self._out, harmless(piece))

    def _write(self, stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):  # Nobody reads any more, or the stream is closed: the build goes on.
            pass


class Live:
    """The output of the task that runs alone, from the moment on when it has been alone for ``ALONE_S``."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._key: Key | None = None
        self._since = 0.0
        self._tail: Tail | None = None
        self._secrets: list[bytes] = []
        self._speaking = False
        self._tails: dict[Key, Tail] = {}  # Of tasks that were shown and then were no longer alone.

    def look(self, started: events.Started) -> list[str]:
        """What is to be written now, given that only this one runs."""
        now = time.monotonic()
        if self._key != started.node.key:
            self.interrupt()
            self._key, self._since = started.node.key, now
        if now - self._since < ALONE_S:
            return []
        if self._tail is None:
            self._tail = self._tails.pop(started.node.key, None) or Tail(
                os.path.join(self._root, started.log)
            )
            self._secrets = secrets_of(started.node.call, os.environb)
        return self._headed(list(self._tail.new_text()), started.label)

    def _headed(self, pieces: list[str], label: str) -> list[str]:
        pieces = self._hidden(pieces)
        if pieces and not self._speaking:
            self._speaking = True
            pieces.insert(0, f"{one_line(label)} prints:\n")
        return pieces

    def _hidden(self, pieces: list[str]) -> list[str]:
        return [text_without(piece, self._secrets) for piece in pieces]

    def interrupt(self) -> None:
        """It is no longer alone; it may be again."""
        if self._key is not None and self._tail is not None:
            self._tails[self._key] = self._tail
        self._key, self._tail, self._speaking = None, None, False

    def ended(self, key: Key) -> list[str]:
        """What is left to be written of a task that has ended; nothing if it was not being shown."""
        if key != self._key:
            tail = self._tails.pop(key, None)
            if tail is not None:
                tail.close()
            return []
        pieces = []
        if self._tail is not None:
            pieces = self._hidden(list(self._tail.rest())) if self._speaking else []
            self._tail.close()
        self._key, self._tail, self._speaking = None, None, False
        return pieces

    def close(self) -> None:
        """Let go of all files."""
        self.interrupt()
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()


def error_text(error: BaseException) -> str:
    """An error for people; one that is not expected keeps its traceback."""
    if isinstance(error, MerklError):
        return str(error)
    import traceback

    return "".join(traceback.format_exception(error)).rstrip()


def indented(text: str) -> str:
    """Text two columns to the right."""
    return "\n".join(f"  {line}" if line else "" for line in text.split("\n"))


def _saves(seconds: float) -> str:
    return f"  (saves {duration(seconds)})" if seconds >= 0.1 else ""


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)

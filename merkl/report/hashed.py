"""What is shown while many bytes are hashed before anything else happens: a bar on a terminal, or an event a second.

It decides when that is worth a word: once it has taken half a second, or a whole one where nobody looks.

The invariant: after ``close`` the terminal is as it was found, and ``sys.stdout`` and ``sys.stderr`` are what they were.
"""

import json
import time
from typing import Final, TextIO, cast

from merkl.report.color import Paint
from merkl.report.moving import FRAME_S, bar_row
from merkl.report.ready import say
from merkl.report.screen import Screen
from merkl.report.streams import Above, Instead
from merkl.snapshot import recorder

_PATIENCE_S: Final = 0.5  # Before the first frame.
_EVENT_S: Final = 1.0  # Before the first event, and between two.


class HashingBar:
    """A bar on the terminal of ``out``; what is printed meanwhile, to ``err`` too, scrolls up."""

    def __init__(self, out: TextIO, err: TextIO, paint: Paint) -> None:
        self._out, self._err, self._paint = out, err, paint
        self._began = self._drawn_at = 0.0
        self._screen: Screen | None = None
        self._streams = Instead(())

    def told(self, came: int, expected: int) -> None:
        """So many bytes of so many have been hashed."""
        now = time.monotonic()
        self._began = self._began or now
        if now - self._began < _PATIENCE_S or now - self._drawn_at < FRAME_S:
            return
        self._drawn_at = now
        with recorder.unheard():  # It decides nothing.
            screen = self._screen or self._open()
            width = screen.size()[0] - 1
            screen.draw([bar_row("hashing", came, expected, now - self._began, width, self._paint)])

    def _open(self) -> Screen:
        screen = self._screen = Screen(self._out)
        streams = [self._out, self._err] if self._err.isatty() else [self._out]
        self._streams = Instead([(stream, cast(TextIO, _Said(screen, stream))) for stream in streams])
        self._streams.begin()
        return screen

    def close(self) -> None:
        """Take the bar away."""
        if self._screen is not None:
            self._streams.end()
            with recorder.unheard():
                self._screen.close()
            self._screen = None


class _Said(Above):
    """What a Merklfile prints here would be missing from the answer that a snapshot gives."""

    def write(self, text: str) -> int:
        """As above."""
        if (recording := recorder.active()) is not None:
            recording.spoil("the Merklfile printed something while files were hashed")
        return super().write(text)


class HashingEvents:
    """Lines of JSON on ``out``."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._told_at = 0.0

    def told(self, came: int, expected: int) -> None:
        """So many bytes of so many have been hashed."""
        now = time.monotonic()
        self._told_at = self._told_at or now
        if now - self._told_at >= _EVENT_S:
            self._told_at = now
            with recorder.unheard():
                say(self._out, json.dumps({"event": "hashing", "bytes": came, "of": expected}) + "\n")

    def close(self) -> None:
        """Nothing to end."""

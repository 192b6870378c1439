"""What ``pull`` and ``push`` say: a line for each path that was moved, and on a terminal a bar below them.

It decides wording, and when a frame is drawn: ten times a second at most.

The invariant: after ``close`` the terminal is as it was found, and no line was lost.
"""

import json
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, TextIO, cast

from merkl.errors import MerklError
from merkl.report.cells import columns, cut
from merkl.report.color import Paint
from merkl.report.json import error_members
from merkl.report.screen import Screen
from merkl.report.streams import Above
from merkl.report.words import duration, harmless, one_line, plural, size, typed

FRAME_S: Final = 0.1  # Seconds between two frames.
_BAR: Final = 20  # Columns.
_PATIENCE_S: Final = 0.5  # Seconds that hashing takes before it is shown.
_AN_ESTIMATE: Final = 2.0  # Seconds that must have passed before the rest is estimated.


class Bar:
    """How far a transfer is, on the terminal of ``out``; ``verb`` is ``pulling`` or ``pushing``."""

    def __init__(self, out: TextIO, verb: str, paint: Paint) -> None:
        self._screen = Screen(out)
        self._verb = verb
        self._paint = paint
        self._lock = threading.RLock()
        self._expected = self._came = 0
        self._began = time.monotonic()
        self._drawn_at = 0.0
        self.out = cast(TextIO, Above(self._screen, out))  # For lines that scroll up.

    def expect(self, size: int) -> None:
        """So many more bytes are to come."""
        with self._lock:
            self._expected += size
            self._draw()

    def came(self, size: int) -> None:
        """So many have come."""
        with self._lock:
            self._came += size
            self._draw()

    def hashed(self, came: int, expected: int) -> None:
        """So many bytes of files that are here have been hashed; that is shown until something comes."""
        with self._lock:
            if not self._came and time.monotonic() - self._began >= _PATIENCE_S:
                self._draw_row("hashing", came, expected)

    def close(self) -> None:
        """Take the bar away."""
        with self._lock:
            self._screen.close()

    def _draw(self) -> None:
        self._draw_row(self._verb, self._came, self._expected)

    def _draw_row(self, verb: str, came: int, expected: int) -> None:
        now = time.monotonic()
        if now - self._drawn_at >= FRAME_S:
            self._drawn_at = now
            width = self._screen.size()[0] - 1
            self._screen.draw([bar_row(verb, came, expected, now - self._began, width, self._paint)])


def bar_row(verb: str, came: int, expected: int, seconds: float, width: int, paint: Paint) -> str:
    """One row: a bar, bytes, and how long it will take; what has no room is left out."""
    expected = max(came, expected, 1)
    full = _BAR * came // expected
    row, used = paint("━" * full, "good") + paint("━" * (_BAR - full), "quiet"), _BAR
    parts = [f" {100 * came // expected:>3}%", f"  {verb} {size(came)} of {size(expected)}"]
    if seconds >= _AN_ESTIMATE and came:
        parts.append(f"  about {duration(seconds * (expected - came) / came)} left")
    if width < _BAR:
        return cut(parts[0].strip(), width)
    for part in parts:
        if used + columns(part) > width:
            break
        row, used = row + part, used + columns(part)
    return row


class Lines:
    """A line of text for each path, or a JSON object; errors go to ``err`` as text.

    ``verb`` is ``pulled`` or ``pushed``.  ``quiet`` leaves only errors.
    """

    def __init__(
        self, out: TextIO, err: TextIO, verb: str, paint: Paint, *, json: bool, quiet: bool, verbose: bool
    ) -> None:
        self._out, self._err, self._verb, self._paint = out, err, verb, paint
        self._json, self._quiet, self._verbose = json, quiet, verbose

    def ended(
        self,
        path: str,
        state: str,
        moved: int,
        *,
        saved: bool,
        error: MerklError | None,
        count: int,
        link: str = "",
    ) -> None:
        """Say what became of a path; one without a name is of ``count`` results.

        ``link`` is the text of the user's link that was there.
        """
        if self._json:
            self._object(path, state, moved, saved, error, count, link)
        elif error is not None:
            self._err.write(harmless(str(error)) + "\n")
        elif not self._quiet and path and (self._verbose or state != "unchanged"):
            self._out.write(self._line(path, state, moved, saved, link) + "\n")

    def _line(self, path: str, state: str, moved: int, saved: bool, link: str) -> str:
        what = {"moved": self._verb, "unchanged": "fresh" if self._verb == "pulled" else "there"}
        name = what.get(state, f"would {self._verb.removesuffix('ed')}")
        style = "quiet" if state == "unchanged" else "good"
        line = f"{self._paint(name, style)}  {one_line(path)}{f'  {size(moved)}' if moved else ''}"
        if saved and state == "moved" and link:
            there = f"{one_line(path)} -> {one_line(link)}"
            line += f"\n  replaced your link {there}: `merkl restore {typed(path)}` brings it back"
        elif saved and state == "moved":
            line += f"\n  what you had there was saved: `merkl restore {typed(path)}` brings it back"
        elif saved:
            line += "\n  what you have there would be saved first"
        return line

    def _object(
        self,
        path: str,
        state: str,
        moved: int,
        saved: bool,
        error: MerklError | None,
        count: int,
        link: str,
    ) -> None:
        item: dict[str, Any] = {
            "event": self._verb,
            "path": path,
            "state": state,
            "bytes": moved,
            "saved": saved,
        }
        if saved and link:
            item["link"] = link
        if not path:
            item = {"event": self._verb, "results": count, "state": state, "bytes": moved}
        if error is not None:
            item |= error_members(error)
        self._out.write(json.dumps(item) + "\n")


def counted(verb: str, paths: Sequence[int], results: int, over: int, *, would: bool) -> str:
    """The last line; ``paths`` are how many were moved, unchanged and left, and ``over`` the bytes that went over."""
    moved, unchanged, left = paths
    what = plural(moved, "file")
    if results:
        what += f" and {plural(results, 'result')}"
    done = f"would {verb.removesuffix('ed')}" if would else verb
    parts = [f"{done} {what}, {size(over)}"]
    if unchanged:
        parts.append(f"{unchanged} {'fresh' if verb == 'pulled' else 'there already'}")
    if left:
        parts.append(f"{left} left")
    return "; ".join(parts)

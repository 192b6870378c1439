"""Durations, counts and foreign text, as people read them.

It decides how a number looks and which characters may reach a terminal.

The invariant: nothing that a task printed, and no name of a file, can move the cursor, set a title or reorder a line.
"""

import os
import re
from typing import Final

from merkl.events import BuildDone
from merkl.pattern import pattern

_UNSAFE: Final = pattern(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # Controls, but for tab and newline.
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # Directions and separators.
    "\ud800-\udfff]"  # Bytes that are no text.
)
_COLORS: Final = pattern(r"\x1b\[[0-9;:]*[mK]")


def harmless(text: str) -> str:
    """``text`` with its control characters spelt out; colors are dropped, and a lone carriage return ends a line."""
    if text.isascii() and text.isprintable():
        return text
    text = _COLORS.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _UNSAFE.sub(_spelt, text)


def one_line(text: str) -> str:
    """``harmless`` text that stays on its line: a name of a file may hold a newline."""
    return harmless(text).replace("\n", "\\n")


def typed(path: str) -> str:
    """A path as a word of a command line for bash, whatever is in its name."""
    path = f"./{path}" if path.startswith("-") else path
    if path == one_line(path):
        import shlex

        return shlex.quote(path)
    raw = os.fsencode(path)
    plain = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b"'\\" else f"\\x{byte:02x}" for byte in raw
    )
    return f"$'{plain}'"


def _spelt(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # A byte of a name that is not UTF-8.
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20:
        return f"^{chr(code + 64)}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def duration(seconds: float) -> str:
    """``1.2s``, ``2m15s``, ``31m``, ``1h05m``, ``3d02h``."""
    if seconds < 59.95:
        return f"{max(seconds, 0.0):.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return _two(whole, 60, "m", "s")
    if whole < 86_400:
        return _two(whole // 60, 60, "h", "m")
    return _two(whole // 3600, 24, "d", "h")


def _two(value: int, base: int, large: str, small: str) -> str:
    rest = f"{value % base:02d}{small}" if value % base else ""
    return f"{value // base}{large}{rest}"


def size(count: int) -> str:
    """``812 bytes``, ``1.5 kB``, ``3.2 GB``: powers of a thousand."""
    if count < 1000:
        return plural(count, "byte")
    number = float(count)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} TB"


def plural(count: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def summary(done: BuildDone) -> str:
    """The last line of a build: ``14 tasks: 10 cached, 3 ran, 1 failed in 2m15s (saved 31m)``."""
    counts = {
        "cached": done.cached,
        "cut off": done.cutoff,
        "ran": done.ran,
        "failed": done.failed,
        "skipped": done.skipped,
        "interrupted": len([label for label in done.interrupted if label]) - done.interrupted_failed,
    }
    shown = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    saved = f" (saved {duration(done.saved)})" if done.saved >= 1 else ""
    tasks = plural(sum(counts.values()), "task")
    return f"{tasks}{': ' if shown else ''}{shown} in {duration(done.seconds)}{saved}"

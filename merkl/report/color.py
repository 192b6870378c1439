"""What a terminal can show, and the colors of lines.

It decides whether there are colors, and which, and whether something can be drawn again.  It moves no cursor: each color
begins and ends on its line.
"""

import os
from collections.abc import Callable, Mapping
from typing import Final, Literal, TextIO, TypeAlias

When: TypeAlias = Literal["auto", "always", "never"]
Paint: TypeAlias = Callable[[str, str], str]
"""Text and the name of its style to the text that is written."""

_STYLES: Final = {
    "good": "32",
    "bad": "1;31",
    "warning": "33",
    "quiet": "2",
    "strong": "1",
    "added": "32",
    "removed": "31",
}


def wanted(when: When, stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to color what goes to ``stream``: by option, then NO_COLOR and FORCE_COLOR, then by what the stream is."""
    if when != "auto":
        return when == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR") or environ.get("CLICOLOR_FORCE"):
        return True
    return environ.get("TERM") != "dumb" and stream.isatty()


def can_redraw(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether ``stream`` is a terminal on which the cursor can be moved.

    Not if stdout goes elsewhere, even if this is stderr: what reads it may write to the same terminal.
    """
    return environ.get("TERM", "dumb") != "dumb" and stream.isatty() and os.isatty(1)


def painter(colored: bool) -> Paint:
    """A function that colors text, or one that returns it as it is."""
    return _colored if colored else _plain


def _colored(text: str, style: str) -> str:
    return "\n".join(f"\x1b[{_STYLES[style]}m{line}\x1b[0m" if line else "" for line in text.split("\n"))


def _plain(text: str, _: str) -> str:
    return text


PLAIN: Final[Paint] = painter(False)

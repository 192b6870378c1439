"""Text in a picture: how wide it is, shortened to fit, and as SVG has it.

It decides by estimates, since it knows no font: what shows the picture may have a narrower one.

The invariant: whatever characters text has, what is written is XML.
"""

import unicodedata
from html import escape
from typing import Final

_NARROW: Final = frozenset("iljtfrI.,:;'|!()[]{}/\\ -")
_BROAD: Final = frozenset("mwMW@%—…→")


def width_of(text: str, size: float) -> float:
    """About how wide text is, in a wide font; what shows it may have a narrower one."""
    return sum(_advance(char) for char in text) * size


def _advance(char: str) -> float:
    if char in _NARROW:
        return 0.41
    if char in _BROAD:
        return 0.98
    if char.isascii():
        return 0.72 if char.isupper() else 0.635
    if unicodedata.combining(char):
        return 0.0
    return 1.05 if unicodedata.east_asian_width(char) in "WF" else 0.72


def shortened(text: str, size: float, widest: float) -> str:
    """Text that is not too wide: its middle is left out, and of the end more is kept, since names of files differ there."""
    if width_of(text, size) <= widest:
        return text
    room = widest - width_of("…", size)
    start = _fitting(text, room / 3, size)
    end = _fitting(text[::-1], room - width_of(text[:start], size), size)
    return f"{text[:start]}…{text[len(text) - end :]}"


def _fitting(text: str, room: float, size: float) -> int:
    """How many characters from the start fit."""
    for count, char in enumerate(text):
        room -= _advance(char) * size
        if room < 0:
            return count
    return len(text)


def escaped(text: str) -> str:
    """Text as it stands between two tags."""
    # Two characters that XML has no way to write.
    return escape(text, quote=False).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


def attribute(text: str) -> str:
    """Text as it stands between double quotes."""
    return escaped(text).replace('"', "&quot;")


def brief(number: float) -> str:
    """A length, to a tenth of a pixel."""
    return f"{number:.1f}".removesuffix(".0")

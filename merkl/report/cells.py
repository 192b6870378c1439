"""How wide a text is on a terminal, and texts cut to fit.

It decides by what the Unicode tables say of a character; terminals differ on emoji and flags.

The invariant: no terminal shows a text wider than it is counted here, so what is cut to a width stays on its row.
"""

import unicodedata
from typing import Final

_MARKS: Final = ("Mn", "Me")  # They stand on the character before them.
_PICTURES: Final = 0x1F000  # From here on are emoji, flags and whatever the tables do not know yet.


def columns(text: str) -> int:
    """The most columns that ``text``, without control characters, takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    if char.isascii():
        return 1
    if ord(char) >= _PICTURES or unicodedata.east_asian_width(char) in ("W", "F"):
        return 2
    # A variation selector (a mark too) may make a wide picture of the narrow sign before it.
    return 0 if unicodedata.category(char) in _MARKS and char != "\ufe0f" else 1


def cut(text: str, most: int) -> str:
    """``text`` in at most ``most`` columns: if it is too long, its first third and its end, where the names differ."""
    if columns(text) <= most:
        return text
    if most < 8:
        return _beginning(text, most - 1) + "…" if most > 0 else ""
    head = _beginning(text, (most - 1) // 3)
    return f"{head}…{_beginning(text[::-1], most - 1 - columns(head))[::-1]}"


def _beginning(text: str, most: int) -> str:
    taken = 0
    for index, char in enumerate(text):
        taken += _width(char)
        if taken > most:
            return text[:index]
    return text

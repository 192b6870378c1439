"""Where a character of a YAML scalar stands in the file.

It decides how each style of scalar is written: plain, quoted, literal and folded.  It is pure.

The invariant: a position that it tells holds the character it is asked for, or the white space or escape that stands for
it; where it cannot know, it tells the position of the scalar itself.
"""

import re
from collections.abc import Callable
from typing import Final

Locate = Callable[[int], int]
"""Gets a position in a scalar's value; returns one in the file's text."""

_PROPERTIES: Final = re.compile(r"(?:[&!]\S*\s+)*")
_HEADER: Final = re.compile(r"[|>][^\n]*\n?")
_ESCAPE: Final = re.compile(r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|\n[ \t]*|.)", re.DOTALL)
_BREAK: Final = re.compile(r"[ \t]*\n\s*")


def located(text: str, start: int, end: int, style: str | None, value: str) -> Locate:
    """How positions in ``value``, a scalar written in ``text`` from ``start`` to ``end``, are found again."""
    skipped = _PROPERTIES.match(text, start, end)
    begin = skipped.end() if skipped else start
    if style == '"':
        places = _double_quoted(text, begin + 1, end - 1, value)
    elif style in ("|", ">"):
        header = _HEADER.match(text, begin)
        places = _aligned(text, header.end() if header else begin, end, value)
    else:
        quote = 1 if style == "'" else 0
        places = _aligned(text, begin + quote, end - quote, value, doubled="'" if quote else "")
    if places is None:
        return lambda _: begin
    last = places[-1] + 1 if places else begin
    return lambda at: places[at] if at < len(places) else last


def _aligned(text: str, at: int, end: int, value: str, doubled: str = "") -> list[int] | None:
    """The place of each character, where only white space is written in another way than it is read.

    A run of white space is aligned at its end, since what is left out of it is indentation or folded lines before.
    """
    places: list[int] = []
    index = 0
    while index < len(value):
        if value[index].isspace():
            stop = _after_space(value, index, len(value))
            after = _after_space(text, at, end)
            places += [max(after - (stop - each), at) for each in range(index, stop)]
            index, at = stop, after
            continue
        at = _after_space(text, at, end)  # Indentation of the first line.
        if at >= end or text[at] != value[index]:
            return None
        places.append(at)
        at += 2 if value[index] == doubled else 1
        index += 1
    return places


def _after_space(text: str, at: int, end: int) -> int:
    while at < end and text[at].isspace():
        at += 1
    return at


def _double_quoted(text: str, at: int, end: int, value: str) -> list[int] | None:
    """The same for double quotes: an escape is one character, or none at the end of a line."""
    places: list[int] = []
    while at < end and len(places) < len(value):
        escape, folded = _ESCAPE.match(text, at, end), _BREAK.match(text, at, end)
        if escape is not None:
            places += [at] if escape[0][1] != "\n" else []
            at = escape.end()
        elif folded is not None:
            breaks = folded[0].count("\n")
            places += [at] * (breaks - 1 or 1)
            at = folded.end()
        elif text[at] == value[len(places)]:
            places.append(at)
            at += 1
        else:
            return None
    return places if len(places) == len(value) else None

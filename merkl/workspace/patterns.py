"""The language of ignore files, as gitignore(5) and git's own matcher have it.

It decides what one line means, and which of several lines has the last word on one path.  It touches no disk.

The invariant: a pattern matches exactly the paths it names, never what lies below them.  Whoever walks directories leaves
out an ignored one and never asks about what is in it; a library that lets ``!a`` match ``a/b`` too takes back too much.
"""

import re
from collections.abc import Iterable
from typing import Final

from merkl.dataclass import dataclass
from merkl.pattern import pattern


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line: ``keeps`` for one that begins with ``!``; ``whole`` if it is about the whole path, not the last name."""

    keeps: bool
    directories_only: bool
    whole: bool
    regex: "re.Pattern[str]"


@dataclass(frozen=True, slots=True)
class Patterns:
    """The lines of one file, the last first."""

    lines: tuple[Pattern, ...]

    def verdict(self, path: str, directory: bool) -> bool | None:
        """Whether ``path``, relative to the file, is ignored; None if no line is about it."""
        name = path.rpartition("/")[2]
        for line in self.lines:
            if line.directories_only and not directory:
                continue
            if line.regex.fullmatch(path if line.whole else name):
                return not line.keeps
        return None


class MeaninglessPattern(ValueError):
    """A line that can match nothing: ``number`` counts from 1."""

    def __init__(self, number: int, line: str, reason: str) -> None:
        super().__init__(reason)
        self.number = number
        self.line = line
        self.reason = reason


def read_patterns(lines: Iterable[str], *, lenient: bool) -> Patterns:
    """Read the lines of an ignore file; a ``lenient`` reader leaves out, as git does, what can match nothing.

    Raises:
        MeaninglessPattern: a line can match nothing.
    """
    read: list[Pattern] = []
    for number, line in enumerate(lines, 1):
        try:
            pattern = _read(line)
        except ValueError as error:
            if lenient:
                continue
            raise MeaninglessPattern(number, line, str(error)) from None
        if pattern is not None:
            read.append(pattern)
    return Patterns(tuple(reversed(read)))


def _read(line: str) -> Pattern | None:
    text = _without_trailing_spaces(line)
    if not text or text.startswith("#"):
        return None
    keeps = text.startswith("!")
    text = text[keeps:]
    directories_only = text.endswith("/")
    text = text[: len(text) - directories_only]
    if not text:
        raise ValueError("nothing is left of it")
    return Pattern(
        keeps, directories_only, "/" in text, re.compile(_translated(text.removeprefix("/")), re.DOTALL)
    )


def _without_trailing_spaces(line: str) -> str:
    kept = line.rstrip(" ")
    escaped = (len(kept) - len(kept.rstrip("\\"))) % 2
    return kept + " " if escaped and kept != line else kept


_ONE: Final = "[^/]"
_WILD: Final = pattern(r"[*?\[\\]")


def _translated(text: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(text):
        letter = text[at]
        if letter == "*":
            piece, at = _stars(text, at)
        elif letter == "[":
            piece, at = _bracket(text, at + 1)
        elif letter == "?":
            piece, at = _ONE, at + 1
        else:
            letter, at = _letter(text, at)
            piece = re.escape(letter)
        out.append(piece)
    return "".join(out)


def _letter(text: str, at: int) -> tuple[str, int]:
    """A letter, perhaps after a backslash, and where the next one is."""
    if text[at] != "\\":
        return text[at], at + 1
    if at + 1 == len(text):
        raise ValueError("it ends with a backslash")
    return text[at + 1], at + 2


def _stars(text: str, at: int) -> tuple[str, int]:
    end = at
    while end < len(text) and text[end] == "*":
        end += 1
    # Git compares what comes before the first wildcard by itself, so that to it ``a**/b`` begins with the stars.
    first = not _WILD.search(text, 0, at)
    alone = (first or text[at - 1] == "/") and (end == len(text) or text[end] == "/")
    if end - at < 2 or not alone:
        return f"{_ONE}*", end
    return (".*", end) if end == len(text) else ("(?:.*/)?", end + 1)


_CLASSES: Final = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": " \\t", "cntrl": "\\x00-\\x1f\\x7f", "digit": "0-9", "graph": "!-~",
    "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~", "space": "\\s", "upper": "A-Z", "xdigit": "0-9a-fA-F",
}  # fmt: skip


def _bracket(text: str, at: int) -> tuple[str, int]:
    """A set of letters; ``at`` is after the bracket."""
    negated = text[at : at + 1] in ("!", "^")
    at += negated
    start, members = at, ""
    while at == start or text[at : at + 1] != "]":
        if at >= len(text):
            raise ValueError("a [ has no ]")
        if text.startswith("[:", at) and (end := text.find(":]", at)) > 0:
            name = text[at + 2 : end]
            if name not in _CLASSES:
                raise ValueError(f"[:{name}:] is no class of letters")
            members, at = members + _CLASSES[name], end + 2
            continue
        low, at = _letter(text, at)
        high = low
        if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in ("", "]"):
            high, at = _letter(text, at + 1)
        if low <= high:  # A range the wrong way round holds nothing.
            members += f"{re.escape(low)}-{re.escape(high)}"
    if not members:
        return (_ONE if negated else "(?!)"), at + 1
    return f"(?!/)[{'^' * negated}{members}]", at + 1

"""A position in shell text, and what reading it finds.

It decides nothing of the shell's grammar: it holds the vocabulary that its readers share.  A hole is a NUL character, the
place of a value.

The invariant: an error names a position in the text.
"""

import enum
from typing import Final

from merkl.dataclass import dataclass

HOLE: Final = "\0"


class Form(enum.Enum):
    """How a reference must be written where a hole is."""

    WORD = "word"  # A whole bare word, which may become no word or several.
    BARE = "bare"  # Part of an unquoted word.
    DOUBLE = "double"  # Inside "…".
    SINGLE = "single"  # Inside '…'.
    ANSI = "ansi"  # Inside $'…'.
    HERE = "here"  # In a here document whose text is expanded.
    LITERAL = "literal"  # In a here document whose text is taken as it is.
    NUMBER = "number"  # In arithmetic.
    INDEX = "index"  # The whole of a subscript.


class ShellSyntax(Exception):
    """Text that is wrong, or that cannot be read with certainty; ``at`` is a position in it."""

    def __init__(self, at: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.at = at
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Word:
    """One word.  ``text`` is as written, ``value`` without quotes, None if it holds an expansion or a hole.

    ``holes`` are those that are part of the word itself, not of a command inside it.
    """

    start: int
    end: int
    text: str
    value: str | None
    quoted: bool
    holes: tuple[int, ...]


class Cursor:
    """A position in a text, moved on by each method over what it reads.  ``forms`` collects the holes by position."""

    def __init__(self, text: str, *, bash: bool) -> None:
        self.text = text
        self.at = 0
        self.end = len(text)
        self.bash = bash
        self.forms: dict[int, Form] = {}
        self.holes: list[int] = []  # Of the word that is being read.

    def peek(self, text: str) -> bool:
        return self.text.startswith(text, self.at, self.end)

    def char(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.text[at] if at < self.end else ""

    def wrong(self, message: str, hint: str = "", at: int | None = None) -> ShellSyntax:
        """An error here, or ``at`` a position."""
        return ShellSyntax(self.at if at is None else at, message, hint)

    def only_bash(self, what: str) -> None:
        if not self.bash:
            raise self.wrong(
                f"{what} is bash, and the interpreter is sh", "use interpreter='bash', which is the default"
            )

    def hole(self, form: Form) -> None:
        self.forms[self.at] = form
        self.holes.append(self.at)
        self.at += 1

    def no_hole_after(self, what: str, length: int, hint: str = "") -> None:
        if self.char(length) == HOLE:
            raise self.wrong(f"a placeholder cannot stand after {what}", hint, self.at + length)

    def commands(self, closing: str) -> None:
        """Read commands up to and with ``closing``: a command inside a word."""
        raise NotImplementedError

    def backslash(self) -> str:
        self.no_hole_after("a backslash", 1, "write two backslashes for one that is meant")
        char = self.char(1)
        if not char:
            raise self.wrong("the text ends in a backslash")
        self.at += 2
        return "" if char == "\n" else char

    def piece(self) -> str | None:
        """Read one character, quoted string or expansion of an unquoted word; its text, None if that is not known."""
        raise NotImplementedError

    def single(self) -> str | None:
        """Read ``'…'``."""
        raise NotImplementedError

    def double(self) -> str | None:
        """Read ``"…"``."""
        raise NotImplementedError

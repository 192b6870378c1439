"""Words of shell text: where one ends, and how a value stands in it.

It decides what quotes do.  Which word is a command's name, and what begins or ends a command, is ``grammar``'s business; what
a dollar sign begins is ``dollar``'s.

The invariant: what it reads, it reads as bash does; what two readings could be made of, it refuses.  Even if it were wrong
once, no value could become code: it only chooses among references to a variable.
"""

import re
from typing import Final

from merkl.bash.cursor import HOLE, Form, Word
from merkl.bash.dollar import Expansions, Inside
from merkl.pattern import pattern

_PLAIN: Final = pattern(r"[\w./:,%=-]+", re.ASCII)
_NAME: Final = pattern(r"[A-Za-z_]\w*", re.ASCII)
_ASSIGNS: Final = pattern(r"[A-Za-z_]\w*(\[.*\])?\+?=", re.ASCII | re.DOTALL)
_RANGE: Final = pattern(r"(?<!\$)\{[^{}\s,]*\.\.[^{}\s,]*\}")
BREAKS: Final = frozenset(" \t\n;&|<>()")


class Lexer(Expansions):
    """Reads words."""

    def word(self, *, subscript: bool = False, groups: bool = True) -> Word:
        """Read one word.  ``subscript``: a name with ``[…]`` may begin it; ``groups``: parentheses may be part of it."""
        start, outer, self.holes = self.at, self.holes, []
        value: list[str | None] = []
        quoted = False
        while self.at < self.end:
            char, before = self.char(), self.at
            if (run := _PLAIN.match(self.text, self.at, self.end)) is not None:
                self.at = run.end()
                value.append(run[0])
            elif char in "<>" and self.bash and self.char(1) == "(" and self.at == start:
                self.at += 2
                self.commands(")")
                value.append(None)
            elif char == "(" and groups and self.at > start:
                if not self.group(start):
                    break
                value.append(None)
            elif char in BREAKS:
                break
            elif char == "[" and subscript and _NAME.fullmatch(self.text, start, self.at):
                self.subscript()
                value.append(None)
            else:
                value.append(self.piece())
                quoted = quoted or char in "\\'\"" or (char == "$" and self.at - before > 1)
        known = "".join(part for part in value if part is not None) if None not in value else None
        text = self.text[start : self.at]
        word = Word(start, self.at, text, known, quoted, tuple(self.holes))
        self.holes = outer + self.holes
        self.check_word(word)
        return word

    def check_word(self, word: Word) -> None:
        if word.holes and not word.quoted and (found := _RANGE.search(word.text)) and HOLE in found[0]:
            at = word.start + found.start() + found[0].index(HOLE)
            raise self.wrong(
                "a placeholder cannot be an end of a range {…..…}", 'write $(seq "$from" "$to")', at
            )

    def piece(self) -> str | None:
        """Read one character, quoted string or expansion of an unquoted word; its text, None if that is not known."""
        match self.char():
            case "\0":
                self.hole(Form.BARE)
                return None
            case "\\":
                return self.backslash()
            case "'":
                return self.single()
            case '"':
                return self.double()
            case "`":
                self.backticks(False)
                return None
            case "$" if self.char(1) == "'":
                self.only_bash("$'…'")
                self.ansi()
                return None
            case "$" if self.char(1) == '"':
                self.only_bash('$"…"')
                self.at += 1
                before = len(self.holes)
                self.double()
                if len(self.holes) > before:
                    raise self.wrong(
                        'a placeholder cannot stand in $"…"', "leave out the $", self.holes[before]
                    )
                return None
            case "$":
                return None if self.expansion(Inside.BARE) else "$"
            case char:
                self.at += 1
                return char

    def single(self) -> str | None:
        start = self.at
        close = self.text.find("'", start + 1, self.end)
        if close < 0:
            raise self.wrong(
                "this ' is never closed", "an apostrophe in text is written \\' or inside double quotes"
            )
        self.at += 1
        while (at := self.text.find(HOLE, self.at, close)) >= 0:
            self.at = at
            self.hole(Form.SINGLE)
        self.at = close + 1
        inner = self.text[start + 1 : close]
        return None if HOLE in inner else inner

    def ansi(self) -> None:
        start = self.at
        self.at += 2
        while self.at < self.end:
            match self.char():
                case "'":
                    self.at += 1
                    return
                case "\\":
                    self.no_hole_after("a backslash", 1)
                    if self.char(1) in tuple("cxuU"):
                        self.no_hole_after(f"an unfinished \\{self.char(1)}", 2)
                    self.at += 2
                case "\0":
                    self.hole(Form.ANSI)
                case _:
                    self.at += 1
        raise self.wrong("this $' is never closed", at=start)

    def double(self) -> str | None:
        """Read ``"…"``."""
        start, value = self.at, ""
        known = True
        self.at += 1
        while self.at < self.end:
            match self.char():
                case '"':
                    self.at += 1
                    return value if known else None
                case "\\":
                    self.no_hole_after("a backslash", 1, "write two backslashes for one that is meant")
                    pair = self.text[self.at : self.at + 2]
                    value += "" if pair == "\\\n" else pair[1:] if pair[1:] in ("$", "`", '"', "\\") else pair
                    self.at += 2
                case "$":
                    known, value = (
                        (known, value + "$") if not self.expansion(Inside.DOUBLE) else (False, value)
                    )
                case "`":
                    self.backticks(True)
                    known = False
                case "\0":
                    self.hole(Form.DOUBLE)
                    known = False
                case char:
                    self.at += 1
                    value += char
        raise self.wrong('this " is never closed', at=start)

    def group(self, start: int) -> bool:
        """Read ``(…)`` that goes on with a word: a pattern such as ``@(a|b)``, or the items of an array."""
        if _ASSIGNS.fullmatch(self.text, start, self.at):
            self.only_bash("an array")
            self.items()
            return True
        if self.text[self.at - 1] not in "?*+@!":
            return False
        self.only_bash("a pattern in parentheses")
        opening = self.at
        self.at += 1
        while self.at < self.end:
            if self.char() == ")":
                self.at += 1
                return True
            if self.char() == "(" and self.text[self.at - 1] in "?*+@!":
                self.group(self.at)
            elif self.char() in "(<>;&":
                raise self.wrong(
                    f"a pattern that holds a bare {self.char()} cannot be read", "put quotes around it"
                )
            else:
                self.piece()
        raise self.wrong("this ( is never closed", at=opening)

    def items(self) -> None:
        """Read ``(word word …)`` of an array."""
        opening = self.at
        self.at += 1
        while self.at < self.end:
            char = self.char()
            if char == ")":
                self.at += 1
                return
            if char in " \t\n":
                self.at += 1
            elif self.peek("\\\n"):
                self.at += 2
            elif char == "#":
                self.comment()
            elif char == "[":
                self.item_with_subscript()
            elif char in BREAKS and not (char in "<>" and self.char(1) == "("):
                raise self.wrong(f"a bare {char} among the items of an array")
            else:
                self.whole(self.word())
        raise self.wrong("this ( is never closed", at=opening)

    def item_with_subscript(self) -> None:
        self.subscript()
        if self.char() not in (" ", "\t", "\n", ")", ""):
            self.word()

    def whole(self, word: Word) -> None:
        """Note that a word that is one hole may become no word or several."""
        if word.end - word.start == 1 and word.holes:
            self.forms[word.start] = Form.WORD

    def comment(self) -> None:
        stop = self.text.find("\n", self.at, self.end)
        stop = self.end if stop < 0 else stop
        if (at := self.text.find(HOLE, self.at, stop)) >= 0:
            raise self.wrong(
                "a placeholder cannot stand in a comment", "take it out, or quote the # that begins it", at
            )
        self.at = stop

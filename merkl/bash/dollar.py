"""What a dollar sign or a backtick begins: parameters, arithmetic, and commands inside words.

It decides where an expansion ends, and which form a hole inside it has.  The words and commands in it are read by those who
know them.

The invariant: where shells, versions or operators differ about a quote, a text with a hole beside it is refused.
"""

import enum
import re
from typing import Final

from merkl.bash.cursor import HOLE, Cursor, Form
from merkl.pattern import pattern


class Inside(enum.Enum):
    """What an expansion stands in."""

    BARE = "an unquoted word"
    DOUBLE = "double quotes"
    HERE = "a here document"
    NUMBER = "arithmetic"
    PATTERN = "a pattern inside double quotes"


_PARAMETER: Final = pattern(r"[A-Za-z_]\w*|[0-9]+|[@*#?$!-]", re.ASCII)
DEFAULTS: Final = frozenset("-=?+")
QUOTED_WORD_HINT: Final = "put the value into a variable first: x={arg('x')}, then use \"$x\""


class Expansions(Cursor):
    """Reads expansions."""

    def expansion(self, inside: Inside) -> bool:
        """Read what ``$`` begins; False if it is only a dollar sign."""
        self.no_hole_after(
            "an unquoted $",
            1,
            "a placeholder is a value already: leave out the $, or write \\$ for a dollar sign",
        )
        match self.char(1):
            case "(" if self.char(2) == "(":
                self.arithmetic("$((")
            case "(":
                self.at += 2
                self.commands(")")
            case "{":
                self.braces(inside)
            case "[" if self.bash:
                raise self.wrong(
                    "$[…] cannot be read with certainty",
                    "write $((…)) for arithmetic, or \\$[ for the characters",
                )
            case "\\" if self.char(2) == "\n":
                raise self.wrong("a $ at the end of a continued line cannot be read with certainty")
            case _:
                found = _PARAMETER.match(self.text, self.at + 1, self.end)
                if found is None:
                    self.at += 1
                    return False
                self.at = found.end() if found[0][0] not in "0123456789" else self.at + 2
        return True

    def arithmetic(self, what: str) -> None:
        """Read ``((…))``."""
        opening = self.at
        self.at += len(what)
        depth = 1
        while self.at < self.end:
            match self.char():
                case "(":
                    depth += 1
                    self.at += 1
                case ")":
                    depth -= 1
                    self.at += 1
                    if depth == 0:
                        if self.char() != ")":
                            hint = (
                                f"if it is a command in parentheses, write {what[:-1]} ( with a space between"
                            )
                            raise self.wrong(
                                f"{what} … that does not end in )) cannot be read with certainty",
                                hint,
                                opening,
                            )
                        self.at += 1
                        return
                case _:
                    self.number_piece()
        raise self.wrong(f"this {what} is never closed", at=opening)

    def number_piece(self) -> None:
        """Read one character, string, expansion or hole inside arithmetic."""
        before = len(self.holes)
        char = self.char()
        match char:
            case "\0":
                self.number()
                return
            case "[" if self.at > 0 and (self.text[self.at - 1].isalnum() or self.text[self.at - 1] == "_"):
                self.subscript()
                return
            case "'":
                self.single()
            case '"':
                self.double()
            case "\\":
                self.backslash()
            case "`":
                self.backticks(True)
            case "$":
                self.expansion(Inside.NUMBER)
            case _:
                self.at += 1
        if len(self.holes) > before:
            what = f"a placeholder cannot stand inside {char} within arithmetic"
            raise self.wrong(what, "use it there as it is, with type=int", self.holes[before])

    def number(self) -> None:
        before, after = self.text[self.at - 1 : self.at], self.char(1)
        if re.match(r"[\w#$@.\0]", before) or re.match(r"[\w#\[.\0]", after):
            raise self.wrong(
                "a placeholder in arithmetic must stand by itself", "put an operator or a space beside it"
            )
        self.hole(Form.NUMBER)

    def subscript(self) -> None:
        """Read ``[…]``."""
        opening = self.at
        outer, self.holes = self.holes, []
        depth = 0
        while self.at < self.end:
            match self.char():
                case "[":
                    depth += 1
                    self.at += 1
                case "]":
                    depth -= 1
                    self.at += 1
                    if depth == 0:
                        break
                case _:
                    self.piece()
        else:
            raise self.wrong("this [ is never closed", at=opening)
        if self.holes and self.text[opening : self.at] != f"[{HOLE}]":
            hint = "compute it first: i=$(( {arg('i', type=int)} + 1 )), then a[$i]"
            raise self.wrong("a placeholder can only be the whole of a subscript", hint, self.holes[0])
        for at in self.holes:
            self.forms[at] = Form.INDEX
        self.holes = outer + self.holes

    def braces(self, inside: Inside) -> None:
        """Read ``${…}``."""
        opening = self.at
        self.at += 2
        if self.char() == "#" and self.char(1) not in ("}", "-", "=", "+", ":", "%", "/", "^", ","):
            # A length.  ``${#?}`` and ``${##}`` are lengths too, ``${#-}`` is not understood below.
            self.at += 1
        elif self.char() == "!" and self.char(1) not in (
            "}",
            "-",
            "=",
            "+",
            ":",
            "?",
            "#",
            "%",
            "/",
            "^",
            ",",
        ):
            self.at += 1  # By another variable's name.
        self.no_hole_in_name(0)
        found = _PARAMETER.match(self.text, self.at, self.end)
        if found is None:
            raise self.wrong("this ${ cannot be read", "a literal one is written \\${ or '${'", opening)
        self.at = found.end()
        self.no_hole_in_name(0)
        if self.char() == "[":
            self.only_bash("an array")
            self.subscript()
        start = len(self.holes)
        self.operator(opening, inside)
        if inside is Inside.NUMBER and len(self.holes) > start:
            raise self.wrong(
                "a placeholder cannot stand in ${…} within arithmetic", QUOTED_WORD_HINT, self.holes[start]
            )

    def no_hole_in_name(self, ahead: int) -> None:
        if self.char(ahead) == HOLE:
            raise self.wrong("a placeholder cannot be a variable's name, or a part of it", at=self.at + ahead)

    def operator(self, opening: int, inside: Inside) -> None:
        """Read from an operator, or its absence, to the closing brace."""
        char = self.char()
        if char == "}":
            self.at += 1
        elif char == ":" and self.char(1) not in DEFAULTS:
            self.only_bash("${name:offset}")
            self.at += 1
            self.offset(opening)
        elif char and (char == ":" or char in DEFAULTS):
            self.at += 2 if char == ":" else 1
            self.operand(opening, inside, False)
        elif char and char in "#%/^,~":
            if char in "/^,~":
                self.only_bash(f"${{name{char}…}}")
            self.operand(opening, inside, True)
        elif found := re.compile(r"@[A-Za-z]?\}|\*\}").match(self.text, self.at, self.end):
            self.at = found.end()
        else:
            raise self.wrong("this ${ cannot be read", "is a } missing?", opening)

    def offset(self, opening: int) -> None:
        depth = 0
        while self.at < self.end:
            match self.char():
                case "}" if depth <= 0:
                    self.at += 1
                    return
                case "'" | '"':
                    raise self.wrong(
                        "a quote in ${name:offset} cannot be read with certainty", QUOTED_WORD_HINT
                    )
                case "(" | ")" | "{" | "}" as char:
                    depth += 1 if char in "({" else -1
                    self.at += 1
                case _:
                    self.number_piece()
        raise self.wrong("this ${ is never closed", at=opening)

    def operand(self, opening: int, inside: Inside, pattern: bool) -> None:
        """Read the word after an operator such as ``:-``, or the pattern after one such as ``%``."""
        first, quote = len(self.holes), -1
        while self.at < self.end:
            char, at = self.char(), self.at
            if char == "}":
                self.at += 1
                break
            if inside in (Inside.BARE, Inside.NUMBER):
                if char in "<>" and self.char(1) == "(":
                    raise self.wrong(
                        f"{char}( inside ${{…}} cannot be read with certainty", "put quotes around it"
                    )
                self.piece()
                continue
            if char in "'\"":
                quote = at if char == "'" or inside is Inside.HERE else quote
                self.quote_in_braces(char, inside, pattern)
            elif char == HOLE:
                if inside is Inside.PATTERN or (pattern and inside is Inside.HERE):
                    raise self.wrong("a placeholder cannot stand in this pattern", QUOTED_WORD_HINT)
                self.hole(Form.BARE if pattern else Form.DOUBLE if inside is Inside.DOUBLE else Form.HERE)
            elif char == "$":
                self.expansion(Inside.PATTERN if pattern else inside)
            elif char == "`":
                self.backticks(True)
            elif char == "\\":
                self.backslash()
            else:
                self.at += 1
        else:
            raise self.wrong("this ${ is never closed", at=opening)
        if quote >= 0 and len(self.holes) > first:
            where = '"${…}"' if inside is not Inside.HERE else "${…} in a here document"
            raise self.wrong(
                f"a placeholder cannot stand in {where} together with a quote",
                QUOTED_WORD_HINT,
                self.holes[first],
            )

    def quote_in_braces(self, char: str, inside: Inside, pattern: bool) -> None:
        """Read a quote inside ``"${…}"``, where shells and operators differ about what it is."""
        if char == '"' and inside is not Inside.HERE:
            if not self.bash and HOLE in self.text[self.at : self.text.find('"', self.at + 1, self.end)]:
                raise self.wrong(
                    "a placeholder cannot stand in double quotes inside double quotes", QUOTED_WORD_HINT
                )
            self.double()
        elif char == "'" and not pattern:
            self.at += 1  # An ordinary character.
        else:
            # Whether it quotes or not, it must come to the same.
            found = re.compile(r"'[^'\"\\$`{}\0]*'|\"[^'\"\\$`{}\0]*\"").match(self.text, self.at, self.end)
            if found is None:
                raise self.wrong(f"this {char} inside ${{…}} cannot be read with certainty", QUOTED_WORD_HINT)
            self.at = found.end()

    def backticks(self, quoted: bool) -> None:
        """Read a command between backticks; ``quoted`` if in double quotes or a here document."""
        opening = self.at
        close = opening + 1
        while close < self.end and self.text[close] != "`":
            close += 2 if self.text[close] == "\\" else 1
        if close >= self.end:
            raise self.wrong("this ` is never closed", at=opening)
        inner = self.text[opening + 1 : close]
        if HOLE in inner:
            if re.search(r'\\[`$\\"]' if quoted else r"\\[`$\\\0]", inner):
                what = "backticks inside backticks" if "\\`" in inner else "backticks with backslashes"
                at = opening + 1 + inner.index(HOLE)
                raise self.wrong(
                    f"a placeholder cannot stand in {what}", "write $( … ) instead of backticks", at
                )
            self.at, end, self.end = opening + 1, self.end, close
            self.commands("")
            self.end = end
        self.at = close + 1

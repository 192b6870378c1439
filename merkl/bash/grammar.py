"""Commands of shell text: what begins and ends one, and which word is its name.

It decides where each hole of a template stands (``Spot``), and whether text can be read with certainty at all.  It checks
no more of the syntax than that needs; the shell itself reports the rest.

The invariant: one ``Spot`` per hole, in order, or ``ShellSyntax``.
"""

import re
from collections.abc import Callable
from typing import Final

from merkl.bash import hazards
from merkl.bash.cursor import HOLE, Form, ShellSyntax, Word
from merkl.bash.heredoc import Body, HereDocuments, Waiting
from merkl.bash.lexer import BREAKS
from merkl.dataclass import dataclass
from merkl.pattern import pattern


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a hole stands.

    ``evaluator`` is what reads the value a second time as code, ``number`` what reads it as arithmetic; both are empty
    where nothing does.  ``command``: it is a command's name.  ``body``: in which literal here document it is, or -1.
    """

    form: Form
    evaluator: str = ""
    number: str = ""
    command: bool = False
    body: int = -1


def read_shell(text: str, *, bash: bool) -> tuple[list[Spot], list[Body]]:
    """Say how a value stands in each hole of ``text``.

    Raises:
        ShellSyntax: the text is wrong or cannot be read with certainty.
    """
    reader = _Reader(text, bash=bash)
    try:
        reader.commands("")
    except RecursionError:
        raise ShellSyntax(0, "the text is nested too deep") from None
    reader.check_later()
    spots = []
    for at, form in sorted(reader.forms.items()):
        body = next((i for i, body in enumerate(reader.bodies) if body.start <= at < body.end), -1)
        number = reader.numbers.get(at, "")
        if form in (Form.NUMBER, Form.INDEX):
            number = "arithmetic" if form is Form.NUMBER else "a subscript"
        spots.append(Spot(form, reader.evaluators.get(at, ""), number, at in reader.names, body))
    return spots, reader.bodies


@dataclass(slots=True)
class _Case:
    """A ``case`` that has had no ``esac`` yet, and what of it is being read."""

    at: int
    reading: str = "subject"


class _Frame:
    """The commands between two parentheses, or of the whole text."""

    __slots__ = ("cases", "expect", "redirect", "redirect_at", "shares", "waiting", "words")

    def __init__(self, waiting: list[Waiting] | None = None) -> None:
        self.expect = "command"
        self.words: list[Word] = []
        self.cases: list[_Case] = []
        self.redirect = ""  # The operator whose target is the next word.
        self.redirect_at = 0
        self.shares = waiting is not None  # Its here documents may have their bodies after its end.
        self.waiting: list[Waiting] = [] if waiting is None else waiting


_REDIRECT: Final = pattern(r"&>>|&>|<<<|<<-|<<|<>|<&|<|>>|>&|>\||>")
_GOES_ON: Final = frozenset("if then elif else while until do { ! time".split())  # A command follows.
_ENDS: Final = frozenset("fi done }".split())
_DESCRIPTOR: Final = pattern(r"[0-9]+|\{\w+\}", re.ASCII)
_ASSIGNMENT: Final = pattern(r"([A-Za-z_]\w*)(\[.*?\])?\+?=", re.ASCII | re.DOTALL)
_MADE_NAME: Final = pattern(rf"[\w{HOLE}]*{HOLE}[\w{HOLE}]*(\[[^\]]*\])?\+?=", re.ASCII)
_UNSURE: Final = "it cannot be read with certainty"


class _Reader(HereDocuments):
    def __init__(self, text: str, *, bash: bool) -> None:
        super().__init__(text, bash=bash)
        self.evaluators: dict[int, str] = {}
        self.numbers: dict[int, str] = {}
        self.names: set[int] = set()
        self.counting = set(hazards.COUNTING) if bash else set()
        self.assignments: list[tuple[str, tuple[int, ...]]] = []
        self.frame = _Frame()

    # ---- one list of commands ----

    def commands(self, closing: str) -> None:
        outer, holes, self.holes = self.frame, self.holes, []
        self.frame = _Frame()
        self.depth += 1
        self.read_commands(closing)
        self.depth -= 1
        self.frame, self.holes = outer, holes

    def subshell(self) -> None:
        """Read ``( … )``; a here document that waits outside has its body at the first line break inside."""
        outer, self.frame = self.frame, _Frame(self.frame.waiting)
        self.at += 1
        self.read_commands(")")
        self.frame = outer
        self.frame.expect = "command"

    def read_commands(self, closing: str) -> None:
        opening = self.at
        while self.at < self.end:
            char = self.char()
            if char in " \t":
                self.at += 1
            elif self.peek("\\\n"):
                self.at += 2
            elif char == "\n":
                self.at += 1
                self.line_ends()
            elif char == "#":
                self.comment()
            elif char == ")":
                if self.closes(closing):
                    return
            elif char in ";&|(<>":
                self.operator_character(char)
            else:
                self.next_word()
        if closing:
            raise self.wrong("this ( is never closed", at=opening - 1)
        self.frame_ends()

    def closes(self, closing: str) -> bool:
        """Read ``)``: of a pattern of ``case``, or the end of this list."""
        if self.frame.cases and self.frame.cases[-1].reading in ("pattern", "patterns"):
            self.at += 1
            self.frame.cases[-1].reading = "body"
            self.frame.expect = "command"
            return False
        if closing != ")":
            raise self.wrong("this ) closes nothing")
        self.frame_ends()
        self.at += 1
        return True

    def frame_ends(self) -> None:
        self.command_ends()
        if self.frame.cases:
            raise self.wrong("this case has no esac", at=self.frame.cases[-1].at)
        if self.frame.redirect:
            raise self.wrong(f"nothing follows {self.frame.redirect}", at=self.frame.redirect_at)
        if self.frame.waiting and not self.frame.shares:
            waiting = self.frame.waiting[0]
            raise self.wrong(
                f"the here document <<{waiting.delimiter} has no line {waiting.delimiter} that ends it",
                at=waiting.at,
            )

    def line_ends(self) -> None:
        if self.frame.redirect:
            raise self.wrong(f"nothing follows {self.frame.redirect}", at=self.frame.redirect_at)
        waiting, self.frame.waiting[:] = list(self.frame.waiting), []
        for document in waiting:
            self.here_document(document)
        if self.frame.expect not in ("for-in", "case-in") and not self.in_pattern():
            self.command_ends()

    def in_pattern(self) -> bool:
        return bool(self.frame.cases) and self.frame.cases[-1].reading in ("pattern", "patterns")

    def command_ends(self) -> None:
        frame = self.frame
        if frame.words:
            self.simple_command(frame.words)
        frame.words = []
        frame.expect = "command"

    # ---- operators ----

    def operator_character(self, char: str) -> None:
        if self.frame.redirect and not (char in "<>" and self.char(1) == "("):
            raise self.wrong(f"nothing follows {self.frame.redirect}", at=self.frame.redirect_at)
        if char in "<>&" and self.redirection(char):
            return
        if char == "(":
            self.opening()
        elif self.peek(";;") or self.peek(";&"):
            self.case_item_ends()
        elif char == "|" and self.in_pattern():
            self.at += 1
        else:
            self.at += 2 if self.text[self.at : self.at + 2] in ("&&", "||", "|&") else 1
            self.command_ends()

    def case_item_ends(self) -> None:
        if not self.frame.cases or self.frame.cases[-1].reading != "body":
            raise self.wrong("this ;; is in no case")
        self.command_ends()
        self.at += 3 if self.peek(";;&") else 2
        self.frame.cases[-1].reading = "pattern"

    def redirection(self, char: str) -> bool:
        if char in "<>" and self.char(1) == "(":
            self.only_bash(f"{char}(…)")
            self.next_word()
            return True
        found = _REDIRECT.match(self.text, self.at, self.end)
        if found is None or (found[0][0] == "&" and not self.bash):
            return False
        operator = found[0]
        if operator == "<<<":
            self.only_bash("<<<")
        self.at = found.end()
        if self.peek("\\\n"):
            raise self.wrong(f"{operator} at the end of a continued line: {_UNSURE}", "put both on one line")
        self.frame.redirect, self.frame.redirect_at = operator, found.start()
        if self.frame.expect == "command":
            self.frame.expect = "first"
        return True

    def opening(self) -> None:
        frame = self.frame
        if self.in_pattern():
            self.at += 1
            frame.cases[-1].reading = "patterns"
        elif frame.expect == "command" or (frame.expect == "for-name" and self.peek("((")):
            if self.peek("(("):
                self.only_bash("((…))")
                self.outside_of_here("((…))", lambda: self.arithmetic("(("))
                frame.expect = "command"
            else:
                self.subshell()
        elif frame.expect == "function-body" or (frame.expect == "arguments" and len(frame.words) == 1):
            found = re.compile(r"\([ \t]*\)").match(self.text, self.at, self.end)
            if found is None and frame.expect == "function-body":
                self.subshell()
                return
            if found is None:
                raise self.wrong("this ( stands where no command begins")
            if frame.words and frame.words[0].holes:
                raise self.wrong("a placeholder cannot be a function's name", at=frame.words[0].holes[0])
            self.at = found.end()
            frame.words = []
            frame.expect = "command"
        else:
            raise self.wrong(
                "this ( stands where no command begins", "put quotes around it if it is meant as a character"
            )

    def outside_of_here(self, what: str, read: Callable[[], object]) -> None:
        """Read something that must not have a line break while a here document waits for its body."""
        start = self.at
        read()
        if self.frame.waiting and "\n" in self.text[start : self.at]:
            hint = "begin the here document after it"
            raise self.wrong(
                f"{what} over several lines, on the line of a here document: {_UNSURE}", hint, start
            )

    # ---- words ----

    def next_word(self) -> None:
        frame, start = self.frame, self.at
        first = frame.expect in ("command", "first")
        if first and self.peek("!("):
            raise self.wrong(
                f"!( is a pattern or a command: {_UNSURE}", "write ! ( with a space for a command", start
            )
        read: list[Word] = []
        self.outside_of_here("a word", lambda: read.append(self.word(subscript=first and self.bash)))
        word = read[0]
        if word.end == word.start:
            raise self.wrong(f"this {self.char()} cannot be read")
        if frame.redirect:
            self.redirect_target(word)
        elif self.char() in ("<", ">") and _DESCRIPTOR.fullmatch(word.text):
            pass  # The number of a descriptor.
        elif self.in_pattern():
            self.pattern(word)
        else:
            self.placed(word)

    def placed(self, word: Word) -> None:
        """A word where a command is expected, or one of its arguments, or a part of ``for``, ``case``, ``function``."""
        frame = self.frame
        match frame.expect:
            case "command" if not word.quoted and word.value is not None and self.keyword(word):
                pass
            case "command" | "first":
                self.first_word(word)
            case "arguments":
                self.whole(word)
                frame.words.append(word)
            case "for-name":
                self.no_holes(word, "a variable's name")
                frame.expect = "for-in"
            case "for-in":
                frame.expect = "command" if word.value in ("do", "{") else "for-words"
            case "for-words":
                self.whole(word)
            case "case-subject":
                frame.expect = "case-in"
            case "case-in":
                if word.value != "in":
                    raise self.wrong("case WORD is followed by in", at=word.start)
                frame.cases[-1].reading = "pattern"
                frame.expect = "command"
            case "function-name":
                self.no_holes(word, "a function's name")
                frame.expect = "function-body"
            case _:
                frame.expect = "command"  # The body of a function.
                self.placed(word)

    def no_holes(self, word: Word, what: str) -> None:
        if word.holes:
            raise self.wrong(f"a placeholder cannot be {what}", at=word.holes[0])

    def keyword(self, word: Word) -> bool:
        frame = self.frame
        match word.value:
            case "time" if not self.bash:
                return False
            case text if text in _GOES_ON:
                frame.expect = "command"
            case text if text in _ENDS:
                frame.expect = "command"
            case "for" | "select":
                frame.expect = "for-name"
            case "case":
                frame.cases.append(_Case(word.start))
                frame.expect = "case-subject"
            case "esac" if frame.cases and frame.cases[-1].reading == "body":
                frame.cases.pop()
            case "[[":
                self.only_bash("[[ … ]]")
                self.outside_of_here("[[ … ]]", lambda: self.condition(word.start))
            case "function":
                self.only_bash("the word function")
                frame.expect = "function-name"
            case "coproc":
                raise self.wrong(f"coproc in a template: {_UNSURE}", "put it into a script file", word.start)
            case _:
                return False
        return True

    def first_word(self, word: Word) -> None:
        frame = self.frame
        if word.holes and (made := _MADE_NAME.match(word.text)):
            raise self.wrong(
                "a placeholder cannot be a variable's name, or a part of it",
                at=word.start + made[0].index(HOLE),
            )
        found = _ASSIGNMENT.match(word.text)
        if found is not None:
            inner = tuple(at for at in word.holes if at >= word.start + found.end())
            self.assignments.append((found[1], inner))
            frame.expect = "first"
            return
        self.whole(word)
        self.names.update(word.holes)
        frame.words.append(word)
        frame.expect = "arguments"

    def pattern(self, word: Word) -> None:
        cases = self.frame.cases
        if cases[-1].reading == "pattern" and word.value == "esac" and not word.quoted:
            cases.pop()
            self.frame.expect = "command"
        else:
            cases[-1].reading = "patterns"

    def redirect_target(self, word: Word) -> None:
        operator, self.frame.redirect = self.frame.redirect, ""
        if operator in ("<<", "<<-"):
            self.no_holes(word, "the delimiter of a here document")
            if word.value is None or "\n" in word.value or "\\\n" in self.text[word.start : word.end]:
                raise self.wrong(
                    f"this delimiter: {_UNSURE}", "use a plain word such as <<END or <<'END'", word.start
                )
            words = self.frame.words
            self.frame.waiting.append(Waiting(word.value, word.quoted, operator == "<<-", word.start, words))
        elif operator == "<<<":
            self.inputs.append((self.frame.words, word.holes))
        elif operator in ("<&", ">&") and word.holes:
            hint = "write > FILE 2>&1 to send both to a file"
            raise self.wrong(f"a placeholder cannot stand after {operator}", hint, word.holes[0])

    # ---- what is read twice ----

    def simple_command(self, words: list[Word]) -> None:
        for word, evaluator in hazards.evaluated(words):
            for at in word.holes:
                self.evaluators[at] = evaluator
        self.counting.update(hazards.counting(words))

    def check_later(self) -> None:
        """Mark what becomes code without being a word of a command, wherever in the text the reason is."""
        for words, read in self.inputs:
            if shell := hazards.reads_code(words):
                self.evaluators.update(dict.fromkeys(read, f"{shell}, as its input"))
        for name, holes in self.assignments:
            for at in holes:
                if name in hazards.RUNNING:
                    self.evaluators[at] = f"{name}="
                elif name in self.counting:
                    self.numbers[at] = f"the integer or reference variable {name}"

    def condition(self, opening: int) -> None:
        """Read ``[[ … ]]``."""
        words: list[Word | None] = []
        while self.at < self.end:
            char = self.char()
            if char in " \t\n":
                self.at += 1
            elif self.peek("\\\n"):
                self.at += 2
            elif char == "#":
                raise self.wrong(f"a bare # in [[ … ]]: {_UNSURE}", "put quotes around it")
            elif char in "<>" and self.char(1) == "(":
                raise self.wrong(f"{char}( in [[ … ]]: {_UNSURE}")
            elif char in BREAKS:
                self.at += 1
                words.append(None)
            else:
                words.append(self.word(groups=False))
                if words[-1] and words[-1].value == "]]" and not words[-1].quoted:
                    self.read_twice_in_condition(words)
                    return
        raise self.wrong("this [[ has no ]]", at=opening)

    def read_twice_in_condition(self, words: list[Word | None]) -> None:
        padded = [None, *words, None]
        for before, word, after in zip(padded, words, padded[2:], strict=False):
            if word is None:
                continue
            if word.value in hazards.NUMERIC_TESTS:
                for operand in (before, after):
                    self.numbers.update(dict.fromkeys(operand.holes if operand else (), f"[[ {word.value}"))
            elif word.value in hazards.NAMING_TESTS:
                self.evaluators.update(dict.fromkeys(after.holes if after else (), f"[[ {word.value}"))

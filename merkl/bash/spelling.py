"""Splitting a template into text and holes, in any of its spellings.

It decides which parts of a template are placeholders: tokens of an f-string, or else calls in braces and expressions in
double braces.  It knows nothing of shells.

The invariant: ``body`` is what the interpreter will read, with a NUL character for each hole, and every position in it can
be told as a position in ``shown``, which is what the person wrote.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Final

from merkl.bash.placeholders import MAKERS, Placeholder, parse_call, spell, split_tokens
from merkl.dataclass import dataclass
from merkl.errors import TemplateError, did_you_mean
from merkl.pattern import pattern

WIDTH: Final = 100  # Of a template's line in a message, in characters.


@dataclass(frozen=True, slots=True)
class Hole:
    """One occurrence in a template; ``source`` is an expression's text, None for a plain placeholder.

    ``start`` and ``end`` are its place in what the person wrote.
    """

    start: int
    end: int
    placeholder: Placeholder | None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Pieces:
    """A template taken apart.  ``starts`` are the positions in body and shown at which each piece of text begins."""

    shown: str
    body: str
    holes: tuple[Hole, ...]
    starts: tuple[tuple[int, int], ...]

    def error(self, at: int, end: int, message: str, hint: str = "") -> TemplateError:
        """An error with the line of ``shown`` and a caret under ``at`` to ``end``."""
        error = TemplateError(message, hint=hint, template=pointed(self.shown, at, end))
        error.span = (self.shown, at, end)
        return error

    def shown_at(self, position: int) -> int:
        """Where a position of ``body`` is in ``shown``."""
        index = bisect_right(self.starts, (position, len(self.shown))) - 1
        start, at = self.starts[index]
        return at + position - start


def pointed(text: str, at: int, end: int) -> str:
    """The line of ``text`` that ``at`` is in, cut short if it is long, and a caret under ``at`` to ``end``."""
    begin = text.rfind("\n", 0, at) + 1
    stop = text.find("\n", at)
    line = text[begin : len(text) if stop < 0 else stop]
    at, end = at - begin, max(min(end - begin, len(line)), at - begin + 1)
    cut = max(0, min(at - WIDTH // 2, len(line) - WIDTH))
    left = "…" if cut else ""
    right = "…" if cut + WIDTH < len(line) else ""
    line = left + line[cut : cut + WIDTH] + right
    at, end = at - cut + len(left), min(end - cut + len(left), len(line) + 1)
    plain = "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in line)
    under = "".join("\t" if char == "\t" else " " for char in line[:at])
    return f"{plain}\n{under}^{'~' * (end - at - 1)}"


class _Split:
    def __init__(self) -> None:
        self.shown: list[str] = []
        self.body: list[str] = []
        self.holes: list[Hole] = []
        self.starts: list[tuple[int, int]] = []
        self.shown_length = 0
        self.body_length = 0

    def text(self, text: str, written: str | None = None) -> None:
        written = text if written is None else written
        self.starts.append((self.body_length, self.shown_length))
        self.body.append(text)
        self.body_length += len(text)
        self.shown.append(written)
        self.shown_length += len(written)

    def hole(self, written: str, placeholder: Placeholder | None, source: str | None = None) -> None:
        start = self.shown_length
        self.holes.append(Hole(start, start + len(written), placeholder, source))
        self.text("\0", written)

    def done(self) -> Pieces:
        return Pieces("".join(self.shown), "".join(self.body), tuple(self.holes), tuple(self.starts))


def split_template(text: str, *, literal: bool = False) -> Pieces:
    """Take ``text`` apart; with ``literal``, double braces are text.

    Raises:
        TemplateError: a placeholder cannot be read, or the text holds a NUL byte.
    """
    tokens = split_tokens(text)
    if tokens is None:
        _refuse_nul(text)
        return _split_plain(text, literal)
    split = _Split()
    for part in tokens:
        if isinstance(part, str):
            _refuse_nul(part)
            split.text(part)
        else:
            split.hole(f"{{{spell(part)}}}", part)
    pieces = split.done()
    if not literal:
        _refuse_calls_as_text(pieces)
    return pieces


def _refuse_nul(text: str) -> None:
    if "\0" in text:
        hint = "write \\\\0 in the Python string to give the command \\0"
        raise TemplateError(
            "the template holds a NUL byte", hint=hint, template=pointed(text, text.index("\0"), 0)
        )


_CALL: Final = pattern(rf"\{{[ \t]*({'|'.join(MAKERS)})[ \t]*\(")
_NEARLY: Final = pattern(r"\{[ \t]*(\w+_args?|arg_?file|arg)[ \t]*\(")


def _refuse_calls_as_text(pieces: Pieces) -> None:
    """In an f-string ``{{arg('x')}}`` is the text ``{arg('x')}``: not what anybody means beside placeholders."""
    for found in _CALL.finditer(pieces.body):
        at = pieces.shown_at(found.start())
        hint = "in an f-string write single braces, and filters in a plain string: {{ … | … }}; literal=True takes it as text"
        raise pieces.error(
            at, at + len(found[0]), f"{found[1]} is text here, since this is an f-string", hint
        )


def _split_plain(text: str, literal: bool) -> Pieces:
    split = _Split()
    whole = Pieces(text, text, (), ((0, 0),))
    last = 0
    for start, end, made in _found(text, literal, whole):
        split.text(text[last:start])
        if isinstance(made, str):
            value = _constant(made)
            if value is not None:
                split.text(value, text[start:end])
            else:
                split.hole(text[start:end], None, made)
        else:
            split.hole(text[start:end], made)
        last = end
    split.text(text[last:])
    return split.done()


def _found(text: str, literal: bool, whole: Pieces) -> Iterator[tuple[int, int, Placeholder | str]]:
    """Each placeholder or expression's source, with its place."""
    at = 0
    while (at := text.find("{", at)) >= 0:
        call = _CALL.match(text, at)
        if not literal and text.startswith("{{", at):
            end = _closing(text, at + 2, "}}", whole, at)
            yield at, end + 2, text[at + 2 : end].strip()
            at = end + 2
        elif call is not None:
            end = _call_end(text, call, whole)
            try:
                made = parse_call(text[at + 1 : end])
            except TemplateError as error:
                raise whole.error(at, end + 1, error.headline, error.hint) from None
            yield at, end + 1, made
            at = end + 1
        else:
            if (near := _NEARLY.match(text, at)) is not None:
                hint = did_you_mean(near[1], MAKERS, f"there are {', '.join(MAKERS)}")
                raise whole.error(at, near.end(), f"there is no placeholder {near[1]}", hint)
            at += 1


def _call_end(text: str, call: "re.Match[str]", whole: Pieces) -> int:
    start = call.start()
    if start > 0 and text[start - 1] == "$":
        hint = f"write {{{call[1]}(…)}} without the $: it is not a shell variable"
        raise whole.error(start - 1, call.end(), f"${{{call[1]}(…)}} is no placeholder", hint)
    end = _closing(text, call.end(), ")", whole, start)
    after = re.compile(r"[ \t]*").match(text, end + 1)
    end = after.end() if after else end + 1
    if not text.startswith("}", end):
        what = text[end : end + 1]
        hint = {
            "|": f"filters need double braces: {{{{ {text[start + 1 : end].strip()} | … }}}}",
            "!": "a placeholder takes no conversion",
            ":": "a placeholder takes no format",
        }.get(what, "a placeholder ends in )}")
        raise whole.error(start, end + 1, f"this placeholder does not end after {call[1]}(…)", hint)
    return end


_STEP: Final = pattern(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|.""", re.DOTALL)


def _closing(text: str, at: int, closing: str, whole: Pieces, start: int) -> int:
    """Where ``closing`` is, outside strings and brackets."""
    depth = 0
    while at < len(text):
        if depth == 0 and text.startswith(closing, at):
            return at
        char = text[at]
        depth += (char in "([{") - (char in ")]}")
        found: Any = _STEP.match(text, at)
        at = found.end()
        if depth < 0:
            break
    hint = "a literal {{ is written {{ '{{' }}, or give the task literal=True" if closing == "}}" else ""
    what = "{{" if closing == "}}" else "this placeholder"
    raise whole.error(start, start + 2, f"{what} is never closed", hint)


_STRING: Final = pattern(r"""'[^'\\]*'|"[^"\\]*\"""")


def _constant(source: str) -> str | None:
    """The text of an expression that is one plain string, as in ``{{ '{{' }}``."""
    if not _STRING.fullmatch(source):
        return None
    _refuse_nul(source)
    return source[1:-1]

"""The small language of values: references in braces, and calls of ``file``, ``files``, ``params`` and ``target``.

It decides what a text means: `{name}` and `{name.attribute}` stand for values, a text that is one call is that call, and
everything else is text.  It computes nothing.

The invariant: a brace that is no reference is an error, save in a pattern, where `{a,b}` is an alternative; so no text is
ever taken for something else by half.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn, TypeAlias

from merkl.dataclass import dataclass
from merkl.errors import MerklfileError
from merkl.merklfile.declared.document import Span
from merkl.merklfile.declared.scalars import Locate

Error = Callable[[Span, str, str], MerklfileError]
FUNCTIONS: Final = ("file", "files", "params", "target")


@dataclass(frozen=True, slots=True)
class Constant:
    """A value as it is written."""

    span: Span
    value: Any


@dataclass(frozen=True, slots=True)
class Name:
    """A reference: the name of a value, and the attributes asked of it."""

    span: Span
    name: str
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one of the ``FUNCTIONS``, and the attributes asked of its result."""

    span: Span
    function: str
    args: "tuple[Value, ...]"
    kwargs: "tuple[tuple[str, Value], ...]"
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Joined:
    """Text with values in it."""

    span: Span
    parts: "tuple[Value, ...]"


@dataclass(frozen=True, slots=True)
class Several:
    """A list; a list in it is spliced."""

    span: Span
    items: "tuple[Value, ...]"


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping of names to values."""

    span: Span
    items: "tuple[tuple[str, Value], ...]"


Value: TypeAlias = Constant | Name | Call | Joined | Several | Table


def inside(value: Value) -> Iterator[Value]:
    """The value and every one in it, in order."""
    yield value
    match value:
        case Call(args=args, kwargs=kwargs):
            members = [*args, *(each for _, each in kwargs)]
        case Joined(parts=parts):
            members = [*parts]
        case Several(items=items):
            members = [*items]
        case Table(items=pairs):
            members = [each for _, each in pairs]
        case _:
            members = []
    for member in members:
        yield from inside(member)


# ---- reading text --------------------------------------------------------------------------------------------------

_CALL: Final = re.compile(rf"\s*(?:{'|'.join(FUNCTIONS)})\s*\(")
_ALTERNATIVES: Final = re.compile(r"\{[^{}]*(?:,|\{)")


def parse_value(text: str, locate: Locate, error: Error) -> Value:
    """Read a text that may be one call, or text with references.

    Raises:
        MerklfileError: it is neither.
    """
    if _CALL.match(text):
        parser = _Parser(text, locate, error, 0)
        value = parser.value()
        parser.end()
        return value
    return parse_text(text, locate, error)


def parse_text(text: str, locate: Locate, error: Error, *, pattern: bool = False) -> Value:
    """Read text with references; one that is nothing but a reference stands for the value itself.

    Raises:
        MerklfileError: a brace in it is no reference.
    """
    whole = Span(locate(0), locate(len(text) - 1) + 1 if text else locate(0) + 1)
    parts: list[Value] = []
    last = at = 0
    while (at := text.find("{", at)) >= 0:
        if pattern and _ALTERNATIVES.match(text, at):
            at += 1
            continue
        if at > last:
            parts.append(Constant(Span(locate(last), locate(at - 1) + 1), text[last:at]))
        parser = _Parser(text, locate, error, at)
        parts.append(parser.braces())
        last = at = parser.at
    if not parts:
        return Constant(whole, text)
    if last < len(text):
        parts.append(Constant(Span(locate(last), locate(len(text) - 1) + 1), text[last:]))
    return parts[0] if len(parts) == 1 else Joined(whole, tuple(parts))


_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>'[^']*'|"[^"]*")|(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w.])
    |(?P<name>[^\W\d][\w/-]*)|(?P<sign>[().,=\[\]}]))""",
    re.VERBOSE,
)
_CONSTANTS: Final = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_BRACE_HINT: Final = "a reference is {name} or {image.stem}; a brace itself is written {'{'}"


class _Parser:
    """Reads one value of ``text`` from ``at`` on."""

    def __init__(self, text: str, locate: Locate, error: Error, at: int) -> None:
        self.text = text
        self.locate = locate
        self.error = error
        self.at = at

    def span(self, start: int) -> Span:
        return Span(self.locate(start), self.locate(max(self.at - 1, start)) + 1)

    def fail(self, start: int, message: str, hint: str) -> NoReturn:
        begin = self.locate(start)
        raise self.error(Span(begin, begin + 1), message, hint)

    def token(self) -> tuple[str, str, int]:
        """The next token's kind and text, and where it begins; of the kind ``end`` if there is none."""
        found = _TOKEN.match(self.text, self.at)
        if found is None or found.lastgroup is None:
            rest = self.text[self.at :].lstrip()
            return "end", rest[:1], len(self.text) - len(rest)
        return found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)

    def take(self, sign: str = "") -> bool:
        """Step over the next token, if it is ``sign``."""
        kind, text, start = self.token()
        if kind == "end" or (sign and (kind, text) != ("sign", sign)):
            return False
        self.at = start + len(text)
        return True

    def end(self) -> None:
        if self.text[self.at :].strip():
            start = len(self.text) - len(self.text[self.at :].lstrip())
            self.fail(
                start,
                "a call stands alone, and this follows it",
                'in text write it in braces: "a {file(…)} b"',
            )

    def braces(self) -> Value:
        start = self.at
        if self.text.startswith("{{", start):
            hint = "a reference is written {name}; a brace itself is written {'{'}"
            self.fail(start, "{{ … }} belongs into the template of a task", hint)
        if start and self.text[start - 1] == "$":
            hint = "write {name} without the $; a variable of the shell can be used in run: only"
            self.fail(start - 1, "${…} has no meaning here", hint)
        self.at = start + 1
        kind, text, _ = self.token()
        if kind not in ("name", "string"):
            self.fail(start, "this brace is no reference", _BRACE_HINT)
        value = self.value()
        kind, text, at = self.token()
        if (kind, text) != ("sign", "}"):
            hint = "attributes follow a dot: {image.stem}" if text == "|" else _BRACE_HINT
            what = f"{text!r} cannot stand here" if text else "this brace is never closed"
            self.fail(at if text else start, what, hint)
        self.take()
        return value

    def value(self) -> Value:
        kind, text, start = self.token()
        match kind, text:
            case "string", _:
                self.take()
                return Constant(self.span(start), text[1:-1])
            case "number", _:
                self.take()
                return Constant(self.span(start), float(text) if re.search("[.eE]", text) else int(text))
            case "name", _:
                return self.named(text, start)
            case "sign", "[":
                return self.several(start)
        what = f"{text!r} cannot stand here" if text else "something is missing here"
        hint = f"a value is a name, text in quotes, a number, or {', '.join(FUNCTIONS)}(…)"
        raise self.error(Span(self.locate(start), self.locate(start) + 1), what, hint)

    def named(self, name: str, start: int) -> Value:
        self.take()
        if name in _CONSTANTS:
            return Constant(self.span(start), _CONSTANTS[name])
        if self.token()[:2] == ("sign", "("):
            return self.call(name, start)
        attributes = self.attributes()
        return Name(self.span(start), name, attributes)

    def attributes(self) -> tuple[str, ...]:
        found = []
        while self.take("."):
            kind, text, start = self.token()
            if kind != "name":
                self.fail(start, "a dot is followed by the name of an attribute", "{image.stem}")
            self.take()
            found.append(text)
        return tuple(found)

    def several(self, start: int) -> Value:
        self.take("[")
        items = []
        while not self.take("]"):
            items.append(self.value())
            if not self.take(",") and self.token()[:2] != ("sign", "]"):
                self.unclosed(start, "[")
        return Several(self.span(start), tuple(items))

    def call(self, function: str, start: int) -> Value:
        if function not in FUNCTIONS:
            self.fail(start, f"there is no {function}(…)", f"there are {', '.join(FUNCTIONS)}")
        self.take("(")
        args: list[Value] = []
        kwargs: list[tuple[str, Value]] = []
        while not self.take(")"):
            name = self.keyword()
            value = self.argument(function)
            if name:
                kwargs.append((name, value))
            else:
                args.append(value)
            if not self.take(",") and self.token()[:2] != ("sign", ")"):
                self.unclosed(start, f"{function}(")
        attributes = self.attributes()
        return Call(self.span(start), function, tuple(args), tuple(kwargs), attributes)

    def keyword(self) -> str:
        before = self.at
        kind, name, _ = self.token()
        if kind == "name" and self.take() and self.take("="):
            return name
        self.at = before
        return ""

    def argument(self, function: str) -> Value:
        """A value; text in quotes may hold references itself."""
        kind, text, start = self.token()
        if kind != "string":
            return self.value()
        self.take()
        return parse_text(
            text[1:-1], lambda at: self.locate(start + 1 + at), self.error, pattern=function == "files"
        )

    def unclosed(self, start: int, what: str) -> NoReturn:
        _, text, at = self.token()
        if text:
            self.fail(at, f"{text!r} cannot stand here", "values have commas between them")
        hint = "close it; inside {…} and […] of YAML a comma ends text without quotes, so put quotes around all of it"
        self.fail(start, f"{what} is never closed", hint)

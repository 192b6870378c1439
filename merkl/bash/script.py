"""Compiled templates with values in them: what goes to the script file, and what is shown in messages.

It decides nothing that was not decided when the template was compiled, save for what depends on a value: how many words it
is, and whether it fits where it stands.  It writes no files.

The invariant: apart from the assignments at its head and the here documents that the shell does not expand, a bash script
is the same bytes for all values.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from merkl.bash.cursor import Form
from merkl.bash.expression import Expression
from merkl.bash.placeholders import (
    Arg,
    DirArg,
    EnvArg,
    FileArg,
    FilesArg,
    FlagArg,
    Placeholder,
    SecretArg,
    fits,
    one_of,
)
from merkl.bash.quoting import (
    Words,
    assignment,
    python_literal,
    reference,
    shown_in,
    shown_word,
    words_of,
)
from merkl.dataclass import dataclass
from merkl.errors import CallError

if TYPE_CHECKING:
    from merkl.bash.heredoc import Body

Source: TypeAlias = Placeholder | Expression
INT64: Final = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True, slots=True)
class Script:
    """What runs.  ``body`` is the script file's text, with its assignments, without any prelude; empty if ``argv`` is there.

    ``shown`` is the command with its values, for messages; a secret appears as ``$NAME``.
    """

    body: bytes
    shown: str
    argv: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One hole of a compiled template, ``written`` as the person wrote it.

    ``number`` and ``command`` are as in ``Spot``; ``body`` is the index of its literal here document, or -1;
    ``variable`` holds the value; ``parentheses`` are for Python.
    """

    source: Source
    written: str
    form: Form = Form.WORD
    number: str = ""
    command: bool = False
    body: int = -1
    variable: str = ""
    parentheses: bool = False

    @property
    def several(self) -> bool:
        """Whether it may become no word, or more than one."""
        return self.form is Form.WORD


@dataclass(frozen=True, slots=True)
class ShellText:
    """A template for bash or sh: ``texts`` before, between and after the holes."""

    texts: tuple[str, ...]
    holes: tuple[Occurrence, ...]
    bodies: "tuple[Body, ...]"
    bash: bool

    def script(self, values: "Values") -> Script:
        found = [values.words(hole) for hole in self.holes]
        head = {
            hole.variable: _head(hole, words, self.bash)
            for hole, words in zip(self.holes, found, strict=True)
            if hole.form is not Form.LITERAL
        }
        text, shown = [_encoded(self.texts[0])], [self.texts[0]]
        for hole, words, after in zip(self.holes, found, self.texts[1:], strict=True):
            text += [self.written(hole, words), _encoded(after)]
            shown += [_shown(hole, words), after]
        for index, body in enumerate(self.bodies):
            self.check_body(index, body, found)
        end = b"" if text[-1].endswith(b"\n") else b"\n"
        return Script(b"".join(head.values()) + b"".join(text) + end, "".join(shown))

    def written(self, hole: Occurrence, words: Words) -> bytes:
        if hole.form is Form.LITERAL:
            assert isinstance(words, bytes)
            return words
        if not self.bash and hole.form is Form.WORD and not isinstance(words, bytes) and not _is_secret(hole):
            # sh has no arrays: one variable per word.
            return b" ".join(
                reference(f"{hole.variable}_{i}", Form.WORD, several=False).encode()
                for i in range(len(words or ()))
            )
        several = self.bash and not isinstance(words, bytes) and not _is_secret(hole)
        may_be = self.bash and may_vanish(hole.source)
        return reference(hole.variable, hole.form, several=several or may_be).encode()

    def check_body(self, index: int, body: "Body", found: Sequence[Words]) -> None:
        """Refuse values that would end a here document, or lose their tabs in it."""
        inside = [hole for hole in self.holes if hole.body == index]
        if not inside:
            return
        text = b"".join(part for part, _ in self.body_parts(index, found))
        lines = text.split(b"\n")
        if any((line.lstrip(b"\t") if body.tabs else line) == _encoded(body.delimiter) for line in lines):
            raise CallError(
                f"{inside[0].written} would end the here document with a line {body.delimiter}",
                hint="choose another delimiter, or leave it unquoted: then no value can end it",
            )
        if body.tabs and _loses_tabs(self.body_parts(index, found)):
            raise CallError(
                f"{inside[0].written} has a line that begins with a tab, which <<- would drop",
                hint="write << instead, or leave the delimiter unquoted",
            )

    def body_parts(self, index: int, found: Sequence[Words]) -> Iterator[tuple[bytes, bool]]:
        """The bytes of a literal here document on the lines of its holes, and which of them are values."""
        numbers = [number for number, hole in enumerate(self.holes) if hole.body == index]
        yield _encoded(self.texts[numbers[0]].rpartition("\n")[2]), False
        for number in numbers:
            words = found[number]
            assert isinstance(words, bytes)
            yield words, True
            after = self.texts[number + 1]
            yield _encoded(after.partition("\n")[0] if number == numbers[-1] else after), False


def _loses_tabs(parts: Iterable[tuple[bytes, bool]]) -> bool:
    """Whether a tab would be dropped that a value holds, or that follows a value's last line break."""
    line, ended = b"", False
    for part, is_value in parts:
        at_start = not line.strip(b"\t")
        if (is_value and (b"\n\t" in part or (at_start and part[:1] == b"\t"))) or (
            ended and part[:1] == b"\t"
        ):
            return True
        ended = is_value and part[-1:] == b"\n"
        line = (line + part).rpartition(b"\n")[2]
    return False


def _head(hole: Occurrence, words: Words, bash: bool) -> bytes:
    """The lines that make the variable of a hole."""
    if _is_secret(hole):
        assert isinstance(hole.source, SecretArg)
        name = f"MERKL_SECRET_{hole.source.name}"
        return f"{hole.variable}=${{{name}?}}\nunset {name}\n".encode()
    if bash or isinstance(words, bytes):
        return assignment(hole.variable, words)
    return b"".join(assignment(f"{hole.variable}_{i}", word) for i, word in enumerate(words or ()))


def _is_secret(hole: Occurrence) -> bool:
    return isinstance(hole.source, SecretArg)


def may_vanish(source: Source) -> bool:
    """Whether a value of this may be None or a list."""
    match source:
        case Arg(type=type_, default=default):
            return type_ is None or default is None
        case EnvArg(default=default):
            return default is None
        case FileArg(default=default) | DirArg(default=default):
            return default is None
        case _:
            return isinstance(source, (FilesArg, FlagArg, Expression))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _shown(hole: Occurrence, words: Words) -> str:
    if isinstance(hole.source, SecretArg):
        name = f"${{{hole.source.name}}}"
        return {Form.WORD: f'"{name}"', Form.BARE: f'"{name}"', Form.SINGLE: f"'\"{name}\"'"}.get(
            hole.form, name
        )
    if isinstance(words, bytes):
        return shown_in(hole.form, words)
    return " ".join(shown_word(word) for word in words or ())


@dataclass(frozen=True, slots=True)
class PythonText:
    """A template for Python."""

    texts: tuple[str, ...]
    holes: tuple[Occurrence, ...]

    def script(self, values: "Values") -> Script:
        parts = [self.texts[0]]
        for hole, after in zip(self.holes, self.texts[1:], strict=True):
            parts += [self.written(hole, values), after]
        text = "".join(parts)
        return Script(_encoded(text if text.endswith("\n") else f"{text}\n"), text)

    def written(self, hole: Occurrence, values: "Values") -> str:
        if isinstance(hole.source, SecretArg):
            return f'__import__("os").environ["MERKL_SECRET_{hole.source.name}"]'
        value, path = values.value(hole)
        literal = python_literal(value, path=path, what=hole.written)
        return f"({literal})" if hole.parentheses else literal


@dataclass(frozen=True, slots=True)
class ArgvWords:
    """A template that is a list of words: for each its texts and holes."""

    words: tuple[tuple[tuple[str, ...], tuple[Occurrence, ...]], ...]

    def script(self, values: "Values") -> Script:
        argv: list[bytes] = []
        for texts, holes in self.words:
            found = [values.words(hole) for hole in holes]
            if len(holes) == 1 and holes[0].form is Form.WORD:
                program = (
                    not argv and not isinstance(holes[0].source, Expression) and is_path(holes[0].source)
                )
                words = _as_command(found[0]) if program else found[0]
                argv += [words] if isinstance(words, bytes) else words or []
                continue
            word = _encoded(texts[0])
            for part, after in zip(found, texts[1:], strict=True):
                assert isinstance(part, bytes)
                word += part + _encoded(after)
            argv.append(word)
        if not argv:
            raise CallError("no word is left of the command")
        return Script(b"", " ".join(shown_word(word) for word in argv), tuple(argv))


Compiled: TypeAlias = ShellText | PythonText | ArgvWords


class Values:
    """The values of one call, asked for by hole."""

    def __init__(self, values: Mapping[str, object], abspath: Callable[[bytes], bytes]) -> None:
        self.given = values
        self.abspath = abspath

    def value(self, hole: Occurrence) -> tuple[object, bool]:
        """The value, and whether it is a path."""
        source = hole.source
        for placeholder in source.placeholders if isinstance(source, Expression) else (source,):
            self.check_type(placeholder)
        if isinstance(source, Expression):
            paths = {p.name: _guarded(self.given[p.name]) for p in source.placeholders if is_path(p)}
            return source.result({**self.given, **paths}, self.abspath), False
        if isinstance(source, FlagArg):
            return (source.flag if self.given[source.name] else None), False
        return self.given[source.name], is_path(source)

    def words(self, hole: Occurrence) -> Words:
        """The words that a hole becomes.

        Raises:
            CallError: the value does not fit where the hole is.
        """
        if isinstance(hole.source, SecretArg):
            return None
        value, path = self.value(hole)
        if hole.number:
            self.check_number(hole, value)
        words = words_of(value, path=path, what=hole.written)
        if hole.command and path:
            words = _as_command(words)
        if hole.form is not Form.WORD and not isinstance(words, bytes):
            what = "None" if words is None else f"a list of {len(words)}"
            hint = "" if words is None else "join it: {{ … | join(' ') }}"
            raise CallError(f"{hole.written} is {what}, and stands where exactly one word must be", hint=hint)
        if hole.command:
            from merkl.bash.hazards import evaluates  # Few commands are arguments.

            if evaluates(name := _first(words)):
                raise CallError(
                    f"{hole.written} would make {name!r} the command, which takes its words for code"
                )
        return words

    def check_type(self, placeholder: Placeholder) -> None:
        """Refuse a value that a call could not be refused for, since a Future stood in its place."""
        if not isinstance(placeholder, (Arg, FlagArg)):
            return
        value, choices = self.given[placeholder.name], None
        if isinstance(placeholder, Arg):
            choices = placeholder.choices
            right = placeholder.type is None or value is None or fits(value, placeholder.type)
            wanted = f"of type {placeholder.type.__name__}" if placeholder.type else ""
        else:
            right, wanted = isinstance(value, (bool, type(None))), "True or False"
        if right and choices is not None and value is not None and not one_of(value, choices):
            right, wanted = False, f"one of {', '.join(map(repr, choices))}"
        if not right:
            raise CallError(f"{placeholder.name} is {wanted}, not {value!r:.80}")

    def check_number(self, hole: Occurrence, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value not in INT64:
            raise CallError(
                f"{hole.written} is {value!r:.60}, and {hole.number} takes an integer of 64 bits",
                hint="the shell would compute it; anything else could be code",
            )


def _first(words: Words) -> bytes:
    return words if isinstance(words, bytes) else words[0] if words else b""


def _as_command(words: Words) -> Words:
    """Words that begin with the path of a program: one without a slash would be looked for elsewhere."""
    if isinstance(words, bytes):
        return words if b"/" in words else b"./" + words
    return words if not words or b"/" in words[0] else [b"./" + words[0], *words[1:]]


def is_path(placeholder: Placeholder) -> bool:
    """Whether its values are paths."""
    return not isinstance(placeholder, (Arg, FlagArg, EnvArg, SecretArg))


def _guarded(value: object) -> object:
    """A path that no program takes for an option, or a list of them."""
    if isinstance(value, (list, tuple)):
        return [_guarded(item) for item in value]
    if isinstance(value, bytes):
        return b"./" + value if value.startswith(b"-") else value
    return f"./{value}" if isinstance(value, str) and value.startswith("-") else value

"""The template compiler: what a text with placeholders means.

It decides that once, when a template is defined; whatever can be wrong with it is found here and pointed at.  It is pure: it
touches no disk and starts nothing.

The invariant: two templates with one ``identity`` give the same script for the same values, whatever spelling they were
written in.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from merkl.bash.binding import parameters_of
from merkl.bash.cursor import HOLE, Form, ShellSyntax
from merkl.bash.expression import Expression, compile_expression
from merkl.bash.hazards import REMOTE
from merkl.bash.placeholders import Arg, FilesArg, FlagArg, Placeholder, SecretArg, Token, spell
from merkl.bash.script import ArgvWords, Compiled, Occurrence, PythonText, ShellText, Source
from merkl.bash.spelling import Hole, Pieces, split_template
from merkl.bash.template import Template
from merkl.dataclass import replace
from merkl.errors import TemplateError

if TYPE_CHECKING:
    from merkl.bash.grammar import Spot

COMPILER: Final = 1  # Bump when the script made from a template changes in a way that could change a result.


def compile_template(
    text: "str | Sequence[str | Token]",
    *,
    interpreter: str = "bash",
    literal: bool = False,
    where: str = "",
    name: str = "",
    extra: str = "",
) -> Template:
    """Compile a template for bash, sh or Python, or a list of templates, one per word of a command.

    ``literal`` makes double braces text; ``where`` and ``name`` are for messages; ``extra`` holds placeholders that the
    text need not mention.

    Raises:
        TemplateError: it cannot be compiled; the message shows the line and a caret.
    """
    try:
        return _Compiler(literal).template(text, interpreter, extra)
    except TemplateError as error:
        details = {**error.details, "task": name or None, "at": where or None}
        told = TemplateError(error.headline, hint=error.hint, **details)
        told.span = error.span
        raise told from None


_FAMILIES: Final = {
    "bash": "bash",
    "sh": "sh",
    "dash": "sh",
    "python3": "python",
    "python": "python",
    "argv": "argv",
}


class _Compiler:
    """One compilation: collects placeholders over all pieces of a template."""

    def __init__(self, literal: bool) -> None:
        self.literal = literal
        self.placeholders: dict[str, Placeholder] = {}
        self.single: set[str] = set()
        self.variables: dict[object, str] = {}
        self.prefix = "_m"

    def template(self, text: "str | Sequence[str | Token]", interpreter: str, extra: str) -> Template:
        family = _FAMILIES.get(interpreter)
        if not isinstance(text, (str, Token)):
            family = "argv"
        elif family is None or family == "argv":
            hint = "give the command as words: argv=['program', \"{file_arg('input')}\"]"
            raise TemplateError(f"a template for {interpreter} must be a list of words", hint=hint)
        compiled: Compiled
        if isinstance(text, (str, Token)):
            text = f"{text}"
            if family == "python":
                import textwrap

                text = textwrap.dedent(text)  # It is often written inside other code.
            pieces = split_template(text, literal=self.literal)
            compiled = self.python(pieces) if family == "python" else self.shell(pieces, family == "bash")
            shown, identity = pieces.shown, self.identity(pieces.body, compiled.holes)
        else:
            several = [self.word(f"{word}") for word in text]
            compiled = ArgvWords(tuple((texts, holes) for _, texts, holes in several))
            shown = " ".join(pieces.shown for pieces, _, _ in several)
            identity = tuple(self.identity(pieces.body, holes) for pieces, _, holes in several)
            if not several:
                raise TemplateError("the command has no words")
        self.extra(extra)
        described = tuple(_meaning(placeholder) for placeholder in self.placeholders.values())
        return Template(
            text=shown,
            identity=("bash template", COMPILER, family, described, identity),
            parameters=parameters_of(self.placeholders, frozenset(self.single)),
            compiled=compiled,
        )

    def identity(self, body: str, holes: Sequence[Occurrence]) -> tuple[object, ...]:
        return (body, tuple((_source_identity(hole.source), hole.form.value) for hole in holes))

    def extra(self, text: str) -> None:
        pieces = split_template(text)
        for hole in pieces.holes:
            self.source(pieces, hole)

    # ---- holes ----

    def source(self, pieces: Pieces, hole: Hole) -> tuple[Source, bool]:
        """What a hole holds, with its placeholders noted, and whether it was marked raw."""
        source: Source
        raw = False
        if hole.source is not None:
            try:
                expression = compile_expression(hole.source)
            except TemplateError as error:
                raise pieces.error(hole.start, hole.end, error.headline, error.hint) from None
            source, raw = expression.plain or expression, expression.raw
            found: Sequence[Placeholder] = expression.placeholders
        else:
            assert hole.placeholder is not None
            source, found = hole.placeholder, (hole.placeholder,)
        for placeholder in found:
            known = self.placeholders.setdefault(placeholder.name, placeholder)
            if spell(known) != spell(placeholder):
                message = f"{placeholder.name} has two meanings: {spell(known)} and {spell(placeholder)}"
                raise pieces.error(
                    hole.start, hole.end, message, "write the same options both times, or use two names"
                )
        return source, raw

    def occurrences(self, pieces: Pieces, spots: "Sequence[Spot]") -> tuple[Occurrence, ...]:
        return tuple(
            self.occurrence(pieces, hole, spot) for hole, spot in zip(pieces.holes, spots, strict=True)
        )

    def occurrence(self, pieces: Pieces, hole: Hole, spot: "Spot") -> Occurrence:
        source, raw = self.source(pieces, hole)
        problem = _problem(source, spot, raw)
        if problem is not None:
            raise pieces.error(hole.start, hole.end, *problem)
        if spot.form is not Form.WORD and not isinstance(source, Expression):
            self.single.add(source.name)
        key = _source_identity(source)
        variable = self.variables.setdefault(key, f"{self.prefix}{len(self.variables) + 1}")
        return Occurrence(
            source=source,
            written=pieces.shown[hole.start : hole.end],
            form=spot.form,
            number=spot.number,
            command=spot.command,
            body=spot.body,
            variable=variable,
        )

    # ---- languages ----

    def shell(self, pieces: Pieces, bash: bool) -> ShellText:
        from merkl.bash.grammar import read_shell  # Not needed where a compiled template was kept.

        while re.search(rf"{self.prefix}\d", pieces.body):
            self.prefix += "m"  # Not a variable of the template's own.
        try:
            spots, bodies = read_shell(pieces.body, bash=bash)
        except ShellSyntax as error:
            self.refuse(pieces, error)
        holes = self.occurrences(pieces, spots)
        return ShellText(tuple(pieces.body.split(HOLE)), holes, tuple(bodies), bash)

    def python(self, pieces: Pieces) -> PythonText:
        from merkl.bash.pythontext import read_python

        try:
            parentheses = read_python(pieces.body)
        except ShellSyntax as error:
            self.refuse(pieces, error)
        holes = []
        for hole, inside in zip(pieces.holes, parentheses, strict=True):
            source, _ = self.source(pieces, hole)
            if isinstance(source, FlagArg):
                hint = f"write {{arg({source.name!r}, type=bool)}}"
                raise pieces.error(hole.start, hole.end, "a flag is a word, and Python takes a value", hint)
            written = pieces.shown[hole.start : hole.end]
            holes.append(Occurrence(source, written, parentheses=inside))
        return PythonText(tuple(pieces.body.split(HOLE)), tuple(holes))

    def word(self, text: str) -> tuple[Pieces, tuple[str, ...], tuple[Occurrence, ...]]:
        from merkl.bash.grammar import Spot

        pieces = split_template(text, literal=self.literal)
        form = Form.WORD if pieces.body == HOLE else Form.DOUBLE
        holes = self.occurrences(pieces, [Spot(form)] * len(pieces.holes))
        for hole, occurrence in zip(pieces.holes, holes, strict=True):
            if isinstance(occurrence.source, SecretArg):
                hint = "a command's words can be seen by everybody on the machine; use bash, and the program's own way"
                raise pieces.error(hole.start, hole.end, "a secret cannot be a word of argv", hint)
        return pieces, tuple(pieces.body.split(HOLE)), tuple(replace(hole, variable="") for hole in holes)

    def refuse(self, pieces: Pieces, error: ShellSyntax) -> NoReturn:
        for hole in pieces.holes:
            if pieces.shown_at(error.at) == hole.start:
                raise pieces.error(hole.start, hole.end, error.message, error.hint) from None
        at = pieces.shown_at(min(error.at, len(pieces.body)))
        raise pieces.error(at, at + 1, error.message, error.hint) from None


def _problem(source: Source, spot: "Spot", raw: bool) -> tuple[str, str] | None:
    """Why a placeholder cannot stand where it is, and what to write; None if it can."""
    text = spell(source) if not isinstance(source, Expression) else source.source
    if spot.evaluator and not raw:
        hint = f'put it into a variable first, x={{{text}}}, and use "$x"; or, if the value is meant to be code, {{{{ {text} | raw }}}}'
        if spot.evaluator in REMOTE:
            hint = f"""the shell over there reads it again, so send it as data: printf '%s\\0' {{{text}}} | {spot.evaluator} HOST 'xargs -0 …'; or, if the value is meant to be code, {{{{ {text} | raw }}}}"""
        if spot.evaluator.endswith(" -c"):
            hint = f"""pass it as a word of its own: {spot.evaluator} '… "$1"' _ {{{text}}}"""
        return f"{spot.evaluator} would take this value for code", hint
    if spot.number:
        is_int = (
            source.number
            if isinstance(source, Expression)
            else isinstance(source, Arg) and source.type is int
        )
        if not is_int:
            name = source.name if isinstance(source, Arg) else "n"
            hint = (
                f"write {{arg({name!r}, type=int)}}"
                if not isinstance(source, Expression)
                else f"end it with | int: {{{{ {text} | int }}}}"
            )
            return f"{spot.number} evaluates this value, so it must be an integer", hint
    if spot.form is Form.LITERAL and isinstance(source, SecretArg):
        return (
            "a secret cannot stand in a here document with a quoted delimiter",
            "leave the delimiter unquoted",
        )
    if isinstance(source, Arg) and source.type is bool:
        return (
            "true or false is no word",
            f"write {{flag_arg({source.name!r}, '--{source.name}')}}, or {{{{ 'word' if {text} }}}}",
        )
    if spot.form is Form.WORD:
        return None
    if isinstance(source, FilesArg):
        return (
            "a list of files must be a whole word of the command",
            f"put spaces around it, or join it: {{{{ {text} | join(',') }}}}",
        )
    if isinstance(source, FlagArg):
        return (
            "a flag must be a whole word of the command",
            f"put spaces around it, or write {{{{ '{source.flag}' if {text} else '' }}}}",
        )
    return None


def _meaning(placeholder: Placeholder) -> str:
    """What of a placeholder can change a result: not its default or choices, since the value itself is in the key."""
    if isinstance(placeholder, Arg):
        return spell(Arg(placeholder.name, placeholder.type))
    return spell(placeholder)


def _source_identity(source: Source) -> tuple[object, ...]:
    return source.identity if isinstance(source, Expression) else ("placeholder", source.name)

"""Bash tasks made from their forms.

It decides where in the YAML file an error of a task points.  The invariant: a task made here is the one that ``bash_task``
makes of the same text and options, so its calls have the same keys.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import yaml

from merkl.bash.placeholders import Arg, DepfileArg, EnvArg, OutDirArg, OutFileArg, SecretArg, fits
from merkl.bash.task import BashTask, bash_task
from merkl.bash.template import Template
from merkl.errors import MerklfileError, TaskError, TemplateError
from merkl.merklfile.declared.document import Document, Span
from merkl.merklfile.declared.expression import Call, Name, Value, inside
from merkl.merklfile.declared.form import TaskForm
from merkl.merklfile.declared.reading import Reader
from merkl.merklfile.declared.values import Environment, evaluate
from merkl.nodes import Placeable

_NO_INPUT: Final = (OutFileArg, OutDirArg, DepfileArg, EnvArg, SecretArg)


class LateTask(Placeable):
    """A task some of whose ``deps`` come from targets, which are not called before the task is.

    ``draft`` is the same without these.
    """

    __slots__ = ("_made", "_make", "draft")

    def __init__(self, draft: BashTask, make: Callable[[], BashTask]) -> None:
        self.draft = draft
        self._make = make
        self._made: BashTask | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made(*args, **kwargs)


def make_task(form: TaskForm, reader: Reader, env: Environment) -> BashTask | LateTask:
    """Make the task that a form describes.

    Raises:
        MerklfileError: its template or an option is wrong.
    """

    def make(values: Mapping[str, Value]) -> BashTask:
        options = {**form.options, **{name: evaluate(value, env) for name, value in values.items()}}
        try:
            made: BashTask = env.run(form.span, lambda: bash_task(name=form.name, **options))
        except TemplateError as error:
            raise _in_template(error, form, reader) from None
        except TaskError as error:
            raise _in_option(error, form, reader.document) from None
        return made

    late = {name: value for name, value in form.values.items() if _needs_targets(value, env)}
    made = make({name: value for name, value in form.values.items() if name not in late})
    return LateTask(made, lambda: make(form.values)) if late else made


def _needs_targets(value: Value, env: Environment) -> bool:
    return any(
        (isinstance(each, Call) and each.function == "target")
        or (isinstance(each, Name) and each.name not in env.names)
        for each in inside(value)
    )


def _in_template(error: TemplateError, form: TaskForm, reader: Reader) -> MerklfileError:
    """The error with its place in the file: exact wherever the text there is the template, but for its indentation."""
    document = reader.document
    shown, at, end = error.span or ("", 0, 0)
    for node in form.texts:
        found = _found(shown, at, str(node.value))
        if error.span is not None and found is not None:
            locate = reader.locate(node)
            stop = min(found + max(end - at, 1), len(node.value)) - 1
            return document.error(
                Span(locate(found), max(locate(max(stop, found)), locate(found)) + 1),
                error.headline,
                error.hint,
            )
    where = reader.span(form.texts[0]) if form.texts else form.span
    return document.error(where, error.headline, error.hint)


def _found(shown: str, at: int, written: str) -> int | None:
    """A position in a template as one in the text that it was written as, which may be indented."""
    if shown == written:
        return at
    line, column = shown.count("\n", 0, at), at - (shown.rfind("\n", 0, at) + 1)
    shown_lines, lines = shown.split("\n"), written.split("\n")
    if len(lines) != len(shown_lines) or not lines[line].endswith(shown_lines[line]):
        return None
    indent = len(lines[line]) - len(shown_lines[line])
    return sum(len(each) + 1 for each in lines[:line]) + indent + column


def _in_option(error: TaskError, form: TaskForm, document: Document) -> MerklfileError:
    """The error at the option that its words name, else at the task."""
    named = [name for name in form.places if re.search(rf"\b{name}\b", error.headline)]
    where = form.places[named[0]] if named else form.span
    found = document.error(where, error.headline, error.hint)
    found.details.update({name: text for name, text in error.details.items() if name != "at"})
    return found


# ---- calls ---------------------------------------------------------------------------------------------------------


def parameters_of(task: Any) -> Mapping[str, inspect.Parameter]:
    """What can be passed to a task by name."""
    template = template_of(task)
    found = template.signature.parameters if template is not None else task.signature.parameters
    return {name: each for name, each in found.items() if each.kind is not each.VAR_POSITIONAL}


def template_of(task: Any) -> Template | None:
    """The template of a bash task; None for another."""
    found = task.draft if isinstance(task, LateTask) else task
    return found.template if isinstance(found, BashTask) else None


def inputs_of(task: Any) -> list[str]:
    """The parameters that a value of the same name is passed to by itself: those that say what the task works on."""
    template = template_of(task)
    return [
        name
        for name, each in parameters_of(task).items()
        if each.kind is not each.VAR_KEYWORD
        and (template is None or not isinstance(template.placeholders[name], _NO_INPUT))
    ]


def outputs_of(task: Any) -> list[str]:
    """The outputs that a bash task declares, by name; of another task none are known."""
    template = template_of(task)
    placeholders = template.placeholders if template is not None else {}
    return [name for name, each in placeholders.items() if isinstance(each, (OutFileArg, OutDirArg))]


def refuse_misfit(task: Any, name: str, value: object, span: Span, env: Environment) -> None:
    """Check a value against what a placeholder asks for, to say how YAML would write a fitting one.

    Raises:
        MerklfileError: it is of another type.
    """
    template = template_of(task)
    placeholder = template.placeholders.get(name) if template is not None else None
    if template is not None and isinstance(value, dict):
        several = ", ".join(map(str, value)) or "nothing"
        env.fail(span, f"{name} is one value, and this has several by name: {several}", "name one: {….name}")
    if not isinstance(placeholder, Arg) or type(value) not in (str, int, float, bool):
        return
    kind = placeholder.type
    if kind is not None and not fits(value, kind):
        hint = "take the quotes away" if isinstance(value, str) and _reads_as(value, kind) else ""
        if kind is str:
            hint = f'write "{value}"' if not isinstance(value, bool) else f'write "{str(value).lower()}"'
        otherwise = f"a value of type {kind.__name__} is wanted"
        env.fail(span, f"{name} is of type {kind.__name__}, not {value!r}", hint or otherwise)
    if kind is None and isinstance(value, bool):
        text = str(value).lower()
        hint = f"write \"{text}\" for the text, or in the task {{flag_arg('{name}')}} for an option"
        env.fail(span, f"{name} is {text}, which is no word of a command", hint)


def _reads_as(text: str, kind: type) -> bool:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return fits(value, kind) if isinstance(value, (str, int, float, bool)) else False

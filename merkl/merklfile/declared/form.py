"""What a Merklfile in YAML says, as values: tasks, targets, and the calls that these make.

It decides nothing.  The invariant: a form knows where everything in it stands.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from merkl.dataclass import dataclass
from merkl.merklfile.declared.document import Span
from merkl.merklfile.declared.expression import Name, Value, inside
from merkl.merklfile.declared.parameters import ParameterForm


@dataclass(frozen=True, slots=True)
class TaskForm:
    """A bash task.  ``options`` are arguments of ``bash_task``; ``values`` those that are to be computed first.

    ``texts`` are the nodes that hold text with placeholders, and ``places`` where each option stands.
    """

    name: str
    span: Span
    options: Mapping[str, Any]
    values: Mapping[str, Value]
    texts: tuple[yaml.ScalarNode, ...]
    places: Mapping[str, Span]


@dataclass(frozen=True, slots=True)
class Rows:
    """What ``each`` and ``zip`` say: the names, and in turn what they stand for.

    ``products`` are combined; of ``zipped`` and of ``listed`` each row is one combination by itself.
    """

    products: tuple[tuple[str, Value], ...]
    zipped: tuple[tuple[str, Value], ...]
    listed: tuple[tuple[tuple[str, Value], ...], ...]
    span: Span
    names: Mapping[str, Span]


@dataclass(frozen=True, slots=True)
class CallForm:
    """One call of a task, or one for each row.

    ``task`` is a task's name, or a task of its own.  ``keys`` are where the names of the arguments stand.  ``to`` is None, one place, or places by the output's name.
    """

    id: str
    span: Span
    task: str | TaskForm
    arguments: Mapping[str, Value]
    keys: Mapping[str, Span]
    to: Value | Mapping[str, Value] | None
    rows: Rows
    sidecar: bool = False

    def values(self) -> list[Value]:
        """Every value in it but those of its rows."""
        places = [] if self.to is None else [*self.to.values()] if isinstance(self.to, Mapping) else [self.to]
        return [*self.arguments.values(), *places]


@dataclass(frozen=True, slots=True)
class TargetForm:
    """A target: one call, several steps, or other targets.  ``after`` are the names of targets that end before."""

    name: str
    span: Span
    doc: str
    parameters: tuple[ParameterForm, ...]
    flags: Mapping[str, bool]
    after: tuple[tuple[str, Span], ...]
    rows: Rows
    call: CallForm | None = None
    steps: tuple[CallForm, ...] = ()
    targets: tuple[Value, ...] = ()

    @property
    def calls(self) -> tuple[CallForm, ...]:
        """Its calls, in order."""
        return (self.call,) if self.call is not None else self.steps


@dataclass(frozen=True, slots=True)
class FileForm:
    """A whole file.  ``includes`` are prefixes, or None for the usual one, with paths and their places."""

    includes: tuple[tuple[str | None, str, Span], ...] = ()
    values: tuple[tuple[str, Value], ...] = ()
    tasks: tuple[TaskForm, ...] = ()
    targets: tuple[TargetForm, ...] = ()


def references(values: Iterable[Value]) -> list[Name]:
    """Every reference in some values."""
    return [each for value in values for each in inside(value) if isinstance(each, Name)]

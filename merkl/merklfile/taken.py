"""The parameters of a function, as the command line can give them.

It decides which of them are arguments and which are options, what type each is of, and what is said of it.

The invariant: a parameter has one name on the command line, its own, with ``-`` for ``_`` as an option.
"""

import inspect
import types
import typing
from typing import Any, Final

from merkl.bash.placeholders import Arg, DirArg, FileArg, FilesArg, FlagArg
from merkl.bash.task import BashTask
from merkl.dataclass import dataclass
from merkl.merklfile.arguments import hints_of, type_of
from merkl.merklfile.conversion import collection
from merkl.merklfile.docstrings import described
from merkl.merklfile.functions import Function
from merkl.merklfile.targets import REQUIRED, Parameter
from merkl.python.batch import BatchTask
from merkl.workspace.refs import DirRef, FileRef

ANY: Final = inspect.Parameter.VAR_POSITIONAL
NAMED: Final = inspect.Parameter.VAR_KEYWORD
_BY_NAME: Final = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True, slots=True)
class Taken:
    """One parameter.  ``hint`` is the type of its values; ``about`` what the docstring says of it."""

    name: str
    kind: Any
    hint: object
    default: object = REQUIRED
    about: str = ""

    @property
    def flag(self) -> bool:
        """Whether it is written ``--name`` or ``--no-name``."""
        return _alternatives(self.hint) == (bool,) and self.kind not in (ANY, NAMED)

    @property
    def several(self) -> bool:
        """Whether it takes several words."""
        return self.kind is ANY or (collection(self.hint) is not None and self.kind is not NAMED)

    @property
    def placed(self) -> bool:
        """Whether it is given by its place among the words, without its name."""
        return self.kind is ANY or (
            self.default is REQUIRED and self.kind not in (_BY_NAME, NAMED) and not self.flag
        )

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is REQUIRED and self.kind not in (ANY, NAMED)

    @property
    def option(self) -> str:
        """Its name as an option."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def word(self) -> str:
        """What stands for its value in a line of usage."""
        return self.name.upper().replace("_", "-")


def _alternatives(hint: object) -> tuple[object, ...]:
    """What a value may be, without None."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Annotated:
        return _alternatives(inner[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(each for each in inner if each is not type(None))
    return (hint,)


def parameters_of(function: Function) -> tuple[str, list[Taken]]:
    """What a function is for, as its docstring says, and its parameters."""
    signature = function.signature
    about, said = described(_doc(function), signature.parameters)
    hints = _bash_hints(function.value) if isinstance(function.value, BashTask) else hints_of(function.inner)
    found = []
    for each in signature.parameters.values():
        default = REQUIRED if each.default is each.empty else each.default
        hint = (
            hints.get(each.name)
            if each.kind in (ANY, NAMED)
            else type_of(Parameter(each.name, "", default), hints)
        )
        if isinstance(function.value, BatchTask) and each.name == function.value.items_name:
            hint = _items_hint(function.value, hints.get(each.name))
        found.append(Taken(each.name, each.kind, hint or str, default, said.get(each.name, "")))
    return about, found


def _items_hint(batch: BatchTask[Any], hint: object) -> object:
    """What a batch takes: a list, of what its single task takes if it does not say itself."""
    if hint is not None:
        return hint
    of_single = hints_of(batch.single.function) if batch.single is not None else {}
    each = [of_single.get(name, str) for name in batch.item_names]
    return list[each[0]] if len(each) == 1 else list[tuple[tuple(each)]]  # type: ignore[valid-type,misc]


def _doc(function: Function) -> str:
    for each in (function.inner, function.value):
        doc = getattr(each, "__doc__", None)
        if isinstance(doc, str) and doc is not type(each).__doc__:
            return doc
    return ""


def _bash_hints(task: BashTask) -> dict[str, object]:
    hints: dict[str, object] = {}
    for name, placeholder in task.template.placeholders.items():
        match placeholder:
            case FileArg():
                hints[name] = FileRef
            case DirArg():
                hints[name] = DirRef
            case FilesArg():
                hints[name] = list[FileRef]
            case FlagArg():
                hints[name] = bool
            case Arg():
                hints[name] = placeholder.type or str
            case _:
                hints[name] = str
    return hints

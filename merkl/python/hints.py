"""The type hints of a task: of its parameters, of its outputs, and so of its Futures.

It decides what a hint means here (``Future[int]`` is ``int``, a path may be a ``FileRef``) and which part of a return hint
belongs to which output.  Whether one fits another is decided in ``fits``.

The invariant: a hint that cannot be understood, or not yet, is ``Any``, so it never stands in the way of a call.
"""

import inspect
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from merkl.nodes import Future, inside_of
from merkl.pattern import pattern
from merkl.python import owners
from merkl.python.items import MerklDict, MerklList
from merkl.python.outs import Captured
from merkl.workspace.refs import DirRef, FileRef

_WRAPPERS: Final = frozenset({"Required", "NotRequired", "ReadOnly", "Final", "ClassVar"})
# What a list or a dict fits as well: which of the two it is shows only when the task has run.
_SIMILAR: Final[Mapping[Any, tuple[Any, tuple[Any, ...]]]] = {
    MerklList: (Sequence, ()),
    MerklDict: (Mapping, (str,)),
}
_MODULES: Final = pattern(r"\b(typing|collections\.abc|merkl(\.\w+)+)\.")
_DEEPEST: Final = 12  # Levels; a recursive alias has no end.


class Hints:
    """The hints of one function, each resolved when it is first asked for.

    A name that its module does not have yet is looked for again once the module has more names.
    """

    __slots__ = ("_failed", "_known", "_names", "_namespace", "function", "is_generator", "signature")

    def __init__(self, function: object, signature: inspect.Signature) -> None:
        inner = owners.innermost(function)
        self.signature = signature
        self._namespace: dict[str, Any] = getattr(inner, "__globals__", {})
        self._names = _captured(inner)
        self._known: dict[str, object] = {}
        self._failed: dict[str, int] = {}  # How many names the module had then.
        self.function = inner
        self.is_generator = inspect.isgeneratorfunction(inner) or inspect.iscoroutinefunction(inner)

    def parameter(self, name: str) -> object:
        """The hint of a parameter; of each item for ``*args`` and ``**kwargs``."""
        known = self._known.get(name)
        if known is None:
            parameter = self.signature.parameters[name]
            known = self._resolved(name, parameter.annotation)
            if parameter.default is None and known is not Any:
                known = self._known[name] = union_of((known, None))
        return known

    @property
    def returned(self) -> object:
        """The hint of the whole result; ``Any`` for a generator, whose hint is about itself."""
        return Any if self.is_generator else self._written

    @property
    def _written(self) -> object:
        """The hint behind the arrow."""
        return self._known.get("return") or self._resolved("return", self.signature.return_annotation)

    def output(self, name: str) -> object:
        """The hint of one output: the whole result's, or the part of it that has that name."""
        return self.returned if not name else _part(self.returned, name)

    def item(self, name: str, form: str) -> object:
        """The hint of an item: what a generator yields (``form`` dict: the second of each pair), or a list has, or a dict."""
        if not self.is_generator:
            return self.output(name)
        yielded = get_args(self._written)[:1] if _is_iterable(self._written) else ()
        if form == "dict":
            yielded = get_args(yielded[0])[1:] if yielded and get_origin(yielded[0]) is tuple else ()
        return yielded[0] if len(yielded) == 1 else Any

    def understood(self, name: str) -> bool:
        """Whether a hint that was asked for could be resolved."""
        return name not in self._failed

    def text(self, name: str) -> str:
        """A hint as it was written, or nearly."""
        if name == "return":
            return shown(self.signature.return_annotation)
        return shown(self.signature.parameters[name].annotation)

    def _resolved(self, name: str, annotation: object) -> object:
        if annotation is inspect.Parameter.empty:
            made: object = Any
        elif self._failed.get(name) == len(self._namespace):
            return Any
        else:
            holder = SimpleNamespace(__annotations__={"it": annotation})
            try:
                found = typing.get_type_hints(holder, self._namespace, self._names, include_extras=True)["it"]
                made = plain(found)
            except Exception:  # noqa: BLE001 - evaluating a hint runs the user's code.
                self._failed[name] = len(self._namespace)
                return Any
        self._failed.pop(name, None)
        self._known[name] = made
        return made


def _captured(inner: object) -> dict[str, Any]:
    """What the function has captured: a hint may name it."""
    names = getattr(getattr(inner, "__code__", None), "co_freevars", ())
    found = {}
    for name, cell in zip(names, getattr(inner, "__closure__", None) or ()):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    return found


def hint_of(future: Future[Any]) -> object:
    """The hint that a Future carries: of its task's result, or of the part that it is."""
    place = inside_of(future.node, future.output)
    if place is not None:
        holds = future.node.output(place[0]).holds
        return FileRef if holds in ("", "files") else _of_item(future, place[0], holds)
    task = getattr(future.node.call, "task", None)
    hints: Hints | None = getattr(task, "hints", None)
    if hints is not None:
        outs = getattr(future.node.call, "outs", None)
        if isinstance(outs, Captured):
            kind = dict(outs.streams).get(future.output)
            if kind is not None:
                return bytes if kind == "bytes" else str
            return hints.output(outs.inner(future.output))
        return hints.output(future.output)
    if future.node.given is not None:
        return Any
    return _of_output(future)


def _of_item(item: Future[Any], output: str, form: str) -> object:
    """The hint of an item of ``output``; of what a map makes, the hint of one call."""
    call = item.node.call
    sample = getattr(call, "sample", None)
    if sample is not None:
        return hint_of(Future(sample, output))
    hints: Hints | None = getattr(getattr(call, "task", None), "hints", None)
    return Any if hints is None else hints.item(item.output, form)


def _is_iterable(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Iterable)


def _of_output(future: Future[Any]) -> object:
    """What a command's output is for a Python task that reads it."""
    output = next((o for o in future.node.outputs if o.name == future.output), None)
    if output is None:
        return Any
    if output.kind != "value":
        return DirRef if output.kind == "dir" else FileRef
    forms: dict[str, object] = {"str": str, "bytes": bytes, "lines": list[str]}
    return forms.get(output.form, Any)


def plain(hint: Any, depth: int = 0) -> Any:
    """A hint without what is said to others: Futures as their values, aliases and type variables as what they stand for."""
    if depth > _DEEPEST:
        return Any
    origin, args = get_origin(hint), get_args(hint)
    if hint is None:
        return type(None)
    if isinstance(hint, typing.TypeVar):
        bound = union_of(hint.__constraints__) if hint.__constraints__ else hint.__bound__
        return Any if bound is None else plain(bound, depth + 1)
    if _is_path(hint) or origin is os.PathLike:
        return union_of((hint, FileRef, DirRef))
    if (origin or hint) is MerklList or (origin or hint) is MerklDict:
        like, first = _SIMILAR[origin or hint]
        return plain(like[(*first, *(args or (Any,)))], depth + 1)
    if hint is Future or type(hint).__name__ in (
        "ParamSpec",
        "ParamSpecArgs",
        "ParamSpecKwargs",
        "TypeVarTuple",
    ):
        return Any
    if type(hint).__name__ == "TypeAliasType":
        return plain(hint.__value__, depth + 1)
    if origin is Future or origin is Annotated or getattr(origin, "_name", "") in _WRAPPERS:
        return plain(args[0], depth + 1)
    if origin is None or origin is Literal or not args or type(origin).__name__ == "TypeAliasType":
        return Any if type(origin).__name__ == "TypeAliasType" or hint is typing.Self else hint
    changed = tuple(arg if isinstance(arg, list) or arg is ... else plain(arg, depth + 1) for arg in args)
    if origin is Union or origin is types.UnionType:
        return Any if Any in changed else union_of(changed)
    if changed == args or (origin.__module__ == "collections.abc" and origin.__name__ == "Callable"):
        return hint
    return hint.copy_with(changed) if hasattr(hint, "copy_with") else origin[changed]


def _is_path(hint: Any) -> bool:
    if hint is os.PathLike:
        return True
    module, name = getattr(hint, "__module__", ""), getattr(hint, "__name__", "")
    return name in ("Path", "PurePath") and str(module).partition(".")[0] == "pathlib"


def union_of(hints: tuple[Any, ...]) -> Any:
    """A hint that any of ``hints`` fits."""
    return Union[hints]  # noqa: UP007 - they are values here.


def _part(hint: Any, name: str) -> object:
    """What of a hint of a whole result belongs to the output of that name."""
    if typing.is_typeddict(hint):
        return plain(_fields(hint).get(name, Any))
    origin, args = get_origin(hint) or hint, get_args(hint)
    if not isinstance(origin, type):
        return Any
    if issubclass(origin, tuple):
        return _place(origin, args, name)
    if args and issubclass(origin, list):
        return args[0]
    if len(args) == 2 and issubclass(dict, origin):
        return args[1]
    return Any


def _place(origin: Any, args: tuple[Any, ...], name: str) -> object:
    if args[1:] == (...,):
        return args[0]
    if not args and hasattr(origin, "_fields"):
        args = tuple(plain(hint) for hint in _fields(origin).values())
    return args[int(name)] if name.isdecimal() and int(name) < len(args) else Any


def _fields(cls: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except Exception:  # noqa: BLE001 - as for any hint.
        return {}


def fields_of(cls: Any) -> dict[str, Any]:
    """The hints of the keys of a ``TypedDict``; none if they cannot be resolved."""
    return {name: plain(hint) for name, hint in _fields(cls).items()}


def shown(hint: object) -> str:
    """A hint for a message."""
    if isinstance(hint, str):
        return hint.strip("'\"")
    if isinstance(hint, type) and get_origin(hint) is None:
        return "None" if hint is type(None) else hint.__qualname__
    return _MODULES.sub("", inspect.formatannotation(hint))


def shown_hint_of(future: Future[Any]) -> str:
    """The hint that a Future carries, as it was written where that is known."""
    hints: Hints | None = getattr(getattr(future.node.call, "task", None), "hints", None)
    return hints.text("return") if hints is not None and not future.output else shown(hint_of(future))

"""Arguments and results against their type hints.

It decides when a value is looked at, and words what does not fit.  A Future is judged by the hint that it carries, a value by
typeguard, which is asked, and imported, only where a cheap look does not already say that it fits.

The invariant: a check never changes a value, a key or a result.
"""

import types
from collections.abc import Iterable, Mapping
from typing import Any, Final, Union, cast, get_args, get_origin

from merkl.errors import CallError, TaskFailed
from merkl.execute.secrets import Secret
from merkl.nodes import Future, Place, session
from merkl.python.accept import Accepts, accepts, exact_types
from merkl.python.advice import returns_nothing
from merkl.python.call import standing_in
from merkl.python.fits import fits
from merkl.python.hints import Hints, hint_of, shown, shown_hint_of
from merkl.workspace.refs import DirRef, FileRef

_HOLDERS: Final = (list, tuple, set, frozenset, dict)
# Whose generics typeguard looks into.
_KNOWN: Final = ("builtins", "collections", "collections.abc", "typing", "types")
_KEPT: Final = 1_000  # Outputs of tasks whose hint is known to fit a parameter.
_LONGEST: Final = 80  # Characters of a value in a message.


class Checks:
    """The checks of one task's calls and results."""

    __slots__ = ("_fast", "_fitting", "_hints", "_kind", "_name", "_place", "_whole")

    def __init__(self, name: str, hints: Hints, place: Place, *, whole: bool, kind: str = "task") -> None:
        self._kind = kind
        self._name = name
        self._hints = hints
        self._place = place
        self._whole = whole
        self._fitting: set[tuple[object, str, str]] = set()
        self._fast = self._table()

    def _table(self) -> tuple[tuple[str, frozenset[type], Accepts], ...]:
        """The parameters that have a hint, with types of values that surely fit, and a look at others."""
        table: list[tuple[str, frozenset[type], Accepts]] = []
        for name, parameter in self._hints.signature.parameters.items():
            if parameter.annotation is parameter.empty:
                continue
            hint = self._hints.parameter(name)
            if hint is Any and self._hints.understood(name):
                continue
            if hint is Any or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                table.append((name, frozenset[type](), _later))
            else:
                table.append((name, exact_types(hint), accepts(hint)))
        return tuple(table)

    @property
    def exact(self) -> Mapping[str, frozenset[type]]:
        """The parameters that are checked, with types of values that surely fit: a call of such needs no ``call``."""
        return {name: types for name, types, _ in self._fast}

    def call(self, bound: Mapping[str, Any], place: Place) -> None:
        """Check the arguments of a call, by parameter.

        Raises:
            CallError: the hint of a Future, or a value, does not fit that of its parameter.
        """
        for name, exact, look in self._fast:
            value = bound[name]
            if type(value) in exact:
                continue
            if Secret.some:
                value = standing_in(value)
            if isinstance(value, Future):
                if (getattr(value.node.call, "task", None), value.output, name) not in self._fitting:
                    self._argument(name, value, place)
            elif not look(value):
                self._argument(name, value, place)

    def _argument(self, name: str, value: Any, place: Place) -> None:
        parameter = self._hints.signature.parameters[name]
        if value is parameter.default:
            return
        hint = self._hints.parameter(name)
        if hint is Any:
            return
        if parameter.kind is parameter.VAR_POSITIONAL:
            values: Iterable[Any] = value
        elif parameter.kind is parameter.VAR_KEYWORD:
            values = value.values()
        else:
            values = (value,)
        for one in values:
            if isinstance(one, Future):
                self._future(name, hint, one)
            if (wrong := _misfit(one, hint, self._whole)) is not None:
                raise self._refused(name, one, wrong, place)

    def _future(self, name: str, hint: object, future: Future[Any]) -> None:
        """Remember that the Futures of a task's output fit a parameter."""
        task, given = getattr(future.node.call, "task", None), hint_of(future)
        if task is None or given is Any or not fits(given, hint):
            return
        if len(self._fitting) >= _KEPT:
            self._fitting.clear()
        self._fitting.add((task, future.output, name))

    def _refused(self, name: str, value: Any, wrong: "Misfit", place: Place) -> CallError:
        root, takes = session().root, self._hints.text(name)
        task = f"{self._name}, defined at {self._place.relative_to(root)}"
        future = wrong.future
        if future is None:
            return CallError(
                f"{self._name}: the argument {name!r} is {_seen(value)}, and its hint is {takes}",
                reason=wrong.reason,
                at=place.relative_to(root),
                **{self._kind: task},
                hint=self._hint("pass what fits or change the hint"),
            )
        inside = "" if future is value else "a Future inside "
        maker = getattr(getattr(future.node.call, "task", None), "place", None)
        if not isinstance(maker, Place) or maker.file.startswith("<"):  # A task of merkl's own.
            maker = None
        defined = f", defined at {maker.relative_to(root)}" if maker is not None else ""
        return CallError(
            f"{self._name}: {inside}the argument {name!r} will be {shown_hint_of(future)}, which {future.node.name} gives, "
            f"and its hint is {takes}",
            at=place.relative_to(root),
            **{self._kind: task},
            given=f"{future.node.name}, called at {future.node.place.relative_to(root)}{defined}",
            hint=self._hint("pass another Future or change one of the hints"),
        )

    def _hint(self, what: str) -> str:
        return what + ('; @task(check="off") looks at no hints' if self._kind == "task" else "")

    def result(self, result: Any) -> None:
        """Check what the function returned.

        Raises:
            TaskFailed: it does not fit the hint of the return.
        """
        hint = self._hints.returned
        if hint is Any or accepts(hint)(result):
            return
        wrong = _misfit(result, hint, self._whole)
        if wrong is None or any(map(_is_ours, _parts(result))):
            return
        empty = result is None and returns_nothing(self._hints.function)
        raise TaskFailed(
            f"{self._name} returned {_seen(result)}, and its hint is {self._hints.text('return')}",
            reason=wrong.reason,
            defined=self._place,
            hint=f"{self._name} ends without returning a value"
            if empty
            else self._hint("return what fits or change the hint"),
        )


class Misfit:
    """What does not fit: a value for a reason, or a Future whose hint does not."""

    __slots__ = ("future", "reason")

    def __init__(self, reason: str, future: Future[Any] | None = None) -> None:
        self.reason = reason
        self.future = future


def _misfit(value: Any, hint: Any, whole: bool) -> Misfit | None:
    """What of ``value`` does not fit ``hint``; containers that hold Futures are taken apart."""
    if isinstance(value, Future):
        return None if fits(hint_of(value), hint) else Misfit("", value)
    if hint is Any or accepts(hint)(value):
        return None
    if isinstance(value, _HOLDERS) and _holds_future(value):
        return _misfit_inside(value, hint, whole)
    return _misfit_by_typeguard(value, hint, whole)


def _misfit_by_typeguard(value: Any, hint: Any, whole: bool) -> Misfit | None:
    import typeguard

    origin = get_origin(hint)
    if isinstance(origin, type) and origin.__module__ not in _KNOWN and not isinstance(value, origin):
        return Misfit(f"{shown(type(value))} is not an instance of {shown(origin)}")
    strategy = typeguard.CollectionCheckStrategy
    try:
        typeguard.check_type(
            value,
            hint,
            forward_ref_policy=typeguard.ForwardRefPolicy.IGNORE,
            collection_check_strategy=strategy.ALL_ITEMS if whole else strategy.FIRST_ITEM,
        )
    except typeguard.TypeCheckError as error:
        return Misfit(str(error))
    except Exception:  # noqa: BLE001 - a hint that typeguard cannot read says nothing.
        return None
    return None


def _misfit_inside(value: Any, hint: Any, whole: bool) -> Misfit | None:
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        tried = [_misfit(value, each, whole) for each in args]
        return None if None in tried else next((one for one in tried if one and one.future), tried[0])
    if not isinstance(origin, type):
        return None
    if not isinstance(value, origin):
        return Misfit(f"{type(value).__name__} is no {shown(origin)}")
    items: list[tuple[Any, Any]]
    if isinstance(value, dict):
        items = [(item, args[1]) for item in value.values()] if len(args) == 2 else []
    elif isinstance(value, tuple) and issubclass(origin, tuple) and args[1:] != (...,):
        if args and len(args) != len(value):
            return Misfit(f"a tuple of {len(value)}, not of {len(args)}")
        items = list(zip(value, args))
    else:
        held = cast(Iterable[Any], value)
        items = [(item, args[0]) for item in held] if args else []
    return next((wrong for item, each in items if (wrong := _misfit(item, each, whole)) is not None), None)


def _holds_future(value: Any) -> bool:
    items: Iterable[Any] = value.values() if isinstance(value, dict) else value
    return any(
        isinstance(item, Future) or (isinstance(item, _HOLDERS) and _holds_future(item)) for item in items
    )


def _later(value: Any) -> bool:  # noqa: ARG001 - as a look that does not know.
    """Of ``*args`` each is looked at, and a hint may name what is not there yet."""
    return False


def _parts(result: Any) -> Iterable[Any]:
    if isinstance(result, Mapping):
        return [result, *result.values()]
    return [result, *result] if isinstance(result, (list, tuple)) else [result]


def _is_ours(value: object) -> bool:
    """What merkl itself takes for a value that is elsewhere, such as a file being written."""
    return type(value).__module__.partition(".")[0] == "merkl" and not isinstance(value, (FileRef, DirRef))


def _seen(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the user's code.
        text = ""
    kind = shown(type(value))
    if not text or value is None:
        return kind
    return f"{text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}, of type {kind}"

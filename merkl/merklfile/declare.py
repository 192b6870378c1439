"""``@target`` and ``target("name", …)``: how a Merklfile declares what it can be asked for.

It decides a target's name and description.  It calls nothing.

The invariant: a name that is accepted can be typed after ``merkl build``, and cannot be read as a path or an option.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final, ParamSpec, TypeVar, overload

from merkl.errors import MerklfileError
from merkl.merklfile.registry import here
from merkl.merklfile.targets import Declared, Target, futures_in
from merkl.nodes import Future, Place, calling_place, scope
from merkl.pattern import pattern

P = ParamSpec("P")
R = TypeVar("R")

_MISSING: Final = object()
_NAME: Final = pattern(r"(?![-./])[^\s=<>\0]*[^\s=<>\0/]")


@overload
def target(function: Callable[P, R], /, *, name: str = ..., description: str = ..., default: bool = ...,
           always: bool = ..., after: Iterable[object] = ..., sidecar: bool = ...) -> Target[P, R]: ...  # fmt: skip
@overload
def target(name: str, value: object, /, *, description: str = ..., default: bool = ..., always: bool = ...,
           after: Iterable[object] = ..., sidecar: bool = ...) -> Target[..., Any]: ...  # fmt: skip
@overload
def target(*, name: str = ..., description: str = ..., default: bool = ..., always: bool = ...,
           after: Iterable[object] = ..., sidecar: bool = ...) -> Callable[[Callable[P, R]], Target[P, R]]: ...  # fmt: skip
def target(
    what: Any = None,
    value: Any = _MISSING,
    /,
    *,
    name: str = "",
    description: str = "",
    default: bool = False,
    always: bool = False,
    after: Iterable[object] = (),
    sidecar: bool = False,
) -> Any:
    """Declare a target: ``@target`` on a function, or ``target("name", value)`` for Futures, a task or a function.

    Args:
        name: what it is called; otherwise as its function is.
        description: one line; otherwise the first of the function's docstring.
        default: built when ``merkl build`` is given no name.
        always: its tasks run each time it is asked for.
        after: targets, by name or as such, and Futures that must have ended before its own tasks start.
        sidecar: everything that it places gets a sidecar.

    Raises:
        MerklfileError: the name is taken, or is none; or there is no Future in ``value``.
    """
    after = _checked_after(after)

    def declare(function: Any, named: str) -> Any:
        place = calling_place() if isinstance(what, str) else _place_of(function)
        return declared(
            function, named, description, place, default=default, always=always, after=after, sidecar=sidecar
        )

    if isinstance(what, str):
        if value is _MISSING:
            raise MerklfileError(
                f"target({what!r}) has no value",
                at=calling_place(),
                hint=f'target("{what}", future), or @target(name="{what}")',
            )
        return declare(_function_of(what, value), name or what)
    if value is not _MISSING:
        raise MerklfileError("target(…) takes a name first, and then a value", at=calling_place())
    return (lambda function: declare(function, name)) if what is None else declare(what, name)


def _checked_after(after: Iterable[object]) -> tuple[object, ...]:
    items = (after,) if isinstance(after, (str, Target, Future)) else tuple(after)
    for item in items:
        if not isinstance(item, (str, Target, Future)):
            raise MerklfileError(
                f"after= takes targets, their names and Futures, not {item!r}", at=calling_place()
            )
    return items


def _function_of(name: str, value: Any) -> Callable[..., Any]:
    """What a target of a value calls."""
    if callable(value) and not isinstance(value, (Target, Future, type)):
        return value  # type: ignore[no-any-return]
    if not futures_in(value) and not _has_target(value):
        raise MerklfileError(
            f"there is no Future in the value of the target {name!r}: {value!r:.80}",
            at=calling_place(),
            hint="call a task to get one",
        )
    return lambda: value


def _has_target(value: object) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return any(map(_has_target, value)) if isinstance(value, (list, tuple)) else isinstance(value, Target)


def declared(function: Any, name: str, description: str, place: Place, **options: Any) -> Target[..., Any]:
    """Declare a target of a function, in the file that is running.

    Raises:
        MerklfileError: the name is taken, or is none; or a target cannot be made of this.
    """
    if not callable(function) or isinstance(function, (type, Target, Future)):
        raise MerklfileError(f"@target makes a target of a function, and this is {function!r}", at=place)
    if inspect.iscoroutinefunction(inspect.unwrap(function)):
        raise MerklfileError(
            "a target cannot be an async function", at=place, hint="write `def`, without async"
        )
    name = name or getattr(function, "__name__", "")
    if not _NAME.fullmatch(name):
        raise MerklfileError(
            f"{name!r} cannot be the name of a target",
            at=place,
            hint='give it one: target("name", …) or @target(name="name"), without spaces and =, and not beginning with - . or /',
        )
    current = here()
    prefix = current.file.prefix if current is not None and current.file is not None else ""
    full = f"{prefix}/{name}" if prefix else name
    doc = description or (
        (inspect.getdoc(function) or "").strip().split("\n")[0] if _documented(function) else ""
    )
    made: Target[..., Any] = Target(
        function, Declared(full, doc, place, base=scope().base, prefix=prefix, **options)
    )
    if current is not None:
        current.merklfile.declare(made)
    return made


def _documented(function: object) -> bool:
    """Whether the docstring is the function's own, and not that of the class of some callable."""
    return getattr(function, "__doc__", None) is not type(function).__doc__


def _place_of(function: Any) -> Place:
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    if code is None or code.co_name == "<lambda>":
        return calling_place()
    return Place(code.co_filename, code.co_firstlineno)

"""Whether a value of one type hint may be passed where another is asked for.

It decides from the hints alone, as PEP 484 does, but leniently: only what surely does not fit does not.  Containers are
compared by what they hold, ``list[bool]`` fits ``list[int]``: a task gets a value of its own, which nobody else writes to.

The invariant: if nothing is known, it fits.
"""

import collections.abc
import types
import typing
from typing import Any, Final, Literal, Union, get_args, get_origin

from merkl.python.hints import fields_of, union_of

_TOWER: Final[dict[object, tuple[type, ...]]] = {float: (int,), complex: (int, float)}
# They, and what inherits from them, have one hint: of the items.
_ONE: Final = (collections.abc.Iterable, collections.abc.Container)


def fits(given: Any, wanted: Any) -> bool:
    """Whether what is hinted as ``given`` may stand where ``wanted`` is."""
    if _unknown(given) or _unknown(wanted) or given is wanted or given in (typing.Never, typing.NoReturn):
        return True
    if _is_union(given):
        return all(fits(each, wanted) for each in get_args(given))
    if get_origin(given) is Literal:
        return all(_literal_fits(value, wanted) for value in get_args(given))
    if _is_union(wanted):
        return any(fits(given, each) for each in get_args(wanted))
    if isinstance(given, typing.NewType):
        return fits(given.__supertype__, wanted)
    if isinstance(wanted, typing.NewType) or get_origin(wanted) is Literal:
        return False
    if typing.is_typeddict(wanted):
        return _typed_dict_fits(given, wanted)
    return _class_fits(given, wanted)


def _unknown(hint: Any) -> bool:
    # ``object`` is what one writes for "anything": of such a Future nothing is known.
    return hint is Any or hint is object or isinstance(hint, (str, typing.ForwardRef, typing.TypeVar))


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _literal_fits(value: object, wanted: Any) -> bool:
    if _is_union(wanted):
        return any(_literal_fits(value, each) for each in get_args(wanted))
    if get_origin(wanted) is Literal:
        return any(value == each and type(value) is type(each) for each in get_args(wanted))
    return fits(type(value), wanted)


def _typed_dict_fits(given: Any, wanted: Any) -> bool:
    if not typing.is_typeddict(given):
        origin = get_origin(given) or given
        return not isinstance(origin, type) or issubclass(dict, origin) or issubclass(origin, dict)
    has, asked = fields_of(given), fields_of(wanted)
    if not has or not asked:
        return True
    needed = all(name in has for name in wanted.__required_keys__)
    return needed and all(fits(has[name], hint) for name, hint in asked.items() if name in has)


def _class_fits(given: Any, wanted: Any) -> bool:
    source, target = get_origin(given) or given, get_origin(wanted) or wanted
    if not isinstance(source, type) or not isinstance(target, type):
        return True
    if typing.is_typeddict(source):
        source = dict
    if any(issubclass(source, each) for each in _TOWER.get(target, ())):
        return True
    if getattr(target, "_is_protocol", False):
        return _has_members(source, target)
    try:
        inherits = issubclass(source, target)
    except TypeError:  # A class that cannot be asked.
        return True
    return inherits and _arguments_fit(given, wanted, source, target)


def _has_members(source: type, protocol: type) -> bool:
    """Whether a class has the methods of a protocol; its attributes may be set when an instance is made."""
    if hasattr(source, "__getattr__") or getattr(source, "_is_protocol", False):
        return True
    methods = {
        name
        for base in protocol.__mro__
        if getattr(base, "_is_protocol", False) and base is not typing.Generic
        for name, member in vars(base).items()
        if isinstance(member, types.FunctionType)
        and name not in ("__init__", "__subclasshook__", "__init_subclass__")
    }
    return all(getattr(source, name, None) is not None for name in methods)


def _arguments_fit(given: Any, wanted: Any, source: type, target: type) -> bool:
    asked, has = get_args(wanted), get_args(given)
    if not asked:
        return True
    if target is tuple:
        return _tuple_fits(has, asked) if source is tuple else True
    if issubclass(target, collections.abc.Mapping):
        return (
            len(has) != 2
            or len(asked) != 2
            or not issubclass(source, collections.abc.Mapping)
            or _all_fit(has, asked)
        )
    if source is target:
        return len(has) != len(asked) or _all_fit(has, asked)
    if issubclass(target, _ONE) and len(asked) == 1 and (item := _item(given, source, has)) is not None:
        return fits(item, asked[0])
    return True


def _all_fit(has: tuple[Any, ...], asked: tuple[Any, ...]) -> bool:
    return all(fits(one, other) for one, other in zip(has, asked) if not isinstance(one, list))


def _tuple_fits(has: tuple[Any, ...], asked: tuple[Any, ...]) -> bool:
    if not has:
        return True
    if asked[1:] == (...,):
        return all(fits(each, asked[0]) for each in has if each is not ...)
    if has[1:] == (...,):  # Of a length that nobody knows yet.
        return all(fits(has[0], each) for each in asked)
    return len(has) == len(asked) and _all_fit(has, asked)


def _item(given: Any, source: type, has: tuple[Any, ...]) -> Any:
    """The hint of what one gets from iterating; None if it is not known."""
    if source in (str, bytes):
        return str if source is str else int
    if source is tuple:
        return union_of(tuple(each for each in has if each is not ...)) if has else None
    known = source.__module__ in ("builtins", "collections", "collections.abc", "typing")
    if known and has and issubclass(source, _ONE):
        return has[0]
    return int if given is range else None

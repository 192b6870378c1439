"""A cheap look at a value that says when it surely fits a type hint.

It decides nothing else: what it does not know it leaves to typeguard.

The invariant: a yes is right, for every item; a no means nothing.
"""

import collections.abc
import types
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, TypeAlias, Union, get_args, get_origin

from merkl.nodes import Future

Accepts: TypeAlias = Callable[[Any], bool]

_EXACT: Final[dict[object, frozenset[type]]] = {
    **{kind: frozenset({kind}) for kind in (str, bytes, bool, type(None))},
    int: frozenset({int, bool}),
    float: frozenset({float, int, bool}),  # As PEP 484 says.
    complex: frozenset({complex, float, int, bool}),
}
_ABCS: Final = (collections.abc.Iterable, collections.abc.Collection, collections.abc.Container)
_OF_ITEMS: Final[dict[type, tuple[object, ...]]] = {
    list: (list, collections.abc.Sequence, collections.abc.MutableSequence, *_ABCS),
    tuple: (tuple, collections.abc.Sequence, *_ABCS),
    set: (set, collections.abc.Set, collections.abc.MutableSet, *_ABCS),
    frozenset: (frozenset, collections.abc.Set, *_ABCS),
}
_DICTS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def exact_types(hint: Any) -> frozenset[type]:
    """Types of which every value fits, whatever it holds; none if that takes a longer look."""
    if _is_union(hint):
        return frozenset[type]().union(*map(exact_types, get_args(hint)))
    try:
        return _EXACT.get(hint, frozenset())
    except TypeError:  # A hint that cannot be hashed, such as one with a list in Literal.
        return frozenset()


def accepts(hint: Any) -> Accepts:
    """The look for one hint, made once and then asked for every value."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return _always
    if _is_union(hint):
        return _any_of([accepts(each) for each in args])
    if origin is Literal:
        return lambda value: any(type(value) is type(each) and value == each for each in args)
    if origin is None:
        return _of_class(hint)
    if origin is tuple and args[1:] != (...,):
        return _of_places([accepts(each) for each in args])
    if origin in _DICTS and len(args) == 2:
        return _of_dict(*map(_all_of, args))
    kinds = frozenset(kind for kind, origins in _OF_ITEMS.items() if origin in origins)
    if kinds and args:
        all_fit = _all_of(args[0])
        return lambda value: type(value) in kinds and all_fit(value)
    return _never


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _always(value: Any) -> bool:  # noqa: ARG001 - as below.
    return True


def _never(value: Any) -> bool:  # noqa: ARG001 - a look like the others.
    return False


def _any_of(looks: list[Accepts]) -> Accepts:
    return lambda value: any(look(value) for look in looks)


def _of_class(hint: Any) -> Accepts:
    exact = exact_types(hint)
    if exact:
        return lambda value: type(value) in exact
    if not isinstance(hint, type) or getattr(hint, "_is_protocol", False):
        return _never
    return lambda value: hint in type(value).__mro__


def _of_places(looks: list[Accepts]) -> Accepts:
    return lambda value: (
        type(value) is tuple and len(value) == len(looks) and all(look(v) for look, v in zip(looks, value))
    )


def _of_dict(keys_fit: Accepts, values_fit: Accepts) -> Accepts:
    return lambda value: type(value) is dict and keys_fit(value) and values_fit(value.values())


def _all_of(hint: Any) -> Callable[[Iterable[Any]], bool]:
    """Whether all items fit; by their types alone where that is enough, which is ten times as fast."""
    exact = exact_types(hint)
    if exact:
        return lambda items: exact.issuperset(map(type, items))
    if hint is Any:
        return lambda items: Future not in set(map(type, items))
    look = accepts(hint)
    return lambda items: all(map(look, items))

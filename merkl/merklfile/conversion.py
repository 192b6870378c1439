"""Text from the command line as a value of the type that a parameter asks for.

It decides what a word means to each type.  It knows no targets, and what a path starts from only through ``path_of``.

The invariant: a word that does not clearly mean a value of the type is refused.
"""

import collections.abc
import datetime
import decimal
import enum
import os
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any, Final

from merkl.workspace.refs import DirRef, FileRef

BOOLEANS: Final = {
    "true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip


class Unfit(ValueError):
    """The text is no such value; its words say what is wanted."""


class Unwritable(Unfit):
    """No text is such a value."""

    def __init__(self, hint: object) -> None:
        super().__init__(f"a value of type {_name(hint)}, which cannot be written on the command line")


PathOf = Callable[[str, type], object]
"""Makes a path of the given class of the text of one, as the user who types it means it."""


def converted(text: str, hint: object, path_of: PathOf) -> object:
    """``text`` as a value of the type ``hint``.

    Raises:
        Unfit: it is none, or there is no way to write such a value on the command line.
    """
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    if hint in (Any, object, str):
        return text
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return converted(text, inner[0], path_of)
    if origin is typing.Literal:
        return _one_of(text, {str(each): each for each in inner})
    if origin in (typing.Union, types.UnionType):
        return _either(text, inner, path_of)
    kind = origin or hint
    if kind in _COLLECTIONS:
        return _several(text, kind, inner, path_of)
    if kind in (dict, collections.abc.Mapping):
        return _mapping(text, inner, path_of)
    if isinstance(kind, type):
        return _single(text, kind, path_of)
    raise Unwritable(hint)


def hint_of(default: object) -> object:
    """The type that a default stands for where there is no hint."""
    if default is None:
        return str
    if isinstance(default, dict):
        return dict
    if isinstance(default, (list, tuple, set, frozenset)):
        members = {type(each) for each in default}
        member = members.pop() if len(members) == 1 else str
        return tuple[member, ...] if isinstance(default, tuple) else type(default)[member]  # type: ignore[index,valid-type]
    if isinstance(default, os.PathLike) and not isinstance(default, (FileRef, DirRef)):
        import pathlib

        return pathlib.Path
    return type(default)


def _single(text: str, kind: type, path_of: PathOf) -> object:
    if kind is bool:
        if text.lower() not in BOOLEANS:
            raise Unfit("true or false")
        return BOOLEANS[text.lower()]
    if issubclass(kind, enum.Enum):
        members = {str(member.value): member for member in kind}
        return _one_of(text, {**members, **kind.__members__}, list(kind.__members__))
    if kind in (FileRef, DirRef) or kind.__module__.partition(".")[0] == "pathlib":
        if not text:
            raise Unfit("a path")
        return path_of(text, kind)
    if kind not in _READ:
        raise Unwritable(kind)
    wanted, read = _READ[kind]
    try:
        return read(text)
    except (ValueError, ArithmeticError):
        raise Unfit(wanted) from None


def _one_of(text: str, choices: dict[str, Any], shown: list[str] | None = None) -> object:
    if text not in choices:
        raise Unfit(f"one of {', '.join(shown or choices)}")
    return choices[text]


def _either(text: str, kinds: tuple[object, ...], path_of: PathOf) -> object:
    """None is written ``none``; of the others the first that takes the text, ``str`` last, since it takes any."""
    if type(None) in kinds and text.lower() == "none":
        return None
    wanted = []
    for kind in sorted((kind for kind in kinds if kind is not type(None)), key=lambda kind: kind is str):
        try:
            return converted(text, kind, path_of)
        except Unfit as error:
            wanted.append(str(error))
    raise Unfit(" or ".join([*wanted, "none"] if type(None) in kinds else wanted))


def collected(texts: list[str], hint: object, path_of: PathOf) -> object:
    """Several words as one collection: each is one member, or several with commas between them.

    Raises:
        Unfit: a word is no such member, or ``hint`` is no collection.
    """
    kind, inner = collection(hint) or (None, ())
    if kind is None:
        raise Unfit("one value")
    return _gathered([item for text in texts for item in _members(text)], kind, inner, path_of)


def collection(hint: object) -> tuple[Any, tuple[object, ...]] | None:
    """The collection that a hint means, such as ``list``, and what its members are; None if it means none.

    It may stand in ``Optional``, ``Annotated`` and ``NewType``.
    """
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return collection(inner[0])
    if origin in (typing.Union, types.UnionType):
        found = [collection(each) for each in inner if each is not type(None)]
        return found[0] if len(found) == 1 else None
    kind = origin or hint
    return (kind, inner) if kind in _COLLECTIONS else None


def _several(text: str, kind: Any, inner: tuple[object, ...], path_of: PathOf) -> object:
    return _gathered(_members(text), kind, inner, path_of)


def _members(text: str) -> list[str]:
    """The members in a word: those of a JSON list, else what commas part."""
    if text.startswith("["):
        import json

        try:
            found = json.loads(text)
        except ValueError:
            pass
        else:
            return [_typed(each) for each in found]
    return text.split(",") if text else []


def _typed(value: object) -> str:
    """A JSON value as it would be typed."""
    import json

    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)


def _gathered(texts: list[str], kind: Any, inner: tuple[object, ...], path_of: PathOf) -> object:
    if kind is tuple and inner and inner[-1] is not ...:
        if len(texts) != len(inner):
            raise Unfit(f"{len(inner)} values with commas between them")
        return tuple(converted(each, member, path_of) for each, member in zip(texts, inner, strict=True))
    member = inner[0] if inner else str
    try:
        return _COLLECTIONS[kind](converted(each, member, path_of) for each in texts)
    except Unfit as error:
        raise Unfit(f"values with commas between them, each {error}") from None


def _mapping(text: str, inner: tuple[object, ...], path_of: PathOf) -> object:
    """A JSON object; what its members are to be is looked at as if each had been typed."""
    import json

    wanted = 'a JSON object such as {"name": 1}'
    try:
        found = json.loads(text)
    except ValueError:
        raise Unfit(wanted) from None
    if not isinstance(found, dict):
        raise Unfit(wanted)
    key, member = inner or (Any, Any)
    if member in (Any, object):
        return {converted(name, key, path_of): value for name, value in found.items()}
    try:
        return {
            converted(name, key, path_of): converted(_typed(each), member, path_of)
            for name, each in found.items()
        }
    except Unfit as error:
        raise Unfit(f"{wanted}, each value {error}") from None


def _name(hint: object) -> str:
    return getattr(hint, "__name__", None) or str(hint)


_COLLECTIONS: Final[dict[Any, Callable[[Any], object]]] = {
    list: list, tuple: tuple, set: set, frozenset: frozenset,
    collections.abc.Sequence: list, collections.abc.Iterable: list, collections.abc.Collection: list,
}  # fmt: skip

_READ: Final[dict[type, tuple[str, Callable[[str], object]]]] = {
    int: ("a whole number", int),
    float: ("a number", float),
    complex: ("a number", complex),
    bytes: ("text", os.fsencode),
    decimal.Decimal: ("a number", decimal.Decimal),
    datetime.date: ("a date such as 2024-12-31", datetime.date.fromisoformat),
    datetime.datetime: ("a date and time such as 2024-12-31T23:59", datetime.datetime.fromisoformat),
    datetime.time: ("a time such as 23:59", datetime.time.fromisoformat),
    uuid.UUID: ("a UUID", uuid.UUID),
}

"""Encodings of argument values that are neither plain nor code: arrays and frames by content, the rest as pickle takes
them apart.

It decides when a value that only pickle can write is stable enough to be in a key.

The invariant: no pickle's bytes are in an encoding, only the parts that pickle would write, sets and dicts among them in
one order; so neither the hash seed nor what the parts share counts.
"""

import copyreg
import enum
import functools
import os
import pickle
from collections import OrderedDict
from typing import Any, Final

from merkl.digest import Unencodable, tagged
from merkl.nodes import Future
from merkl.python.arrays import Encode, array_encoding
from merkl.python.frames import frame_encoding
from merkl.python.kinds import is_code

_DEEPEST: Final = 50


def foreign_encoding(value: object, encode: Encode) -> bytes | None:
    """The encoding of an array or frame, its members' made with ``encode``; None for everything else.

    Raises:
        Unencodable: a member of it has none.
    """
    library = type(value).__module__.partition(".")[0]
    if library == "numpy":
        return array_encoding(value, encode)
    if library in ("pandas", "pyarrow"):
        return frame_encoding(value, encode)
    return None


class Reducer:
    """Encodes what only pickle can write.  One for each encoder, whose ``value`` is ``encode``.

    Unless ``checked`` is False, what is taken apart must come back from pickle as the same.
    """

    __slots__ = ("_checked", "_encode", "_open")

    def __init__(self, encode: Encode, *, checked: bool = True) -> None:
        self._encode = encode
        self._checked = checked
        self._open: list[object] = []  # From the outermost value that is being taken apart inwards.

    def __call__(self, value: object) -> bytes:
        """The encoding of the parts that pickle takes ``value`` apart into.

        Raises:
            Unencodable: it cannot be pickled, contains itself, or comes back as something else.
        """
        encoded = self._taken_apart(value)
        if self._checked and not self._open:  # Once for the whole, which has all the rest in it.
            try:
                copy = pickle.loads(pickle.dumps(value, 5))
            except Exception as error:  # noqa: BLE001 - a class's own methods are called.
                raise Unencodable(value, f"has no stable encoding, and cannot be pickled ({error})") from None
            if self._taken_apart(copy) != encoded:
                raise Unencodable(value, "has no stable encoding: pickled and read back, it is another value")
        return encoded

    def _taken_apart(self, value: object) -> bytes:
        if isinstance(value, Future):
            raise Unencodable(value, "lies where merkl cannot find it: pass it in a list, tuple or dict")
        if any(value is other for other in self._open) or len(self._open) > _DEEPEST:
            raise Unencodable(value, "has no stable encoding: it contains itself, or is nested too deep")
        reduced = _reduced(value)
        if isinstance(reduced, str):
            module = getattr(value, "__module__", None) or type(value).__module__
            return tagged(b"P", self._encode((module, reduced)))
        make, arguments, state, items, pairs, setter = (reduced + (None,) * 6)[:6]
        self._open.append(value)
        try:
            members: list[tuple[object, object]] = list(pairs or ())
            if not isinstance(value, OrderedDict):
                members.sort(key=lambda pair: self._encode(pair[0]))
            parts = (make, arguments, None if items is None else list(items), members, setter)
            return tagged(b"P", self._encode(parts) + self._state(state))
        finally:
            self._open.pop()

    def _state(self, state: Any) -> bytes:
        """What an instance holds; a place inside it is told as an attribute's."""
        if type(state) is not dict or not all(type(name) is str for name in state):
            return self._encode(state)
        encoded = b""
        for name in sorted(state):
            try:
                encoded += self._encode(name) + self._encode(state[name])
            except Unencodable as error:
                error.where = f".{name}{error.where}"
                raise
        return tagged(b"P", encoded)


def _reduced(value: object) -> str | tuple[Any, ...]:
    try:
        by_type = copyreg.dispatch_table.get(type(value))
        reduced = by_type(value) if by_type is not None else value.__reduce_ex__(4)
    except Exception as error:  # noqa: BLE001 - likewise.
        raise Unencodable(value, f"has no stable encoding, and cannot be pickled ({error})") from None
    return reduced


@functools.lru_cache(maxsize=1024)
def _may_change(kind: type) -> bool:
    """Whether a value of that type, other than a list, dict or set, may be changed in place."""
    library = kind.__module__.partition(".")[0]
    if library in _LASTING or issubclass(
        kind, (str, bytes, int, float, tuple, frozenset, enum.Enum, type, os.PathLike)
    ):
        return kind is bytearray
    if library == "numpy":
        return kind.__name__ not in ("dtype", "ufunc") and hasattr(kind, "__setitem__")
    if library == "pandas":
        return kind.__name__ in ("DataFrame", "Series", "Categorical") or kind.__name__.endswith("Array")
    frozen = getattr(kind, "__dataclass_params__", None)
    return frozen is None or not frozen.frozen


_LASTING: Final = frozenset(
    "builtins datetime zoneinfo decimal fractions uuid pathlib functools re types pyarrow".split()
)


def can_change(value: object) -> bool:
    """Whether the caller could still change the value, which is no list, dict or set, and no code."""
    return _may_change(type(value)) and not is_code(value)  # type: ignore[arg-type]  # Every type can be hashed.

"""Names made from contents: ``Digest`` of bytes, ``Key`` of a call, and the encoding that keys hash.

It decides when two values are the same value for a cache.  It knows no files, tasks or stores.

The invariant: ``encode`` is injective.  Every value is written as a type tag, the length of its
payload and the payload, so values of different types or shapes never share an encoding; unordered
containers are written in the order of their members' encodings.  A test pins the bytes.
"""

import enum
import functools
import os
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from blake3 import blake3

from merkl.errors import UnhashableArgument
from merkl.hashers import large_hasher

KEY_DOMAIN: Final = b"merkl key 1\0"  # Bump to abandon every cached result at once.
CONTENT_DOMAIN: Final = b"merkl content key 1\0"
MAX_DEPTH: Final = 200  # Nesting of one value; a graph may be deeper, since a Future is written as its key.


class _Name(bytes):
    """32 bytes that name something.  Immutable, hashable, ordered; ``.hex()`` is its text."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> "_Name":
        if len(raw) != 32:
            raise ValueError(f"{cls.__name__} takes 32 bytes, not {len(raw)}")
        return super().__new__(cls, raw)

    @property
    def short(self) -> str:
        """The first 12 hexadecimal digits, for messages."""
        return self[:6].hex()

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.short}…)"


class Digest(_Name):
    """BLAKE3-256 of some bytes."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> "Digest":
        return super().__new__(cls, raw)  # type: ignore[return-value]

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> "Digest":
        """The digest of ``data``."""
        return cls(blake3(data).digest())

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Read 64 hexadecimal digits.

        Raises:
            ValueError: ``text`` is anything else.
        """
        return cls(_unhex(text))


class Key(_Name):
    """Identity of a call: of its code, its arguments, and what it depends on."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> "Key":
        return super().__new__(cls, raw)  # type: ignore[return-value]

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Read 64 hexadecimal digits.

        Raises:
            ValueError: ``text`` is anything else.
        """
        return cls(_unhex(text))


def _unhex(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32 or raw.hex() != text:  # fromhex also takes spaces and capitals.
        raise ValueError(f"not 64 lower-case hexadecimal digits: {text[:80]!r}")
    return raw


def key_of(*parts: object) -> Key:
    """Hash ``parts`` into a key.

    The encoding is injective: every value is written as a type tag, a length and a payload,
    so ``("ab", "c")`` and ``("a", "bc")`` cannot collide by concatenation, and neither can
    ``1``, ``True`` and ``"1"``.

    Raises:
        UnhashableArgument: a part, at any depth, has no stable encoding.
    """
    return Key(blake3(KEY_DOMAIN + encode(parts)).digest())


def content_key_of(*parts: object) -> Key:
    """As ``key_of``, in a domain of its own, so that a key never equals a content key."""
    return Key(blake3(CONTENT_DOMAIN + encode(parts)).digest())


def type_name(cls: type) -> str:
    """How a class is named inside an encoding: ``module:qualname``."""
    return f"{cls.__module__}:{cls.__qualname__}"


class Unencodable(Exception):
    """No stable encoding: of which type, and where inside the value.

    Only ``UnhashableArgument``, which also names the task and the parameter, reaches the user.
    """

    def __init__(self, value: object, reason: str = "has no stable encoding") -> None:
        super().__init__(reason)
        self.type = type_name(type(value)).removeprefix("builtins:")
        self.where = ""  # Grows from the inside out: ``[0].name``.
        self.reason = reason


Hook = Callable[[object], bytes | None]
"""Gets a value; returns its complete encoding, made with ``tagged``, or None to leave it to the encoder.
Asked first for whatever is not of a plain built-in type.  May raise ``Unencodable``."""


def tagged(tag: bytes, payload: bytes) -> bytes:
    """One encoded value: a one-byte tag, the payload's length as eight bytes, big endian, and the payload.

    Tags from ``A`` to ``Z`` are for hooks; all others belong to ``encode``.
    """
    return tag + len(payload).to_bytes(8, "big") + payload


def encoded_tuple(*members: bytes) -> bytes:
    """The encoding of a tuple, from those of its members: for what is written many times, and differs in a few."""
    return tagged(b"t", b"".join(members))


def encoded_dict(members: dict[bytes, bytes]) -> bytes:
    """The encoding of a dict, from those of its names and values."""
    return tagged(b"d", b"".join([name + members[name] for name in sorted(members)]))


def encoded_text(text: str) -> bytes:
    """The encoding of a str."""
    return _SCALARS[str](text)


def encode(value: object, hook: Hook | None = None, name_of: Callable[[type], str] = type_name) -> bytes:
    """Write ``value`` as bytes that no other value has.

    Covers None, bool, int, float (all NaNs are one value; 0.0 and -0.0 are two), complex, str, bytes, bytearray,
    tuple, list, dict, set, frozenset, range, slice, Ellipsis, enums, dataclasses and named tuples (by class and
    fields), subclasses of str, bytes, int and float, paths (``Path("a")`` and ``PurePath("a")`` are one value), dates,
    times, time deltas, fixed and named time zones, Decimal, Fraction, UUID, built-in types, and numpy scalars, dtypes
    and arrays of plain numbers.  ``name_of`` names the classes met.  State that none of this would write, such as an
    attribute that is no field, is refused rather than left out.

    Raises:
        UnhashableArgument: something inside has no stable encoding, contains itself, or nests too deep.
    """
    try:
        return Encoder(hook, name_of).value(value, 0)
    except Unencodable as error:
        raise UnhashableArgument(
            f"a value of type {error.type} {error.reason}", at=error.where[:80] or None, hint=UNHASHABLE_HINT
        ) from None
    except RecursionError:
        name = type_name(type(value)).removeprefix("builtins:")
        raise UnhashableArgument(
            f"a value of type {name} is nested too deep for the stack", hint=UNHASHABLE_HINT
        ) from None


UNHASHABLE_HINT: Final = "pass plain values, dataclasses, paths, a FileRef or a Future"


class Encoder:
    """The encoding with its openings: a hook for values it may not know, one for those that nobody knows, and the names
    of classes."""

    __slots__ = ("_hook", "_last", "_name_of")

    def __init__(
        self,
        hook: Hook | None = None,
        name_of: Callable[[type], str] = type_name,
        last: Callable[[object], bytes] | None = None,
    ) -> None:
        self._hook = hook
        self._name_of = name_of
        self._last = last

    def value(self, value: object, depth: int = 0) -> bytes:
        """Encode one value that lies ``depth`` containers deep.

        Raises:
            Unencodable: with the place inside ``value``.
        """
        exact = _SCALARS.get(type(value))
        if exact is not None:
            return exact(value)
        if depth > MAX_DEPTH:
            raise Unencodable(value, f"contains itself, or is nested more than {MAX_DEPTH} deep")
        kind = type(value)
        if kind is tuple:
            return tagged(b"t", self._items(value, depth))  # type: ignore[arg-type]
        if kind is list:
            return tagged(b"l", self._items(value, depth))  # type: ignore[arg-type]
        if kind is dict:
            return tagged(b"d", self._mapping(value, depth))  # type: ignore[arg-type]
        if self._hook is not None and (encoded := self._hook(value)) is not None:
            return encoded
        return self._object(value, depth)

    def _items(self, items: Iterable[object], depth: int) -> bytes:
        parts: list[bytes] = []
        try:
            # As ``value`` would, without the call: most items are scalars, or short rows of them.
            for item in items:
                kind = type(item)
                exact = _SCALARS.get(kind)
                if exact is not None:
                    parts.append(exact(item))
                elif kind is tuple and depth < MAX_DEPTH:
                    payload = self._items(item, depth + 1)  # type: ignore[arg-type]
                    parts.append(b"t" + len(payload).to_bytes(8, "big") + payload)
                else:
                    parts.append(self.value(item, depth + 1))
        except Unencodable as error:
            error.where = f"[{len(parts)}]{error.where}"
            raise
        return b"".join(parts)

    def _mapping(self, mapping: dict[object, object], depth: int) -> bytes:
        parts = []
        try:
            for name, item in mapping.items():
                exact = _SCALARS.get(type(name))
                encoded = self.value(name, depth + 1) if exact is None else exact(name)
                parts.append((encoded, self.value(item, depth + 1)))
        except Unencodable as error:
            error.where = f"[{name!r:.40}]{error.where}"
            raise
        parts.sort()
        return b"".join([part for pair in parts for part in pair])

    def _object(self, value: Any, depth: int) -> bytes:
        kind = type(value)
        if kind is set or kind is frozenset:
            members = sorted(self.value(member, depth + 1) for member in value)
            return tagged(b"e" if kind is set else b"z", b"".join(members))
        if isinstance(value, enum.Enum):
            # Whether and how a combination of flags is named differs between Python versions.
            name = None if isinstance(value, enum.Flag) else value._name_
            return self._named(b"u", kind, (name, value._value_), depth)
        if hasattr(kind, "__dataclass_fields__"):
            return self._fields(b"k", value, _dataclass_items(value), depth)
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            _refuse_other_state(value, frozenset())
            return self._fields(b"m", value, zip(kind._fields, tuple.__iter__(value), strict=True), depth)
        module = kind.__module__
        library = _LIBRARY.get(f"{module}.{kind.__name__}")
        if library is not None:
            return tagged(b"o", self.value((kind.__name__, library(value)), depth))
        if module.partition(".")[0] == "pathlib":
            return self._path(value, depth)
        if module in ("numpy", "numpy.dtypes"):
            return self._numpy(value, depth)
        if isinstance(value, type) and value.__module__ == "builtins":
            return tagged(b"o", self.value(("type", value.__name__), depth))
        for base in (str, bytes, int, float):
            if isinstance(value, base):
                _refuse_other_state(value, frozenset())
                return self._named(b"w", kind, (_SCALARS[base](value),), depth)
        if self._last is not None:
            return self._last(value)
        raise Unencodable(value)

    def _named(self, tag: bytes, cls: type, payload: tuple[object, ...], depth: int) -> bytes:
        parts = [self.value(part, depth + 1) for part in (self._name_of(cls), *payload)]
        return tagged(tag, b"".join(parts))

    def _fields(self, tag: bytes, value: object, items: Iterable[tuple[str, object]], depth: int) -> bytes:
        parts = [self.value(self._name_of(type(value)))]
        for name, item in items:
            try:
                parts.append(self.value(name) + self.value(item, depth + 1))
            except Unencodable as error:
                error.where = f".{name}{error.where}"
                raise
        return tagged(tag, b"".join(parts))

    def _path(self, value: Any, depth: int) -> bytes:
        pathlib = sys.modules["pathlib"]
        if isinstance(value, pathlib.PureWindowsPath):
            return tagged(b"o", self.value(("PureWindowsPath", str(value)), depth))
        if not isinstance(value, pathlib.PurePath):
            raise Unencodable(value)
        try:
            return tagged(b"p", os.fsencode(value))
        except UnicodeEncodeError:
            raise Unencodable(value, "is not a possible file name") from None

    def _numpy(self, value: Any, depth: int) -> bytes:
        numpy = sys.modules["numpy"]
        parts: tuple[object, ...]
        if isinstance(value, numpy.dtype) and value.kind in _PLAIN:
            parts = ("dtype", value.str)
        elif isinstance(value, numpy.generic) and is_plain_dtype(value.dtype):
            parts = ("numpy", value.dtype.str, _elements(numpy, value))
        elif type(value) is numpy.ndarray and is_plain_dtype(value.dtype):
            parts = ("ndarray", value.dtype.str, value.shape, array_digest(value).hex())
        elif self._last is not None:
            return self._last(value)
        else:
            raise Unencodable(value)
        return tagged(b"o", self.value(parts, depth))


def _dataclass_items(value: Any) -> Iterable[tuple[str, object]]:
    import dataclasses

    if isinstance(value, (*_SCALARS, tuple, list, dict, set, frozenset)):
        raise Unencodable(value, "is a dataclass and a built-in type at once")
    names = [field.name for field in dataclasses.fields(value)]
    _refuse_other_state(value, frozenset(names))
    for name in names:
        if not hasattr(value, name):
            raise Unencodable(value, f"has no value in its field {name!r}")
        yield name, getattr(value, name)


def _refuse_other_state(value: object, known: frozenset[str]) -> None:
    """Refuse a value with attributes of its own beside ``known``: a task could read them, no key would see them."""
    cls = type(value)
    names = set(getattr(value, "__dict__", ()))
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names.update((slots,) if isinstance(slots, str) else slots)
    for name in sorted(names - known - {"__dict__", "__weakref__", "__orig_class__"}):
        # What a cached property holds follows from the rest.
        if type(getattr(cls, name, None)).__name__ != "cached_property":
            raise Unencodable(value, f"has an attribute {name!r} that its encoding would leave out")


_PLAIN: Final = "biufcSUMm"  # Kinds of dtype whose elements are their bytes.


def is_plain_dtype(dtype: Any) -> bool:
    """Whether the elements of a numpy dtype are their bytes."""
    # A long double has padding, whose bytes are anything.
    real = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    return dtype.kind in _PLAIN and not (dtype.kind in "fc" and real > 8)


def _elements(numpy: Any, value: Any) -> bytes:
    """The bytes of a scalar or an array in C order, with one bit pattern for all NaNs."""
    if value.dtype.kind in "fc" and (value != value).any():
        value = numpy.array(value, order="C").reshape(-1)
        numbers = value.view(value.real.dtype)  # Of a complex number, either part may be NaN.
        numbers[numbers != numbers] = numpy.nan
    return bytes(value.tobytes())


_AT_ONCE: Final = 1 << 22  # Bytes of an array that are copied, or looked at for NaNs, at a time.


def array_digest(*arrays: Any) -> Digest:
    """The digest of the elements of arrays, one after the other in C order, with one bit pattern for all NaNs,
    wherever they lie in memory."""
    large = any(array.nbytes > _AT_ONCE for array in arrays)
    hasher = large_hasher() if large else blake3()
    for array in arrays:
        for part in _contiguous(sys.modules["numpy"], array):
            hasher.update(part)
    return Digest(hasher.digest())


def _contiguous(numpy: Any, array: Any) -> Iterator[Any]:
    """The bytes of an array in C order, copying little at a time."""
    if array.nbytes == 0:
        return
    if not array.flags.c_contiguous and array.nbytes > _AT_ONCE:
        rows = max(1, _AT_ONCE * len(array) // array.nbytes)
        for start in range(0, len(array), rows):
            part = array[start : start + rows]
            yield from _contiguous(numpy, part[0] if len(part) == 1 else numpy.ascontiguousarray(part))
        return
    flat = numpy.ascontiguousarray(array).reshape(-1)
    if flat.dtype.kind not in "fc":
        yield flat.view(numpy.uint8)
        return
    numbers = flat.view(flat.real.dtype)  # Of a complex number, either part may be NaN.
    step = _AT_ONCE // numbers.itemsize
    for start in range(0, len(numbers), step):
        some = numbers[start : start + step]
        missing = numpy.isnan(some)
        if missing.any():
            some = some.copy()
            some[missing] = numpy.nan
        yield some.view(numpy.uint8)


_NAN: Final = float("nan")  # One for all that are none.


def _float(value: float) -> bytes:
    return struct.pack(">d", value if value == value else _NAN)


@functools.lru_cache(maxsize=2048)
def _short(value: str) -> bytes:
    """The names of parameters, kinds and outputs come again in every call."""
    return tagged(b"s", str.encode(value, "utf-8", "surrogatepass"))


_SCALARS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: tagged(b"n", b""),
    bool: lambda v: tagged(b"b", b"\1" if v else b"\0"),
    int: lambda v: tagged(b"i", int.to_bytes(v, (int.bit_length(v) + 8) // 8, "big", signed=True)),
    str: lambda v: _short(v) if len(v) < 64 else tagged(b"s", str.encode(v, "utf-8", "surrogatepass")),
    bytes: lambda v: b"y" + len(v).to_bytes(8, "big") + v,
    float: lambda v: tagged(b"f", _float(v)),
    bytearray: lambda v: tagged(b"a", bytes(v)),
    complex: lambda v: tagged(b"c", _float(v.real) + _float(v.imag)),
    type(...): lambda _: tagged(b".", b""),
}

# By name, so that none of these modules is imported before a value of theirs turns up.
_LIBRARY: Final[dict[str, Callable[[Any], object]]] = {
    "builtins.range": lambda v: (v.start, v.stop, v.step),
    "builtins.slice": lambda v: (v.start, v.stop, v.step),
    "datetime.date": lambda v: v.isoformat(),
    "datetime.time": lambda v: (v.replace(tzinfo=None).isoformat(), v.fold, v.tzinfo),
    "datetime.datetime": lambda v: (v.replace(tzinfo=None).isoformat(), v.fold, v.tzinfo),
    "datetime.timedelta": lambda v: (v.days, v.seconds, v.microseconds),
    "datetime.timezone": lambda v: (v.utcoffset(None), v.tzname(None)),
    "zoneinfo.ZoneInfo": lambda v: v.key or _refuse(v),
    "decimal.Decimal": lambda v: tuple(v.as_tuple()),  # str() follows the context's ``capitals``.
    "fractions.Fraction": lambda v: (v.numerator, v.denominator),
    "uuid.UUID": lambda v: v.bytes,
}


def _refuse(value: object) -> object:
    raise Unencodable(value)

"""Two values have one encoding if, and only if, they are the same value.

``same`` below says what that means, without any use of the encoding: equal in type and in
everything that a task could see, where all NaNs are one value and the order of a set or a dict is
none.  The values are drawn from few, so that equal and nearly equal pairs are common.
"""

import copy
import dataclasses
import datetime as dt
import enum
import math
import random
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merkl.digest import Digest, Key, encode, tagged
from merkl.errors import UnhashableArgument


class Color(enum.Enum):
    RED = 1
    BLUE = "1"


class Unknown(enum.Enum):
    ONE = float("nan")
    OTHER = float("nan")  # noqa: PIE796


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Word(enum.StrEnum):
    RED = "1"


class Mode(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: object
    y: object


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: object
    y: object = dataclasses.field(default=0, compare=False)


@dataclasses.dataclass(frozen=True)
class Point3(Point):
    z: object = 0


class Pair(NamedTuple):
    x: object
    y: object


class Name(str):
    __slots__ = ()


class Meters(float):
    __slots__ = ()


class Count(int):
    __slots__ = ()


def same(a: Any, b: Any) -> bool:
    """Whether no task could tell ``a`` from ``b``."""
    if isinstance(a, PurePosixPath) and isinstance(b, PurePosixPath):
        return str(a) == str(b)
    if type(a) is not type(b):
        return False
    if isinstance(a, enum.Enum):
        return a is b or (isinstance(a, enum.Flag) and a.value == b.value)
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a))
    if isinstance(a, (numpy.ndarray, numpy.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and same(_plain(a), _plain(b))
    compare = _COMPARE.get(type(a))
    if compare is not None:
        return compare(a, b)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return _same_float(a, b)
    return bool(a == b)


def _plain(array: Any) -> Any:
    # For numbers and text; times become counts, where numpy has no Python value for all of them.
    return array.view("i8").tolist() if array.dtype.kind in "Mm" else array.tolist()


def _same_float(a: float, b: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b and math.copysign(1, a) == math.copysign(1, b)


def _same_members(a: Iterable[Any], b: Iterable[Any]) -> bool:
    left = list(b)
    for member in a:
        found = next((index for index, other in enumerate(left) if same(member, other)), None)
        if found is None:
            return False
        del left[found]
    return not left


def _same_moment(a: Any, b: Any) -> bool:
    bare = a.replace(tzinfo=None) == b.replace(tzinfo=None)
    return bare and a.fold == b.fold and same(a.tzinfo, b.tzinfo)


_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    complex: lambda a, b: _same_float(a.real, b.real) and _same_float(a.imag, b.imag),
    set: _same_members,
    frozenset: _same_members,
    dict: lambda a, b: _same_members(a.items(), b.items()),
    range: lambda a, b: (a.start, a.stop, a.step) == (b.start, b.stop, b.step),
    slice: lambda a, b: same((a.start, a.stop, a.step), (b.start, b.stop, b.step)),
    dt.datetime: _same_moment,
    dt.time: _same_moment,
    dt.timezone: lambda a, b: repr(a) == repr(b),
    ZoneInfo: lambda a, b: a.key == b.key,
    Decimal: lambda a, b: a.compare_total(b) == 0,
}

UTC = dt.UTC
BERLIN = ZoneInfo("Europe/Berlin")
NOON = dt.datetime(2024, 10, 27, 2, 30)

CONFUSABLE = [
    *(None, ..., False, True, 0, 1, -1, 127, 128, 255, 256, -128, -129, 2**63, 2**64, Count(1), Size.SMALL, Mode.READ),
    *(Mode.WRITE, Mode.READ | Mode.WRITE, Mode(0), Color.RED, Color.BLUE, Word.RED, Unknown.ONE, Unknown.OTHER, 0.0, -0.0, 1.0, math.nan, -math.nan),
    *(math.inf, -math.inf, Meters(1.0), Meters("nan"), 1 + 0j, complex(1, -0.0), complex(math.nan, 1), complex(1, math.nan)),
    *("", "0", "1", "a", "ab", "A", "Ä", "A\u0308", "\U0001f600", "\ud83d\ude00", "\ud800", "a\0", "None", Name("a")),
    *(b"", b"1", b"a", b"ab", b"a\0", "\udcff", b"\xff", "RED", bytearray(b"a"), bytearray()),
    *(Digest(bytes(32)), Key(bytes(32)), bytes(32), bytes(32).hex()),
    *(Path("a"), PurePath("a"), PureWindowsPath("a"), Path("a/b"), PureWindowsPath("a/b"), Path("a\\b"), Path("."), Path("\udcff")),
    *(dt.date(2024, 10, 27), NOON, NOON.replace(fold=1), NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=BERLIN)),
    *(NOON.replace(tzinfo=BERLIN, fold=1), dt.datetime(2024, 10, 27), dt.time(2, 30), dt.time(2, 30, fold=1)),
    *(NOON.replace(tzinfo=dt.timezone(dt.timedelta(0), "Z")), UTC, dt.timezone(dt.timedelta(hours=1)), BERLIN),
    *(dt.time(2, 30, tzinfo=UTC), dt.timedelta(1), dt.timedelta(0, 86400), dt.timedelta(microseconds=1), "2024-10-27"),
    *(Decimal("1"), Decimal("1.0"), Decimal("-0"), Decimal("0"), Decimal("NaN"), Decimal("sNaN"), Decimal("1E+1"), Decimal("10")),
    *(Decimal("inf"), Fraction(1), Fraction(1, 2), uuid.UUID(int=0), uuid.UUID(int=1), range(1), range(0), range(1, 1)),
    *(slice(None), slice(1), slice(0, 1), slice(None, 1, None), int, bool, float, type(None), type, "type"),
    *((), [], {}, set(), frozenset(), (1,), [1], {1}, frozenset({1}), {1: 1}, (1, 1), (((),),), ((), ()), ([],), [()]),
    *({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 1}, [("a", 1)], {("a", 1)}, {1: None}, {None: 1}),
    *(Point(1, 2), Point(2, 1), Slotted(1, 2), Slotted(1, 3), Point3(1, 2), Point3(1, 2, 3), Pair(1, 2), Pair(2, 1), (1, 2)),
    *(("x", 1, "y", 2), {"x": 1, "y": 2}, Point((), Point(1, 2)), Point(Point((), 1), 2)),
]  # fmt: skip

NUMPY = [
    *(kind(1) for kind in (numpy.int8, numpy.uint8, numpy.int64, numpy.float16, numpy.float32, numpy.float64)),
    *(numpy.bool_(True), numpy.complex64(1), numpy.complex128(1), numpy.float64("nan"), -numpy.float64("nan")),
    *(numpy.float64(-0.0), numpy.float64(0.0), numpy.float32("nan"), numpy.complex128(complex(math.nan, 1))),
    *(numpy.complex128(complex(-math.nan, 1)), numpy.complex128(complex(1, math.nan)), numpy.str_("1"), numpy.bytes_(b"1")),
    *(numpy.datetime64("2024-10-27"), numpy.datetime64("2024-10-27", "s"), numpy.datetime64("NaT", "s")),
    *(numpy.timedelta64(1, "s"), numpy.timedelta64(1, "D"), numpy.timedelta64("NaT", "s")),
    *(numpy.array(1), numpy.array([1]), numpy.array([[1]]), numpy.array([1, 2]), numpy.array([[1, 2]]), numpy.array([[1], [2]])),
    *(numpy.array([]), numpy.array([[]]), numpy.zeros((0, 2)), numpy.array([1], ">i8"), numpy.array([1], "i4"), numpy.array([True])),
    *(numpy.array([1.0, math.nan]), numpy.array([1.0, -math.nan]), numpy.array([0.0]), numpy.array([-0.0])),
    *(numpy.array([[1, 2], [3, 4]]), numpy.array([[1, 3], [2, 4]]).T, numpy.array([[1, 3], [2, 4]]), numpy.arange(9)[::3]),
    *(numpy.array([0, 3, 6]), numpy.array(["a", "bc"]), numpy.array(["ab", "c"]), numpy.array([b"a"])),
    *(numpy.array([1 + 2j]), numpy.array([complex(math.nan, 1)]), numpy.array([complex(-math.nan, 1)], ">c16")),
    *(numpy.dtype("i8"), numpy.dtype(">i8"), numpy.dtype("i4"), numpy.dtype("M8[s]"), numpy.dtype("U3"), numpy.dtype("f8")),
]  # fmt: skip

POOL = CONFUSABLE + NUMPY


def from_pool(index: int) -> object:
    """By index, since a strategy that held all these values would write them all in its messages."""
    return POOL[index]


leaves = (
    st.integers(0, len(POOL) - 1).map(from_pool)
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs"]), max_size=2)
    | st.binary()
    | st.decimals()
    | st.fractions()
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.timedeltas()
    | st.uuids()
)


def is_hashable(value: object) -> bool:
    """Whether it can be in a set."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


hashables = st.recursive(
    leaves.filter(is_hashable),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3) | st.builds(Pair, inner, inner),
    max_leaves=4,
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(hashables, inner, max_size=3)
        | st.sets(hashables, max_size=3)
        | st.frozensets(hashables, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Slotted, inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=6,
)


def test_each_pair_of_confusable_values_has_one_encoding_only_if_they_are_the_same():
    encodings = [encode(value) for value in POOL]

    for a, of_a in zip(POOL, encodings):
        for b, of_b in zip(POOL, encodings):
            assert (of_a == of_b) == same(a, b), (a, b)


@given(values, values)
def test_two_values_have_one_encoding_exactly_if_they_are_the_same(a, b):
    assert (encode(a) == encode(b)) == same(a, b)


@given(st.lists(leaves, max_size=4), st.data())
def test_how_values_are_grouped_is_part_of_the_value(items, data):
    def grouped() -> object:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(items)), max_size=3)))
        return [items[start:end] for start, end in zip([0, *cuts], [*cuts, len(items)])]

    a, b = grouped(), grouped()

    assert (encode(a) == encode(b)) == same(a, b)


def rebuilt(value: Any, order: random.Random) -> Any:
    """An equal value made anew, its sets and dicts in another order."""
    match value:
        case dict():
            items = [(rebuilt(name, order), rebuilt(item, order)) for name, item in value.items()]
            order.shuffle(items)
            return dict(items)
        case set() | frozenset():
            members = [rebuilt(member, order) for member in value]
            order.shuffle(members)
            return type(value)(members)
        case Point() | Slotted():
            parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
            return type(value)(*(rebuilt(part, order) for part in parts))
        case Pair():
            return Pair(rebuilt(value.x, order), rebuilt(value.y, order))
        case list() | tuple():
            return type(value)(rebuilt(item, order) for item in value)
        case _:
            return copy.deepcopy(value)


@given(values, st.randoms(use_true_random=False))
def test_a_value_made_anew_has_the_same_encoding(value, order):
    again = rebuilt(value, order)

    assert same(value, again)
    assert encode(again) == encode(value)


@given(values)
def test_an_encoding_is_one_tag_one_length_and_a_payload_of_that_length(value):
    encoded = encode(value)

    assert encoded == tagged(encoded[:1], encoded[9:])
    assert not encoded[:1].isupper()


@given(st.lists(leaves.filter(is_hashable), min_size=2, unique_by=lambda value: encode(value)), leaves)
def test_one_changed_item_changes_the_encoding_of_everything_around_it(items, item):
    for wrap in (tuple, list, set, frozenset, lambda held: dict.fromkeys(held, 1), lambda held: {1: held}):
        before = wrap(items)
        after = wrap([*items[:-1], (item,)]) if is_hashable(item) else [before]
        assert (encode(before) == encode(after)) == same(before, after)


@pytest.mark.full
@settings(max_examples=10_000)
@given(values, values)
def test_sweep_two_values_have_one_encoding_exactly_if_they_are_the_same(a, b):
    assert (encode(a) == encode(b)) == same(a, b)


@pytest.mark.parametrize(
    "value",
    [
        numpy.array([object()]),
        numpy.zeros(1, [("a", "i4")]),
        numpy.zeros(1, [("a", "i4")])[0],
        numpy.dtype([("a", "i4")]),
        numpy.dtype("O"),
        numpy.ma.masked_array([1], [True]),
        numpy.zeros(1).view(type("Mine", (numpy.ndarray,), {})),
        numpy.longdouble(1),
        numpy.zeros(1, "G"),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', value)}",
)
def test_what_numpy_has_beside_plain_numbers_is_refused(value):
    with pytest.raises(UnhashableArgument):
        encode(value)

"""Arrays, frames and objects as arguments: one key exactly for one value."""

import collections
import datetime
import enum
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy
import pandas
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from merkl.errors import UnhashableArgument
from merkl.nodes import Future
from merkl.python.call import Freezer
from merkl.python.code import encode_hook
from merkl.python.project import Project


def encoded(value: Any) -> bytes:
    """What an argument is in the key of a call."""
    return Freezer(encode_hook(Project("/nowhere", ()))).encode(value, "task", "x")


def same(*values: Any) -> bool:
    """Whether all have one encoding."""
    return len({encoded(value) for value in values}) == 1


def all_differ(*values: Any) -> bool:
    """Whether no two have one encoding."""
    return len({encoded(value) for value in values}) == len(values)


# ---- arrays --------------------------------------------------------------------------------------------------------

DTYPES = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    npst.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    npst.datetime64_dtypes(),
    npst.timedelta64_dtypes(),
    npst.byte_string_dtypes(),
    npst.unicode_string_dtypes(),
)
ARRAYS = npst.arrays(
    st.one_of(DTYPES, npst.array_dtypes(DTYPES)), npst.array_shapes(min_dims=0, max_dims=3, min_side=0)
)


@given(ARRAYS)
def test_memory_order_and_views_do_not_count(array: Any) -> None:
    # Twice as long along each side, and every second one taken: the same values, apart in memory.
    apart = numpy.zeros(tuple(2 * side for side in array.shape), array.dtype)[
        (..., *(slice(None, None, 2),) * array.ndim)
    ]
    apart[...] = array
    turned = numpy.array(array.T, order="C").T

    assert same(array, array.copy(), numpy.array(array, order="F"), apart, turned)


@given(ARRAYS, ARRAYS)
def test_two_arrays_have_one_encoding_exactly_if_dtype_shape_and_elements_are_the_same(
    a: Any, b: Any
) -> None:
    for one, other in [(a, b), (a, a.reshape(-1)), (a, a.view("V")) if a.dtype.itemsize else (a, b)]:
        equal = one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
        if equal or "nan" not in repr(one) + repr(other):  # All NaNs are one.
            assert same(one, other) == equal


@given(ARRAYS, st.data())
def test_a_changed_element_is_seen(array: Any, data: Any) -> None:
    if array.size == 0:
        return
    other = array.copy()
    at = data.draw(st.integers(0, array.size - 1))
    other.reshape(-1)[at] = data.draw(npst.from_dtype(array.dtype))

    # repr of a list tells -0.0 from 0.0, and all NaNs from numbers.
    assert same(array, other) == (repr(array.reshape(-1)[at]) == repr(other.reshape(-1)[at]))


def test_large_arrays_are_read_in_pieces_whatever_their_order() -> None:
    array = numpy.random.default_rng(0).random((1_100, 1_000))
    array[::7] = numpy.nan

    assert same(array, numpy.asfortranarray(array), numpy.repeat(array, 2, axis=1)[:, ::2])
    assert same(array.reshape(1, 1_100_000), numpy.repeat(array.reshape(1, -1), 2, axis=1)[:, ::2])
    assert all_differ(array, array.T, array.reshape(-1), array.astype("f4"), array.astype(">f8"))


@given(npst.arrays("i2", (4,)), npst.arrays("i2", (4,)), npst.arrays(bool, (4,)))
def test_of_a_masked_array_the_mask_counts_and_not_what_is_under_it(a: Any, b: Any, mask: Any) -> None:
    one, other = numpy.ma.array(a, mask=mask), numpy.ma.array(b, mask=mask)
    one.fill_value = other.fill_value = 7

    assert same(one, other) == bool((a[~mask] == b[~mask]).all())
    assert all_differ(numpy.ma.array(a, mask=[1, 0, 0, 0]), numpy.ma.array(a, mask=[0, 1, 0, 0]), a)
    assert same(numpy.ma.array(a), numpy.ma.array(a, mask=[False] * 4))


def test_structures_count_by_their_fields_and_not_by_the_padding() -> None:
    padded = numpy.dtype([("a", "i1"), ("b", "f8")], align=True)
    one, other = (numpy.frombuffer(bytearray([fill]) * 32, padded) for fill in (1, 2))
    for array in (one, other):
        array["a"], array["b"] = [1, 2], [0.5, numpy.nan]

    assert one.tobytes() != other.tobytes()
    assert same(one, other)
    assert same(one[0], other[0])
    other["a"][1] = 3
    assert all_differ(one, other, one.astype([("a", "i1"), ("b", "f8")]), one[["b", "a"]], one[0], one[1])


def test_objects_and_text_in_arrays_count_by_value() -> None:
    text = "".join(["a", "b"])
    objects = numpy.array([text, 1, None, 2.5, (1, 2)], dtype=object)
    again = numpy.array(["ab", 1, None, 2.5, (1, 2)], dtype=object)
    assert same(objects, again)
    assert all_differ(
        objects, objects[::-1], objects[:4], numpy.array(["ab", True, None, 2.5, (1, 2)], object)
    )
    texts = numpy.array(["short", "long" * 20], dtype=numpy.dtypes.StringDType())
    assert same(texts, numpy.array(["x", *texts.tolist()], dtype=numpy.dtypes.StringDType())[1:])
    assert all_differ(texts, texts[::-1], texts.astype(object), numpy.array(texts.tolist()))


def test_subclasses_of_arrays_and_wide_floats() -> None:
    array = numpy.arange(4.0).reshape(2, 2)
    wide = array.astype("g")
    assert same(wide, wide.copy(), numpy.asfortranarray(wide))
    assert all_differ(
        array, array.view(numpy.recarray), wide, wide + numpy.longdouble("1e-19"), wide.astype("G")
    )


def test_a_mapped_file_is_the_array_in_it(tmp_path: Path) -> None:
    numpy.save(tmp_path / "a.npy", numpy.arange(10))
    assert same(numpy.load(tmp_path / "a.npy", mmap_mode="r"), numpy.arange(10))


def test_arrays_and_frames_are_read_at_a_gigabyte_a_second() -> None:
    array = numpy.random.default_rng(0).random(12_500_000)  # 100 MB.
    frame = pandas.DataFrame({str(i): array[i::10].copy() for i in range(10)})
    for value in (array, frame):
        times = []
        for _ in range(5):
            start = time.thread_time()
            encoded(value)
            times.append(time.thread_time() - start)
        assert min(times) < 0.1 * 2  # Twice the time that is promised: the machine is shared.


# ---- frames --------------------------------------------------------------------------------------------------------


def frame(**changes: Any) -> pandas.DataFrame:
    """A frame with a column of every kind."""
    columns = {
        "n": [1, 2, 3],
        "x": [0.5, float("nan"), 1.5],
        "t": ["a", None, "".join(["b", "c"])],
        "o": pandas.Series([1, "a", None], dtype=object),
        "c": pandas.Categorical(["u", "v", None], categories=["u", "v"]),
        "z": pandas.to_datetime(["2020-01-01", None, "2021-01-01"]).tz_localize("Europe/Berlin"),
        "d": pandas.to_datetime(["2020-01-01", None, "2021-01-01"]),
        "i": pandas.array([1, None, 3], dtype="Int64"),
        "f": pandas.array([1.5, None, 3], dtype="Float64"),
        "b": pandas.array([True, None, False], dtype="boolean"),
        "s": pandas.array(["a", None, "c"], dtype="string"),
        "p": pandas.period_range("2020", periods=3, freq="M"),
        "v": pandas.interval_range(0, 3),
        "h": pandas.arrays.SparseArray([0, 0, 1]),
        "w": pandas.array([[1], None, [2, 3]], dtype=pandas.ArrowDtype(pyarrow.list_(pyarrow.int64()))),
    }
    plain = {
        name: pandas.Series(column).reset_index(drop=True) for name, column in (columns | changes).items()
    }
    made = pandas.DataFrame(plain)
    return made if changes else made.set_axis(["r", "s", "t"])


CHANGES: dict[str, Any] = {
    "n": [[1, 2, 4], [1.0, 2.0, 3.0], pandas.array([1, 2, 3], dtype="int32")],
    "x": [[0.5, 1.0, 1.5]],
    "t": [["a", "", "bc"], ["ab", None, "c"], pandas.Series(["a", None, "bc"], dtype=object)],
    "o": [
        pandas.Series([1, "a", float("nan")], dtype=object),
        pandas.Series([True, "a", None], dtype=object),
    ],
    "c": [
        pandas.Categorical(["u", "v", None], categories=["v", "u"]),
        pandas.Categorical(["u", "v", None], categories=["u", "v", "w"]),
        pandas.Categorical(["u", "v", None], categories=["u", "v"], ordered=True),
        pandas.Series(["u", "v", None], dtype=object),
    ],
    "z": [
        pandas.to_datetime(["2020-01-01", None, "2021-01-01"]).tz_localize("Europe/Paris"),
        pandas.to_datetime(["2020-01-01", None, "2021-01-01"]).tz_localize("Europe/Berlin").as_unit("ns"),
        pandas.to_datetime(["2020-01-01", "2020-01-01", "2021-01-01"]).tz_localize("Europe/Berlin"),
    ],
    "d": [pandas.to_datetime(["2020-01-01", None, "2021-01-01"]).as_unit("ns")],
    "i": [pandas.array([1, 0, 3], dtype="Int64"), pandas.array([1, None, 3], dtype="Int32")],
    "f": [pandas.array([1.5, 0.0, 3], dtype="Float64")],
    "b": [pandas.array([True, False, False], dtype="boolean")],
    "s": [
        pandas.array(["a", "", "c"], dtype="string"),
        pandas.array(["a", None, "c"], dtype="string[python]"),
    ],
    "p": [pandas.period_range("2020", periods=3, freq="Q")],
    "v": [pandas.interval_range(0, 3, closed="left")],
    "h": [pandas.arrays.SparseArray([0, 0, 2]), pandas.arrays.SparseArray([0, 0, 1], fill_value=1)],
    "w": [pandas.array([[1], [], [2, 3]], dtype=pandas.ArrowDtype(pyarrow.list_(pyarrow.int64())))],
}


def test_a_frame_counts_by_value_whatever_its_blocks() -> None:
    one = frame()
    shuffled = one.iloc[::-1].iloc[::-1]
    joined = pandas.concat([one.iloc[:, :4], one.iloc[:, 4:]], axis=1)

    assert same(one, frame(), one.copy(), shuffled, joined)
    for name in one.columns:
        assert same(one[name], joined[name].copy(), shuffled[name])


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_of_a_column_is_seen(name: str) -> None:
    before = frame()[name].reset_index(drop=True)
    assert same(before, frame(**{name: frame()[name].array})[name])
    assert all_differ(before, *(pandas.Series(change, name=name) for change in CHANGES[name]))
    assert all_differ(frame(n=[1, 2, 3]), *(frame(**{name: change}) for change in CHANGES[name]))


def test_names_order_and_index_of_a_frame_count() -> None:
    base = pandas.DataFrame({"a": [1, 2], "b": [3, 4]})
    noted = base.copy()
    noted.attrs["unit"] = "m"
    assert all_differ(
        base,
        base[["b", "a"]],
        base.iloc[::-1],
        base.rename(columns={"a": "c"}),
        base.rename_axis(index="i"),
        base.rename_axis(columns="i"),
        base.set_index(["a", "b"], drop=False),
        base.set_axis(["x", "y"]),
        base.T,
        base["a"],
        base["a"].to_frame(),
        base["a"].array,
        base.index,
        noted,
    )
    assert same(base, base.set_axis(numpy.array([0, 1])))  # A range of numbers is the numbers.
    spread = base.set_index(["a", "b"], drop=False)
    assert same(spread, pandas.concat([spread, spread]).iloc[:2])
    twice = pandas.DataFrame([[1, 2]], columns=["a", "a"])
    assert all_differ(twice, twice.iloc[:, ::-1])


def test_single_values_of_pandas() -> None:
    assert all_differ(
        pandas.NA, pandas.NaT, None, float("nan"), pandas.Timestamp("2020"), pandas.Timestamp("2020", tz="UTC"),
        pandas.Timedelta(1), pandas.Period("2020"), pandas.Interval(0, 1), pandas.Interval(0, 1, "left"),
        datetime.datetime(2020, 1, 1), pandas.Timestamp("2020", tz="Europe/Berlin"),
    )  # fmt: skip
    assert same([pandas.NA], [pandas.NA])


@given(st.lists(st.text(max_size=3) | st.none()), st.lists(st.text(max_size=3) | st.none()))
def test_columns_of_text_are_equal_exactly_if_their_texts_are(a: list[Any], b: list[Any]) -> None:
    for kind in ("string[python]", "string[pyarrow]", object):
        one, other = pandas.Series(a, dtype=kind), pandas.Series(b, dtype=kind)
        assert same(one, other) == (a == b)
        assert same(one, pandas.Series([None, *a], dtype=kind).iloc[1:].reset_index(drop=True))
    assert same(pyarrow.array(a, "string"), pyarrow.array(b, "string")) == (a == b)


CELLS: dict[Any, Any] = {
    pyarrow.int32(): st.integers(-5, 5),
    pyarrow.float64(): st.sampled_from([0.0, 1.5, float("inf")]),
    pyarrow.bool_(): st.booleans(),
    pyarrow.string(): st.text(max_size=3),
    pyarrow.large_binary(): st.binary(max_size=3),
    pyarrow.timestamp("us", "UTC"): st.datetimes(timezones=st.just(datetime.UTC)),
    pyarrow.date32(): st.dates(),
    pyarrow.decimal128(5, 2): st.decimals(-9, 9, places=2),
    pyarrow.binary(2): st.binary(min_size=2, max_size=2),
    pyarrow.string_view(): st.text(max_size=3),
    pyarrow.list_(pyarrow.int8()): st.lists(st.integers(0, 3) | st.none(), max_size=3),
    pyarrow.list_(pyarrow.int8(), 2): st.lists(st.integers(0, 3), min_size=2, max_size=2),
    pyarrow.struct([("a", pyarrow.int8()), ("b", pyarrow.string())]): st.fixed_dictionaries(
        {"a": st.integers(0, 3) | st.none(), "b": st.text(max_size=2)}
    ),
    pyarrow.map_(pyarrow.string(), pyarrow.int8()): st.lists(
        st.tuples(st.text(max_size=2), st.integers(0, 3)), max_size=2
    ),
    pyarrow.dictionary(pyarrow.int8(), pyarrow.string()): st.sampled_from("abc"),
    pyarrow.null(): st.none(),
}


@given(st.data())
def test_chunks_and_slices_of_arrow_do_not_count_and_each_cell_does(data: Any) -> None:
    kind = data.draw(st.sampled_from(list(CELLS)))
    cells = st.lists(CELLS[kind] | st.none(), max_size=6)
    a, b = data.draw(cells), data.draw(cells)
    cut = data.draw(st.integers(0, len(a)))
    whole = pyarrow.chunked_array([pyarrow.array(a, kind)], kind)
    longer = pyarrow.array([*b, *a, *b], kind)
    if pyarrow.types.is_dictionary(kind):  # The order of a dictionary counts, as of the categories of pandas.
        indices = pyarrow.array([None if cell is None else "abc".index(cell) for cell in a], "int8")
        whole = pyarrow.chunked_array([pyarrow.DictionaryArray.from_arrays(indices, ["a", "b", "c"])])
        parts = pyarrow.chunked_array([whole.chunk(0)[:cut], whole.chunk(0)[cut:]])
        assert same(whole, parts)
        return
    parts = pyarrow.chunked_array([pyarrow.array(a[:cut], kind), pyarrow.array(a[cut:], kind)], kind)
    sliced = pyarrow.chunked_array(
        [longer[len(b) : len(b) + cut], longer[len(b) + cut : len(b) + len(a)]], kind
    )

    assert same(whole, parts, sliced)
    assert same(pyarrow.table({"c": whole}), pyarrow.table({"c": sliced}))
    assert same(pyarrow.array(a, kind), pyarrow.array(b, kind)) == (
        pyarrow.array(a, kind) == pyarrow.array(b, kind)
    )


def test_names_types_and_notes_of_a_table_count() -> None:
    table = pyarrow.table({"a": [1, 2], "b": ["x", None]})
    assert all_differ(
        table,
        table.select(["b", "a"]),
        table.rename_columns(["a", "c"]),
        table.cast(pyarrow.schema([("a", "int32"), ("b", "string")])),
        table.cast(pyarrow.schema([("a", "int64"), ("b", "large_string")])),
        table.replace_schema_metadata({"k": "v"}),
        table.slice(1),
        table["b"],
        table["b"].chunk(0),
        table.to_batches()[0],
    )


# ---- objects -------------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


class Plain:
    """Not a dataclass: only pickle knows what is in it."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class Slotted:
    __slots__ = ("a", "b")


class Moody(Plain):
    """Pickled differently each time."""

    def __reduce__(self) -> Any:
        return Plain, (), {"at": id(self)}


def test_an_object_counts_by_the_parts_that_pickle_writes() -> None:
    shared = [1]
    assert same(Plain(a=1, b={"x", "y"}), Plain(b={"y", "x"}, a=1))
    assert same(Plain(a=shared, b=shared), Plain(a=[1], b=[1]))
    slotted, other = Slotted(), Slotted()
    slotted.a, other.a, other.b = 1, 1, 2
    assert all_differ(
        Plain(a=1), Plain(a="1"), Plain(b=1), Plain(a=Plain(a=1)), slotted, other, Plain(a=numpy.arange(3)),
        collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1), collections.Counter(a=1, b=2),
        collections.deque([1]), collections.deque([1], maxlen=2), collections.defaultdict(list, a=1), Colour.RED,
    )  # fmt: skip
    assert same(collections.Counter(a=1, b=2), collections.Counter(b=2, a=1))


def test_an_object_has_one_encoding_in_every_process() -> None:
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + textwrap.dedent("""
        import collections, re, test_foreign_arguments as t
        values = [t.Plain(a={"x", "y", "z"}, b=re.compile("a|b", re.I)), collections.Counter("merkl"), t.frame()]
        print(t.encoded(values).hex())
    """)
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Plain(a=[0, threading.Lock()]), "inside: x.a[1]"),
        (Plain(a={"k": (i for i in ())}), "inside: x.a['k']"),
        ({"k": numpy.array([1, threading.Lock()], dtype=object)}, "inside: x['k'][1]"),
        (pandas.DataFrame({"c": [threading.Lock()]}), "inside: x['c'][0]"),
        (Moody(), "it is another value"),
    ],
)
def test_what_has_no_stable_encoding_is_refused_with_its_place(value: Any, said: str) -> None:
    with pytest.raises(UnhashableArgument) as refused:
        encoded(value)
    assert said in str(refused.value)


def test_what_contains_itself_is_refused() -> None:
    loop = Plain()
    loop.me = [loop]
    box = numpy.array([None], dtype=object)
    box[0] = box
    for value in (loop, box):
        with pytest.raises(UnhashableArgument, match="itself"):
            encoded(value)


def test_a_future_hidden_in_an_object_is_refused(inside: Any) -> None:
    from merkl import task

    @task(version="1")
    def one() -> int:
        return 1

    future = one()
    assert isinstance(future, Future)
    with pytest.raises(UnhashableArgument, match="pass it in a list"):
        encoded(Plain(a=future))

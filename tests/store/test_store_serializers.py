"""How values become bytes and come back, and the form they have in files."""

import csv
import io
import json
import math
import subprocess
import sys
import textwrap
from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkl.errors import SerializationError
from merkl.store import serializers
from merkl.store.serializers import SERIALIZERS, by_name, for_extension, serializer_for


class Level(IntEnum):
    LOW = 1


@dataclass
class Point:
    x: int
    y: float


class Odd:
    """A value that no form takes."""

    def __reduce__(self) -> Any:
        raise RuntimeError("not today")


def there_and_back(value: object) -> object:
    file = io.BytesIO()
    serializer = serializer_for(value)
    serializer.dump(value, file)
    return by_name(serializer.name).load(io.BytesIO(file.getvalue()))


def same(one: object, two: object) -> bool:
    """Equal, of the same types at every depth and in the same order."""
    if type(one) is not type(two):
        return False
    if isinstance(one, float) and isinstance(two, float):
        return one.hex() == two.hex()
    if isinstance(one, dict) and isinstance(two, dict):
        return same(list(one.items()), list(two.items()))
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (b"", "bytes"), (b"\xff\0", "bytes"), (bytearray(b"x"), "pickle"),
        ("", "text"), ("ü\r\n\U0001f600", "text"), ("\udcff", "pickle"), ("\ud83d\ude00", "pickle"),
        (None, "json"), (True, "json"), (1, "json"), (-(2**200), "json"), (2**4096, "pickle"),
        (0.1, "json"), (-0.0, "json"), (math.inf, "pickle"), (1e308, "json"), (5e-324, "json"),
        ([], "json"), ([1, "a", None, [2.5, {"k": [True]}]], "json"), ({"b": 1, "a": 2}, "json"),
        ((1, 2), "pickle"), ([(1,)], "pickle"), ({1: 2}, "pickle"), ({"k": {1}}, "pickle"), ({1, 2}, "pickle"),
        ([math.inf], "pickle"), ([1.0, 2.5], "json"), ([1.0, 2], "json"), (["\udcff"], "pickle"), ({"\udcff": 1}, "pickle"),
        ([b"x"], "pickle"), (1j, "pickle"), (Level.LOW, "pickle"), ([Level.LOW], "pickle"), (OrderedDict(a=1), "pickle"),
        (Path("x"), "pickle"), (Point(1, 2.0), "pickle"), ([True, None], "json"), ([True, 1, 0.5], "json"),
        (numpy.float64(1.5), "pickle"), ([numpy.int64(1)], "pickle"),
    ],
)  # fmt: skip
def test_a_value_comes_back_as_what_it_is(value: object, form: str) -> None:
    assert serializer_for(value).name == form
    assert same(there_and_back(value), value)


values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.text(st.characters(categories=["Cs", "Lu", "Cc"])),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner)
    | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


@given(value=values)
def test_any_value_comes_back_as_what_it_is(value: object) -> None:
    assert same(there_and_back(value), value)


@given(value=st.recursive(st.integers() | st.text() | st.booleans(), st.lists, max_leaves=20))
def test_one_value_has_one_text(value: object) -> None:
    texts = set()
    for _ in range(2):
        file = io.BytesIO()
        serializer_for(value).dump(value, file)
        texts.add(file.getvalue())
    assert len(texts) == 1


def test_not_a_number_comes_back() -> None:
    back = there_and_back([math.nan])
    assert isinstance(back, list) and math.isnan(back[0])


def test_deep_and_circular_values_are_left_to_pickle() -> None:
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    assert serializer_for(deep).name == "pickle"
    assert there_and_back(deep) == deep
    circle: list[Any] = []
    circle.append(circle)
    back = there_and_back(circle)
    assert isinstance(back, list) and back[0] is back


@pytest.mark.parametrize(
    "array",
    [
        numpy.arange(6).reshape(2, 3), numpy.asfortranarray(numpy.ones((3, 4))), numpy.array(2.5), numpy.zeros((0, 3)),
        numpy.array([1, 2], ">i2"), numpy.array(["a", "bcd"]), numpy.array([b"a"]), numpy.array([True]),
        numpy.array(["2020-01-01"], "M8[D]"), numpy.array([1 + 2j]), numpy.arange(20)[::3], numpy.array([0.5], "f2"),
    ],
)  # fmt: skip
def test_plain_arrays_are_kept_as_npy(array: Any) -> None:
    assert serializer_for(array).name == "npy"
    back: Any = there_and_back(array)

    assert type(back) is numpy.ndarray and back.dtype == array.dtype and back.shape == array.shape
    assert (back == array).all()


def test_arrays_that_npy_would_pickle_are_left_to_pickle() -> None:
    for array in (numpy.array([{}]), numpy.ma.masked_array([1], [True]), numpy.zeros(1, [("a", int)])):
        assert serializer_for(array).name == "pickle"
    file = io.BytesIO()
    numpy.save(file, numpy.array([{}]), allow_pickle=True)
    with pytest.raises(SerializationError, match="npy"):
        by_name("npy").load(io.BytesIO(file.getvalue()))


def test_tables_are_kept_as_parquet() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"n": [1, None, 3], "x": [0.5, 1.5, 2.5], "s": ["a", "ü", None]})

    assert serializer_for(table).name == "parquet"
    assert there_and_back(table) == table
    nested = pyarrow.table({"l": [[1], [2]]})
    assert serializer_for(nested).name == "pickle"
    assert there_and_back(nested) == nested


@pytest.mark.parametrize("value", [lambda: 1, (x for x in "ab"), Odd(), [open]])
def test_what_cannot_be_stored_is_named(value: object) -> None:
    if value == [open]:
        assert there_and_back(value) == value
        return
    with pytest.raises(SerializationError, match=type(value).__qualname__) as refused:
        serializer_for(value).dump(value, io.BytesIO())
    assert "plain data" in refused.value.hint


def test_an_instance_of_a_class_of_main_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import io
        from merkl.errors import SerializationError
        from merkl.store.serializers import serializer_for
        class Mine: pass
        def mine(): pass
        for value in (Mine(), Mine, [Mine()], {"k": (Mine(),)}, mine):
            try:
                serializer_for(value).dump(value, io.BytesIO())
            except SerializationError as error:
                print("Mine" in str(error) or "mine" in str(error), "__main__" in str(error), error.hint[:6])
        """)
    )

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["True True define"] * 5


@pytest.mark.parametrize("how", ["file", "mark"])
def test_an_instance_of_a_class_of_a_merklfile_is_refused_both_ways(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("merkl_test_merklfile")
    exec("class Mine:\n    pass", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    file = io.BytesIO()
    serializer_for(module.Mine()).dump(module.Mine(), file)
    if how == "file":
        module.__file__ = "/somewhere/lib/Merklfile.py"
    else:
        module.__dict__["__merklfile__"] = True

    with pytest.raises(SerializationError, match="Mine, which is defined in a Merklfile"):
        serializer_for(module.Mine()).dump(module.Mine(), io.BytesIO())
    with pytest.raises(SerializationError, match="Mine, which is defined in a Merklfile"):
        by_name("pickle").load(io.BytesIO(file.getvalue()))


def test_a_class_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("merkl_test_gone")
    exec("class Gone:\n    pass", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    file = io.BytesIO()
    serializer_for(module.Gone()).dump(module.Gone(), file)
    monkeypatch.delitem(sys.modules, module.__name__)

    with pytest.raises(SerializationError, match="merkl_test_gone") as refused:
        by_name("pickle").load(io.BytesIO(file.getvalue()))
    assert "merkl clear" in refused.value.hint


@pytest.mark.parametrize("name", [form.name for form in SERIALIZERS if form.name not in ("bytes", "parquet")])
def test_damaged_bytes_are_an_error_of_that_name(name: str) -> None:
    for data in (b"\xff\xfe", b"\x80\x05garbage"):
        with pytest.raises(SerializationError):
            by_name(name).load(io.BytesIO(data))


def test_a_form_that_is_not_known_needs_a_newer_merkl() -> None:
    with pytest.raises(SerializationError, match="json2") as refused:
        by_name("json2")
    assert "upgrade" in refused.value.hint


def test_a_pickle_is_read_only_if_its_record_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serializers, "_learned", {})
    monkeypatch.setattr(serializers, "_latest", {})
    wrapped = serializers.WrappedSerializer("pickle", name="mine")
    label = serializers.learn("mine#0123456789abcdef", wrapped)

    assert label.startswith("pickle+") and by_name(label) is wrapped
    assert by_name("pickle+mine#ffffffffffffffff") is wrapped, "its code was edited since"
    for other in ("mine", "mine#0123456789abcdef", "mine#ffffffffffffffff"):
        with pytest.raises(SerializationError):
            by_name(other)


def test_names_of_forms_are_pinned() -> None:
    assert [form.name for form in SERIALIZERS] == ["bytes", "text", "json", "npy", "parquet", "pickle"]


def test_numpy_is_not_imported_for_plain_values() -> None:
    code = """
    import io, sys
    from merkl.store.serializers import by_name, for_extension, serializer_for
    for value in ("x", 1, [1], (1,), b"x"):
        serializer_for(value).dump(value, io.BytesIO())
    for_extension(".json").dump([1], io.BytesIO())
    print({"numpy", "pyarrow", "pandas", "csv"} & set(sys.modules))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


# Files for commands.


def written(value: object, extension: str) -> bytes:
    file = io.BytesIO()
    for_extension(extension).dump(value, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("value", "extension", "text"),
    [
        ({"a": [1, None, "ü"]}, ".json", '{"a": [1, null, "ü"]}\n'), ((1, 2), ".JSON", "[1, 2]\n"),
        ("text", ".json", '"text"\n'), (b"[1]", ".json", "[1]"), (True, ".json", "true\n"),
        ("text", ".txt", "text"), (3, ".txt", "3\n"), (0.1, ".txt", "0.1\n"), (b"raw", ".txt", "raw"),
        ([["a", 1], [None, 2.5]], ".csv", "a,1\n,2.5\n"), ([{"n": 1, "m": 'q"'}], ".csv", 'n,m\n1,"q"""\n'),
        ("a,b\n", ".csv", "a,b\n"), ([], ".csv", ""),
        ("key: value\n", ".yaml", "key: value\n"), (b"\x7fELF", "", "\x7fELF"), ("x", ".md", "x"),
    ],
)  # fmt: skip
def test_a_value_is_written_as_the_extension_asks(value: object, extension: str, text: str) -> None:
    assert written(value, extension) == text.encode()


@pytest.mark.parametrize(
    ("value", "extension"),
    [
        (math.nan, ".json"), ({1, 2}, ".json"), (object(), ".json"), ("\udcff", ".json"), ([1], ".txt"), (True, ".txt"),
        (None, ".txt"), ([[1], 2], ".csv"), ([{"a": 1}, {"b": 1}], ".csv"), ([[[1]]], ".csv"), (3, ".csv"),
        ([1], ".npy"), ("x", ".npy"), (3, ".yaml"), ({}, ""), ("\udcff", ".txt"), ([1], ".parquet"),
    ],
)  # fmt: skip
def test_a_value_that_has_no_such_form_is_refused_with_those_that_have(value: object, extension: str) -> None:
    file = io.BytesIO()
    with pytest.raises(SerializationError) as refused:
        for_extension(extension).dump(value, file)

    assert type(value).__qualname__ in str(refused.value)
    assert ".json" in refused.value.hint and ".npy" in refused.value.hint
    assert file.getvalue() == b""


def test_an_array_is_written_as_npy() -> None:
    assert (numpy.load(io.BytesIO(written(numpy.arange(3), ".npy"))) == numpy.arange(3)).all()


@given(
    rows=st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0")), min_size=2, max_size=2)
    )
)
def test_csv_is_read_back_by_others(rows: list[list[str]]) -> None:
    text = written(rows, ".csv").decode()

    assert list(csv.reader(io.StringIO(text, newline=""))) == rows


@given(
    value=st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=10)
)
def test_json_is_read_back_by_others(value: object) -> None:
    assert json.loads(written(value, ".json")) == value

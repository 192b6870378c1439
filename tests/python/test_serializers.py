"""Serializers of a project's own: which value they are used for, what of them is in a key, and that they stream."""

import gzip
import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pytest

from merkl.errors import SerializationError, TaskError
from merkl.store.serializers import (
    IdentitySerializer,
    WrappedSerializer,
    by_name,
    is_pickled,
    learn,
    named,
)

POINTS = """
    from merkl import register_serializer


    class {Point}:
        def __init__(self, x, y):
            self.at = x, y

        def __reduce__(self):
            raise TypeError("only its serializer can write it")


    class PointSerializer:
        name = "point"

        def dump(self, value, file):
            file.write("{written}".format(*value.at).encode())

        def load(self, file):
            return {Point}(*map(int, file.read().split()))


    register_serializer(PointSerializer(), {Point}, list[{Point}])
"""


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test registers is not there in the next."""
    from merkl.python import forms
    from merkl.store import serializers

    monkeypatch.setattr(forms, "_registered", {})
    monkeypatch.setattr(serializers, "_learned", {})
    monkeypatch.setattr(serializers, "_latest", {})


def test_a_registered_type_is_written_by_its_serializer_as_result_and_as_argument(inside: Any) -> None:
    name = "points_of_a_project"  # A module is imported once in this process.
    inside.write(f"{name}.py", textwrap.dedent(POINTS).format(Point="Point", written="{} {}"))
    text = f"""
        from {name} import Point

        @task
        def middle(a, b):
            return Point(*((p + q) // 2 for p, q in zip(a.at, b.at)))

        @task
        def text(point, more):
            return str(point.at + more[0].at)

        @target(default=True)
        def all():
            text(middle(Point(0, 0), Point(4, %s)), [Point(7, 7)]) > "out.txt"
    """
    inside.merklfile(text % 8)
    assert inside.build("-j2") == ["middle", "text"]
    assert inside.read("out.txt") == "(2, 4, 7, 7)"
    assert inside.build("-j2") == []
    inside.merklfile(text % 6)
    assert inside.build("-j2") == ["middle", "text"]
    inside.merklfile(text % 8)
    assert inside.build("-j2") == []


def test_the_serializer_of_a_hint_is_in_the_key_with_its_code(inside: Any) -> None:
    text = textwrap.dedent(POINTS) + textwrap.dedent("""
        from merkl import task, target

        class Path:
            name = "path"
            {version}

            def dump(self, value, file):
                for point in value:
                    file.write("{written}\\n".format(*point.at).encode())

            def load(self, file):
                return [{Point}(*map(int, line.split())) for line in file]

        register_serializer(Path(), list[{Point}])

        @task
        def path(n: int) -> list[{Point}]:
            return [{Point}(i, i) for i in range(n)]

        @task
        def length(points: list[{Point}]):
            return len(points)

        @target(default=True)
        def all():
            length(path(3)) > "n.txt"
        """)

    def with_(written: str, version: str = "") -> None:
        inside.write("Merklfile.py", text.format(Point="Point", written=written, version=version))

    with_("{} {}")
    assert inside.build("-j1") == ["path", "length"]
    assert inside.build("-j1") == []
    with_("{}  {}")
    assert inside.build("-j1") == ["path", "length"]
    with_("{}  {}", "version = '1'")
    assert inside.build("-j1") == ["path", "length"]
    with_("{}   {}", "version = '1'")
    assert inside.build("-j1") == []
    with_("{} {}")
    assert inside.build("-j1") == []


def test_each_output_and_argument_can_have_its_own(inside: Any) -> None:
    inside.merklfile("""
        import gzip
        import pandas

        squeezed = WrappedSerializer(
            "json", name="json.gz", extensions=[".gz"],
            file=lambda file, mode: gzip.GzipFile(fileobj=file, mode=mode, mtime=0),
        )

        @task(serializers={"table": "parquet", "counts": squeezed, "frame": "parquet"})
        def split(frame, n):
            return {"table": frame.head(n), "counts": list(frame.index)}

        @task
        def check(table, counts):
            assert list(table.index) == counts[:2] and table.index.name == "i", table
            return "fine"

        @target(default=True)
        def all():
            frame = pandas.DataFrame({"a": [1, 2, 3]}, index=pandas.Index([5, 6, 7], name="i"))
            made = split(frame, 2)
            check(**made) > "said.txt"
            made["counts"] > "counts.gz"
            made["counts"] > "counts.json"
            made["table"] > "table.parquet"
    """)
    assert inside.build("-j2") == ["split", "check"]
    assert inside.read("said.txt") == "fine"
    assert json.loads(gzip.decompress((inside.path / "counts.gz").read_bytes())) == [5, 6, 7]
    assert json.loads(inside.read("counts.json")) == [5, 6, 7]
    assert list(pandas.read_parquet(inside.path / "table.parquet").index) == [5, 6]
    assert inside.build("-j2") == []
    assert "json.gz#" in inside.merkl("show", "--json", "counts.gz").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("serializers={'x': 'json'}", "'x', which is a parameter and an output"),
        ("serializers={'z': 'json'}", "'z', which is no parameter and no output"),
        ("serializers='json'", "serializers is a dict"),
        ("serializer='jsn'", "there is no serializer 'jsn'"),
        ("serializer=json", "has a name, dump(value, file) and load(file)"),
        ("serializer=Named", "pass an object, such as Named()"),
        ("serializer=Named('json')", "is the name of a serializer of merkl's"),
        ("serializer=Named('a b')", "is of letters, digits"),
        ("serializer=Named('odd')", "has no version, and what it is made of has no encoding"),
        ("serializer=WrappedSerializer('json', name='w', wrap=str)", "only one of wrap and unwrap"),
        ("serializer=WrappedSerializer('json', name='w', extensions='.gz')", "extensions is a list"),
        ("serializer=register_serializer('json', 3)", "takes types, and 3 is none"),
        ("serializers={'y': 'npy'}", "'npy' does not take a value of type int as a result"),
    ],
)
def test_each_misuse_says_what_is_wrong(inside: Any, options: str, said: str) -> None:
    inside.merklfile(f"""
        import json, threading

        class Named:
            def __init__(self, name):
                self.name = name
                self.lock = threading.Lock()

            def dump(self, value, file): ...
            def load(self, file): ...

        @task({options})
        def f(x):
            return {{"x": x, "y": 2}}

        @target(default=True)
        def all():
            f(1)["y"] > "y.txt"
    """)
    error = inside.merkl("build", "-j1", code=None)
    assert error.returncode in (1, 2)
    assert said in error.stderr, error.stderr


def test_wrapped_serializers_convert_values_and_files() -> None:
    as_list = WrappedSerializer("json", name="set", wrap=sorted, unwrap=set)
    squeezed = WrappedSerializer(
        as_list, name="set.gz", file=lambda f, mode: gzip.GzipFile(fileobj=f, mode=mode)
    )
    file = io.BytesIO()
    squeezed.dump({3, 1, 2}, file)
    assert json.loads(gzip.decompress(file.getvalue())) == [1, 2, 3]
    assert squeezed.load(io.BytesIO(file.getvalue())) == {1, 2, 3}
    with pytest.raises(SerializationError, match=r"'json', which does not take list"):
        as_list.dump({(1,)}, io.BytesIO())


def test_identity_takes_whatever_has_bytes() -> None:
    identity = IdentitySerializer()
    for value in (b"abc", bytearray(b"abc"), memoryview(b"xabc")[1:]):
        file = io.BytesIO()
        assert identity.accepts(value)
        identity.dump(value, file)  # type: ignore[arg-type]
        assert identity.load(io.BytesIO(file.getvalue())) == b"abc"
    assert not identity.accepts("abc")


def test_a_pickle_inside_another_form_is_still_seen_as_one() -> None:
    plain = WrappedSerializer("json", name="p")
    twice = WrappedSerializer(WrappedSerializer("pickle", name="q"), name="r")
    assert not is_pickled(learn("p@1", plain))
    label = learn("r@1", twice)
    assert is_pickled(label)
    assert by_name(label) is twice


def test_another_version_is_not_taken_for_the_one_that_wrote() -> None:
    old, new = (
        WrappedSerializer("json", name="v", version="1"),
        WrappedSerializer("json", name="v", version="2"),
    )
    learn("v@2", new)
    with pytest.raises(SerializationError, match="'v@1', that is not known here"):
        by_name("v@1")
    learn("v@1", old)
    assert by_name("v@1") is old
    assert named("v") is old
    code = WrappedSerializer("json", name="c")
    learn("c#new", code)
    assert by_name("c#old") is code  # Its author lets it read what it wrote.
    with pytest.raises(TaskError, match="there is no serializer 'nobody'"):
        named("nobody")


def test_parquet_tells_frames_from_tables() -> None:
    form = by_name("parquet")
    frame = pandas.DataFrame({"a": [1, 2], "c": pandas.Categorical(["x", None])}, index=["r", "s"])
    table = pyarrow.Table.from_pandas(frame[["a"]])
    for value, same in ((frame, pandas.testing.assert_frame_equal), (table, pyarrow.Table.equals)):
        file = io.BytesIO()
        form.dump(value, file)
        back = form.load(io.BytesIO(file.getvalue()))
        assert type(back) is type(value)
        assert same(back, value) is not False
    with pytest.raises(SerializationError, match="cannot be written as Parquet"):
        form.dump(pandas.DataFrame({"o": [1, "a", object()]}), io.BytesIO())


STREAM = """
    import resource, sys
    from merkl import task

    class Zeros:
        def __init__(self, size):
            self.size = size

    class ZerosSerializer:
        name, version = "zeros", "1"

        def dump(self, value, file):
            for _ in range(value.size >> 20):
                file.write(bytes(1 << 20))

        def load(self, file):
            size = 0
            while piece := file.read(1 << 20):
                size += len(piece)
            return Zeros(size)

    @task(serializer=ZerosSerializer())
    def make(size):
        return Zeros(size)

    @task
    def measure(zeros):
        return zeros.size

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # MB.

    assert measure(make(1 << 20)).eval() == 1 << 20
    before = peak()
    size = int(sys.argv[1])
    assert measure(make(size)).eval() == size
    print(peak() - before)
"""


def _streamed(path: Path, size: int) -> int:
    """How many megabytes of memory it took to write and read a value of ``size`` bytes, more than one of 1 MB."""
    (path / "script.py").write_text(textwrap.dedent(STREAM))
    said = subprocess.run(
        [sys.executable, "script.py", str(size)], cwd=path, capture_output=True, text=True, check=True
    )
    return int(said.stdout)


def test_a_value_streams_through_its_serializer_in_bounded_memory(tmp_path: Path) -> None:
    assert _streamed(tmp_path, 100 << 20) < 40


@pytest.mark.full
def test_a_value_of_ten_gigabytes_streams(tmp_path: Path) -> None:
    if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < 25 << 30:
        pytest.skip("needs 25 GB of disk")
    assert _streamed(tmp_path, 10 << 30) < 40

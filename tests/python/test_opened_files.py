"""Outputs that are written as files, readers of results, and files of the project as Futures."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest

import merkl
from merkl import FileObjectReadFuture, FileRef, merkl_open, path_future, read_future, task, write_future
from merkl.engine.build import build
from merkl.engine.evaluating import Quiet, evaluate
from merkl.engine.select import select
from merkl.errors import CallError, FutureAccessError, InputMissing, TaskError, TaskFailed
from merkl.nodes import using
from merkl.python.opened import OpenedFiles, opened_files

MB = 1 << 20


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The session of a script in an empty project."""
    from merkl.config import load_config
    from merkl.engine.project import Project

    monkeypatch.chdir(tmp_path)
    project = Project(replace(load_config(str(tmp_path)), jobs=1), base=str(tmp_path))
    project.builder = evaluate
    with using(project):
        yield project
    project.close()


def left(script: Any) -> list[str]:
    """What is left of files that tasks have opened."""
    return [name for _, _, names in os.walk(script.root) for name in names if "opened" in name]


def test_a_returned_file_is_an_output_with_its_extension_and_digest(script: Any) -> None:
    @task(version="1")
    def model(n: int) -> Any:
        with merkl_open("wb", ext=".bin") as file:
            for i in range(n):
                file.write(bytes([i]) * MB)
        return file

    @task(version="1")
    def size(path: str) -> Any:
        return [os.path.getsize(path), os.path.splitext(path)[1]]

    future = model(3)
    assert size(future).eval() == [3 * MB, ".bin"]
    assert Path(future.eval()).read_bytes() == b"".join(bytes([i]) * MB for i in range(3))
    future > "model.bin"
    future.eval()
    assert Path("model.bin").stat().st_size == 3 * MB
    assert left(script) == []


def test_what_is_written_is_not_read_again(script: Any) -> None:
    if not Path("/proc/self/io").exists():
        pytest.skip("only Linux says how much was read")

    @task(version="1")
    def large() -> Any:
        with merkl_open("wb") as file:
            for _ in range(64):
                file.write(os.urandom(MB))
        return file, Path("/proc/self/io").read_text()

    def read_so_far(text: str) -> int:
        return int(text.split("rchar:")[1].split()[0])

    file, then = large()
    build(script, select([file], []), Quiet())
    now = Path("/proc/self/io").read_text()

    assert read_so_far(now) - read_so_far(then.eval()) < 8 * MB
    artifact = script.artifact(file)
    assert script.store.blobs.verify(artifact.digest) is not None  # It is the digest of what was written.


def test_text_is_utf8_with_line_ends_as_they_are(script: Any) -> None:
    @task(version="1")
    def texts() -> Any:
        with merkl_open(ext=".txt") as plain:
            print("hällo", file=plain)
            plain.writelines(["a\r\n", "b"])
            plain.write(str(plain.tell()))
        with merkl_open("w", encoding="latin-1", newline="\r\n") as other:
            other.write("ö\n")
        return {"plain": plain, "other": other}

    made = texts()
    assert made["plain"].open("rb").read() == "hällo\na\r\nb11".encode()
    assert made["other"].open("rb").read() == b"\xf6\r\n"
    assert made["other"].open(encoding="latin-1").read() == "ö\n"


def test_a_file_that_is_not_returned_is_removed_and_one_returned_twice_is_two_outputs(script: Any) -> None:
    @task(version="1")
    def work() -> Any:
        with merkl_open("wb") as unused:
            unused.write(bytes(2 * MB))
        open_still = merkl_open("wb")
        open_still.write(b"never closed")
        file = merkl_open("w", ext=".txt")
        file.write("both")  # The end of the task ends it.
        return file, file

    a, b = work()
    assert [a.open().read(), b.open().read()] == ["both", "both"]
    assert left(script) == []


def test_a_file_cannot_be_written_to_after_its_task(tmp_path: Path) -> None:
    opened = OpenedFiles("work", os.fsencode(tmp_path), b"")
    token = opened_files.set(opened)
    kept, unused = merkl_open(), merkl_open("wb")
    opened_files.reset(token)
    kept.write("x")
    staged = kept.staged("work", "")
    opened.close()

    assert staged.path is not None
    assert os.listdir(tmp_path) == [os.path.basename(os.fsdecode(staged.path))]
    for write in (lambda: kept.write("more"), lambda: unused.write(b"more")):
        with pytest.raises(ValueError, match="closed file"):
            write()
    Path(os.fsdecode(staged.path)).write_text("somebody else's")
    with pytest.raises(TaskFailed, match="was changed after it was written"):
        kept.staged("work", "")


def test_a_file_that_an_exception_ended_is_no_output(script: Any) -> None:
    @task(version="1")
    def half() -> Any:
        file = merkl_open()
        try:
            with file:
                file.write("half of i")
                raise ValueError
        except ValueError:
            return file

    @task(version="1")
    def inside_a_list() -> Any:
        with merkl_open() as file:
            return [file]

    @task(version="1")
    def raising() -> Any:
        with merkl_open() as file:
            file.write("x" * MB)
            raise ValueError("no")

    for future, said in (
        (half(), "an exception ended"),
        (inside_a_list(), "inside another value"),
        (raising(), "no"),
    ):
        with pytest.raises(TaskFailed, match=said):
            future.eval()
    assert left(script) == []


def test_such_files_are_only_written_and_only_in_a_task(script: Any) -> None:
    @task(version="1")
    def work() -> Any:
        with merkl_open("wb") as file:
            numpy.save(file, numpy.array([file.writable(), file.seekable(), file.readable()]))
            try:
                file.write("text")
            except TypeError:
                pass
        return file

    assert numpy.load(work().eval()).tolist() == [True, False, False]
    for mode in ("r", "a", "r+", "wb+"):
        with pytest.raises(TaskError, match="is no mode"):
            merkl_open(mode)  # type: ignore[call-overload]
    with pytest.raises(TaskError, match="no task is running"):
        merkl_open("w")
    with pytest.raises(TaskError, match="with its dot"):
        merkl_open("w", ext="bin")
    with pytest.raises(TaskError, match="has no encoding"):
        merkl_open("wb", encoding="utf-8")  # type: ignore[call-overload]


def test_a_build_takes_such_outputs(inside: Any) -> None:
    inside.write("train.csv", "a,b\n1,2\n")
    inside.merklfile("""
        @task
        def preprocess(text):
            return text.splitlines()[1:]

        @task
        def train(rows):
            with merkl_open("wb", ext=".bin") as file:
                for _ in range(3):
                    file.write(rows[0].encode() * 100_000)
            return file

        @target(default=True)
        def model():
            read_future("train.csv") | preprocess | train >> "model.bin"
            write_future(path_future("train.csv"), "copy.csv")
    """)
    assert sorted(inside.build("-j2")) == ["file_of", "preprocess", "read", "train"]
    assert inside.read("model.bin") == "1,2" * 300_000
    assert inside.read("copy.csv") == "a,b\n1,2\n"
    assert inside.build("-j2") == []
    inside.write("train.csv", "c,d\n1,2\n")
    assert sorted(inside.build("-j2")) == ["file_of", "preprocess", "read"]
    assert inside.build("-j2") == []


# ---- reading -------------------------------------------------------------------------------------------------------


def test_results_are_read_from_the_store(script: Any) -> None:
    @task(version="1")
    def text() -> Any:
        return "one\ntwo\n"

    @task(version="1")
    def plain() -> Any:
        return [1]

    with text().open() as lines:
        assert list(lines) == ["one\n", "two\n"]
    with text().open("rb") as reader:
        assert isinstance(reader, FileObjectReadFuture)
        assert reader.seek(4) == 4
        assert reader.read(3) == b"two"
        buffer = bytearray(4)
        assert reader.readinto(buffer) == 1
    assert reader.closed
    with pytest.raises(FutureAccessError, match="kept as json"):
        plain().open()
    with pytest.raises(FutureAccessError, match="not as 'w'"):
        text().open("w")  # type: ignore[call-overload]


def test_a_large_value_is_read_without_loading_it(script: Any) -> None:
    import tracemalloc

    @task(version="1")
    def large() -> Any:
        return bytes(32 * MB)

    large().eval()
    tracemalloc.start()
    try:
        with large().open("rb") as reader:
            assert sum(len(piece) for piece in iter(lambda: reader.read(MB), b"")) == 32 * MB
        assert tracemalloc.get_traced_memory()[1] < 16 * MB
    finally:
        tracemalloc.stop()


def test_a_file_is_read_as_its_extension_says(script: Any) -> None:
    array = numpy.arange(3)
    numpy.save("a.npy", array)
    for name, data in {
        "a.json": b'{"x": [1]}',
        "a.jsonl": b'1\n{"y": 2}\n\n',
        "a.txt": "ä\n".encode(),
        "a.csv": b"a,b\r\n",
        "a.pickle": b"\x80\x05N.",
        "a": b"\xff",
    }.items():
        Path(name).write_bytes(data)
    assert read_future("a.json").eval() == {"x": [1]}
    assert read_future("a.jsonl").eval() == [1, {"y": 2}]
    assert read_future("a.txt").eval() == "ä\n"
    assert read_future("a.csv").eval() == "a,b\r\n"
    assert read_future("a.npy").eval().tolist() == [0, 1, 2]
    assert read_future("a.pickle").eval() == b"\x80\x05N."
    assert read_future("a").eval() == b"\xff"
    before = read_future(Path("a"))
    Path("a").write_bytes(b"other")
    assert read_future("a") != before
    assert read_future("a").eval() == b"other"
    Path("a.json").write_text("{")
    with pytest.raises(merkl.errors.MerklError, match="not of the form 'json'"):
        read_future("a.json").eval()
    with pytest.raises(InputMissing, match=r"b.json"):
        read_future("b.json")


def test_a_file_of_the_project_as_a_future(script: Any) -> None:
    Path("folder").mkdir()
    Path("folder/one.txt").write_text("1")

    @task(version="1")
    def names(folder: Any) -> Any:
        return sorted(os.listdir(folder))

    assert Path(path_future("folder/one.txt").eval()).read_text() == "1"
    assert path_future("folder/one.txt").eval().name == "one.txt"
    assert names(path_future("folder")).eval() == ["one.txt"]

    @task(version="1")
    def size(path: FileRef) -> int:
        return len(Path(path).read_text())

    assert size(path_future("folder/one.txt")).eval() == size(path_future("folder")["one.txt"]).eval() == 1
    with pytest.raises(CallError, match="will be DirRef, which dir_of gives, and its hint is FileRef"):
        size(path_future("folder"))
    assert Path("folder/one.txt").read_text() == "1"
    write_future(read_future("folder/one.txt"), "two.txt").eval()
    assert Path("two.txt").read_text() == "1"

"""What every place for named objects does: a directory and a bucket."""

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from shared_stores import bucket_objects

from merkl.errors import StoreCorrupt
from merkl.store.remote.directory import DirectoryObjects
from merkl.store.remote.objects import Objects


def directory(where: Path) -> Objects:
    where.mkdir(exist_ok=True)
    return DirectoryObjects(str(where))


PLACES: dict[str, Callable[[Path], Objects]] = {"directory": directory, "bucket": lambda _: bucket_objects()}


@pytest.fixture(params=PLACES)
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Objects]:
    made = PLACES[request.param](tmp_path / "place")
    yield made
    made.close()


def test_what_is_not_there_is_no_error(objects: Objects) -> None:
    assert objects.get("a/b") is objects.get("a/b", 1, 2) is objects.get("a/b", 0, 0) is None
    assert objects.open("a/b") is objects.size("a/b") is objects.look("a/b") is None
    assert list(objects.names("a")) == []
    objects.remove(["a/b", "a/c"])
    objects.move("a/b", "c/d")
    assert objects.get("c/d") is None


@pytest.mark.parametrize("data", [b"", b"hello"])
def test_bytes_come_back_whole_and_in_parts(objects: Objects, data: bytes) -> None:
    objects.put("a/b", data)

    assert objects.get("a/b") == data and objects.size("a/b") == len(data)
    for start, length in ((0, 2), (1, 3), (2, 100), (4, 1), (5, 1), (70, 5), (1, 0), (0, 1 << 20)):
        assert objects.get("a/b", start, length) == data[start : start + length]
    assert objects.get("a/b", 2) == data[2:]
    file = objects.open("a/b")
    assert file is not None
    with file:
        assert file.read() == data


@pytest.mark.parametrize("size", [0, 1, (8 << 20) - 1, 8 << 20, (16 << 20) + 5])
def test_files_of_any_size_go_there_and_come_back(objects: Objects, size: int) -> None:
    data = (os.urandom(1 << 16) * (size // (1 << 16) + 1))[:size]

    file = io.BytesIO(b"before" + data)
    file.seek(6)
    objects.put("a/b", file)

    back = objects.open("a/b")
    assert back is not None and objects.size("a/b") == size
    with back:
        assert b"".join(iter(lambda: back.read(1_000_003), b"")) == data


def test_a_file_that_hands_out_little_at_a_time_goes_there_whole(objects: Objects) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(300_000, size if size and size > 0 else 300_000))

    data = os.urandom(9 << 20)
    objects.put("a/b", Slow(data))

    assert objects.get("a/b") == data


@pytest.mark.parametrize("after", [0, 9 << 20])
def test_a_file_that_fails_leaves_what_was_there(objects: Objects, after: int) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= after:
                raise StoreCorrupt("it is damaged")
            return super().read(size)

    objects.put("a/b", b"before")

    with pytest.raises(StoreCorrupt, match="it is damaged"):
        objects.put("a/b", Failing(bytes(20 << 20)))

    assert objects.get("a/b") == b"before"
    assert [each.name for each in objects.names("a")] == ["a/b"]


def test_of_many_that_create_one_object_one_does(objects: Objects) -> None:
    def create(n: int) -> bool:
        return objects.create("a/b", b"%d" % n)

    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(create, range(16)))

    assert sum(first) == 1 and objects.get("a/b") == b"%d" % first.index(True)


def test_a_listing_tells_names_sizes_and_times_and_nothing_beside_the_prefix(objects: Objects) -> None:
    for name, data in {"a/b": b"1", "a/c/d": b"22", "ab/x": b"3", "b": b"4"}.items():
        objects.put(name, data)

    found = {each.name: each for each in objects.names("a")}

    assert {name: each.size for name, each in found.items()} == {"a/b": 1, "a/c/d": 2}
    look = objects.look("a/b")
    assert look is not None and (look.name, look.size) == ("a/b", 1)
    assert abs(look.modified - found["a/b"].modified) < 2


def test_what_is_moved_has_the_other_name_only_and_what_is_removed_none(objects: Objects) -> None:
    objects.put("a/b", b"1")
    objects.put("c/d", b"2")

    objects.move("a/b", "c/d")
    assert objects.get("a/b") is None and objects.get("c/d") == b"1"

    objects.remove(["a/b", "c/d", "e"])
    assert objects.get("c/d") is None

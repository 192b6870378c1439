"""What every place for contents does: bytes by digest, in memory, in a database with files, in a directory, combined and in layers."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared_stores import SHARED
from store_samples import LARGE, large, record, tree_of

from merkl.digest import Digest, Key
from merkl.nodes import Artifact
from merkl.store.base import Shared


@pytest.fixture(params=SHARED)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    made = SHARED[request.param](tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, 3_000_000])
def test_bytes_come_back_as_they_were_put(store: Shared, size: int) -> None:
    data = large(1, size)

    digest = store.put([data[:10], b"", data[10:]])

    assert digest == Digest.of(data)
    assert store.read(digest) == data
    assert store.size(digest) == size
    reader = store.open(digest)
    assert reader is not None
    with reader:
        assert reader.read(10) + reader.read() == data


def test_has_answers_for_many_at_once(store: Shared) -> None:
    small = [store.put([b"%d" % n]) for n in range(60)]
    big = store.put([large()])
    absent = [Digest.of(b"absent %d" % n) for n in range(200)]

    assert store.has([*absent, *small, big]) == {*small, big}


def test_a_stream_may_come_from_a_generator_that_fails(store: Shared) -> None:
    def chunks() -> Iterator[bytes]:
        yield large()
        raise OSError("the pipe broke")

    with pytest.raises(OSError, match="the pipe broke"):
        store.put(chunks())

    assert store.has([Digest.of(large())]) == set()


def test_a_reader_is_a_binary_file(store: Shared) -> None:
    digest = store.put([b"line 1\nline 2\n"])

    reader = store.open(digest)

    assert reader is not None
    assert list(io.TextIOWrapper(reader)) == ["line 1\n", "line 2\n"]


def test_what_is_not_there_is_none_and_no_error(store: Shared) -> None:
    absent = Digest.of(b"absent")

    assert store.open(absent) is store.fetch(absent) is store.read(absent) is store.size(absent) is None
    assert store.has([absent]) == set()
    assert list(store.pieces(absent)) == [] == list(store.many([absent]))
    assert store.take_notes() == []


@pytest.mark.parametrize("size", [0, 10, LARGE, 5_000_000])
def test_pieces_are_the_bytes_in_order(store: Shared, size: int) -> None:
    data = large(3, size)
    digest = store.put([data])

    pieces = list(store.pieces(digest))

    assert pieces and b"".join(pieces) == data


@pytest.mark.parametrize("size", [1000, LARGE, 20_000_000])
def test_a_part_is_read_by_seeking(store: Shared, size: int) -> None:
    data = large(4, size)
    reader = store.open(store.put([data]))

    assert reader is not None
    with reader:
        for start, length in ((size - 10, 100), (0, 7), (size // 2, 300)):
            reader.seek(start)
            assert reader.read(length) == data[start : start + length]


def test_what_is_got_together_is_what_was_put(store: Shared) -> None:
    small = {store.put([b"%d" % n]): b"%d" % n for n in range(20)}

    for blobs in store.many(small):
        assert all(small[digest] == data for digest, data in blobs.items())


def test_contents_are_stored_once_and_told_of_many_times(store: Shared) -> None:
    assert store.put([b"a", b"b"]) == store.put([b"ab"]) == Digest.of(b"ab")
    assert store.read(Digest.of(b"ab")) == b"ab"


def test_a_directory_is_there_with_all_its_files(store: Shared) -> None:
    whole, part = tree_of({b"d/f": b"1", b"g": b"2"}), tree_of({b"d/f": b"1", b"g": b"3"})
    for tree in (whole, part):
        store.put([tree.encode()])
    for data in (b"1", b"2"):
        store.put([data])

    asked = [Artifact("dir", tree.digest, tree.size) for tree in (whole, part)]
    assert store.present([*asked, Artifact("file", Digest.of(b"1"), 1)]) == {whole.digest, Digest.of(b"1")}


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_a_part_comes_alone_if_it_has_the_digest_it_is_asked_for_by(store: Shared, size: int) -> None:
    data = large(1, size)
    digest = store.put([data])
    piece, nothing = data[100:900], Digest.of(b"")

    assert store.part(digest, 100, 800, of=Digest.of(piece)) == piece
    assert store.part(digest, 101, 800, of=Digest.of(piece)) is None
    assert store.part(digest, size - 1, 800, of=Digest.of(data[-1:])) in (None, data[-1:])
    assert store.part(digest, 0, 0, of=nothing) == b""
    assert store.part(nothing, 0, 10, of=Digest.of(piece)) in (
        None,
        piece,
    )  # Some keep a part that they fetched.
    assert store.read(digest) == data


def test_a_file_goes_in_and_comes_out_by_digest_and_by_key(store: Shared) -> None:
    data = bytes(range(256)) * 10_000
    files: Any = store
    digest = files.add_fileobject(io.BytesIO(data))
    assert digest == Digest.of(data)
    outputs = {
        "": Artifact("file", digest, len(data)),
        "none": Artifact("file", Digest.of(b"x"), 1),
    }
    made, _ = record("made", outputs=outputs)
    store.file(made)

    for name in (digest, made.key):
        with files.get_fileobject(name) as reader:
            reader.seek(256)
            assert reader.read(3) == b"\0\1\2"
    for missing in ((Digest.of(b"other"),), (made.key, "other"), (made.key, "none"), (Key(bytes(32)),)):
        assert files.get_fileobject(*missing) is None

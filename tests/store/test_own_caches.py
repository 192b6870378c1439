"""Caches that projects bring along: what they are asked, and how little is believed of them."""

import io
from pathlib import Path
from typing import BinaryIO

import pytest
from store_samples import record

from merkl.digest import Digest
from merkl.errors import StoreCorrupt
from merkl.store.cached import CacheStore
from merkl.store.caches import About, BaseCache, CombinedCache, MemoryCache, SqliteCache, Usage
from merkl.store.local import LocalStore
from merkl.store.memory import MemoryStore


class Files(BaseCache):
    """A file for each name: large contents come as file objects."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.streamed: list[int] = []

    def get(self, name: str) -> bytes | None:
        path = self.folder / name
        return path.read_bytes() if path.exists() else None

    def get_fileobject(self, name: str) -> BinaryIO | None:
        path = self.folder / name
        return path.open("rb") if path.exists() else None

    def add(self, name: str, data: bytes, about: About) -> bool | None:
        (self.folder / name).write_bytes(data)
        return None

    def add_fileobject(self, name: str, file: BinaryIO, about: About) -> bool | None:
        self.streamed.append(about.size)
        return self.add(name, file.read(), about)

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()


def test_large_contents_come_and_go_as_file_objects(tmp_path: Path) -> None:
    files = Files(tmp_path)
    store = CacheStore(files)
    data = bytes(range(256)) * 20_000

    digest = store.put([data])

    assert files.streamed == [len(data)]
    assert store.read(digest) == data
    assert store.part(digest, 300, 10, of=Digest.of(data[300:310])) == data[300:310]


def test_bytes_that_are_not_what_was_asked_for_never_come_out_even_of_a_cache_that_cannot_forget() -> None:
    class Liar(MemoryCache):
        def get(self, name: str) -> bytes | None:
            data = super().get(name)
            return None if data is None else data + b"!"

        def remove(self, name: str) -> None:
            pass

    store = CacheStore(Liar())
    digest = store.put([b"data"])

    with pytest.raises(StoreCorrupt, match="does not have that digest"):
        store.open(digest)

    assert store.has([digest]) == set()
    made, _ = record("f", b"1")
    store.file(made)
    assert store.by_key([made.key]) == {}
    assert any("damaged record" in note.text for note in store.take_notes())


def test_a_cache_that_raises_is_spoken_of_once_and_not_asked_again() -> None:
    class Broken(MemoryCache):
        asked = 0

        def get(self, name: str) -> bytes | None:
            self.asked += 1
            raise OSError("the network is down")

    broken = Broken()
    store = CacheStore(broken)
    made, _ = record("f", b"1")

    assert store.by_key([made.key]) == {}
    assert store.file(made) == made
    assert store.has([Digest.of(b"1")]) == set()
    assert store.open(Digest.of(b"1")) is None
    assert broken.asked == 1
    (note,) = store.take_notes()
    assert note.text == "going on without the cache Broken: OSError: the network is down"


def test_what_is_not_kept_whole_has_no_record_in_the_cache() -> None:
    class Small(MemoryCache):
        def add(self, name: str, data: bytes, about: About) -> bool | None:
            return False if about.kind == "content" and about.size > 3 else super().add(name, data, about)

    upper, own = MemoryStore(), CacheStore(Small())
    small, large = record("f", b"1"), record("g", b"12345")
    for made, blobs in (small, large):
        upper.publish([(made, True)], blobs)
        own.keep(made, [made.key], upper)

    assert own.by_key([small[0].key, large[0].key]) == {small[0].key: small[0]}


def test_what_a_cache_is_told_of_bytes() -> None:
    told: list[About] = []

    class Curious(MemoryCache):
        def add(self, name: str, data: bytes, about: About) -> bool | None:
            assert name in (about.digest, about.key) or about.kind == "record"
            told.append(about)
            return super().add(name, data, about)

    upper, own = MemoryStore(), CacheStore(Curious())
    made, blobs = record("train", b"model", metadata={"loss": 0.5})
    upper.publish([(made, True)], blobs)

    own.keep(made, [made.key], upper)

    assert [about.kind for about in told] == ["content", "record", "record"]
    assert {(about.task, about.key, about.metadata["loss"]) for about in told} == {
        ("train", made.key.hex(), 0.5)
    }
    assert told[0].digest == Digest.of(b"model").hex() and told[0].size == 5


def test_a_sqlite_cache_counts_results_and_bytes_by_function(tmp_path: Path) -> None:
    upper, cache = LocalStore(tmp_path / "store"), SqliteCache(tmp_path / "c.db")
    own = CacheStore(CombinedCache(merkle=cache, content=cache))
    for number in range(3):
        made, blobs = record("train" if number else "load", b"%d" % number * 1000, key=None)
        upper.publish([(made, True)], blobs)
        own.keep(made, [made.key], upper)
    upper.close()

    usage = SqliteCache(tmp_path / "c.db").usage()

    assert list(usage) == ["train", "load"]
    assert usage["load"].results == 1 and usage["train"].results in (1, 2)
    assert usage["load"].bytes > 1000
    assert isinstance(usage["load"], Usage)


def test_a_cache_hands_out_file_objects_if_it_only_knows_bytes() -> None:
    cache = MemoryCache()
    about = About("content", "", "", "", 3, {})

    assert cache.add_fileobject("name", io.BytesIO(b"abc"), about)
    reader = cache.get_fileobject("name")

    assert reader is not None and reader.read() == b"abc"
    assert cache.get_fileobject("other") is None

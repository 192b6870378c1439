"""What every store does, in a directory or in memory."""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import LARGE, found, large, record, tree_of

from merkl.digest import Digest, content_key_of, key_of
from merkl.errors import InputMissing, StoreCorrupt
from merkl.nodes import Artifact
from merkl.store.base import Discovered, Store
from merkl.store.local import LocalStore
from merkl.store.memory import MemoryStore


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore()
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, 3_000_000])
def test_bytes_come_back_as_they_were_put(store: Store, size: int) -> None:
    data = large(1, size)

    digest = store.put([data[:10], b"", data[10:]])

    assert digest == Digest.of(data)
    assert store.read(digest) == data
    assert store.size(digest) == size
    reader = store.open(digest)
    assert reader is not None
    with reader:
        assert reader.read(10) + reader.read() == data


def test_what_is_not_there_is_none_and_no_error(store: Store) -> None:
    absent = Digest.of(b"absent")

    assert store.open(absent) is store.fetch(absent) is store.read(absent) is store.size(absent) is None
    assert store.has([absent]) == set()
    assert not store.make_durable(absent)
    assert store.by_key([key_of("absent")]) == {}
    assert store.by_content_key([content_key_of("absent")]) == {}
    assert store.forget([key_of("absent")]) == 0
    with pytest.raises(StoreCorrupt, match="gone"):
        store.reader(absent)


def test_has_answers_for_many_at_once(store: Store) -> None:
    small = [store.put([b"%d" % n]) for n in range(1200)]
    big = store.put([large()])
    absent = [Digest.of(b"absent %d" % n) for n in range(1200)]

    assert store.has([*absent, *small, big]) == {*small, big}


def test_a_file_is_taken_in_and_stays(store: Store, tmp_path: Path) -> None:
    for data in (b"small", large()):
        (tmp_path / "file").write_bytes(data)

        assert store.put_file(tmp_path / "file") == Digest.of(data)

        assert (tmp_path / "file").read_bytes() == data
        assert store.read(Digest.of(data)) == data


def test_a_moved_file_is_gone_afterwards(store: Store, tmp_path: Path) -> None:
    for data in (b"small", large(), large()):
        (tmp_path / "file").write_bytes(data)

        assert store.put_file(bytes(tmp_path / "file"), move=True, digest=Digest.of(data)) == Digest.of(data)

        assert not (tmp_path / "file").exists()
        assert store.read(Digest.of(data)) == data


def test_only_a_regular_file_can_be_taken_in(store: Store, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputMissing, match="cannot be stored"):
            store.put_file(path)


def test_a_record_comes_back_whole(store: Store) -> None:
    made, blobs = record(
        "compile",
        b"object",
        log=Digest.of(b"warning"),
        exit_code=3,
        discovered=Discovered({"a.h": Digest.of(b"h"), "gone.h": None}),
        arguments={"level": 3, "name": "\udcff", "nested": {"a": [1, None, "ü"]}},
        dependencies=[["key", "out"], {"x": 1.5}],
        metadata={"peak": 2**40},
        builder="host:1",
    )

    store.publish([(made, True)], blobs)

    assert store.by_key([made.key]) == {made.key: made}
    assert store.by_content_key([made.content_key]) == {made.content_key: [made]}
    assert store.read(Digest.of(b"object")) == b"object"


def test_outputs_keep_their_order_and_names_that_are_not_utf8(store: Store) -> None:
    outputs = {
        name: Artifact("file", Digest.of(name.encode("utf-8", "surrogateescape")), 1, True, "", name + ".o")
        for name in ("z", "", "a", "\udcff\n\"'", "ü")
    }
    made, _ = record("order", outputs=outputs)

    store.file(made)

    back = store.by_key([made.key])[made.key]
    assert list(back.outputs.items()) == list(outputs.items())


def test_a_record_can_be_pickled(store: Store) -> None:
    made, blobs = record("travels", b"x", arguments={"a": 1}, discovered=found(h=b"1"))
    store.publish([(made, True)], blobs)

    assert pickle.loads(pickle.dumps(store.by_key([made.key])[made.key])) == made


def test_the_first_record_of_a_content_key_wins(store: Store) -> None:
    first, first_blobs = record("roll", b"1", content=content_key_of("same"), key=key_of(1))
    second, second_blobs = record("roll", b"2", content=content_key_of("same"), key=key_of(2))
    store.publish([(first, True)], first_blobs)

    assert store.publish([(second, True)], second_blobs) == [first]

    assert store.by_key([key_of(1), key_of(2)]) == {key_of(1): first, key_of(2): first}
    assert store.by_content_key([content_key_of("same")]) == {content_key_of("same"): [first]}


def test_the_first_record_of_a_key_wins(store: Store) -> None:
    first, first_blobs = record("f", b"1", key=key_of("k"), content=content_key_of(1))
    second, second_blobs = record("f", b"2", key=key_of("k"), content=content_key_of(2))
    store.publish([(first, True)], first_blobs)

    assert store.publish([(second, True)], second_blobs) == [second]

    assert store.by_key([key_of("k")]) == {key_of("k"): first}
    assert store.by_content_key([content_key_of(2)])[content_key_of(2)] == [second]


def test_a_record_whose_blobs_are_lost_gives_way(store: Store) -> None:
    first, _ = record("roll", b"1", content=content_key_of("same"), key=key_of(1))
    second, blobs = record("roll", b"2", content=content_key_of("same"), key=key_of(2))
    store.file(first)
    store.alias(key_of(3), first)

    assert store.publish([(second, True)], blobs) == [second]

    assert store.by_key([key_of(n) for n in (1, 2, 3)]) == {key_of(n): second for n in (1, 2, 3)}


def test_a_record_that_lost_a_file_inside_a_directory_gives_way(store: Store) -> None:
    lost, kept = tree_of({b"d/f": b"1"}), tree_of({b"d/f": b"2"})
    records = []
    for n, tree in enumerate((lost, kept)):
        artifact = Artifact("dir", tree.digest, tree.size)
        records.append(record("tree", content=content_key_of("t"), key=key_of(n), outputs={"": artifact})[0])
    store.publish([(records[0], True)], {lost.digest: lost.encode()})

    kept_blobs = {kept.digest: kept.encode(), Digest.of(b"2"): b"2"}
    assert store.publish([(records[1], True)], kept_blobs) == [records[1]]
    assert store.publish([(records[0], True)], {}) == [records[1]]
    assert store.present([records[0].outputs[""], records[1].outputs[""]]) == {kept.digest}


def test_records_that_discovered_different_inputs_stand_side_by_side(store: Store) -> None:
    content = content_key_of("cc")
    one, _ = record("cc", b"1", content=content, key=key_of(1), discovered=found(h=b"1"))
    two, _ = record("cc", b"2", content=content, key=key_of(2), discovered=found(h=b"2"))
    again, _ = record("cc", b"1", content=content, key=key_of(3), discovered=found(h=b"1"))
    for each in (one, two, again):
        store.file(each, under_key=False)

    assert store.by_content_key([content])[content] == [one, two]
    assert store.by_key([key_of(n) for n in (1, 2, 3)]) == {}


def test_a_record_under_one_more_key(store: Store) -> None:
    made, blobs = record("f", b"1")
    store.publish([(made, True)], blobs)

    store.alias(key_of("other"), made)
    store.alias(key_of("other"), made)

    assert store.by_key([key_of("other")])[key_of("other")] == made


def test_an_alias_of_a_record_that_was_removed_files_it_again(store: Store) -> None:
    made, blobs = record("f", b"1")
    store.publish([(made, True)], blobs)
    assert store.forget([made.key]) == 1

    store.alias(key_of("other"), made)

    assert store.by_key([made.key, key_of("other")]) == {key_of("other"): made}


def test_forgetting_takes_every_name_and_nothing_else(store: Store) -> None:
    made, blobs = record("f", b"1")
    other, other_blobs = record("g", b"2")
    store.publish([(made, True), (other, True)], {**blobs, **other_blobs})
    store.alias(key_of("alias"), made)

    assert store.forget([key_of("alias")]) == 1
    assert store.by_key([made.key, key_of("alias"), other.key]) == {other.key: other}
    assert store.by_content_key([made.content_key]) == {}
    assert store.forget([other.content_key]) == 1
    assert store.by_key([other.key]) == {}


def test_many_records_are_published_and_found_at_once(store: Store) -> None:
    made = [record(f"n{n}", b"%d" % n) for n in range(1300)]

    kept = store.publish(
        [(each, True) for each, _ in made],
        {digest: data for _, blobs in made for digest, data in blobs.items()},
    )

    assert kept == [each for each, _ in made]
    assert store.by_key([each.key for each, _ in made]) == {each.key: each for each, _ in made}
    contents = store.by_content_key([each.content_key for each, _ in made])
    assert contents == {each.content_key: [each] for each, _ in made}


def test_bytes_published_under_a_wrong_digest_are_never_served(store: Store) -> None:
    made, _ = record("f", b"right")
    wrong = Digest.of(b"right")
    store.publish([(made, True)], {wrong: b"wrong"})

    assert store.fetch(wrong) is None
    assert ["damaged" in note.text for note in store.take_notes()] == [True]
    assert store.take_notes() == []
    store.put([b"right"])
    assert store.read(wrong) == b"right"


def test_a_lock_is_had_by_one_at_a_time(store: Store) -> None:
    key, other = content_key_of(1), content_key_of(2)

    lock = store.try_lock(key, "compile")

    assert lock is not None
    assert store.try_lock(key, "compile") is None
    assert "compile" in store.holder(key)
    second = store.try_lock(other, "link")
    assert second is not None
    lock.release()
    lock.release()
    again = store.try_lock(key, "compile")
    assert again is not None
    lock.release()  # Of a lock that somebody else has by now.
    assert store.try_lock(key, "compile") is None
    again.release()
    second.release()


def test_closing_is_no_end(store: Store) -> None:
    made, blobs = record("f", b"1")
    store.publish([(made, True)], blobs)
    assert store.try_lock(made.content_key, "f") is not None

    store.close()
    store.close()

    assert store.by_key([made.key]) == {made.key: made}
    assert store.try_lock(made.content_key, "f") is not None


json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(
    arguments=st.dictionaries(st.text(), json_values, max_size=5), task=st.text(), seconds=st.floats(0, 1e9)
)
def test_any_arguments_are_kept(
    tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, Any], task: str, seconds: float
) -> None:
    store = LocalStore(tmp_path_factory.getbasetemp() / "any-arguments")
    made, _ = record("f", arguments=arguments, metadata=arguments, seconds=seconds)
    made = type(made)(**{name: getattr(made, name) for name in made.__slots__} | {"task": task})
    store.forget([made.key])

    store.file(made)

    assert store.by_key([made.key])[made.key] == made
    store.close()


def test_arguments_that_are_no_json_are_kept_as_text(store: Store) -> None:
    made, _ = record("f", arguments={"x": float("nan"), "y": {1: b"z"}, "n": 10**5000, "s": {1}})

    store.file(made)

    assert list(store.by_key([made.key])[made.key].arguments) == ["x", "y", "n", "s"]


def test_a_stream_may_come_from_a_generator_that_fails(store: Store) -> None:
    def chunks() -> Iterator[bytes]:
        yield large()
        raise OSError("the pipe broke")

    with pytest.raises(OSError, match="the pipe broke"):
        store.put(chunks())

    assert store.has([Digest.of(large())]) == set()


def test_a_reader_is_a_binary_file(store: Store) -> None:
    digest = store.put([b"line 1\nline 2\n"])

    reader = store.open(digest)

    assert reader is not None
    assert list(io.TextIOWrapper(reader)) == ["line 1\n", "line 2\n"]

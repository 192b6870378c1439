"""What every store of a build does, beside keeping records and contents, alone or over others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_stores import STORES
from store_samples import large, record

from merkl.digest import Digest, content_key_of, key_of
from merkl.errors import InputMissing, StoreCorrupt
from merkl.store.base import Store
from merkl.store.local import LocalStore


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = STORES[request.param](tmp_path)
    yield made
    made.close()


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


def test_a_record_whose_blobs_are_lost_gives_way_under_all_its_names(store: Store) -> None:
    first, _ = record("roll", b"1", content=content_key_of("same"), key=key_of(1))
    second, blobs = record("roll", b"2", content=content_key_of("same"), key=key_of(2))
    store.file(first)
    store.alias(key_of(3), first)

    assert store.publish([(second, True)], blobs) == [second]

    assert store.by_key([key_of(n) for n in (1, 2, 3)]) == {key_of(n): second for n in (1, 2, 3)}


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

"""A store whose files were damaged: never wrong bytes, never a traceback, the rest goes on."""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from store_samples import LARGE, blob_path, large, overwrite, record

from merkl.digest import Digest, Key, key_of
from merkl.errors import SchemaTooNew, StoreCorrupt, StoreError
from merkl.store.base import Record
from merkl.store.check import check
from merkl.store.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def quarantine(store: LocalStore) -> list[str]:
    path = Path(store.directory, "quarantine")
    return sorted(item.name[:64] for item in path.iterdir()) if path.exists() else []


def settle(store: LocalStore, digest: Digest) -> None:
    """Read a blob until its stamp has been noted."""
    os.utime(blob_path(store, digest), ns=(0, 0))
    for _ in range(1000):
        assert store.read(digest) is not None
        row = store.database.read(
            lambda connection: connection.execute(
                "SELECT stamp FROM blob WHERE digest = ?", (digest,)
            ).fetchone()
        )
        if row[0] is not None:
            return
    raise AssertionError("the stamp never settled")


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit at the start": lambda data: flip(data, 0),
    "a bit at the end": lambda data: flip(data, len(data) - 1),
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one byte more": lambda data: data + b"x",
    "another blob": lambda data: large(2),
}


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside_and_is_a_miss(store: LocalStore, damage: str, settled: bool) -> None:
    digest = store.put([large(1)])
    if settled:
        settle(store, digest)
    overwrite(blob_path(store, digest), DAMAGES[damage](large(1)))

    with pytest.raises(StoreCorrupt, match=digest.short):
        store.open(digest)

    assert store.open(digest) is None
    assert store.has([digest]) == set()
    assert quarantine(store) == [digest.hex()]
    assert store.put([large(1)]) == digest
    assert store.read(digest) == large(1)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_bytes_in_the_database_are_set_aside(store: LocalStore, damage: str) -> None:
    digest = store.put([b"small bytes"])
    bad = DAMAGES[damage](b"small bytes")
    store.database.write(lambda c: c.execute("UPDATE blob SET bytes = ?", (bad,)))

    assert store.fetch(digest) is None

    assert [digest.short in note.text for note in store.take_notes()] == [True]
    assert store.open(digest) is None
    assert quarantine(store) == [digest.hex()]


def test_an_edit_that_restores_size_and_time_is_noticed(store: LocalStore) -> None:
    digest = store.put([large(1)])
    settle(store, digest)
    path = blob_path(store, digest)
    before = path.stat()

    overwrite(path, flip(large(1), 500))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert store.fetch(digest) is None


def test_two_good_files_with_swapped_names_are_noticed(store: LocalStore) -> None:
    one, two = store.put([large(1)]), store.put([large(2)])
    settle(store, one)
    settle(store, two)
    paths = blob_path(store, one), blob_path(store, two)
    spare = paths[0].with_name("spare")

    paths[0].rename(spare)
    paths[1].rename(paths[0])
    spare.rename(paths[1])

    assert store.fetch(one) is None and store.fetch(two) is None
    assert quarantine(store) == sorted([one.hex(), two.hex()])


def test_two_good_blobs_with_swapped_bytes_in_the_database_are_noticed(store: LocalStore) -> None:
    one, two = store.put([b"one"]), store.put([b"two"])
    swapped = [(b"two", one), (b"one", two)]
    store.database.write(lambda c: c.executemany("UPDATE blob SET bytes = ? WHERE digest = ?", swapped))

    assert store.fetch(one) is None and store.fetch(two) is None


def test_a_link_or_a_directory_in_place_of_a_blob_is_never_followed(
    store: LocalStore, tmp_path: Path
) -> None:
    digest = store.put([large(1)])
    path = blob_path(store, digest)
    (tmp_path / "elsewhere").write_bytes(large(1))
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")

    assert store.fetch(digest) is None
    assert (tmp_path / "elsewhere").read_bytes() == large(1)

    path.mkdir()
    assert store.fetch(digest) is None


def test_storing_again_heals_what_was_damaged_unseen(store: LocalStore) -> None:
    big, small = store.put([large(1)]), store.put([b"small"])
    settle(store, big)
    overwrite(blob_path(store, big), large(2))
    store.database.write(lambda c: c.execute("UPDATE blob SET bytes = x'00' WHERE bytes IS NOT NULL"))

    store.put([large(1)])
    store.put([b"small"])

    assert store.read(big) == large(1)
    assert store.read(small) == b"small"


def test_without_its_files_a_store_has_misses_and_takes_them_again(store: LocalStore) -> None:
    made, blobs = record("f", large(1))
    digest = store.put([large(1)])
    store.publish([(made, True)], {})
    shutil.rmtree(Path(store.directory, "blobs"))

    assert store.has(blobs) == set()
    assert store.fetch(digest) is None
    second, _ = record("f", large(2))
    store.put([large(2)])
    assert store.publish([(second, True)], {}) == [second], "a record whose blob is lost gives way"


def test_without_its_database_a_store_still_has_its_files(tmp_path: Path) -> None:
    first = LocalStore(tmp_path)
    made, _ = record("f", large(1))
    digest = first.put([large(1)])
    first.publish([(made, True)], {})
    first.close()
    for path in tmp_path.glob("store-*"):
        path.unlink()

    second = LocalStore(tmp_path)

    assert second.by_key([made.key]) == {}
    assert second.read(digest) == large(1)
    overwrite(blob_path(second, digest), large(2))
    assert second.fetch(digest) is None
    second.close()


def test_a_database_that_vanishes_under_an_open_store_is_no_error(store: LocalStore) -> None:
    made, blobs = record("f", b"1")
    store.publish([(made, True)], blobs)
    store.close()
    for path in Path(store.directory).glob("store-*"):
        path.unlink()

    assert store.by_key([made.key]) == {}
    assert store.publish([(made, True)], blobs) == [made]
    store.close()


def test_without_its_journal_a_store_is_right_about_what_it_has(tmp_path: Path) -> None:
    first = LocalStore(tmp_path / "a")
    made = [record(f"n{n}", b"%d" % n) for n in range(300)]
    for each, blobs in made:
        first.publish([(each, True)], blobs)
    shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns("*-wal"))
    first.close()

    second = LocalStore(tmp_path / "b")

    for key, back in second.by_key([each.key for each, _ in made]).items():
        assert back == next(each for each, _ in made if each.key == key)
    second.close()


@pytest.mark.parametrize("garbage", [b"", b"x", b"not a database" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_database_that_is_none_is_moved_aside_with_one_note(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "store-4.db").write_bytes(garbage)
    store = LocalStore(tmp_path)
    made, blobs = record("f", b"1")

    assert store.by_key([made.key]) == {}
    store.publish([(made, True)], blobs)

    assert store.by_key([made.key]) == {made.key: made}
    (note,) = store.take_notes()
    (aside,) = tmp_path.glob("store-4.db.damaged-*")
    assert "was damaged" in note.text and str(aside) in note.text and "merkl fsck" in note.hint
    assert aside.read_bytes() == garbage
    store.close()


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    digest = store.put([b"x"])
    store.database.write(lambda c: c.execute("UPDATE meta SET value = '99'"))
    store.database.read(lambda c: c.execute("PRAGMA user_version = 99"))
    store.close()

    with pytest.raises(SchemaTooNew, match="newer merkl") as refused:
        LocalStore(tmp_path).read(digest)

    assert "upgrade merkl" in refused.value.hint
    assert not list(tmp_path.glob("*damaged*"))


def test_a_version_that_only_seems_newer_is_damage(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put([b"x"])
    store.database.read(lambda c: c.execute("PRAGMA user_version = 1025"))
    store.close()

    assert LocalStore(tmp_path).read(Digest.of(b"x")) is None
    assert list(tmp_path.glob("*damaged*"))


def test_a_record_that_was_altered_is_no_record(store: LocalStore) -> None:
    changes = [
        "exit_code = 1", "seconds = 99.0", "started_ns = 1", "task = 'other'", "builder = 'other'", "inputs = '[]'",
        "key = randomblob(32)", "arguments = '{\"a\":2}'", "log = randomblob(32)", "outputs = '[]'", "outputs = NULL",
        "found = randomblob(32)", "metadata = 5", "task = x'ff'", "content_key = x'00'", "dependencies = x'ff'",
    ]  # fmt: skip
    for number, change in enumerate(changes):
        made, blobs = record(f"n{number}", b"%d" % number, arguments={"a": 1})
        store.publish([(made, True)], blobs)
        alter = f"UPDATE OR IGNORE record SET {change} WHERE seal = (SELECT record FROM name WHERE key = ?)"
        try:
            store.database.write(lambda c, a=alter, k=made.key: c.execute(a, (k,)))  # type: ignore[misc]
        except StoreError:
            continue  # SQLite itself would not have it.
        assert store.by_key([made.key]) in ({}, {made.key: made}), change
        if change != "outputs = NULL":
            assert store.by_key([made.key]) == {}, change
        assert store.publish([(made, True)], blobs) == [made]
        assert store.by_key([made.key]) == {made.key: made}, change


def build_sample(directory: Path) -> dict[Key, Record]:
    store = LocalStore(directory)
    made = {}
    for n in range(60):
        each, blobs = record(f"n{n}", b"%d" % n * 50, arguments={"n": n}, seconds=float(n))
        store.publish([(each, True)], blobs)
        store.alias(key_of("alias", n), each)
        made[each.key] = each
        made[key_of("alias", n)] = each
    store.close()
    return made


def use_everything(store: LocalStore, made: dict[Key, Record]) -> None:
    """Read all, write one: whatever is returned is right."""
    for key, back in store.by_key(list(made)).items():
        assert back == made[key]
    contents = {each.content_key: each for each in made.values()}
    for content_key, several in store.by_content_key(list(contents)).items():
        assert several == [contents[content_key]]
    for each in contents.values():
        for artifact in each.outputs.values():
            data = store.read(artifact.digest)
            assert data is None or Digest.of(data) == artifact.digest
    new, blobs = record("new", b"new")
    assert store.publish([(new, True)], blobs) == [new]
    assert store.by_key([new.key]) in ({new.key: new}, {})  # An index may be what is damaged.
    check(store, repair=True)
    assert store.publish([(new, True)], blobs) == [new]
    assert store.by_key([new.key]) == {new.key: new}
    assert check(store).is_clean


@pytest.mark.parametrize("seed", range(4))
def test_any_flipped_byte_of_the_database_gives_misses_and_no_lies(tmp_path: Path, seed: int) -> None:
    made = build_sample(tmp_path / "sample")
    (database,) = (tmp_path / "sample").glob("store-*.db")
    data = database.read_bytes()
    choose = random.Random(seed)
    # Every fourth in the header and the first pages, where structure is densest.
    places = [choose.randrange(len(data) if n % 4 else 4096) for n in range(25)]
    for number, at in enumerate(places):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        (directory / database.name).write_bytes(
            data[:at] + bytes([data[at] ^ choose.randrange(1, 256)]) + data[at + 1 :]
        )
        store = LocalStore(directory)
        try:
            use_everything(store, made)
        finally:
            store.close()
        shutil.rmtree(directory)


def test_a_truncated_database_gives_misses_and_no_lies(tmp_path: Path) -> None:
    made = build_sample(tmp_path / "sample")
    (database,) = (tmp_path / "sample").glob("store-*.db")
    data = database.read_bytes()
    for number, size in enumerate((0, 10, 100, 4095, 4096, 20_000, len(data) // 2, len(data) - 1)):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        (directory / database.name).write_bytes(data[:size])
        store = LocalStore(directory)
        use_everything(store, made)
        store.close()


def test_damage_that_shows_while_a_store_is_open(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    made, blobs = record("f", b"1")
    store.publish([(made, True)], blobs)
    store.database.read(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    (database,) = tmp_path.glob("store-*.db")
    with open(database, "r+b") as file:
        file.seek(100)
        file.write(os.urandom(database.stat().st_size - 100))
    other = LocalStore(tmp_path)

    assert other.by_key([made.key]) == {}
    assert other.publish([(made, True)], blobs) == [made]
    store.by_key([made.key])
    store.close()  # Which removes the old journal by name: the new database has another.

    assert other.by_key([made.key]) == {made.key: made}
    assert LocalStore(tmp_path).by_key([made.key]) == {made.key: made}
    other.close()


def test_a_view_of_the_database_by_hand_is_readable_json(store: LocalStore) -> None:
    made, blobs = record("compile", b"object", arguments={"level": 3})
    store.publish([(made, True)], blobs)
    (database,) = Path(store.directory).glob("store-*.db")

    connection = sqlite3.connect(database)
    query = (
        "SELECT task, json_extract(arguments, '$.level'), json_extract(outputs, '$[0].digest') FROM record "
        "WHERE json_extract(arguments, '$.level') > 2"
    )
    rows = connection.execute(query).fetchall()
    connection.close()

    assert rows == [("compile", 3, Digest.of(b"object").hex())]


def test_the_largest_small_and_the_smallest_large_blob_lie_where_they_should(store: LocalStore) -> None:
    small, big = store.put([large(1, LARGE - 1)]), store.put([large(1)])

    assert not blob_path(store, small).exists()
    assert blob_path(store, big).stat().st_mode & 0o777 == 0o444

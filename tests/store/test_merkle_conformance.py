"""What every place for records does: the first of a key wins, as long as what it promises is there."""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from shared_stores import SHARED
from store_samples import found, record, tree_of

from merkl.digest import Digest, content_key_of, key_of
from merkl.nodes import Artifact
from merkl.store.base import Discovered, Record, Shared


@pytest.fixture(params=SHARED)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    made = SHARED[request.param](tmp_path)
    yield made
    made.close()


def stored(store: Shared, made: Record, blobs: Mapping[Digest, bytes]) -> Record:
    """Store contents, then the record that names them; the record that counts."""
    for data in blobs.values():
        store.put([data])
    return store.file(made)


def test_a_record_that_is_not_there_is_left_out(store: Shared) -> None:
    assert store.by_key([key_of("absent")]) == {} == store.by_content_key([content_key_of("absent")])
    assert store.forget([key_of("absent"), content_key_of("absent")]) == 0


def test_a_record_comes_back_whole(store: Shared) -> None:
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

    stored(store, made, blobs)

    assert store.by_key([made.key]) == {made.key: made}
    assert store.by_content_key([made.content_key]) == {made.content_key: [made]}
    assert store.read(Digest.of(b"object")) == b"object"


def test_outputs_keep_their_order_and_names_that_are_not_utf8(store: Shared) -> None:
    outputs = {
        name: Artifact("file", Digest.of(name.encode("utf-8", "surrogateescape")), 1, True, "", name + ".o")
        for name in ("z", "", "a", "\udcff\n\"'", "ü")
    }
    made, _ = record("order", outputs=outputs)

    store.file(made)

    back = store.by_key([made.key])[made.key]
    assert list(back.outputs.items()) == list(outputs.items())


def test_a_record_can_be_pickled(store: Shared) -> None:
    made, blobs = record("travels", b"x", arguments={"a": 1}, discovered=found(h=b"1"))
    stored(store, made, blobs)

    assert pickle.loads(pickle.dumps(store.by_key([made.key])[made.key])) == made


def test_the_first_record_of_a_content_key_wins(store: Shared) -> None:
    first, first_blobs = record("roll", b"1", content=content_key_of("same"), key=key_of(1))
    second, second_blobs = record("roll", b"2", content=content_key_of("same"), key=key_of(2))
    stored(store, first, first_blobs)

    assert stored(store, second, second_blobs) == first

    assert store.by_key([key_of(1), key_of(2)]) == {key_of(1): first, key_of(2): first}
    assert store.by_content_key([content_key_of("same")]) == {content_key_of("same"): [first]}


def test_the_first_record_of_a_key_wins(store: Shared) -> None:
    first, first_blobs = record("f", b"1", key=key_of("k"), content=content_key_of(1))
    second, second_blobs = record("f", b"2", key=key_of("k"), content=content_key_of(2))
    stored(store, first, first_blobs)

    assert stored(store, second, second_blobs) == second

    assert store.by_key([key_of("k")]) == {key_of("k"): first}
    assert store.by_content_key([content_key_of(2)])[content_key_of(2)] == [second]


def test_a_record_whose_blobs_are_lost_gives_way(store: Shared) -> None:
    first, _ = record("roll", b"1", content=content_key_of("same"), key=key_of(1))
    second, blobs = record("roll", b"2", content=content_key_of("same"), key=key_of(2))
    store.file(first)

    assert stored(store, second, blobs) == second

    assert store.by_key([key_of(2)]) == {key_of(2): second}
    assert store.by_content_key([second.content_key]) == {second.content_key: [second]}


def test_a_record_that_lost_a_file_inside_a_directory_gives_way(store: Shared) -> None:
    lost, kept = tree_of({b"d/f": b"1"}), tree_of({b"d/f": b"2"})
    records = []
    for n, tree in enumerate((lost, kept)):
        artifact = Artifact("dir", tree.digest, tree.size)
        records.append(record("tree", content=content_key_of("t"), key=key_of(n), outputs={"": artifact})[0])
    stored(store, records[0], {lost.digest: lost.encode()})

    kept_blobs = {kept.digest: kept.encode(), Digest.of(b"2"): b"2"}
    assert stored(store, records[1], kept_blobs) == records[1]
    assert stored(store, records[0], {}) == records[1]
    assert store.present([records[0].outputs[""], records[1].outputs[""]]) == {kept.digest}


def test_records_that_discovered_different_inputs_stand_side_by_side(store: Shared) -> None:
    content = content_key_of("cc")
    one, _ = record("cc", b"1", content=content, key=key_of(1), discovered=found(h=b"1"))
    two, _ = record("cc", b"2", content=content, key=key_of(2), discovered=found(h=b"2"))
    again, _ = record("cc", b"1", content=content, key=key_of(3), discovered=found(h=b"1"))
    for each in (one, two, again):
        store.file(each, under_key=False)

    assert sorted(store.by_content_key([content])[content], key=lambda each: each.key) == sorted(
        [one, two], key=lambda each: each.key
    )
    assert store.by_key([key_of(n) for n in (1, 2, 3)]) == {}


def test_a_record_under_one_more_key(store: Shared) -> None:
    made, blobs = record("f", b"1")
    stored(store, made, blobs)

    store.alias(key_of("other"), made)
    store.alias(key_of("other"), made)

    assert store.by_key([key_of("other")])[key_of("other")] == made


def test_an_alias_of_a_record_that_was_removed_files_it_again(store: Shared) -> None:
    made, blobs = record("f", b"1")
    stored(store, made, blobs)
    assert store.forget([made.key]) == 1

    store.alias(key_of("other"), made)

    assert store.by_key([made.key, key_of("other")]) == {key_of("other"): made}


def test_forgetting_takes_every_name_and_nothing_else(store: Shared) -> None:
    made, blobs = record("f", b"1")
    other, other_blobs = record("g", b"2")
    stored(store, made, blobs)
    stored(store, other, other_blobs)
    store.alias(key_of("alias"), made)

    assert store.forget([key_of("alias")]) == 1
    assert store.by_key([made.key, key_of("alias"), other.key]) == {other.key: other}
    assert store.by_content_key([made.content_key]) == {}
    assert store.forget([other.content_key]) == 1
    assert store.by_key([other.key]) == {}


def test_arguments_that_are_no_json_are_kept_as_text(store: Shared) -> None:
    made, _ = record("f", arguments={"x": float("nan"), "y": {1: b"z"}, "n": 10**5000, "s": {1}})

    store.file(made)

    assert list(store.by_key([made.key])[made.key].arguments) == ["x", "y", "n", "s"]

"""Many results that are filed at once: the store is then as if they had been filed one after another."""

import os
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from store_samples import record

from merkl.digest import Digest, content_key_of, key_of
from merkl.nodes import Artifact
from merkl.store.base import Record
from merkl.store.check import check
from merkl.store.local import LocalStore

Result = tuple[Record, dict[Digest, bytes], bool]


def result(n: int, *, content: int, data: bytes, kind: Any = "value", under_key: bool = True) -> Result:
    artifact = Artifact(kind, Digest.of(data), len(data), serializer="json" if kind == "value" else "")
    made, _ = record(
        f"call {n}", outputs={"": artifact}, key=key_of(f"{n}"), content=content_key_of(f"{content}")
    )
    return made, {artifact.digest: data}, under_key


def some(seed: int) -> list[Result]:
    """Results of which some have a key, a content key or bytes in common with others, or are no values."""
    chance = random.Random(seed)
    return [
        result(
            chance.randrange(12),
            content=chance.randrange(12),
            data=b"[%d]" % chance.randrange(8),
            kind=chance.choice(["value", "value", "file"]),
            under_key=chance.random() < 0.9,
        )
        for _ in range(chance.randrange(2, 9))
    ]


def publish(store: LocalStore, results: list[Result]) -> None:
    blobs = {digest: data for _, each, _ in results for digest, data in each.items()}
    store.publish([(made, under_key) for made, _, under_key in results], blobs)


def seen(store: LocalStore) -> Any:
    keys = [key_of(f"{n}") for n in range(100)]
    contents = [content_key_of(f"{n}") for n in range(100)]
    answers = {key: store.answer(key) for key in keys}
    return store.by_key(keys), store.by_content_key(contents), answers


@pytest.mark.parametrize("seed", range(8))
def test_it_makes_no_difference_whether_results_are_filed_at_once(tmp_path: Path, seed: int) -> None:
    together, alone = (LocalStore(str(tmp_path / name)) for name in ("together", "alone"))
    for batch in (
        some(seed),
        some(seed + 1000),
        [result(n, content=n, data=b"[%d]" % n) for n in range(50, 90)],
    ):
        publish(together, batch)
        for each in batch:
            publish(alone, [each])
    assert seen(together) == seen(alone)
    assert check(together) == check(alone)
    together.close()
    alone.close()


def test_what_is_new_is_filed_with_few_statements(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "store"))
    publish(store, [result(0, content=0, data=b"[0]")])
    results = [result(n, content=n, data=b"[%d]" % n) for n in range(1, 60)]
    asked: list[str] = []
    store.database.read(lambda connection: connection.set_trace_callback(asked.append))
    publish(store, results)
    store.database.read(lambda connection: connection.set_trace_callback(None))
    assert not [text for text in asked if text.startswith(("SELECT", "UPDATE"))]
    store.close()


def test_short_contents_are_read_at_once_without_those_that_are_damaged(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "store"))
    data = [b"[%d]" % n for n in range(700)] + [os.urandom(200_000)]
    publish(store, [result(n, content=n, data=each) for n, each in enumerate(data[:-1])])
    store.put([data[-1]])
    path = store.database.path
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE blob SET bytes = CAST('[0]' AS BLOB) WHERE digest = ?", (bytes(Digest.of(b"[1]")),)
        )
    connection.close()
    asked = [Digest.of(each) for each in [*data, b"never stored"]]
    expected = {Digest.of(each): each for each in data[:-1] if each != b"[1]"}
    assert store.small(asked) == expected
    store.close()

"""Answers that were read before they were asked for are what the database says at that moment, whoever has changed it."""

import multiprocessing
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store_samples import finish, python, record

from merkl.digest import Digest, Key, key_of
from merkl.nodes import Artifact
from merkl.store import walindex
from merkl.store.check import check
from merkl.store.choice import Keep
from merkl.store.collect import collect
from merkl.store.local import LocalStore

COUNT = 60
Change = Callable[[LocalStore], object]


def name(n: int) -> str:
    return f"call {n}"


def file(store: LocalStore, n: int, data: bytes) -> None:
    """File a small value, as a build does."""
    artifact = Artifact("value", Digest.of(data), len(data), serializer="json")
    made, _ = record(name(n), outputs={"": artifact})
    store.publish([(made, True)], {artifact.digest: data})


def value(n: int) -> bytes:
    return b"[%d]" % n


def ask(store: LocalStore, n: int) -> bytes | None:
    answer = store.answer(key_of(name(n)))
    return None if answer is None else answer.data


def keys(*numbers: int) -> list[Key]:
    return [key_of(name(n)) for n in numbers]


def questions(store: LocalStore) -> list[str]:
    """What this thread asks SQLite from now on."""
    asked: list[str] = []
    store.database.read(lambda connection: connection.set_trace_callback(asked.append))
    return asked


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    """A store with ``COUNT`` answers, of which some were read ahead."""
    store = LocalStore(str(tmp_path / "store"))
    for n in range(COUNT):
        file(store, n, value(n))
    assert [ask(store, n) for n in range(3)] == [value(n) for n in range(3)]
    asked = questions(store)
    assert ask(store, 3) == value(3) and not asked
    yield store
    store.close()


def test_who_asks_in_the_order_of_filing_asks_sqlite_seldom(store: LocalStore) -> None:
    asked = questions(store)
    assert [ask(store, n) for n in range(COUNT)] == [value(n) for n in range(COUNT)]
    assert 0 < len(asked) <= 10


def test_who_asks_for_what_several_workers_filed_in_batches_asks_sqlite_seldom(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "store"))
    for start in range(0, 300, 60):
        for n in (*range(start, start + 60, 2), *range(start + 1, start + 60, 2)):
            file(store, n, value(n))
    asked = questions(store)
    for _ in range(2):
        assert [ask(store, n) for n in range(300)] == [value(n) for n in range(300)]
    assert 0 < len(asked) <= 60
    store.close()


def test_nothing_is_read_ahead_for_one_question_or_for_others_here_and_there(store: LocalStore) -> None:
    store.close()
    asked = questions(store)
    for n in (50, 5, 30, 10, 58, 0):
        assert ask(store, n) == value(n)
    assert len(asked) == 6 and not any(" LIMIT " in each for each in asked)


def forget(store: LocalStore) -> None:
    store.forget(keys(3))


def collect_all(store: LocalStore) -> None:
    collect(store, Keep(older_than_days=-1, grace_s=-1))


def mislead(store: LocalStore) -> None:
    store.database.write(lambda connection: connection.execute("UPDATE name SET record = zeroblob(32)"))


def lose_record(store: LocalStore) -> None:
    store.database.write(lambda connection: connection.execute("UPDATE record SET exit_code = 7"))
    store.database.write(lambda connection: connection.execute("UPDATE answer SET form = x'00'"))
    check(store)


@pytest.mark.parametrize("change", [forget, collect_all, mislead, lose_record])
def test_what_another_connection_removes_is_gone_at_once(store: LocalStore, change: Change) -> None:
    other = LocalStore(store.directory)
    change(other)
    assert ask(store, 3) is None
    other.close()


def test_what_another_process_removes_or_replaces_is_seen_at_once(store: LocalStore) -> None:
    process = python(
        """
        from merkl.store.local import LocalStore
        from test_reading_ahead import file, keys

        store = LocalStore(sys.argv[1])
        for line in sys.stdin:
            n = int(line)
            store.forget(keys(n))
            if n > 3:
                file(store, n, b"[true]")
            print(n, flush=True)
        """,
        store.directory,
    )
    assert process.stdin and process.stdout
    for n in (3, 4, 5, 6):
        assert ask(store, n + 1) == value(n + 1)
        process.stdin.write(f"{n}\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{n}\n"
        assert ask(store, n) == (b"[true]" if n > 3 else None)
    finish(process)
    assert [ask(store, n) for n in range(8, COUNT)] == [value(n) for n in range(8, COUNT)]


def test_what_was_filed_while_the_store_was_closed_is_seen(store: LocalStore) -> None:
    other = LocalStore(store.directory)
    store.close()
    other.forget(keys(4))
    other.close()
    assert ask(store, 3) == value(3) and ask(store, 4) is None and ask(store, 5) == value(5)


def test_a_forked_child_and_its_parent_see_what_the_other_does(store: LocalStore) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        before = [ask(store, n) for n in range(3, 10)]
        store.forget(keys(8))
        answers.put((before, ask(store, 8), ask(store, 9)))
        os._exit(0)

    process = context.Process(target=child)
    process.start()
    assert answers.get() == ([value(n) for n in range(3, 10)], None, value(9))
    process.join()
    assert ask(store, 8) is None and [ask(store, n) for n in (9, 10, 11)] == [value(n) for n in (9, 10, 11)]


def test_an_unfinished_transaction_changes_nothing(store: LocalStore) -> None:
    other = sqlite3.connect(os.path.join(store.directory, "store-1.db"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM answer")
    assert ask(store, 3) == value(3)
    other.execute("ROLLBACK")
    assert ask(store, 4) == value(4)
    other.close()


def test_bytes_that_are_damaged_are_not_given(store: LocalStore) -> None:
    other = LocalStore(store.directory)
    other.database.write(lambda connection: connection.execute("UPDATE blob SET bytes = CAST('7' AS BLOB)"))
    assert [ask(store, n) for n in range(COUNT)] == [None] * COUNT
    other.close()


def test_nothing_is_read_ahead_where_nobody_could_tell_whether_it_holds(store: LocalStore) -> None:
    store.close()
    with sqlite3.connect(os.path.join(store.directory, "store-1.db")) as connection:
        connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.close()
    assert [ask(store, n) for n in range(COUNT)] == [value(n) for n in range(COUNT)]
    assert store.database.header() is None
    store.close()
    with sqlite3.connect(os.path.join(store.directory, "store-1.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    store.database._open = store.database._open_read_only  # type: ignore[method-assign]
    assert [ask(store, n) for n in range(COUNT)] == [value(n) for n in range(COUNT)]
    assert store.database.header() is None


def test_large_values_are_not_kept_in_memory(store: LocalStore) -> None:
    for n in range(COUNT, COUNT + 9):
        file(store, n, b"%5000d" % n)
    for n in range(COUNT, COUNT + 9):
        assert ask(store, n) == b"%5000d" % n
    assert sum(len(row[2]) for row in store._ahead._read[0].values()) < 5000


LOCKED = """
import fcntl
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
    except OSError:
        print("locked")
"""


def test_sqlites_own_locks_outlive_another_store_of_the_same_directory(store: LocalStore) -> None:
    other = LocalStore(store.directory)
    assert [ask(other, n) for n in range(COUNT)] == [value(n) for n in range(COUNT)]
    other.close()
    assert ask(store, 3) == value(3)
    shared = os.path.join(store.directory, "store-1.db-shm")
    assert finish(python(LOCKED, shared)) == "locked\n"  # By which SQLite says that the file is in use.
    status = os.stat(os.path.join(store.directory, "store-1.db"))
    identity = status.st_dev, status.st_ino
    kept = walindex._held, walindex._mapped, walindex._files
    assert all(identity in each for each in kept)
    store.close()
    assert not any(identity in each for each in kept)

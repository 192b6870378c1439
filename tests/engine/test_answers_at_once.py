"""A Future whose small value is in the store is evaluated without a build; in every other case there is one."""

import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from merkl import FileRef, Future, batch, task
from merkl.config import load_config
from merkl.engine.evaluating import Quiet, evaluate
from merkl.engine.project import Project
from merkl.events import Event, Started
from merkl.nodes import using
from merkl.store.check import check
from merkl.store.choice import Keep
from merkl.store.collect import collect


@task(version="1", outs=1)
def counted(n: Any, log: str) -> Any:
    with open(log, "a", encoding="utf-8") as runs:
        runs.write(f"{n}\n")
    return {"n": n}


@task(version="1")
def both(n: Any) -> Any:
    return n, [n]


@task(version="1")
def written(n: Any) -> Any:
    import os

    path = os.path.join(os.environ["TMPDIR"], "n.txt")
    with open(path, "w", encoding="utf-8") as out:
        out.write(f"{n}")
    return FileRef(path)


class Place:
    """A project in a directory; ``builds`` counts the evaluations that were a build."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.builds = 0
        self.project = self.open()

    def open(self) -> Project:
        project = Project(load_config(str(self.path), environ={}, jobs=1))

        def build(opened: Project, futures: Sequence[Future[Any]]) -> list[Any]:
            self.builds += 1
            return evaluate(opened, futures)

        project.builder = build
        return project

    def built(self, future: Future[Any]) -> bool:
        """Evaluate; whether that took a build."""
        before = self.builds
        future.eval()
        return self.builds > before

    def call(self, n: Any) -> Future[Any]:
        made: Future[Any] = counted(n, str(self.path / "runs"))
        return made

    def runs(self) -> int:
        return len((self.path / "runs").read_text().splitlines())

    def sql(self, statement: str, *values: Any) -> None:
        """Change the store as another process might."""
        self.project.close()
        with sqlite3.connect(self.path / ".merkl/store/store-1.db") as connection:
            connection.execute(statement, values)
        connection.close()

    def rows(self, query: str, *values: Any) -> list[Any]:
        """What another process would read."""
        with sqlite3.connect(self.path / ".merkl/store/store-1.db") as connection:
            found = connection.execute(query, values).fetchall()
        connection.close()
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    (tmp_path / "merkl.yaml").touch()
    monkeypatch.chdir(tmp_path)
    opened = Place(tmp_path)
    with using(opened.project):
        yield opened
    opened.project.close()


VALUES = [
    1,
    "text",
    "",
    None,
    True,
    1.5,
    "ünï",
    b"bytes",
    b"",
    [1, {"a": None}],
    (1, 2),
    {1, 2},
    2**70,
    float("inf"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_stored_is_had_without_a_build_and_is_what_a_build_gives(place: Place, value: Any) -> None:
    @task(version="1", hash_key="v")
    def same(n: Any) -> Any:
        return n

    future = same(value)
    assert not future.in_cache() and place.built(future)
    again = future.eval()
    assert place.builds == 1 and again == value and type(again) is type(value)
    assert again == evaluate(place.project, [future])[0]
    assert future.in_cache()


def test_a_result_with_dependencies_is_answered_and_they_need_not_be_there(place: Place) -> None:
    first = place.call(1)
    second = place.call([first, first])
    second.eval()
    first.clear_cache()
    assert not place.built(second) and place.runs() == 2
    assert not first.in_cache() and second.in_cache()


def test_several_outputs_and_files_take_the_longer_way(place: Place) -> None:
    left, right = both(3)
    assert left.eval() == 3 and right.eval() == [3] and right.in_cache()
    path = written(5)
    assert path.eval().name == "n.txt" and path.in_cache()
    with open(path.eval(), encoding="utf-8") as text:
        assert text.read() == "5"


def damaged_value(place: Place) -> None:
    place.sql("UPDATE blob SET bytes = ?", b'{"n":2}')


def lost_value(place: Place) -> None:
    place.sql("DELETE FROM blob")


def damaged_record(place: Place) -> None:
    place.sql("UPDATE record SET outputs = replace(outputs, 'json', 'text')")
    place.sql("DELETE FROM answer")


def misled_name(place: Place) -> None:
    place.sql("UPDATE name SET record = zeroblob(32)")


def lost_name(place: Place) -> None:
    place.sql("DELETE FROM name")


def no_text_any_more(place: Place) -> None:
    place.sql("UPDATE record SET outputs = 3, inputs = 4")
    place.sql("DELETE FROM answer")


def other_bytes(place: Place) -> None:
    place.sql("UPDATE answer SET blob = (SELECT max(id) FROM blob WHERE id <> answer.blob)")


def no_number_any_more(place: Place) -> None:
    place.sql("UPDATE blob SET bytes = 3")


@pytest.mark.parametrize(
    ("fault", "runs"),
    [
        (damaged_value, 2),
        (lost_value, 2),
        (damaged_record, 2),
        (misled_name, 1),
        (lost_name, 1),
        (no_text_any_more, 2),
        (no_number_any_more, 2),
    ],
)
def test_what_is_damaged_or_lost_is_left_to_a_build(
    place: Place, fault: Callable[[Place], None], runs: int
) -> None:
    future = place.call(1)
    future.eval()
    fault(place)
    assert place.built(future) and future.eval() == {"n": 1}
    assert place.runs() == runs
    assert future.in_cache() and (runs == 1 or not place.built(future))


def test_a_use_is_noted_once_a_day(place: Place) -> None:
    future = place.call(1)
    future.eval()
    place.sql("UPDATE record SET used_at = ?", int(time.time()) - 100_000)
    place.sql("UPDATE answer SET used_at = ?", int(time.time()) - 100_000)
    assert place.built(future)
    assert place.rows("SELECT count(*) FROM answer WHERE used_at < ?", int(time.time()) - 50_000) == [(0,)]
    assert not place.built(future) and place.runs() == 1


def altered_answer(place: Place) -> None:
    place.sql("UPDATE answer SET form = CAST('text' AS BLOB)")


def altered_seal(place: Place) -> None:
    place.sql("UPDATE answer SET seal = 5, used_at = 'x'")


def lost_answer(place: Place) -> None:
    place.sql("DELETE FROM answer")


@pytest.mark.parametrize("fault", [altered_answer, altered_seal, other_bytes, lost_answer])
def test_a_short_answer_that_is_damaged_or_lost_costs_a_longer_look(
    place: Place, fault: Callable[[Place], None]
) -> None:
    future, other = place.call(1), place.call(2)
    future.eval()
    other.eval()
    fault(place)
    assert not place.built(future) and future.eval() == {"n": 1} and other.eval() == {"n": 2}
    assert place.runs() == 2


def test_no_answer_outlives_its_name(place: Place) -> None:
    first, second, third = (place.call(n) for n in range(3))
    for future in (first, second, third):
        future.eval()
    first.clear_cache()
    assert place.rows("SELECT count(*) FROM answer") == [(2,)]
    place.sql("UPDATE name SET record = zeroblob(32) WHERE key = ?", bytes(second.node.key))
    assert place.rows("SELECT count(*) FROM answer") == [(1,)]
    assert place.built(second) and not place.built(third)
    collect(place.project.store, Keep(older_than_days=-1, grace_s=-1))
    assert place.rows("SELECT count(*) FROM answer") == place.rows("SELECT count(*) FROM name") == [(0,)]


def test_fsck_removes_answers_that_do_not_fit(place: Place) -> None:
    for n in range(3):
        place.call(n).eval()
    place.sql("UPDATE answer SET form = x'00' WHERE number = (SELECT min(number) FROM answer)")
    place.sql(
        "INSERT INTO answer SELECT 9, 5, seal, form, used_at, blob FROM answer ORDER BY number DESC LIMIT 1"
    )
    assert check(place.project.store).is_clean
    assert place.rows("SELECT count(*) FROM answer WHERE number <> 5") == [(2,)]
    assert place.rows("SELECT count(*) FROM answer") == [(2,)]


def test_a_store_of_an_earlier_merkl_is_answered_from(place: Place) -> None:
    future = place.call(1)
    future.eval()
    place.sql("DROP TRIGGER unnamed")
    place.sql("DROP TRIGGER renamed")
    place.sql("DROP TABLE answer")
    place.sql("ALTER TABLE record DROP COLUMN origin")
    place.sql("ALTER TABLE name DROP COLUMN answer")
    place.sql("UPDATE meta SET value = '1' WHERE name = 'schema'")
    place.sql("PRAGMA user_version = 1")
    assert not place.built(future) and place.runs() == 1
    assert place.built(place.call(2)) and not place.built(place.call(2))
    assert place.rows("SELECT count(*) FROM answer") == [(1,)]
    place.call(2).clear_cache()
    assert place.rows("SELECT count(*) FROM answer") == [(0,)]


def test_a_future_that_is_to_be_placed_or_needs_one_is_built(place: Place) -> None:
    first = place.call(1)
    second = place.call([first])
    second.eval()
    first > "first.json"
    other = place.call(7)
    assert place.built(second) and (place.path / "first.json").read_text() == '{"n": 1}\n'
    assert place.built(other) and not place.built(other)
    assert place.runs() == 3


def test_a_task_that_is_not_cached_runs_each_time_and_so_does_what_needs_it(place: Place) -> None:
    @task(cache=False)
    def now() -> int:
        return 1

    future = place.call(now())
    future.eval()
    assert place.built(now()) and place.built(future)


def test_who_waits_for_a_future_hears_of_it(place: Place) -> None:
    future, heard = place.call(1), []
    future.on_completed(heard.append)
    other = place.open()
    evaluate(other, [future])
    other.close()
    future.eval()
    assert heard == [future]


def test_what_another_session_forgets_or_makes_is_seen_at_once(place: Place) -> None:
    future, other = place.call(1), place.open()
    future.eval()
    other.clear([future])
    assert not future.in_cache() and place.built(future) and place.runs() == 2
    evaluate(other, [place.call(2)])
    other.close()
    assert not place.built(place.call(2))


def test_a_store_that_was_taken_away_is_begun_anew(place: Place) -> None:
    future = place.call(1)
    future.eval()
    place.project.close()
    for path in (place.path / ".merkl/store").glob("store-1.db*"):
        path.unlink()
    assert not future.in_cache() and place.built(future) and not place.built(future)


def test_threads_and_forked_children_are_answered_too(place: Place) -> None:
    futures = [place.call(n) for n in range(8)]
    evaluate(place.project, futures)
    found: list[Any] = []

    def ask() -> None:
        with using(place.project):
            found.extend(future.eval() for future in futures)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each["n"] for each in found].count(3) == 4 and len(found) == 32

    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put([future.eval() for future in futures]))
    child.start()
    assert answers.get() == [{"n": n} for n in range(8)]
    child.join()
    assert place.builds == 0 and place.runs() == 8


class Broken(Quiet):
    """A reporter with a bug."""

    def report(self, event: Event) -> None:
        """Fail as soon as something was started."""
        super().report(event)
        if isinstance(event, Started):
            raise ZeroDivisionError


def test_an_error_that_nobody_expected_leaves_nothing_locked(place: Place, tmp_path: Path) -> None:
    @task(version="1")
    def twice(n: int) -> int:
        return 2 * n

    @batch(twice)
    def all_twice(ns: list[int]) -> list[int]:
        return [2 * n for n in ns]

    for futures, values in ([counted(1, str(tmp_path / "log"))], [{"n": 1}]), (all_twice([1, 2]), [2, 4]):
        with pytest.raises(ZeroDivisionError):
            evaluate(place.project, futures, make_reporter=Broken)
        assert evaluate(place.project, futures) == values

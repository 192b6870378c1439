"""What is remembered of files is found, however much of it is in memory."""

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from merkl.workspace.database import Database
from merkl.workspace.remembered import Remembered

COUNT = 6000
PATHS = [b"%02d/%04d" % (n // 1000, n) for n in range(COUNT)]
VALUE = 93 * b"x"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """One that remembers every path that ends with an even number."""
    opened = Database(str(tmp_path / "index.db"))
    Remembered(opened).set_all([(path, path + VALUE) for path in PATHS[::2]])
    opened.flush()
    yield opened
    opened.close()


def expected(path: bytes) -> bytes | None:
    return path + VALUE if path[-1] % 2 == 0 else None


@pytest.mark.parametrize("large", [0, 1 << 30])
@pytest.mark.parametrize("order", ["sorted", "backwards", "at random", "two lists"])
def test_each_is_found_in_any_order(database: Database, order: str, large: int) -> None:
    paths = list(PATHS)
    if order == "backwards":
        paths.reverse()
    if order == "at random":
        random.Random(1).shuffle(paths)
    if order == "two lists":
        half = COUNT // 2
        paths = [path for pair in zip(PATHS[:half], PATHS[half:], strict=True) for path in pair]
    known = Remembered(database, large=large)

    assert [known.get(path) for path in paths] == [expected(path) for path in paths]


def test_what_was_written_and_forgotten_just_now_is_found_so(database: Database) -> None:
    known = Remembered(database, large=0)
    rng = random.Random(2)
    now: dict[bytes, bytes | None] = {path: expected(path) for path in PATHS}
    for n, path in enumerate(rng.choices(PATHS, k=COUNT)):
        near = PATHS[(n * 3) % COUNT]
        match rng.randrange(6):
            case 0:
                now[path] = b"%d" % n
                known.set(path, b"%d" % n)
            case 1:
                now[path] = None
                known.forget(path)
        assert known.get(near) == now[near]
        assert known.get(path) == now[path]

    assert Remembered(database, large=0).read_all() == {path: value for path, value in now.items() if value}


def test_what_is_written_while_there_is_no_more_room_is_found_beside_what_was_read(
    database: Database,
) -> None:
    known = Remembered(database, large=0)
    assert [known.get(path) for path in PATHS[:17]] == [expected(path) for path in PATHS[:17]]
    # With the 16 that were looked up, and the 512 that were read with the last, as many as there is room for.
    for path in PATHS[2000 : 2000 + 4096 - 16 - 512]:
        known.set(path, b"new")

    assert known.get(PATHS[1999]) is None
    assert known.get(PATHS[2000]) == b"new"


def test_of_a_large_table_that_is_gone_through_in_order_little_is_in_memory(database: Database) -> None:
    paths = [b"more/%05d" % n for n in range(40_000)]
    Remembered(database).set_all([(path, VALUE) for path in paths])
    known = Remembered(database, large=0)
    tracemalloc.start()
    try:
        assert all(known.get(path) for path in paths)
        assert tracemalloc.get_traced_memory()[0] < 2_000_000  # All would be five times that.
    finally:
        tracemalloc.stop()

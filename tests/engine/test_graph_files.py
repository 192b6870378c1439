"""A kept graph is read back as it was written, with what changed since; where it is damaged, it is none or says so."""

import os
import random
from pathlib import Path
from typing import Any

import pytest

from merkl.engine.graphfile import read_graph, write_changes, write_graph
from merkl.engine.kept import Kept
from merkl.engine.rows import Numbers, Texts

COUNT = 600


def rows(seed: int, least: int = 20) -> list[bytes]:
    draw = random.Random(seed)
    return [draw.randbytes(draw.randrange(least, 200)) for _ in range(COUNT)]


def head() -> dict[str, Any]:
    return {
        "keys": Texts.write(rows(1)), "said": Texts.write(rows(2)), "sources": Texts.write(rows(3)),
        "deps": Numbers.write([[]] * COUNT), "reads": Numbers.write([[n] for n in range(COUNT)]),
        "flags": bytes(COUNT), "found": {}, "placed": random.Random(4).randbytes(50_000), "calls": b"",
        "saved": 1.5, "undone": [], "unsure": {}, "mere": {"a": 1},
    }  # fmt: skip


def all_of(kept: Kept) -> tuple[Any, ...]:
    every = [[each[n] for n in range(COUNT)] for each in (kept.keys, kept.said_of, kept.sources)]
    return *every, kept.head["placed"][:], kept.head["saved"], kept.head["undone"], kept.head["unsure"]


def read(root: Path, expected: bytes) -> Kept | None:
    return read_graph(str(root), "graph", expected, lambda _: None)


def whole(root: Path, expected: bytes) -> tuple[Any, ...] | None:
    """All of a graph; None if it is not there, or does not say all that was written."""
    try:
        kept = read(root, expected)
        return None if kept is None else all_of(kept)
    except OSError:
        return None


def files(root: Path) -> set[str]:
    return {path.name for path in (root / ".merkl/graphs").iterdir()}


def test_a_graph_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found = whole(tmp_path, write_graph(str(tmp_path), "graph", head()))
    assert found == (rows(1), rows(2), rows(3), head()["placed"], 1.5, [], {})


def test_a_few_changes_are_written_beside_it_and_many_into_it(tmp_path: Path) -> None:
    expected = write_graph(str(tmp_path), "graph", head())
    before = (tmp_path / ".merkl/graphs/graph").read_bytes()
    said = rows(2)
    draw = random.Random(5)
    for turn in range(12):
        kept = read(tmp_path, expected)
        assert kept is not None
        for number in draw.sample(range(COUNT), 20 if turn == 0 else 200):
            said[number] = kept.said_of[number] = draw.randbytes(draw.randrange(300))
        kept.head["saved"], kept.head["undone"] = turn, [turn]
        kept.head["unsure"] = {f"out/{turn}": (b"digest", False)}
        expected = write_changes(str(tmp_path), "graph", kept)
        state = turn, [turn], {f"out/{turn}": (b"digest", False)}
        assert whole(tmp_path, expected) == (rows(1), said, rows(3), head()["placed"], *state)
        if turn == 0:
            assert files(tmp_path) == {"graph", "graph.changes"}
            assert (tmp_path / ".merkl/graphs/graph").read_bytes() == before
    assert (tmp_path / ".merkl/graphs/graph").read_bytes() != before


def changed_once(root: Path) -> bytes:
    kept = read(root, write_graph(str(root), "graph", head()))
    assert kept is not None
    kept.said_of[7] = b"another"
    return write_changes(str(root), "graph", kept)


@pytest.mark.parametrize("name", ["graph", "graph.changes"])
def test_where_it_is_damaged_or_cut_off_nothing_else_is_read(tmp_path: Path, name: str) -> None:
    expected = changed_once(tmp_path)
    path = tmp_path / ".merkl/graphs" / name
    data = path.read_bytes()
    for at in range(0, len(data), len(data) // 60 + 1):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert whole(tmp_path, expected) is None, at
        path.write_bytes(data[:at])
        assert whole(tmp_path, expected) is None, at
    path.unlink()
    assert whole(tmp_path, expected) is None


def test_changes_of_another_graph_are_none(tmp_path: Path) -> None:
    expected = changed_once(tmp_path)
    changes = (tmp_path / ".merkl/graphs/graph.changes").read_bytes()
    other = write_graph(str(tmp_path), "graph", {**head(), "saved": 2.5})
    (tmp_path / ".merkl/graphs/graph.changes").write_bytes(changes)
    assert whole(tmp_path, expected) is None
    assert whole(tmp_path, other + expected[8:]) is None
    assert whole(tmp_path, other) == (rows(1), rows(2), rows(3), head()["placed"], 2.5, [], {})


def test_parts_that_nobody_looks_at_are_not_read(tmp_path: Path) -> None:
    expected = write_graph(str(tmp_path), "graph", head())
    path = tmp_path / ".merkl/graphs/graph"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    kept = read(tmp_path, expected)
    assert kept is not None
    assert [kept.said_of[n] for n in range(COUNT)] == rows(2)
    with pytest.raises(OSError, match="damaged"):
        kept.head["placed"][:]


def test_an_open_graph_stays_what_it_was_when_another_takes_its_place(tmp_path: Path) -> None:
    kept = read(tmp_path, write_graph(str(tmp_path), "graph", head()))
    assert kept is not None
    write_graph(str(tmp_path), "graph", {**head(), "said": Texts.write(rows(9))})
    assert [kept.said_of[n] for n in range(COUNT)] == rows(2)


def test_the_graphs_that_were_written_last_are_kept_each_with_what_changed_in_it(tmp_path: Path) -> None:
    folder = tmp_path / ".merkl/graphs"
    changed_once(tmp_path)
    os.utime(folder / "graph", (0, 0))  # A build of months ago, and a change of today.
    for n in range(10):
        write_graph(str(tmp_path), f"graph{n}", head())
        os.utime(folder / f"graph{n}", (n, n))
    assert files(tmp_path) == {"graph", "graph.changes", *(f"graph{n}" for n in range(3, 10))}
    os.utime(folder / "graph.changes", (0, 0))
    write_graph(str(tmp_path), "another", head())
    assert files(tmp_path) == {"another", *(f"graph{n}" for n in range(3, 10))}

"""What merkl did in the workspace is remembered, and outlives damage as far as it can be read."""

import os
import random
import sqlite3
import subprocess
import sys

import pytest

from merkl.digest import Digest, Key
from merkl.errors import SchemaTooNew
from merkl.nodes import Part
from merkl.workspace.ledger import LastStep, Ledger, Placement, SavedEdit

KEY = Key(bytes(range(32)))
PLACED = Placement("dir", Digest.of(b"1"), True, KEY, "small", "all", True, 123)


@pytest.fixture
def opened(tmp_path):
    made = []

    def open_():
        for old in made:
            old.close()
        made.append(Ledger(str(tmp_path)))
        return made[-1]

    yield open_
    for old in made:
        old.close()


def test_placements_are_remembered_by_path(opened):
    ledger = opened()
    ledger.set_placed("a/b", PLACED)
    ledger.set_placed("\udcff\n", PLACED)
    assert ledger.placed("a/b") == PLACED
    ledger.forget_placed("a/b")
    assert ledger.placed("a/b") is None
    ledger.set_placed("c", PLACED)

    ledger = opened()
    assert ledger.placed("a/b") is None
    assert ledger.all_placed() == {"\udcff\n": PLACED, "c": PLACED}


def test_many_placements_are_compared_from_one_look(opened):
    ledger = opened()
    for n in range(1200):
        ledger.set_placed(f"p{n}\udcff", PLACED)

    found = ledger.placed_now([f"p{n}\udcff" for n in range(0, 1300, 2)])

    assert [n for n in range(1300) if (f"p{n}\udcff", PLACED.digest, PLACED.key) in found] == [
        *range(0, 1200, 2)
    ]
    assert ("p0\udcff", PLACED.digest, Key(bytes(32))) not in found


def test_the_steps_that_did_not_fail_are_told_with_their_keys(opened):
    ledger = opened()
    ledger.set_steps({f"s{n}": LastStep(KEY, None, 0.0, (), "", ["ran", "failed"][n % 2]) for n in range(6)})

    assert ledger.ran_last([f"s{n}" for n in range(8)]) == {"s0": KEY, "s2": KEY, "s4": KEY}


def test_what_another_process_placed_is_known_here(opened, tmp_path):
    ledger = opened()
    assert ledger.placed("x") is None
    ledger.flush()
    other = Ledger(str(tmp_path))
    other.set_placed("x", PLACED)
    other.close()

    assert ledger.placed("x") == PLACED


def test_saved_edits_are_listed_latest_first_and_kept_at_once(opened, tmp_path):
    edits = [SavedEdit("out", Digest.of(bytes([n])), "file", n, 100 + n, n == 1) for n in range(3)]
    script = (
        "import os, sys\n"
        "from merkl.digest import Digest\n"
        "from merkl.workspace.ledger import Ledger, SavedEdit\n"
        "ledger = Ledger(sys.argv[1])\n"
        "for n in range(3):\n"
        "    ledger.add_saved(SavedEdit('out', Digest.of(bytes([n])), 'file', n, 100 + n, n == 1))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9

    ledger = opened()
    assert ledger.saved("out") == edits[::-1]
    assert ledger.saved("other") == []
    ledger.add_saved(SavedEdit("other", Digest.of(b""), "dir", 5, 999))
    assert [edit.path for edit in ledger.saved()] == ["other", "out", "out", "out"]


def test_targets_and_steps_are_remembered(opened):
    parts = (Part("argument", "size", "128"), Part("code", "f", "def f():\n  pass", "ab"))
    steps = {
        f"task{i}\udcff": LastStep(KEY, None if i % 2 else KEY, i / 4, parts, "log\udcff", "ran")
        for i in range(1200)
    }
    ledger = opened()
    assert ledger.targets() == []
    assert ledger.steps(["task1"]) == {}
    ledger.set_targets([{"name": "all", "description": "é", "parameters": {"n": 3}, "paths": ["a"]}])
    ledger.set_steps(steps)

    ledger = opened()
    assert ledger.targets() == [{"name": "all", "description": "é", "parameters": {"n": 3}, "paths": ["a"]}]
    assert ledger.steps([*steps, "unknown"]) == steps


def test_a_newer_format_is_refused_and_left_alone(opened, tmp_path):
    ledger = opened()
    ledger.set_placed("a", PLACED)
    ledger.flush()
    ledger._database._open().execute("PRAGMA user_version = 99")
    ledger.close()
    before = (tmp_path / "index.db").read_bytes()

    with pytest.raises(SchemaTooNew, match="format 99"):
        Ledger(str(tmp_path)).all_placed()

    assert (tmp_path / "index.db").read_bytes() == before


def test_what_cannot_be_learnt_again_is_saved_from_a_damaged_database(opened, tmp_path):
    ledger = opened()
    for i in range(50):
        ledger.set_placed(f"p{i}", PLACED)
        ledger.add_saved(SavedEdit(f"p{i}", Digest.of(b""), "file", 0, i))
    ledger.set_steps(
        {f"s{i}": LastStep(KEY, KEY, 1.0, [Part("code", "f", "x" * 500)], "", "ran") for i in range(2000)}
    )
    ledger.close()
    path = tmp_path / "index.db"
    data = bytearray(path.read_bytes())
    root_page = int(_query(path, "SELECT rootpage FROM sqlite_master WHERE name = 'step'"))
    data[(root_page - 1) * 4096 : root_page * 4096] = random.Random(3).randbytes(4096)
    path.write_bytes(data)

    ledger = opened()
    assert ledger.steps([f"s{i}" for i in range(2000)]) == {}
    assert len(ledger.all_placed()) == 50
    assert len(ledger.saved()) == 50
    assert len(ledger.notes) == 1
    assert "moved to" in ledger.notes[0].text


def _query(path, sql):

    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchone()[0]
    finally:
        connection.close()


def test_a_hundred_thousand_placements_are_no_trouble(opened, tmp_path):
    ledger = opened()
    for i in range(100_000):
        ledger.set_placed(f"d/{i}", PLACED)
    ledger.flush()

    assert len(opened().all_placed()) == 100_000
    assert os.path.getsize(tmp_path / "index.db") < 100 << 20

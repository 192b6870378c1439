"""Old and new versions of merkl at one project or one store: row 54 of the faults.

The other half, sidecars of a newer format, is in ``test_sidecar``.
"""

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from merkl.store.schema import SCHEMA
from merkl.workspace.database import VERSION

STORY = """
    cat = bash_task("cat {file_arg('f')} > {out_file_arg('o')}; echo printed")
    large = bash_task("head -c 200000 /dev/zero > {out_file_arg('o')}")

    @task
    def number(path) -> int:
        return 7

    @target(default=True)
    def all():
        made = cat("in.txt", o="build/out.txt")
        large() > "build/large"
        number(made) > "build/number.json"
"""

# The first version, as it was; a database of it is in every project that was built then.
VERSION_1 = """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE stamp (path BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE placement (
        path BLOB PRIMARY KEY, kind TEXT NOT NULL, digest BLOB NOT NULL, executable INTEGER NOT NULL,
        key BLOB NOT NULL, output TEXT NOT NULL, target TEXT NOT NULL, sidecar INTEGER NOT NULL, placed_ns INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE saved (
        path BLOB NOT NULL, saved_ns INTEGER NOT NULL, digest BLOB NOT NULL, kind TEXT NOT NULL,
        size INTEGER NOT NULL, executable INTEGER NOT NULL, PRIMARY KEY (path, saved_ns, digest)
    ) WITHOUT ROWID;
    CREATE TABLE step (
        label BLOB PRIMARY KEY, key BLOB NOT NULL, content_key BLOB, seconds REAL NOT NULL, parts TEXT NOT NULL,
        log BLOB NOT NULL, state TEXT NOT NULL
    ) WITHOUT ROWID;
"""
COLUMNS = {
    "meta": "name, value", "stamp": "path, value", "saved": "*", "step": "*",
    "placement": "path, kind, digest, executable, key, output, target, sidecar, placed_ns",
}  # fmt: skip


def built(project: Any) -> Path:
    """A project with everything that an index remembers, an edit that was saved among it; the index."""
    project.write("in.txt", "in\n")
    project.merklfile(STORY)
    assert sorted(project.build()) == ["cat", "large", "number"]
    project.write("build/out.txt", "mine\n")
    project.build()
    project.write("notes.txt", "mine too\n")
    project.merkl("track", "notes.txt")
    index: Path = project.path / ".merkl/index.db"
    return index


def make_version_1(index: Path, *, with_value: bool) -> None:
    """What the index says, in a database of version 1.  For a while that had a column more already."""
    old = index.with_name("old.db")
    with closing(sqlite3.connect(old)) as connection:
        script = VERSION_1.replace(
            "placed_ns INTEGER NOT NULL", "placed_ns INTEGER NOT NULL, value TEXT NOT NULL"
        )
        connection.executescript(script if with_value else VERSION_1)
        connection.execute("ATTACH ? AS new", (str(index),))
        for table, columns in COLUMNS.items():
            columns = f"{columns}, value" if with_value and table == "placement" else columns
            connection.execute(f"INSERT INTO {table} SELECT {columns} FROM new.{table}")
        connection.commit()
        connection.execute("PRAGMA application_id = 0x6D6B6C69")
        connection.execute("PRAGMA user_version = 1")
    for path in index.parent.glob("index.db*"):
        path.unlink()
    old.rename(index)


def version_of(index: Path) -> int:
    with closing(sqlite3.connect(index)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.parametrize("with_value", [False, True])
def test_row_54_an_index_of_an_older_merkl_is_brought_up_to_date(
    inside: Any, proven: Callable[..., None], with_value: bool
) -> None:
    index = built(inside)
    make_version_1(index, with_value=with_value)

    done = inside.merkl("build", "-j1")
    said = done.stdout + done.stderr
    assert "ran" not in said and "note" not in said and "saved your" not in said
    assert version_of(index) == VERSION
    inside.write("in.txt", "other\n")
    done = inside.merkl("build", "-j1")
    assert "saved your" not in done.stdout and "2 ran" in done.stdout
    assert inside.read("build/out.txt") == "other\n"
    assert not list(index.parent.glob("*damaged*"))
    inside.merkl("restore", "build/out.txt")
    assert inside.read("build/out.txt") == "mine\n"
    proven()


def test_row_54_what_cannot_be_learnt_again_is_saved_from_a_damaged_index_of_an_older_merkl(
    inside: Any, proven: Callable[..., None]
) -> None:
    index = built(inside)
    make_version_1(index, with_value=False)
    with closing(sqlite3.connect(index)) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'stamp'").fetchall()
        [(size,)] = connection.execute("PRAGMA page_size").fetchall()
    data = bytearray(index.read_bytes())
    data[(page - 1) * size : page * size] = random.Random(5).randbytes(size)
    index.write_bytes(data)

    done = inside.merkl("build", "-j1")
    assert "was damaged; it was moved to" in done.stdout and "ran" not in done.stdout
    assert list(index.parent.glob("index.db.damaged-*"))
    assert "build/out.txt" in inside.merkl("restore").stdout
    inside.write("in.txt", "other\n")
    assert "saved your" not in inside.merkl("build", "-j1").stdout
    proven()


COMMANDS = [
    "build",
    "list",
    "why",
    "show",
    "log",
    "dag",
    "clean",
    "gc",
    "fsck",
    "restore build/out.txt",
    "clear all",
    "status",
    "track notes.txt",
    "untrack notes.txt",
    "cache",
]


def everything(inside: Any, *but: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(inside.path)): path.read_bytes()
        for path in inside.path.rglob("*")
        if path.is_file()
        and not path.name.endswith(("-shm", "-wal"))
        and path.name not in {".clock", "clock", *but}
    }


def test_row_54_an_index_of_a_newer_merkl_is_refused_by_every_command_and_left_alone(
    inside: Any, proven: Callable[..., None]
) -> None:
    index = built(inside)
    with closing(sqlite3.connect(index)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = everything(inside)
    for command in COMMANDS:
        if command in ("fsck", "cache"):
            continue  # They look at the store alone.
        done = inside.merkl(*command.split(), code=3)
        assert f"has format {VERSION + 1}, and this merkl knows up to {VERSION}" in done.stderr, command
        assert "hint: upgrade merkl, or remove the file" in done.stderr and "Traceback" not in done.stderr
        assert everything(inside) == before, command
    with closing(sqlite3.connect(index)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION}")
    assert inside.build("-j1") == []
    proven()


def test_row_54_a_store_of_a_newer_merkl_is_refused_by_every_command_and_left_alone(
    inside: Any, proven: Callable[..., None]
) -> None:
    built(inside)
    [store] = (inside.path / ".merkl/store").glob("store-*.db")

    def set_version(number: int) -> None:
        with closing(sqlite3.connect(store)) as connection:
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(number),))
            connection.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    set_version(SCHEMA + 1)
    before = everything(inside, "index.db")
    for command in COMMANDS:
        if command in ("list", "untrack notes.txt"):
            continue  # They open no store: what is in place needs none.
        done = inside.merkl(*command.split(), code=None)
        if command == "clean":
            assert done.returncode == 0  # What is in place is what was placed, so nothing must be saved.
            for name in ("out.txt", "large", "number.json"):
                inside.write(f"build/{name}", before[f"build/{name}"])
            continue
        assert done.returncode == 3, (command, done)
        assert f"the store was written by a newer merkl (its format is {SCHEMA + 1}" in done.stderr, command
        assert "hint: upgrade merkl, or set `store:`" in done.stderr and "Traceback" not in done.stderr
        assert everything(inside, "index.db") == before, command
    elsewhere = {"MERKL_STORE": str(inside.path.parent / "another")}
    assert sorted(inside.build("-j1", env={**os.environ, **elsewhere})) == ["cat", "large", "number"]
    set_version(SCHEMA)
    assert inside.build("-j1") == []
    proven()

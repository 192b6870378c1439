"""``together=True``: many outputs in one content with an index."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from merkl import DirRef, FileRef, task
from merkl.digest import Digest
from merkl.errors import StoreCorrupt, TaskOutsError
from merkl.nodes import Artifact
from merkl.store.bundle import Item, item_bytes, read_index, write_index
from merkl.store.layered import Layered
from merkl.store.local import LocalStore
from merkl.store.memory import MemoryStore


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test does not give slots runs in this process: a worker costs half a second."""
    monkeypatch.setenv("MERKL_JOBS", "1")


MANY = """
    @task(outs=500, together=True)
    def many(changed):
        return [f"{i:0400d}" + (changed if i == 7 else "") for i in range(500)]

    @task
    def last(text):
        return text[-1]

    cat = bash_task("cat {file_arg('part', '.txt')} > {out_file_arg('out', '.txt')}")

    @target(default=True)
    def all(changed: str = "-"):
        made = many(changed)
        for i in range(5, 9):
            last(made[i]) > f"last-{i}.txt"
        cat(made[9], out="cat.txt")
        made[10] >> "ten.txt"
"""


def test_a_change_of_one_item_runs_only_what_reads_it(inside: Any) -> None:
    inside.merklfile(MANY)
    jobs = "-j2"

    assert sorted(inside.build(jobs)) == ["cat", "last", "last", "last", "last", "many"]
    assert [inside.read(f"last-{i}.txt") for i in range(5, 9)] == ["5", "6", "-", "8"]
    assert int(inside.read("cat.txt")) == 9 and int(inside.read("ten.txt")) == 10
    assert 'output: "10"' in inside.read("ten.txt.merkl")
    assert sorted(inside.build(jobs, "changed=!")) == ["last", "many"]
    assert inside.read("last-7.txt") == "!"
    inside.merkl("fsck")
    inside.merkl("gc")
    for name in ("cat.txt", "ten.txt", "last-7.txt"):
        (inside.path / name).unlink()
    assert inside.build(jobs, "changed=!") == []


def contents_of(project: Path) -> Path:
    """The largest file of the store."""
    files = [path for path in (project / ".merkl/store/blobs").rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def spoil(path: Path, number: int) -> None:
    """Change a byte of one item."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(number * 400 + 3)
        file.write(b"!")


def test_all_is_in_one_content_and_one_item_is_read_alone(inside: Any) -> None:
    inside.merklfile(MANY)
    inside.build()
    blobs = contents_of(inside.path)
    assert blobs.stat().st_size == 500 * 400 + 1

    spoil(blobs, 300)
    inside.merklfile(MANY + "        last(made[20]) > 'twenty.txt'\n")
    assert inside.build() == ["last"]  # Whoever read all of it would have noticed.
    inside.merklfile(MANY + "        last(made[300]) > 'three-hundred.txt'\n")
    assert inside.build() == ["many", "last"]
    assert inside.read("three-hundred.txt") == "0"
    contents_of(inside.path).unlink()
    inside.merklfile(MANY + "        last(made[21]) > 'twenty-one.txt'\n")
    assert inside.build() == ["many", "last"]


def test_from_a_remote_only_the_range_comes(inside: Any, tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        inside.merklfile(MANY.replace("500", "5000"))
        (tmp_path / name / "Merklfile.py").write_text(inside.read("Merklfile.py"))
        (tmp_path / name / "merkl.yaml").write_text(json.dumps({"remote": {"url": "../share"}}))
    (tmp_path / "share").mkdir()
    inside.merkl("build", "--push", cwd=tmp_path / "here")
    remote = max(
        (p for p in (tmp_path / "share/blobs").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    assert remote.stat().st_size == 5000 * 400 + 1
    spoil(remote, 3000)
    with (tmp_path / "there/Merklfile.py").open("a") as file:
        file.write("        last(made[20]) > 'twenty.txt'\n".replace("        ", "    "))

    done = inside.merkl("build", "--json", cwd=tmp_path / "there")

    ran = [e["task"] for e in map(json.loads, done.stdout.splitlines()) if e["event"] == "ran"]
    assert ran == ["last"] and (tmp_path / "there/twenty.txt").read_text() == "0"
    kept = [p for p in (tmp_path / "there/.merkl/store").rglob("*") if p.is_file() and p.name != "store-1.db"]
    assert sum(p.stat().st_size for p in kept) < 600_000  # The index, and no contents.


def test_files_pickles_and_equal_items_are_kept_too(inside: Any) -> None:
    inside.merklfile("""
        from pathlib import Path

        @task(outs=["file", "pickle", "one", "two"], together=True)
        def mixed():
            ref = FileRef.get_new_file(ext=".sh")
            Path(ref).write_text("#!/bin/sh\\necho ran\\n")
            __import__("os").chmod(ref, 0o755)
            return {"file": ref, "pickle": {1, 2}, "one": "same" * 100_000, "two": "same" * 100_000}

        @task
        def look(path, members, one, two):
            return [path.ext, sorted(members), one == two]

        run = bash_task("{file_arg('program')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            made = mixed()
            look(**{"path": made["file"], "members": made["pickle"], "one": made["one"], "two": made["two"]}) > "look.json"
            run(made["file"], out="run.txt")
            made["file"] > "placed.sh"
    """)

    assert sorted(inside.build()) == ["look", "mixed", "run"]
    assert json.loads(inside.read("look.json")) == [".sh", [1, 2], True]
    assert inside.read("run.txt") == "ran\n" and os.access(inside.path / "placed.sh", os.X_OK)
    assert contents_of(inside.path).stat().st_size < 401_000
    assert inside.build() == []


def test_what_cannot_be_kept_together_is_refused(inside: Any) -> None:
    @task(together=True)
    def one():  # type: ignore[no-untyped-def]
        return 1

    with pytest.raises(TaskOutsError, match="one has one output, and together=True keeps many in one place"):
        one()
    inside.merklfile("""
        @task(outs=2, together=True)
        def folders():
            return DirRef(), 1

        @target(default=True)
        def all():
            folders()[1] > "x.json"
    """)
    said = inside.merkl("build", code=1)
    assert "its output '0' is a directory, which together=True cannot keep" in said.stdout + said.stderr


def test_together_is_in_the_key() -> None:
    def two():  # type: ignore[no-untyped-def]
        return 1, 2

    apart, kept = task(two, version="1"), task(two, version="1", together=True)

    assert apart()[0].hash != kept()[0].hash and kept()[0] == kept()[0] != kept()[1]
    assert DirRef is not FileRef


def test_an_index_says_only_what_it_can(tmp_path: Path) -> None:
    data = b"abcdef"
    made = Artifact("value", Digest.of(b"cd"), 2, serializer="text")
    index = write_index([Item("a/ü", made, 2)])
    blob = Digest.of(data)
    item = read_index(index, blob, pickles=False)["a/ü"]
    store = LocalStore(tmp_path)
    store.put([data])

    assert item_bytes(store, item) == b"cd"
    for broken in (index[:-1], index + b"x", b"", index.replace(b"bundle 1", b"bundle 2")):
        with pytest.raises(ValueError, match="index"):
            read_index(broken, blob, pickles=True)
    pickled = write_index([Item("a", Artifact("value", made.digest, 2, serializer="pickle"), 2)])
    assert read_index(pickled, blob, pickles=True)
    with pytest.raises(ValueError, match="names a pickle"):
        read_index(pickled, blob, pickles=False)
    wrong = read_index(write_index([Item("a", made, 1)]), blob, pickles=False)["a"]
    with pytest.raises(StoreCorrupt):
        item_bytes(store, wrong)


def test_who_reads_many_items_from_a_remote_gets_all_at_once() -> None:
    data = bytes(range(200))
    upper, lower = MemoryStore(), MemoryStore()
    blob = lower.put([data])
    store = Layered(upper, lower)

    def read(number: int) -> bytes | None:
        return store.part(blob, number, 1, of=Digest.of(data[number : number + 1]))

    assert [read(n) for n in range(16)] == [data[n : n + 1] for n in range(16)]
    assert not upper.has([blob]) and upper.has([Digest.of(b"\0")])
    assert read(16) == data[16:17] and upper.has([blob])
    store.close()


def test_a_number_of_outputs_that_a_call_decides_may_be_one(inside: Any) -> None:
    inside.merklfile("""
        @task(outs=lambda n: n, together=True)
        def some(n):
            return [str(i) for i in range(n)] if n > 1 else "single"

        @target(default=True)
        def all():
            some(1) > "one.txt"
            some(2)[1] > "two.txt"
    """)

    assert inside.build() == ["some", "some"]
    assert (inside.read("one.txt"), inside.read("two.txt")) == ("single", "1")
    assert inside.build() == []

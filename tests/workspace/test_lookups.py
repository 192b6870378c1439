"""What is looked up of few files takes no look at all, and what is left behind by small builds stays little."""

from pathlib import Path

from merkl.digest import Key
from merkl.workspace.database import Database
from merkl.workspace.index import FileIndex
from merkl.workspace.lineages import Lineages

FILES = 30
WHOLE = "SELECT path, value FROM stamp"
SET = "INSERT OR REPLACE INTO stamp VALUES (?, ?)"


def asked(root: Path, rows: int) -> list[str]:
    """What an index is asked for the digests of some files, that has so many more rows."""
    (root / ".merkl").mkdir(parents=True)
    index = FileIndex(str(root), str(root / ".merkl"))
    for n in range(FILES):
        (root / f"{n}.txt").write_text(f"{n}")
        index.source(f"{n}.txt")
    before = [index.source(f"{n}.txt").digest for n in range(FILES)]
    index._database.write_all(SET, [(b"other/%d" % n, bytes(100)) for n in range(rows)])
    index.flush()
    index.close()
    index = FileIndex(str(root), str(root / ".merkl"))
    said: list[str] = []
    index._database._open().set_trace_callback(said.append)
    assert [index.source(f"{n}.txt").digest for n in range(FILES)] == before
    index.close()
    return said


def test_of_a_large_index_few_files_are_looked_up_one_by_one(tmp_path: Path) -> None:
    assert WHOLE not in asked(tmp_path / "large", 60_000)
    assert WHOLE in asked(tmp_path / "small", 0)


def test_lineages_that_nothing_comes_from_are_removed_once_there_are_many(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "index.db"))
    placement = "INSERT INTO placement VALUES (?, 'file', x'', 0, ?, '', '', 0, 0, '')"
    key = Key(bytes(32))
    database.write(placement, (b"a", bytes(key)))
    lineages = Lineages(database)

    def count() -> int:
        return int(database.rows("SELECT COUNT(*) FROM lineage")[0][0])

    counts = []
    for n in range(200):
        name = n.to_bytes(32)
        lineages.set(name, b"value", [("a", key, 0)], of_all=False)
        counts.append(count())
        assert lineages.of(["a"]) == {name: (b"value", {"a": 0})}
    assert 2 < max(counts) <= 65
    lineages.set(b"last", b"value", [("a", key, 0)])
    assert count() == 1
    database.close()

"""Tracking a directory of many small files: against a bare loop that hashes and inserts, and against git's own status.

It decides what is compared: the loop does what no tracking can do without, reading each file, one BLAKE3, and one
``INSERT`` into a table by digest, in transactions of a thousand.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.turns import Contender, report, run_in_turns

BARE = """\
import os, sqlite3
from blake3 import blake3
table = sqlite3.connect("bare.db", isolation_level=None)
table.execute("PRAGMA journal_mode = wal")
table.execute("PRAGMA synchronous = normal")
table.execute("CREATE TABLE blob (digest BLOB PRIMARY KEY, bytes BLOB) WITHOUT ROWID")
table.execute("BEGIN IMMEDIATE")
count, todo = 0, ["data"]
while todo:
    for entry in os.scandir(todo.pop()):
        if entry.is_dir():
            todo.append(entry.path)
            continue
        with open(entry.path, "rb") as file:
            data = file.read()
        table.execute("INSERT OR IGNORE INTO blob VALUES (?, ?)", (blake3(data).digest(), data))
        count += 1
        if count % 1000 == 0:
            table.execute("COMMIT")
            table.execute("BEGIN IMMEDIATE")
table.execute("COMMIT")
"""


def track(count: int = 100_000) -> str:
    """The first tracking, tracking again, after one edit, and status, of so many files."""
    merkl = os.path.join(os.path.dirname(sys.executable), "merkl")
    with tempfile.TemporaryDirectory() as top:
        root = Path(top)
        _write(root, count)
        edits = iter(range(1, count))

        def begin() -> None:
            for name in ("bare.db", "bare.db-wal", "bare.db-shm", "data.merkl"):
                (root / name).unlink(missing_ok=True)
            shutil.rmtree(root / ".merkl", ignore_errors=True)

        def edit() -> None:
            n = next(edits)
            _file(root, n).write_text(f"edited {n}\n")

        first = [
            Contender("hash and INSERT", [sys.executable, "-c", BARE], top, begin),
            Contender("merkl track", [merkl, "track", "-q", "data"], top, begin),
        ]
        run_in_turns(first)
        subprocess.run([merkl, "track", "-q", "data"], cwd=top, check=True)
        subprocess.run(["git", "init", "-q"], cwd=top, check=True)
        subprocess.run(["git", "add", "--all", "--force", "data"], cwd=top, check=True)
        again = [
            Contender("git status", ["git", "status", "--short"], top),
            Contender("merkl status", [merkl, "status"], top),
        ]
        run_in_turns(again)
        subprocess.run(["git", "rm", "-rq", "--cached", "data"], cwd=top, check=True)
        later = [
            Contender("merkl track, nothing changed", [merkl, "track", "-q", "data"], top),
            Contender("merkl track, one file edited", [merkl, "track", "-q", "data"], top, edit),
        ]
        run_in_turns(later)
    return "\n".join(
        [
            report(f"{count} small files for the first time", first, "hash and INSERT"),
            report(f"Looking at {count} small files that git keeps too", again, "git status"),
            report(f"Tracking {count} small files again", later, "merkl track, nothing changed"),
        ]
    )


def _file(root: Path, n: int) -> Path:
    return root / "data" / f"{n // 1000:03}" / f"{n}.txt"


def _write(root: Path, count: int) -> None:
    (root / "merkl.yaml").write_text("jobs: 2\n")
    for n in range(count):
        file = _file(root, n)
        if n % 1000 == 0:
            file.parent.mkdir(parents=True)
        file.write_text(f"file {n}\n" * 20)

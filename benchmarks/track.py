"""Many small files outside the graph: tracking them for the first time, again, after one edit; and their status.

It decides what is compared: the floor of tracking is a loop that does what no tracking can do without, reading each file,
one BLAKE3, and one ``INSERT`` into a table by digest.  git has all files committed.  Each tool has a copy of the files.
"""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.graph import PER_FOLDER
from benchmarks.results import Result
from benchmarks.setting import Setting
from benchmarks.turns import MERKL, Contender, Failed, environ

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
print(count, "files")
"""
DVC_MOST = 10_000  # Files.


def track(setting: Setting) -> list[Result]:
    """As many files as the largest graph has targets."""
    count = max(setting.sizes)
    setting.say(f"{count:,} small files")
    merkl, git, bare = (Files(setting.top, name, count) for name in ("merkl", "git", "bare"))
    dvc = Files(setting.top, "dvc", min(DVC_MOST, count)) if "DVC" in setting.programs else None
    return [
        *_first(setting, merkl, git, bare, dvc),
        *_status(setting, merkl, git, dvc),
        *_later(setting, merkl, git),
    ]


class Files:
    """``count`` small files, in directories of a thousand, in ``data``; ``place`` is the directory of that."""

    def __init__(self, top: str, name: str, count: int) -> None:
        self.place, self.count = os.path.join(top, f"files-{name}"), count
        self._turns = itertools.count(1)
        for n in range(count):
            file = Path(self.place, self.path(n))
            if n % PER_FOLDER == 0:
                file.parent.mkdir(parents=True)
            file.write_text(f"file {n}\n" * 20)
        if name.startswith("merkl"):
            Path(self.place, "merkl.yaml").write_text("jobs: 2\n")  # It makes a project of the directory.

    def path(self, n: int) -> str:
        """Of the file with that number."""
        return f"data/{n // PER_FOLDER:03}/{n}.txt"

    def remove(self, *names: str) -> Callable[[], None]:
        """What makes a first time of the next."""

        def prepare() -> None:
            for name in names:
                path = os.path.join(self.place, name)
                if os.path.isdir(path):
                    shutil.rmtree(path)
                elif os.path.lexists(path):
                    os.unlink(path)

        return prepare

    def edit(self) -> str:
        """Change one file, another each time; its path."""
        path = self.path(next(self._turns) % self.count)
        Path(self.place, path).write_text(f"edit {next(self._turns)}\n")
        return path

    def run(self, *command: str) -> str:
        """Not timed; what it printed."""
        done = subprocess.run(command, cwd=self.place, env=environ(), capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.stderr}")
        return done.stdout


def _first(setting: Setting, merkl: Files, git: Files, bare: Files, dvc: Files | None) -> list[Result]:
    git.run("git", "init", "-q")
    size = sum(path.stat().st_size for path in Path(merkl.place, "data").rglob("*.txt"))

    def tracked(_: str) -> None:
        if f"size: {size}\n" not in Path(merkl.place, "data.merkl").read_text():
            raise Failed("merkl did not track all files")

    def counted(printed: str) -> None:
        if printed != f"{bare.count} files\n":
            raise Failed("the loop did not see all files")

    forget = merkl.remove(".merkl", "data.merkl", ".gitignore")
    contenders = [
        Contender("loop", [sys.executable, "-c", BARE], bare.place, bare.remove("bare.db", "bare.db-wal", "bare.db-shm"), counted),
        Contender("merkl track", [MERKL, "track", "-q", "data"], merkl.place, forget, tracked),
        Contender("git add", ["git", "add", "data"], git.place, git.remove(".git/index", ".git/objects/pack", *_loose()), hurried=True),
    ]  # fmt: skip
    if dvc is not None:
        program = setting.programs["DVC"]
        dvc.run(program, "init", "-q", "--no-scm")
        forget = dvc.remove(".dvc/cache", ".dvc/tmp", "data.dvc", ".gitignore")
        contenders.append(
            Contender(
                "dvc add",
                [program, "add", "-q", "data"],
                dvc.place,
                forget,
                hurried=True,
                size=_fewer(dvc, merkl),
            )
        )
    title = f"{merkl.count:,} small files tracked for the first time"
    result = setting.measured(f"track-{merkl.count}", title, contenders, "loop", note=LOOP_NOTE)
    _restored(merkl)
    return [result]


LOOP_NOTE = "The loop reads each file, hashes it with BLAKE3 and inserts it into SQLite; it writes no sidecar and can restore nothing."


def _restored(merkl: Files) -> None:
    """See that what was tracked is really kept."""
    os.rename(os.path.join(merkl.place, "data"), os.path.join(merkl.place, "away"))
    merkl.run(MERKL, "pull", "-q", "data")
    merkl.run("diff", "-r", "data", "away")
    shutil.rmtree(os.path.join(merkl.place, "away"))


def _loose() -> list[str]:
    return [f".git/objects/{n:02x}" for n in range(256)]


def _status(setting: Setting, merkl: Files, git: Files, dvc: Files | None) -> list[Result]:
    git.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "files")
    merkl.run(MERKL, "status")  # By now the stamps of all files are settled.
    contenders = [
        Contender("git status", ["git", "status", "--short"], git.place, check=_unchanged("")),
        Contender("merkl status", [MERKL, "status"], merkl.place, check=_unchanged("1 fresh\n")),
    ]
    if dvc is not None:
        command = [setting.programs["DVC"], "status"]
        check = _unchanged("Data and pipelines are up to date.\n")
        contenders.append(
            Contender("dvc status", command, dvc.place, check=check, hurried=True, size=_fewer(dvc, merkl))
        )
    title = f"Status of {merkl.count:,} unchanged files"
    result = setting.measured(f"status-{merkl.count}", title, contenders, "git status")
    for files, command in ((merkl, [MERKL, "status"]), (git, ["git", "status", "--short"])):
        edited = files.edit()
        told = files.run(*command)
        if "modified" not in told and edited not in told:
            raise Failed(f"{command[0]} did not see that {edited} was edited: {told}")
    return [result]


def _fewer(some: Files, others: Files) -> int | None:
    return None if some.count == others.count else some.count


def _unchanged(told: str) -> Callable[[str], None]:
    def check(printed: str) -> None:
        if printed != told:
            raise Failed(f"status of what did not change: {printed}")

    return check


def _later(setting: Setting, merkl: Files, git: Files) -> list[Result]:
    merkl.run(MERKL, "track", "-q", "data")
    git.run("git", "add", "data")
    other = Files(setting.top, "merkl-edited", merkl.count)
    other.run(MERKL, "track", "-q", "data")

    def edited() -> None:
        other.edit()
        sidecars.add(Path(other.place, "data.merkl").read_text())

    sidecars: set[str] = set()

    def tracked(_: str) -> None:
        if Path(other.place, "data.merkl").read_text() in sidecars:
            raise Failed("merkl did not see the edit")

    def git_edit() -> None:
        git.edit()

    contenders = [
        Contender("git add, one file edited", ["git", "add", "data"], git.place, git_edit),
        Contender("merkl track, nothing changed", [MERKL, "track", "-q", "data"], merkl.place),
        Contender(
            "merkl track, one file edited", [MERKL, "track", "-q", "data"], other.place, edited, tracked
        ),
    ]
    title = f"{merkl.count:,} small files tracked again"
    return [setting.measured(f"track-again-{merkl.count}", title, contenders, "git add, one file edited")]

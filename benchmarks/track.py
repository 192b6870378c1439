"""Many small files outside the graph: tracking them for the first time, again, after one edit; and their status.

It decides what is compared: the floor of tracking is a loop that does what no tracking can do without, reading each file,
one BLAKE3, and one ``INSERT`` into a table by digest.  git has all files committed.  Each tool has a copy of the files.
"""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.graph import PER_FOLDER
from benchmarks.results import Result
from benchmarks.setting import Setting
from benchmarks.steps import Step
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


def track(setting: Setting) -> Iterator[Step]:
    """As many files as the largest graph has targets; and as many as DVC can be given, if it is there."""
    most = max(setting.sizes)
    for count in sorted({most, setting.most(DVC_MOST)} if "DVC" in setting.programs else {most}):
        dvc = count <= DVC_MOST and "DVC" in setting.programs

        def run(count: int = count, dvc: bool = dvc) -> Iterator[Result]:
            merkl, git, bare = (Files(setting.top, name, count) for name in ("merkl", "git", "bare"))
            other = Files(setting.top, "dvc", count) if dvc else None
            yield _first(setting, merkl, git, bare, other)
            yield _status(setting, merkl, git, other)
            yield _later(setting, merkl, git)
            for files in (merkl, git, bare, *([other] if other is not None else ())):
                shutil.rmtree(files.place)

        keys = (f"track-{count}", f"status-{count}", f"track-again-{count}")
        tools = frozenset({"merkl", "git", *(["DVC"] if dvc else [])})
        seconds = count * 1e-4 * (12 + 3 * min(setting.rounds, 3) + setting.rounds) + 60 * dvc
        yield Step(f"{count:,} small files, tracked and looked at", keys, tools, seconds, run)


class Files:
    """``count`` small files, in directories of a thousand, in ``data``; ``place`` is the directory of that."""

    def __init__(self, top: str, name: str, count: int) -> None:
        self.place, self.count = os.path.join(top, f"files-{name}"), count
        self._turns = itertools.count(1)
        shutil.rmtree(self.place, ignore_errors=True)
        for n in range(count):
            file = Path(self.place, self.path(n))
            if n % PER_FOLDER == 0:
                file.parent.mkdir(parents=True)
            file.write_text(f"file {n}\n" * 20)
        if name == "merkl":
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


def _first(setting: Setting, merkl: Files, git: Files, bare: Files, dvc: Files | None) -> Result:
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
        Contender("git add", ["git", "add", "data"], git.place, git.remove(".git/index", ".git/objects/pack", *_loose())),
    ]  # fmt: skip
    if dvc is not None:
        program = setting.programs["DVC"]
        dvc.run(program, "init", "-q", "--no-scm")
        dvc.run(program, "config", "core.analytics", "false")
        forget = dvc.remove(".dvc/cache", ".dvc/tmp", "data.dvc", ".gitignore")
        contenders.append(
            Contender("dvc add", [program, "add", "-q", "data"], dvc.place, forget, optional=True)
        )
    for contender in contenders:
        contender.hurried = True
    title = f"{merkl.count:,} small files tracked for the first time"
    result = setting.measured(f"track-{merkl.count}", title, contenders, "loop", note=LOOP_NOTE)
    _restored(merkl)
    return result


LOOP_NOTE = "The loop reads each file, hashes it with BLAKE3 and inserts it into SQLite; it writes no sidecar and can restore nothing."


def _restored(merkl: Files) -> None:
    """See that what was tracked is really kept."""
    os.rename(os.path.join(merkl.place, "data"), os.path.join(merkl.place, "away"))
    merkl.run(MERKL, "pull", "-q", "data")
    merkl.run("diff", "-r", "data", "away")
    shutil.rmtree(os.path.join(merkl.place, "away"))


def _loose() -> list[str]:
    return [f".git/objects/{n:02x}" for n in range(256)]


def _status(setting: Setting, merkl: Files, git: Files, dvc: Files | None) -> Result:
    git.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "files")
    merkl.run(MERKL, "status")  # By now the stamps of all files are settled.
    contenders = [
        Contender("git status", ["git", "status", "--short"], git.place, check=_unchanged("")),
        Contender("merkl status", [MERKL, "status"], merkl.place, check=_unchanged("1 fresh\n")),
    ]
    if dvc is not None:
        check = _unchanged("Data and pipelines are up to date.\n")
        command = [setting.programs["DVC"], "status"]
        contenders.append(
            Contender("dvc status", command, dvc.place, check=check, hurried=True, optional=True)
        )
    title = f"Status of {merkl.count:,} unchanged files"
    result = setting.measured(f"status-{merkl.count}", title, contenders, "git status")
    for files, command in ((merkl, [MERKL, "status"]), (git, ["git", "status", "--short"])):
        edited = files.edit()
        told = files.run(*command)
        if "modified" not in told and edited not in told:
            raise Failed(f"{command[0]} did not see that {edited} was edited: {told}")
    return result


def _unchanged(told: str) -> Callable[[str], None]:
    def check(printed: str) -> None:
        if printed != told:
            raise Failed(f"status of what did not change: {printed}")

    return check


def _later(setting: Setting, merkl: Files, git: Files) -> Result:
    merkl.run(MERKL, "track", "-q", "data")
    git.run("git", "add", "data")
    sidecars: set[str] = set()
    sidecar = Path(merkl.place, "data.merkl")

    def edited() -> None:
        merkl.edit()
        sidecars.add(sidecar.read_text())

    def tracked(_: str) -> None:
        if sidecar.read_text() in sidecars:
            raise Failed("merkl did not see the edit")

    def git_edit() -> None:
        git.edit()

    again = [MERKL, "track", "-q", "data"]
    contenders = [
        Contender("git add, one file edited", ["git", "add", "data"], git.place, git_edit),
        Contender("merkl track, nothing changed", again, merkl.place),
        Contender("merkl track, one file edited", again, merkl.place, edited, tracked),
    ]
    title = f"{merkl.count:,} small files tracked again"
    return setting.measured(f"track-again-{merkl.count}", title, contenders, "git add, one file edited")

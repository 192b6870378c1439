"""Row 28: bytes of merkl's databases flipped, one at a time.

Whatever the byte, the next command ends without a traceback, the next build gives the right files, and a database that
cannot be read is moved aside with a message that says where to.  Quick: a sample; full: 500 of each file.  The store
alone, by every method: ``tests/store/test_store_damage.py``.
"""

import os
import random
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import disk_story as story
import pytest

SEED = int(os.environ["MERKL_FAULT_SEED"])
PARTS = [0, *(pytest.param(part, marks=pytest.mark.full) for part in range(1, 9))]  # A seed each.
# What a person may do first after the damage; then comes the build.
COMMANDS = (
    ["build"],
    ["why"],
    ["log"],
    ["gc"],
    ["fsck"],
    ["build", "--dry-run"],
    ["clear", "total"],
)
MOVED = re.compile(r"was (?:found )?damaged.*?moved to (\S+?)[,; ]", re.DOTALL)


class Pristine:
    """A built project whose databases can be put back as they were."""

    def __init__(self, project: Any, merkl: Path, names: list[str]) -> None:
        self.project, self.merkl = project, merkl
        self.files = {name: (merkl / name).read_bytes() for name in names}
        top = project.path / "build"
        self.good = {p: p.read_bytes() for p in top.rglob("*") if p.is_file()}

    def put_back(self, damaged: str, at: int, mask: int) -> None:
        """All databases as they were, but for one byte of one; the outputs are gone."""
        for folder in (self.merkl, self.merkl / "store"):
            for path in folder.glob("*.db*"):
                path.unlink()
        for name, data in self.files.items():
            (self.merkl / name).write_bytes(story.flipped(data, at, mask) if name == damaged else data)
        shutil.rmtree(self.project.path / "build", ignore_errors=True)

    def check(self) -> None:
        now = {p: p.read_bytes() for p in (self.project.path / "build").rglob("*") if p.is_file()}
        assert now == self.good


def pristine(project: Any, *, journal: bool) -> Pristine:
    story.set_up(project)
    merkl = project.path / ".merkl"
    names = ["store/store-1.db", "index.db"]
    project.build()
    if not journal:
        return Pristine(project, merkl, names)
    reader = sqlite3.connect(merkl / names[0])  # While somebody has it open, the journal stays.
    reader.execute("SELECT count(*) FROM blob").fetchone()
    project.build("n=2")
    made = Pristine(project, merkl, [*names, "store/store-1.db-wal"])
    reader.close()
    return made


def offsets(size: int, part: int, quick: int) -> Iterator[tuple[int, int]]:
    """Where to flip, and which bits: in the name of the format, in the header, and anywhere."""
    pick = random.Random(f"{SEED} {part}")
    count = 63 if part else quick
    chosen = {pick.randrange(16), *(pick.randrange(100) for _ in range(count // 10))}
    chosen.update(pick.sample(range(size), count - len(chosen)))
    for at in sorted(chosen):
        yield at, pick.randrange(1, 256)


def run_all(made: Pristine, name: str, part: int, *words: str, quick: int = 14) -> int:
    """Flip, run one command, then build; how often a database had to be moved aside."""
    project, moved = made.project, 0
    for n, (at, mask) in enumerate(offsets(len(made.files[name]), part, quick)):
        made.put_back(name, at, mask)
        where = f"{name} at {at} ^ {mask}, seed {SEED}"
        said = ""
        for command in (COMMANDS[n % len(COMMANDS)], ["build", *words]):
            done = project.merkl(*command, code=None)
            text = done.stdout + done.stderr
            said += text
            assert "Traceback" not in text and "bug in merkl" not in text, f"{where}, {command}: {text}"
        if done.returncode:
            # The one thing that cannot be told from damage: a file that says that a newer merkl wrote it.
            assert 60 <= at < 64 and "has format" in said and name in said, f"{where}: {said}"
            continue
        for aside in MOVED.findall(said):
            moved += 1
            assert Path(aside).exists(), f"{where}: {said}"
        made.check()
    return moved


@pytest.mark.parametrize("part", PARTS)
def test_row_28_any_flipped_byte_of_the_stores_database(
    inside: Any, proven: Callable[..., None], part: int
) -> None:
    made = pristine(inside, journal=False)

    assert run_all(made, "store/store-1.db", part, quick=20) > 0
    inside.merkl("fsck", code=None)  # What the last flip did may be where no build looks.
    proven()


@pytest.mark.parametrize("part", PARTS)
def test_row_28_any_flipped_byte_of_the_stores_journal(
    inside: Any, proven: Callable[..., None], part: int
) -> None:
    made = pristine(inside, journal=True)

    run_all(made, "store/store-1.db-wal", part, "n=2")
    inside.merkl("fsck", code=None)
    proven("n=2")


@pytest.mark.parametrize("part", PARTS)
def test_row_28_any_flipped_byte_of_the_index(inside: Any, proven: Callable[..., None], part: int) -> None:
    made = pristine(inside, journal=False)

    assert run_all(made, "index.db", part) > 0
    proven()


@pytest.mark.parametrize(
    "damage",
    [
        "header",
        *(
            pytest.param(each, marks=pytest.mark.full)
            for each in ("cut short", "emptied", "other file", "directory")
        ),
    ],
)
def test_row_28_a_database_that_is_none_is_moved_aside(
    inside: Any, proven: Callable[..., None], damage: str
) -> None:
    made = pristine(inside, journal=False)
    made.put_back("", 0, 0)
    path = story.database(inside)
    data = made.files["store/store-1.db"]
    path.unlink()
    if damage == "directory":
        path.mkdir()
    else:
        garbage = {
            "header": b"\0" * 100 + data[100:],
            "cut short": data[: len(data) // 2 + 7],
            "emptied": b"",
        }
        path.write_bytes(garbage.get(damage, b"a letter to a friend\n" * 500))

    done = inside.merkl("build")

    assert "the store's database was damaged" in done.stdout
    (aside,) = MOVED.findall(done.stdout)
    assert Path(aside).exists() and "a new one was begun" in done.stdout
    made.check()
    assert inside.build() == []
    proven()

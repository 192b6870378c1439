"""What answers ``merkl status`` at once, and after what it must not."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from test_snapshots import ASK, PLAIN, Asked, merklfile, replaced

SEED = int(os.environ["MERKL_FAULT_SEED"])
ONLY_ASK = """
import sys
from merkl import __version__
from merkl.snapshot.answer import answer
print(answer(sys.argv[1:], __version__))
"""


def would_answer(asked: Asked) -> bool:
    """Whether ``merkl status`` would be answered, asked without going the long way."""
    script = asked.script.with_name("only.py")
    script.write_text(ONLY_ASK)
    done = subprocess.run(
        [sys.executable, str(script), "status"],
        cwd=asked.path, env=asked.env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()[-1] == "0"


def tracked(asked: Asked, *paths: str) -> None:
    asked.write("merkl.yaml", "jobs: 1\n")
    asked.ask("track", *paths)
    time.sleep(0.04)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """A project with a tracked directory and a tracked file."""
    (tmp_path / "p").mkdir()
    asked = Asked(tmp_path / "p")
    asked.script.write_text(ASK.replace("merkl.cli.opening", "merkl.cli.status"))
    asked.env["MERKL_FILE_SYSTEM"] = "local"
    for name in ("a", "b", "in/c"):
        asked.write(f"data/{name}.txt", f"{name}\n")
    asked.write("alone.txt", "alone\n")
    asked.write("plain/file", "not tracked\n")
    tracked(asked, "data", "alone.txt")
    return asked


def test_a_status_of_what_nobody_touched_is_answered_with_the_same_words(asked: Asked) -> None:
    assert asked.settle("status")
    answered = asked.ask("status")
    shutil.rmtree(asked.path / ".merkl/snapshots")
    found_out = asked.ask("status")

    assert answered == (True, "2 fresh\n") and found_out == (False, "2 fresh\n")
    for words in (("-v",), ("-v",), ("data",), ("data",)):
        assert not asked.answered("status", *words)


def _rewrite(path: str) -> Callable[[Path], object]:
    """Other bytes, with the size and the time of those before."""
    return lambda top: replaced(top / path, (top / path).read_text().swapcase())


EDITS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "other bytes": (_rewrite("data/in/c.txt"), _rewrite("data/in/c.txt")),
    "other bytes of a file": (_rewrite("alone.txt"), _rewrite("alone.txt")),
    "mode": (lambda top: (top / "data/a.txt").chmod(0o755), lambda top: (top / "data/a.txt").chmod(0o644)),
    "renamed": (
        lambda top: (top / "data/a.txt").rename(top / "data/z.txt"),
        lambda top: (top / "data/z.txt").rename(top / "data/a.txt"),
    ),
    "another file": (
        lambda top: (top / "data/in/new").write_text(""),
        lambda top: (top / "data/in/new").unlink(),
    ),
    "an empty directory": (lambda top: (top / "data/new").mkdir(), lambda top: (top / "data/new").rmdir()),
    "a link": (
        lambda top: ((top / "alone.txt").rename(top / "other"), (top / "alone.txt").symlink_to("other")),
        lambda top: (top / "other").replace(top / "alone.txt"),
    ),
    "another sidecar": (
        lambda top: (top / "plain/file.merkl").write_text("what?\n"),
        lambda top: (top / "plain/file.merkl").unlink(),
    ),
    "a sidecar of another format": (
        lambda top: (top / "data.merkl").rename(top / "kept"),
        lambda top: (top / "kept").rename(top / "data.merkl"),
    ),
    "a content that the store has lost": (
        lambda top: (top / ".merkl/store/store-1.db").rename(top / ".merkl/away"),
        lambda top: (top / ".merkl/away").rename(top / ".merkl/store/store-1.db"),
    ),
    "what merkl remembers": (
        lambda top: os.utime(top / ".merkl/index.db"),
        lambda top: None,
    ),
}  # fmt: skip


def test_after_any_edit_it_is_found_out_anew(asked: Asked) -> None:
    for what, (edit, undo) in EDITS.items():
        for _ in range(4):
            asked.ask("status")
            time.sleep(0.04)
            if would_answer(asked):
                break
        assert would_answer(asked), f"before: {what}"
        edit(asked.path)
        assert not would_answer(asked), what
        undo(asked.path)


def test_variables_and_settings_belong_to_the_question(asked: Asked) -> None:
    assert asked.settle("status")
    asked.env["MERKL_STORE"] = str(asked.path / "other")
    assert not would_answer(asked)
    del asked.env["MERKL_STORE"]
    assert would_answer(asked)
    asked.write("merkl.yaml", "snapshot: false\n")
    time.sleep(0.04)
    assert not asked.answered("status") and not asked.answered("status")


def test_many_tracked_files_of_one_directory_are_answered_for_together(asked: Asked) -> None:
    names = [f"many/{n}.txt" for n in range(20)]
    for name in names:
        asked.write(name, name)
    tracked(asked, *names)
    time.sleep(4.1)  # So old must be what is believed at a glance.
    assert asked.settle("status")
    assert asked.ask("status")[1] == "22 fresh\n"
    replaced(asked.path / "many/7.txt", "many/8.txt")
    answered, said = asked.ask("status")
    assert not answered and "1 modified, 21 fresh" in said


def test_outputs_and_what_they_were_made_from_belong_to_it(asked: Asked) -> None:
    asked.write("src/a.txt", "a\n")
    merklfile(asked, PLAIN)
    asked.ask("build")
    assert asked.settle("status")
    assert asked.ask("status")[1] == "3 fresh\n"
    asked.write("src/a.txt", "b\n")
    answered, said = asked.ask("status")
    assert not answered and "1 stale" in said


class _Edits:
    """One edit of what is tracked, drawn by ``draw``."""

    def __init__(self, asked: Asked, draw: random.Random) -> None:
        self.asked, self.draw = asked, draw

    def path(self) -> Path:
        return self.asked.path / self.draw.choice(
            ("data/a.txt", "data/in/c.txt", "data/in/d", "alone.txt", "plain/file")
        )

    def one(self) -> str:
        kinds = (
            self.write, self.same, self.touch, self.remove, self.mode, self.link, self.move, self.track, self.settings, self.nothing,
        )  # fmt: skip
        kind = self.draw.choice(kinds)
        kind()
        return kind.__name__

    def write(self) -> None:
        self.path().write_text("x" * self.draw.randrange(3))

    def same(self) -> None:
        if (path := self.path()).is_file():
            replaced(path, "y" * path.stat().st_size)

    def touch(self) -> None:
        if (path := self.path()).is_file():
            when = time.time() + self.draw.choice([-1e9, 0, 3600])
            os.utime(path, (when, when))

    def remove(self) -> None:
        self.path().unlink(missing_ok=True)

    def mode(self) -> None:
        if (path := self.path()).is_file():
            path.chmod(path.stat().st_mode ^ 0o100)

    def link(self) -> None:
        path = self.path()
        path.unlink(missing_ok=True)
        path.symlink_to(self.asked.path / "plain/file")

    def move(self) -> None:
        path, other = self.path(), self.path()
        if path != other and os.path.lexists(path):
            path.rename(other)

    def track(self) -> None:
        self.asked.ask("track", "data", code=None)

    def settings(self) -> None:
        name = self.draw.choice(["merkl.yaml", ".merklignore", ".gitignore", "alone.txt.merkl"])
        with open(self.asked.path / name, "a") as file:
            file.write(self.draw.choice(["", "# nothing\n"]))

    def nothing(self) -> None:
        time.sleep(0.05)


def _edited_at_random(asked: Asked, count: int, seed: int) -> None:
    draw = random.Random(seed)
    edits, done = _Edits(asked, draw), []
    for _ in range(count):
        if draw.random() < 0.6:
            asked.settle("status", code=None)
        done.append(edits.one())
        answered, said = asked.ask("status", code=None)
        if answered:
            shutil.rmtree(asked.path / ".merkl/snapshots")
            assert asked.ask("status", code=None) == (False, said), (seed, done)


def test_an_answer_is_what_the_long_way_says(asked: Asked) -> None:
    _edited_at_random(asked, 4, SEED)


@pytest.mark.full
@pytest.mark.parametrize("part", range(10))
def test_many_answers_are_what_the_long_way_says(asked: Asked, part: int) -> None:
    _edited_at_random(asked, 12, SEED + part)

"""Projects edited at random: an answer is given only where the long way comes to the same."""

import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from test_snapshots import Asked, merklfile

SEED = int(os.environ["MERKL_FAULT_SEED"])
MERKLFILE = """
    import glob, os, pathlib
    import helper
    from os import stat

    count = bash_task("cat {files_arg('texts')} > {out_file_arg('out', '.out')}; : {arg('n')}")
    copy = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.out')}")

    @task
    def length(text, factor):
        return helper.scaled(len(open(text).read())) * factor

    @target(default=True)
    def all():
        sources = files("src/**/*.txt")
        for source in sources:
            copy(source) > f"out/{source.stem}.out"
            length(source, int(os.environ.get("FACTOR", "1"))) >> f"out/{source.stem}.json"
        extra = [p for p in sorted(glob.glob("more/*")) if stat(p).st_size]
        count([*sources, *map(file, extra)], int(pathlib.Path("switch").exists())) > "out/all/all.out"
"""
NAMES = ["src/a.txt", "src/b.txt", "src/in/c.txt", "src/in/d.txt", "more/e", "more/f", "switch"]


def _files(top: Path) -> list[Path]:
    return sorted(path for path in top.rglob("*") if path.is_file())


class Edits:
    """One edit of a project, drawn by ``draw``."""

    def __init__(self, asked: Asked, draw: random.Random) -> None:
        self.asked = asked
        self.draw = draw
        self.kinds: list[Callable[[], object]] = [
            self.write, self.write, self.same_size, self.remove, self.touch, self.mode, self.link, self.rename, self.output, self.output,
            self.code, self.variable, self.settings, self.clock, self.nothing, self.nothing,
        ]  # fmt: skip

    def one(self) -> str:
        kind = self.draw.choice(self.kinds)
        kind()
        return kind.__name__

    def path(self) -> Path:
        path = self.asked.path / self.draw.choice(NAMES)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self) -> None:
        self.path().write_text("x" * self.draw.randrange(3) + "\n")

    def same_size(self) -> None:
        path = self.path()
        if path.is_file() and not path.is_symlink():
            before = path.stat()
            path.write_text("".join(self.draw.choices("yz", k=before.st_size)))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def remove(self) -> None:
        self.path().unlink(missing_ok=True)

    def touch(self) -> None:
        path = self.path()
        if path.is_file():
            path.touch()

    def mode(self) -> None:
        path = self.path()
        if path.is_file():
            path.chmod(path.stat().st_mode ^ 0o100)

    def link(self) -> None:
        path, other = self.path(), self.path()
        if path != other and other.is_file() and not other.is_symlink():
            path.unlink(missing_ok=True)
            path.symlink_to(other)

    def rename(self) -> None:
        path, other = self.path(), self.path()
        if path.is_file() and path != other:
            path.rename(other)

    def output(self) -> None:
        made = _files(self.asked.path / "out")
        if made:
            path = self.draw.choice(made)
            self.draw.choice(
                [path.unlink, lambda: path.write_text("mine\n"), lambda: path.chmod(0o755), path.touch]
            )()

    def code(self) -> None:
        self.asked.write("helper.py", f"def scaled(n):\n    return n * {self.draw.randrange(3)}\n")

    def variable(self) -> None:
        self.asked.env["FACTOR"] = self.draw.choice("123")

    def settings(self) -> None:
        self.asked.write(
            self.draw.choice(["merkl.yaml", ".merklignore"]), self.draw.choice(["", "# nothing\n"])
        )

    def clock(self) -> None:
        path = self.path()
        if path.is_file():
            when = time.time() + self.draw.choice([-1e9, -3600, 3600])
            os.utime(path, (when, when))

    def nothing(self) -> None:
        time.sleep(0.05)


def _state(asked: Asked) -> dict[str, Any]:
    return {
        str(p.relative_to(asked.path)): (p.read_bytes(), p.stat().st_mode, p.is_symlink())
        for p in _files(asked.path / "out")
    }


def _edited_at_random(asked: Asked, count: int, seed: int) -> int:
    """Edit so many times; how often a snapshot answered."""
    draw = random.Random(seed)
    edits = Edits(asked, draw)
    merklfile(asked, MERKLFILE)
    for name in NAMES[:5]:
        asked.write(name, f"{name}\n")
    edits.code()
    answers, done = 0, []
    for _ in range(count):
        if draw.random() < 0.6:
            asked.settle(code=None)
        done.append(edits.one())
        answered, said = asked.ask("build", code=None)
        if not answered:
            continue
        answers += 1
        before = _state(asked)
        shutil.rmtree(asked.path / ".merkl/snapshots")
        found_out, told = asked.ask("build", code=None)
        assert not found_out
        assert told.partition(" in ")[0] == said.partition(" in ")[0], (seed, done)
        assert _state(asked) == before, (seed, done)
    return answers


def test_an_answer_is_what_the_long_way_comes_to(asked: Asked) -> None:
    assert _edited_at_random(asked, 7, SEED) < 7


@pytest.mark.full
@pytest.mark.parametrize("part", range(40))
def test_many_answers_are_what_the_long_way_comes_to(asked: Asked, part: int) -> None:
    assert _edited_at_random(asked, 24, SEED + part) < 24


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """An empty project."""
    (tmp_path / "p").mkdir()
    return Asked(tmp_path / "p")

"""After a small change only what reads it is looked at, and the end is that of a build that looks at all."""

import os
import random
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from test_snapshots import PLAIN, Asked, _forget, merklfile, replaced

SEED = int(os.environ["MERKL_FAULT_SEED"])
MERKLFILE = """
    import os

    join = bash_task("cat {file_arg('first')} {file_arg('second', '.txt')} > {out_file_arg('out', '.txt')}")
    upper = bash_task("grep -v '#' {file_arg('text', '.txt')} | tr a-z A-Z > {out_file_arg('out', '.txt')} || true")
    count = bash_task("cat {files_arg('texts', '.txt')} | wc -l", stdout=str)
    # A compiler that takes in what the first word of each line names.
    compile = bash_task('''
        for word in $(cut -d" " -f1 {file_arg('text', '.txt')}); do
            if test -e heads/$word; then cat heads/$word; echo "x: heads/$word" >> {depfile_arg()}; fi
        done > {out_file_arg('out', '.txt')}
        echo "x: heads/always" >> {depfile_arg()}
        ''')
    length = bash_task("wc -c < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}; : {arg('n')}")

    @task
    def twice(text):
        return 2 * len(open(text).read())

    @target(default=True)
    def all():
        sources = files("src/**/*.txt")
        for source in sources:
            made = upper(join("header", source))
            made > f"out/{source.stem}.txt"
            length(made, 1) > f"out/length/{source.stem}.txt"
        twice(file("other.txt")) >> "out/twice.json"
        count([file("a.txt"), file("b.txt")]) > "out/count.txt"
        join("b.txt", upper(file("a.txt"))) > "out/both.txt"
        for n, name in enumerate(["a.txt", "b.txt"]):
            length(compile(name), n) > f"out/compiled{n}.txt"
        length(file("looked.txt"), len(open("looked.txt").read())) > "out/looked.txt"
"""
NAMES = "heads/always heads/a heads/b header other.txt a.txt b.txt looked.txt src/c.txt src/in/d.txt src/in/e.txt".split()


class Twins:
    """Two projects that are alike; one forgets its snapshots before each build."""

    def __init__(self, path: Path) -> None:
        self.both = []
        for name in ("fast", "slow"):
            (path / name / "p").mkdir(parents=True)
            self.both.append(Asked(path / name / "p"))
        for asked in self.both:
            merklfile(asked, MERKLFILE)
            for name in NAMES:
                asked.write(name, f"{name}\n")

    def edit(self, seed: int) -> str:
        for asked in self.both:
            what = edited(asked, random.Random(seed))
        return what

    def build(self) -> tuple[str, Any, Any]:
        """How the one was built, and what came of both."""
        fast, slow = self.both
        how, said = fast.told("build", "-j1", code=None)
        shutil.rmtree(slow.path / ".merkl/snapshots", ignore_errors=True)
        _, told = slow.told("build", "-j1", code=None)
        return how, _outcome(fast, said), _outcome(slow, told)


def _outcome(asked: Asked, said: str) -> Any:
    """Which tasks ran, how many did what, and what there is then."""
    ran = sorted(
        re.sub(r"^\[.*?\] |  [0-9.]+s$", "", line) for line in said.splitlines() if line.startswith("[")
    )
    there = {
        str(path.relative_to(asked.path)): (path.read_bytes(), path.stat().st_mode)
        for path in sorted((asked.path / "out").rglob("*"))
        if path.is_file() and path.suffix != ".merkl"  # Which has a time in it.
    }
    return ran, said.splitlines()[-1:] and said.splitlines()[-1].partition(" in ")[0], there


def edited(asked: Asked, draw: random.Random) -> str:
    """One edit of a project, drawn by ``draw``; what it was."""
    name = draw.choice(NAMES[:-1] * 3 + NAMES[-1:])
    path, text = asked.path / name, "".join(draw.choices("ab#", k=3)) + "\n"
    kinds = (
        ["write"] * 6
        + ["comment", "touch", "replace", "mode", "nothing", "back"] * 2
        + ["output", "new", "gone", "empty"]
    )
    match draw.choice(kinds):
        case "write":
            path.write_text(path.read_text() + text if path.exists() else text)
        case "comment":  # A line that the next task drops.
            path.write_text(path.read_text() + "#\n" if path.exists() else "#\n")
        case "touch":
            path.touch()
        case "replace":
            (path.parent / "new~").write_text(text)
            os.replace(path.parent / "new~", path)
        case "mode" if path.exists():
            path.chmod(path.stat().st_mode ^ 0o100)
        case "back":
            path.write_text(f"{name}\n")
        case "output":
            (asked.path / "out/both.txt").unlink(missing_ok=True)
        case "new":
            asked.write("src/in/new.txt", text)
        case "gone":
            (asked.path / "src/in/new.txt").unlink(missing_ok=True)
        case "empty":
            shutil.rmtree(asked.path / ".merkl/store", ignore_errors=True)
        case _:
            return "nothing"
    return name


@pytest.fixture
def settled(tmp_path: Path) -> Asked:
    """Three files, copied, with nothing to do."""
    (tmp_path / "p").mkdir()
    asked = Asked(tmp_path / "p")
    for name in "abc":
        asked.write(f"src/{name}.txt", f"{name}\n")
    merklfile(asked, PLAIN)
    assert asked.settle()
    return asked


def test_only_what_reads_a_changed_file_is_looked_at_until_all_is_settled_again(settled: Asked) -> None:
    settled.write("src/b.txt", "other\n")
    how, said = settled.told("build")
    assert how == "in part"
    assert said.startswith("[3/3] copy out/b.out  ") and "3 tasks: 2 cached, 1 ran in " in said
    assert (settled.path / "out/b.out").read_text() == "other\n"

    time.sleep(0.05)
    how, said = settled.told("build")
    assert (how, said.partition(" in ")[0]) == ("in part", "3 tasks: 3 cached")
    assert settled.answered()


def test_a_touch_and_another_file_of_the_same_name_and_bytes_run_nothing(settled: Asked) -> None:
    (settled.path / "src/a.txt").touch()
    (settled.path / "src/new").write_text("b\n")
    os.replace(settled.path / "src/new", settled.path / "src/b.txt")
    how, said = settled.told("build")
    assert (how, said.partition(" in ")[0]) == ("in part", "3 tasks: 3 cached")


def test_edits_that_no_stamp_shows_are_seen(settled: Asked) -> None:
    for text in "123":
        replaced(settled.path / "src/a.txt", f"{text}\n")
        settled.ask("build")
        assert (settled.path / "out/a.out").read_text() == f"{text}\n"
        (settled.path / "out/a.out").write_text("?\n")
        settled.ask("build")
        assert (settled.path / "out/a.out").read_text() == f"{text}\n"


def test_what_the_store_has_lost_is_not_taken_for_known(settled: Asked) -> None:
    settled.write("src/b.txt", "other\n")
    _forget(settled.path / ".merkl/store")
    assert settled.told("build")[0] == "found out"


def test_a_damaged_graph_is_none(settled: Asked) -> None:
    for graph in (settled.path / ".merkl/graphs").iterdir():
        graph.write_bytes(graph.read_bytes()[:20] + b"?" + graph.read_bytes()[21:])
    settled.write("src/b.txt", "other\n")
    assert settled.told("build")[0] == "found out"


def _edited_at_random(path: Path, count: int, seed: int) -> list[str]:
    """Edit so many times; how each build was made."""
    twins, hows, done = Twins(path), [], []
    draw = random.Random(seed)
    for _ in range(draw.choice([1, 1, 2])):
        assert "tasks: " in twins.build()[1][1]
        time.sleep(0.05)
    for _ in range(count):
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            done.append(twins.edit(draw.randrange(1 << 30)))
        if draw.random() < 0.5:
            time.sleep(0.05)
        how, fast, slow = twins.build()
        hows.append(how)
        assert fast == slow, (how, seed, done, fast[:2], slow[:2])
        if how == "found out" and draw.random() < 0.8:
            time.sleep(0.05)
            twins.both[0].ask("build", "-j1", code=None)
    return hows


def test_what_follows_from_a_small_change_is_what_the_long_way_comes_to(tmp_path: Path) -> None:
    assert len(_edited_at_random(tmp_path, 4, SEED)) == 4


@pytest.mark.parametrize(
    "asks",
    [
        pytest.param("made.hash", marks=pytest.mark.full),
        pytest.param("repr(made)", marks=pytest.mark.full),
        pytest.param("str(made.in_cache())", marks=pytest.mark.full),
        pytest.param("str(os.umask(0o077) and 1)", marks=pytest.mark.full),
        "str(os.path.exists('out/made.txt') and os.path.getsize('out/made.txt'))",
    ],
)
def test_what_the_merklfile_asks_of_results_is_asked_again(tmp_path: Path, asks: str) -> None:
    twins = Twins(tmp_path)
    for asked in twins.both:
        merklfile(
            asked,
            f"""
            import os

            upper = bash_task("tr a-z A-Z < {{file_arg('text', '.txt')}} > {{out_file_arg('out', '.txt')}}")
            say = bash_task("echo {{arg('words')}} > {{out_file_arg('out', '.txt')}}")

            @target(default=True)
            def all():
                made = upper("a.txt")
                made > "out/made.txt"
                say({asks}) > "out/said.txt"
            """,
        )
    for text in ("", "", "", "another\n", ""):
        for asked in twins.both:
            if text:
                asked.write("a.txt", text)
        time.sleep(0.05)
        _, fast, slow = twins.build()
        assert fast == slow


@pytest.mark.full
@pytest.mark.parametrize("part", range(40))
def test_many_small_changes_end_as_the_long_way_does(tmp_path: Path, part: int) -> None:
    assert "in part" in _edited_at_random(tmp_path, 24, SEED + part)

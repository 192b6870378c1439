"""After a small change of a graph of shell commands and functions, what is kept of both comes to what the Merklfile would."""

import os
import random
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from test_small_changes import _outcome
from test_snapshots import Asked, merklfile

from merkl.digest import Key
from merkl.store.local import LocalStore

QUOTE = "'"
SEED = int(os.environ["MERKL_FAULT_SEED"])
MODULE = """
    from dataclasses import dataclass

    from merkl import task

    @dataclass
    class Point:
        x: int
        text: str = ""

    def doubled(text):
        return text + text

    @task
    def point(path, n=1):
        with open(path) as file:
            return Point(len(file.read()) % 7 + n)

    @task
    def moved(point, by):
        return Point(point.x + len(str(by)), repr(by)[:20])
"""
MERKLFILE = """
    from pathlib import Path
    import helper
    from helper import Point, doubled, moved, point

    join = bash_task("cat {files_arg('texts')} > {out_file_arg('out', '.txt')}")
    upper = bash_task("grep -v '#' {file_arg('text')} | tr a-z A-Z > {out_file_arg('out', '.txt')} || true")
    count = bash_task("wc -c < {file_arg('text')}", stdout=str)
    say = bash_task("echo {arg('it')} > {out_file_arg('out', '.txt')}")
    found = bash_task('''
        for word in $(cut -d" " -f1 {file_arg('text')}); do
            if test -e heads/$word; then cat heads/$word; echo "x: heads/$word" >> {depfile_arg()}; fi
        done > {out_file_arg('out', '.txt')}
        echo "x: heads/always" >> {depfile_arg()}
        ''')
    FACTOR = 3
    listed = bash_task("find {dir_arg('tree')} -type f | xargs cat > {out_file_arg('out', '.txt')}")
    spread = bash_task('''
        mkdir -p {out_dir_arg('out')}/in
        split -l 2 {file_arg('text')} {out_dir_arg('out')}/in/part
        wc -c < {file_arg('text')} > {out_dir_arg('out')}/size
        ''')

    @task
    def named(tree):
        return sorted([str(each)[len(str(tree)):], each.read_text()[:9]] for each in map(Path, tree.files))

    @task
    def length(path):
        return len(open(path).read()) // FACTOR

    @task
    def copied(path, suffix=".dat"):
        made = FileRef.get_new_file(ext=suffix)
        with open(made, "w") as file:
            file.write(doubled(open(path).read()))
        return made

    @task
    def both(first, second):
        print("both of", first)
        return str(first), [second, second]

    @task(outs=["low", "high"], capture="stdout")
    def parted(text, at):
        print(at)
        return {"low": str(text)[:at], "high": str(text)[at:]}

    @task
    def picky(path):
        text = open(path).read()
        if "!" in text:
            raise ValueError(text)
        return dict(text=text.strip().splitlines()[-1:], n=len(text))

    @task
    def shown(point, more=()):
        return [point.x, point.text, *more]

    @task
    def gathered(*values, **named):
        return dict(values=[str(each)[:30] for each in values], **{name: str(each)[:30] for name, each in named.items()})

    @target(default=True)
    def all():
"""
NAMES = "heads/always heads/a tree/in/b a.txt b.txt c.txt".split()


def generated(draw: random.Random, count: int) -> str:
    """The body of a target that makes so many calls, each of files and of what those before it made."""
    kinds: dict[str, list[str]] = {
        "text": [repr(name) for name in NAMES[3:]],
        "value": ["7"],
        "point": [],
        "dir": ["DirRef('tree')"],
    }
    lines: list[str] = []

    def some(kind: str) -> str:
        return draw.choice(kinds[kind][-5:])

    def text() -> str:
        name = some("text")
        return f"file({name})" if name.startswith("'") else name

    makers: list[tuple[str, Callable[[], str]]] = [
        ("text", lambda: f"join([{text()}, {text()}])"),
        ("text", lambda: f"upper({text()})"),
        ("text", lambda: f"found({text()})"),
        ("text", lambda: f"say(length({text()}))"),
        ("text", lambda: f"copied({text()})"),
        ("text", lambda: f"copied({text()}, '.txt')"),
        ("value", lambda: f"count({text()})"),
        ("value", lambda: f"length({text()})"),
        ("value", lambda: f"picky({text()})"),
        ("value", lambda: f"both({some('value')}, {some('value')})[{draw.randrange(2)}]"),
        ("value", lambda: f"parted({some('value')}, {draw.randrange(3)}).{draw.choice(['result[`high`]', 'stdout'])}"),
        ("value", lambda: f"gathered({some('value')}, 1, a={some('value')}, b=({some('value')}, 'x'))"),
        ("text", lambda: f"listed({some('dir')})"),
        ("value", lambda: f"named({some('dir')})"),
        ("dir", lambda: f"spread({text()})"),
        ("point", lambda: f"point({text()}, n={draw.randrange(3)})"),
        ("point", lambda: f"moved({some('point')}, {some('value')})"),
        ("value", lambda: f"shown({some('point')}, more=[{some('value')}])"),
    ]  # fmt: skip
    for number in range(count):
        kind, made = draw.choice(makers if kinds["point"] else makers[:-2])
        lines.append(f"n{number} = {made().replace('`', QUOTE)}")
        kinds[kind].append(f"n{number}")
        if draw.random() < 0.6 or number > count - 3:
            ending = {"text": ".txt", "value": ".json", "point": ".pickle", "dir": ""}[kind]
            lines.append(f"n{number} {draw.choice(['>', '>', '>>'])} 'out/{number}{ending}'")
    return "".join(f"        {line}\n" for line in lines)


def edited(asked: Asked, draw: random.Random) -> str:
    """One edit of a project, drawn by ``draw``; what it was."""
    name = draw.choice(NAMES)
    path, text = asked.path / name, "".join(draw.choices("ab#", k=3)) + "\n"
    kind = draw.choice(
        ["write"] * 6
        + ["comment", "touch", "mode", "nothing", "back", "fail"] * 2
        + ["output", "empty", "new", "gone"]
    )
    match kind:
        case "write":
            path.write_text(path.read_text() + text)
        case "comment":  # A line that the next task may drop.
            path.write_text(path.read_text() + "#\n")
        case "touch":
            path.touch()
        case "mode":
            path.chmod(path.stat().st_mode ^ 0o100)
        case "back":
            path.write_text(f"{name}\n")
        case "fail":
            path.write_text(f"{name}\n!\n")
        case "output":
            for made in sorted(path for path in asked.path.glob("out/**/*") if path.is_file())[::3]:
                made.unlink()
        case "new":
            asked.write("tree/in/new", text)
        case "gone":
            (asked.path / "tree/in/new").unlink(missing_ok=True)
        case "empty" if draw.random() < 0.3:
            shutil.rmtree(asked.path / ".merkl/store", ignore_errors=True)
        case _:
            return "nothing"
    return f"{kind} {name}"


class Twins:
    """Two projects that are alike; one forgets its snapshots before each build."""

    def __init__(self, path: Path, body: str) -> None:
        self.both = []
        for name in ("fast", "slow"):
            (path / name / "p").mkdir(parents=True)
            asked = Asked(path / name / "p")
            merklfile(asked, MERKLFILE + body)
            asked.write("helper.py", "\n".join(line[4:] for line in MODULE.splitlines()))
            for each in NAMES:
                asked.write(each, f"{each}\n")
            self.both.append(asked)

    def edit(self, seed: int) -> str:
        for asked in self.both:
            what = edited(asked, random.Random(seed))
        return what

    def build(self, *words: str) -> tuple[str, Any, Any]:
        """How the one was built, and what came of both."""
        fast, slow = self.both
        how, said = fast.told("build", *words, code=None)
        shutil.rmtree(slow.path / ".merkl/snapshots", ignore_errors=True)
        _, told = slow.told("build", *words, code=None)
        return how, (_outcome(fast, said), records(fast.path)), (_outcome(slow, told), records(slow.path))


def records(path: Path) -> dict[str, Any]:
    """What the store has, by key, without the times."""
    (database,) = (path / ".merkl/store").glob("store-?.db")
    connection = sqlite3.connect(database)
    keys = [Key(key) for (key,) in connection.execute("SELECT key FROM name")]
    connection.close()
    store = LocalStore(str(path / ".merkl/store"))
    try:
        found = store.by_key(keys)
    finally:
        store.close()
    return {
        key.hex(): (r.content_key, r.task, r.outputs, tuple(r.inputs), r.log, r.discovered, r.arguments, tuple(r.dependencies))
        for key, r in found.items()
    }  # fmt: skip


def changed_at_random(path: Path, edits: int, calls: int, seed: int) -> list[str]:
    """Edit so many times; how each build was made."""
    draw = random.Random(seed)
    body = generated(draw, calls)
    # Of two tasks at once either may end first, and what is begun after a failure depends on it.
    words = draw.choice([("-j1",), ("-j1", "-k"), ("-j2", "-k")])
    twins, hows, done = Twins(path, body), [], []
    for _ in range(draw.choice([1, 1, 2])):
        twins.build(*words)
        time.sleep(0.05)
    for _ in range(edits):
        done.append([twins.edit(draw.randrange(1 << 30)) for _ in range(draw.choice([1, 1, 1, 2, 3]))])
        if draw.random() < 0.5:
            time.sleep(0.05)
        how, fast, slow = twins.build(*words)
        hows.append(how)
        assert fast == slow, (how, seed, words, done)
        if how == "found out" and draw.random() < 0.8:
            time.sleep(0.05)
            twins.both[0].ask("build", *words, code=None)
    return hows


def test_what_follows_from_a_change_of_a_mixed_graph_is_what_the_long_way_comes_to(tmp_path: Path) -> None:
    assert len(changed_at_random(tmp_path, 2, 6, SEED)) == 2


@pytest.mark.full
@pytest.mark.parametrize("part", range(40))
def test_many_changes_of_mixed_graphs_end_as_the_long_way_does(tmp_path: Path, part: int) -> None:
    assert "in part" in changed_at_random(tmp_path, 16, 14, SEED + part)


PLAIN = """
    import helper

    upper = bash_task("grep -v '#' {file_arg('text')} | tr a-z A-Z > {out_file_arg('out', '.txt')} || true")

    @task
    def length(path):
        print("counted")
        return len(open(path).read()) * helper.FACTOR

    @task
    def checked(number):
        if number > 50:
            raise ValueError(number)
        return [number]

    @task
    def names(directory):
        return sorted(each.name for each in directory.files)

    spread = bash_task("cp {file_arg('text')} {out_dir_arg('out')}/copy")

    @target(default=True)
    def all():
        upper("a.txt") > "out/a.txt"
        checked(length(upper("b.txt"))) >> "out/b.json"
        names(DirRef("tree")) > "out/names.json"
        spread(file("c.txt")) > "out/spread"
"""


@pytest.fixture
def mixed(tmp_path: Path) -> Asked:
    """Commands and functions, with nothing to do."""
    (tmp_path / "p").mkdir()
    asked = Asked(tmp_path / "p")
    merklfile(asked, PLAIN)
    asked.write("helper.py", "FACTOR = 2\n")
    for name in ("a.txt", "b.txt", "c.txt", "tree/in/d.txt"):
        asked.write(name, f"{name}\n")
    assert asked.settle("build", "-j1")
    return asked


def test_a_change_that_ends_before_a_function_is_reached_needs_nothing_of_python(mixed: Asked) -> None:
    for kept in (mixed.path / ".merkl/calls").iterdir():
        assert kept.stat().st_mode & 0o777 == 0o600  # A function may refer to what nobody is to see.
        kept.unlink()
    mixed.write("a.txt", "other\n")
    how, said = mixed.told("build", "-j1")
    assert (how, said.partition(" in ")[0].splitlines()[-1]) == ("in part", "4 tasks: 3 cached, 1 ran")
    mixed.write("b.txt", "other\n")
    assert mixed.told("build", "-j1")[0] == "found out"
    assert (mixed.path / "out/b.json").read_text() == "[12]\n"


@pytest.mark.parametrize("jobs", ["-j1", pytest.param("-j2", marks=pytest.mark.full)])
def test_a_function_runs_as_it_was_without_the_merklfile(mixed: Asked, jobs: str) -> None:
    assert mixed.settle("build", jobs)
    mixed.write("b.txt", "a longer one\n")
    how, said = mixed.told("build", jobs)
    assert how == "in part" and "3 ran" in said and "counted" in said
    assert (mixed.path / "out/b.json").read_text() == "[26]\n"
    mixed.write("b.txt", "a longer one\n#\n")
    how, said = mixed.told("build", jobs)
    assert how == "in part" and " cut off, 1 ran" in said


def test_what_failed_is_tried_again_and_all_else_is_settled(mixed: Asked) -> None:
    mixed.write("b.txt", "x" * 100 + "\n"), mixed.write("a.txt", "other\n")
    for ran in ("3 ran, 1 failed", "1 failed"):
        time.sleep(0.05)
        how, said = mixed.told("build", "-j1", code=1)
        assert how == "in part" and ran in said
    mixed.write("b.txt", "short\n")
    assert mixed.told("build", "-j1")[0] == "in part"
    time.sleep(0.05)
    assert mixed.told("build", "-j1")[0] == "in part" and mixed.answered("build", "-j1")


def test_directories_are_looked_at_as_wholes(mixed: Asked) -> None:
    mixed.write("tree/in/new.txt", "new\n"), mixed.write("c.txt", "other\n")
    (mixed.path / "out/a.txt").unlink()
    how, said = mixed.told("build", "-j1")
    assert how == "in part" and "2 ran" in said
    assert "new.txt" in (mixed.path / "out/names.json").read_text()
    assert (mixed.path / "out/spread/copy").read_text() == "other\n" and (mixed.path / "out/a.txt").exists()
    time.sleep(0.05)
    assert mixed.told("build", "-j1")[0] == "in part" and mixed.answered("build", "-j1")
    mixed.write("tree/in/new.txt", "newer\n")
    (mixed.path / "out/spread/copy").unlink()
    assert mixed.told("build", "-j1")[0] == "in part"
    assert (mixed.path / "out/spread/copy").read_text() == "other\n"


@pytest.mark.full
def test_what_a_remote_has_of_a_change_is_fetched(mixed: Asked, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    mixed.write("merkl.yaml", "remote: {url: ../shared}\n")
    assert mixed.settle("build", "-j1")
    (tmp_path / "there").mkdir()
    shutil.copytree(mixed.path, tmp_path / "there/p")
    other = Asked(tmp_path / "there/p")
    other.write("merkl.yaml", "remote: {url: ../../shared}\n")
    for asked in (other, mixed):
        asked.write("b.txt", "another\n")
        how, said = asked.told("build", "-j1", *["--push"] * (asked is other))
        assert (" 3 ran" in said) is (asked is other)
    assert how == "in part" and " ran" not in said
    assert (mixed.path / "out/b.json").read_text() == "[16]\n"


def test_why_no_graph_is_kept_is_said(mixed: Asked) -> None:
    assert "no kept graph" not in mixed.ask("build", "-j1", "-v")[1]
    merklfile(
        mixed,
        PLAIN.replace('checked(length(upper("b.txt")))', 'checked(len(length(upper("b.txt")).hash[:9]))'),
    )
    mixed.ask("build", "-j1", code=None)
    time.sleep(0.05)
    assert "no kept graph: the Merklfile looked at a key" in mixed.ask("build", "-j1", "-v", code=None)[1]


def test_a_directory_of_which_the_merklfile_asked_more_is_looked_at_by_it_again(mixed: Asked) -> None:
    merklfile(
        mixed, PLAIN.replace("names(DirRef", "[upper(each) for each in files('tree/in/*')]; names(DirRef")
    )
    assert mixed.settle("build", "-j1")
    mixed.write("tree/in/d.txt", "edited\n")
    assert mixed.told("build", "-j1")[0] == "found out"
    assert mixed.settle("build", "-j1")
    mixed.write("a.txt", "edited\n")
    assert mixed.told("build", "-j1")[0] == "in part"

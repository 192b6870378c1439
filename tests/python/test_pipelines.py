"""``@pipeline``: when its function runs, what is remembered of it, and what it says comes first."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORDS = """
    @task
    def read(path):
        with open(path) as text:
            return text.read().split()

    @task
    def shout(word, mark="!"):
        return word.upper() + mark

    @task
    def join(words):
        return " ".join(words)

    MARK = "!"

    def mark():
        return MARK

    @pipeline
    def words(path, extra=()):
        print("BODY")
        found = [shout(word, mark=mark()) for word in ("to", "be", *extra)]
        found += [shout(word) for word in read(path).eval()]
        return {"all": join(found), "first": found[0]}

    @target(default=True)
    def all():
        made = words(file("in.txt"))
        made["all"] > "all.txt"
"""


def build(project: Any, *arguments: str, code: int | None = 0) -> tuple[list[str], int]:
    """The tasks that ran, and how often a pipeline's function did."""
    import json

    done = project.merkl("build", "-j1", "--json", *arguments, code=code)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return sorted(e["task"] for e in events if e["event"] == "ran"), done.stderr.count("BODY")


@pytest.fixture
def words(inside: Any) -> Any:
    """A project with a pipeline, built once."""
    inside.merklfile(WORDS)
    inside.write("in.txt", "or not")
    assert build(inside) == (["join", *["shout"] * 4], 1)  # Reading is a build of its own.
    return inside


def edit(project: Any, old: str, new: str) -> None:
    text = project.read("Merklfile.py")
    assert old in text
    project.write("Merklfile.py", text.replace(old, new))


def test_a_construction_that_holds_is_not_repeated_and_leaves_the_same_files(words: Any) -> None:
    (words.path / "all.txt").unlink()

    assert build(words) == ([], 0)
    assert words.read("all.txt") == "TO! BE! OR! NOT!"


@pytest.mark.parametrize(
    ("old", "new", "ran"),
    [
        ('MARK = "!"', 'MARK = "?"', ["join", "shout", "shout"]),
        ("word.upper()", "word.title()", ["join", *["shout"] * 4]),
        ('("to", "be", *extra)', '("to", *extra)', ["join"]),
        ('file("in.txt"))', 'file("in.txt"), extra=["so"])', ["join", "shout"]),
    ],
    ids=["a helper of the pipeline", "a task", "the pipeline", "an argument"],
)
def test_an_edit_repeats_the_construction_and_runs_what_it_should(
    words: Any, old: str, new: str, ran: list[str]
) -> None:
    edit(words, old, new)

    assert build(words) == (ran, 1)
    assert build(words) == ([], 0)
    edit(words, new, old)
    assert build(words) == ([], 0)


def test_a_comment_repeats_nothing(words: Any) -> None:
    edit(words, "found = [", "# What is found.\n    found = [")

    assert build(words) == ([], 0)


def test_an_evaluated_value_that_changes_repeats_the_construction(words: Any) -> None:
    words.write("in.txt", "or not not")

    assert build(words) == (["join"], 1)
    assert words.read("all.txt") == "TO! BE! OR! NOT! NOT!"


def test_a_result_that_is_gone_repeats_the_construction(words: Any) -> None:
    words.merkl("clear", "all")

    ran, bodies = build(words)

    assert (ran[0], bodies) == ("join", 1)
    assert build(words) == ([], 0)


LOOKS = {
    "files": ("for name in files('*.md'): yield name", "new.md", "x"),
    "file": ("yield file('a.cfg')", "", ""),
    "params": ("yield params('p.yaml').size", "p.yaml", "size: 2"),
    "open": ("from pathlib import Path; yield Path('a.cfg').read_text()", "a.cfg", "other"),
    "environment": ("import os; yield os.environ.get('SIZE', 'none')", "SIZE", "3"),
    "environment, asked in another way": ("import os; yield 'SIZE' in os.environ", "SIZE", "3"),
    "an import": ("import late; yield late.VALUE", "late.py", "VALUE = 22"),
}
LOOKING = """
    @task
    def echo(value):
        return value

    def look():
        {look}

    @pipeline
    def looking():
        print("BODY")
        return [echo(str(found)) for found in look()]

    @target(default=True)
    def all():
        return looking()
"""


@pytest.mark.parametrize(("look", "name", "text"), LOOKS.values(), ids=LOOKS)
def test_what_a_pipeline_looks_at_decides_whether_it_is_repeated(
    inside: Any, monkeypatch: pytest.MonkeyPatch, look: str, name: str, text: str
) -> None:
    inside.write("a.cfg", "text")
    inside.write("p.yaml", "size: 1")
    inside.write("late.py", "VALUE = 1")
    inside.write("old.md", "")
    inside.merklfile(LOOKING.format(look=look))
    first = build(inside)
    assert first == (["echo"], 1)
    assert build(inside) == ([], 0)

    if name == "SIZE":
        monkeypatch.setenv(name, text)
    elif name:
        inside.write(name, text)

    assert build(inside) == ((["echo"], 1) if name else ([], 0))
    assert build(inside) == ([], 0)


@pytest.mark.parametrize(
    ("look", "why"),
    [
        ("import os; yield from sorted(os.listdir('data'))", "lists a directory"),
        ("import os; yield os.path.exists('data/b')", "looks whether a file is there"),
        ("from pathlib import Path; yield Path('data/b').is_file()", "looks whether a file is there"),
        ("from pathlib import Path; Path('log').write_text(''); yield 1", "writes files"),
        ("import os; yield len(os.environ) > 0", "asks for all environment variables"),
    ],
)
def test_what_cannot_be_asked_again_is_not_remembered(inside: Any, look: str, why: str) -> None:
    inside.write("data/a", "")
    inside.merklfile(LOOKING.format(look=look))
    build(inside)
    inside.write("data/b", "")

    ran, bodies = build(inside)

    assert bodies == 1
    assert ran == (["echo"] if "data" in look else [])
    assert why in inside.merkl("build", "-v").stdout


def test_a_task_that_no_module_binds_is_not_remembered(inside: Any) -> None:
    inside.merklfile("""
        def maker(n):
            @task
            def local():
                return n
            return local

        @pipeline
        def some():
            print("BODY")
            return [maker(n)() for n in range(2)]

        @target(default=True)
        def all():
            return some()
    """)

    assert build(inside) == (["local", "local"], 1)
    assert build(inside) == ([], 1)
    assert "it calls local, which no module binds to a name" in inside.merkl("build", "-v").stdout


def test_values_of_many_types_come_back_as_they_were(inside: Any) -> None:
    inside.merklfile("""
        import dataclasses, datetime, enum, pathlib

        class Kind(enum.Enum):
            A = 1

        @dataclasses.dataclass(frozen=True)
        class Point:
            x: int
            tags: tuple = ()

        upper = bash_task("tr a-z A-Z < {file_arg('text', '.txt')} > {out_file_arg('big', '.txt')}")

        @task
        def show(value):
            return repr(value)

        @pipeline
        def inner(made):
            return show({"made": made}), made

        @pipeline
        def outer(value, again):
            print("BODY")
            shown, same = inner(show(value))
            return {"shown": [shown, again], "big": upper(file("a.txt"), big="big.txt"), "value": value, "same": same}

        VALUE = {1: (1.5, b"x", None), "d": datetime.date(2020, 1, 2), "k": Kind.A, "p": Point(1, ("a",)), "s": {1, 2},
                 "path": pathlib.PurePosixPath("a/b"), "f": show, "far": float("inf")}

        @target(default=True)
        def all():
            made = outer(VALUE, show("again"))
            assert made["value"] == VALUE and made["shown"][1] == show("again"), made
            return made
    """)
    inside.write("a.txt", "abc")

    assert build(inside) == (["show", "show", "show", "upper"], 1)
    (inside.path / "big.txt").unlink()
    assert build(inside) == ([], 0)
    assert inside.read("big.txt") == "ABC"


def test_what_is_pushed_spares_others_the_construction(words: Any, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    words.write("merkl.yaml", f"remote:\n  url: {tmp_path / 'share'}\n")
    words.merkl("push", "all")
    shutil.rmtree(words.path / ".merkl")

    assert build(words) == ([], 0)

    shutil.rmtree(tmp_path / "share")
    (tmp_path / "share").mkdir()
    edit(words, "word.upper()", "word.title()")
    assert build(words, "--push")[1] == 1
    shutil.rmtree(words.path / ".merkl")
    assert build(words) == ([], 0)


def test_a_construction_that_was_lost_is_made_again(words: Any) -> None:
    with contextlib.closing(sqlite3.connect(words.path / ".merkl/store/store-1.db")) as database, database:
        database.execute("DELETE FROM blob WHERE CAST(bytes AS TEXT) LIKE '{\"nodes\"%'")

    assert build(words) == ([], 1)
    assert build(words) == ([], 0)


def test_batches_and_lists_are_called_again_as_such(inside: Any) -> None:
    inside.merklfile("""
        @task
        def double(n):
            return 2 * n

        @batch(double)
        def doubles(ns):
            with open("batches", "a") as log:
                log.write(f"{len(ns)} ")
            return [2 * n for n in ns]

        @batch
        def triples(ns, plus=0):
            with open("batches", "a") as log:
                log.write(f"{len(ns)} ")
            return [3 * n + plus for n in ns]

        @task
        def total(ns):
            return sum(ns)

        @task
        def count(n):
            yield from range(n)

        @pipeline
        def inner(ns):
            return triples(doubles(ns), plus=1)

        @pipeline
        def numbers():
            print("BODY")
            found = inner([1, 2])
            for each in found:
                each > "numbers.jsonl"
            return total(found), double.map(count(3))

        @target(default=True)
        def all():
            made = numbers()
            return made[0], total([made[0]])
    """)
    assert build(inside)[1] == 1
    (inside.path / "numbers.jsonl").unlink()

    assert build(inside) == ([], 0)
    assert inside.read("numbers.jsonl") == "7\n13\n"
    assert build(inside, "-B")[1] == 0
    assert inside.read("batches") == "2 2 2 2 "  # And not each item alone.


def test_an_inner_construction_serves_an_outer_one_that_is_repeated(inside: Any) -> None:
    inside.merklfile("""
        @task
        def double(n):
            return 2 * n

        @pipeline
        def inner(n):
            print("INNER")
            made = double(n)
            made > f"{made.eval()}.txt"
            return made

        @pipeline
        def outer():
            print("BODY")
            return double(inner(3))

        @target(default=True)
        def all():
            return outer()
    """)
    assert build(inside) == (["double"], 1)
    edit(inside, "double(inner(3))", "double(double(inner(3)))")

    done = inside.merkl("build", "-j1", "-B")

    assert ("BODY" in done.stderr, "INNER" in done.stderr) == (True, False)
    assert inside.read("6.txt") == "6\n"
    assert build(inside) == ([], 0)


@pytest.mark.parametrize("cache", ["False", "None"])
def test_a_task_that_keeps_no_results_cannot_be_in_a_pipeline_that_is_remembered(
    inside: Any, cache: str
) -> None:
    inside.merklfile(f"""
        @task(cache={cache})
        def now():
            return 1

        @pipeline
        def bad():
            return now()

        @target(default=True)
        def all():
            return bad()
    """)
    done = inside.merkl("build", code=1)

    assert "the pipeline bad calls now, which keeps no results" in done.stderr
    assert "Merklfile.py:9, in bad" in done.stderr
    edit(inside, "@pipeline", "@pipeline(cache=False)")
    assert build(inside) == (["now"], 0)


def test_commands_that_run_nothing_say_until_when_a_pipeline_is_unknown(inside: Any) -> None:
    inside.merklfile(WORDS + "\n    @target\n    def more():\n        return read(file('in.txt'))\n")
    inside.write("in.txt", "or not")
    for command in (["why"], ["build", "-n"], ["dag"], ["status", "all"]):
        done = inside.merkl(*command)
        assert "the pipeline words is unknown until read in.txt has run" in done.stderr, command
    assert "read in.txt  [would run]  in words" in inside.merkl("dag").stdout
    inside.merkl("build", "-j1", "more")

    assert "would run  shout" in inside.merkl("why").stdout
    edit(inside, "@target(default=True)", "made = words(file('in.txt'), extra=['z'])\n@target(default=True)")
    inside.write("in.txt", "or else")
    listed = inside.merkl("list")
    assert "unknown until read in.txt has run; targets below it are not listed" in listed.stderr
    assert build(inside) == (["join", *["shout"] * 4], 2)


YIELDS = """
    import time

    @task
    def note(name, needs=None, seconds=0.0):
        time.sleep(seconds)
        with open("{log}", "a") as log:
            log.write(name + " ")
        return name

    @pipeline
    def inner(name):
        return note(name)

    @pipeline
    def ordered():
        slow = note("slow", seconds=0.15)
        yield slow
        second = note("second", seconds=0.1), note("beside")
        yield second
        return inner("last")

    @target(default=True)
    def all():
        return ordered()
"""


def test_what_is_yielded_ends_before_what_follows_starts(inside: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    inside.merklfile(YIELDS.format(log=log))
    for options in (["-j4"], ["-j4", "-B"]):  # The second time as it is remembered.
        log.write_text("")
        inside.merkl("build", *options)

        first, *between, last = log.read_text().split()
        assert (first, {*between}, last) == ("slow", {"second", "beside"}, "last")


def test_what_follows_a_failure_that_was_yielded_does_not_start(inside: Any) -> None:
    inside.merklfile("""
        @task
        def fail():
            raise ValueError

        @task
        def after():
            return 1

        @pipeline
        def ordered():
            yield fail()
            return after()

        @target(default=True)
        def all():
            return ordered()
    """)
    assert "1 failed, 1 skipped" in inside.merkl("build", "-j1", "-k", code=1).stdout


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return bad(n)", "the pipeline bad calls itself with the same arguments"),
        ("return bad(n + 1)", "pipelines call each other too deep, from outer"),
        ("yield 3", "the pipeline bad yields 3, and not a Future"),
        ("return echo(1, 2, 3)", "echo takes 1 argument, and got 3"),
        ("return bad(1, 2)", "bad takes 1 argument, and got 2"),
    ],
)
def test_an_error_in_a_pipeline_in_a_pipeline_is_told_in_the_users_own_lines(
    inside: Any, body: str, words: str
) -> None:
    inside.merklfile(f"""
        @task
        def echo(value):
            return value

        @pipeline
        def bad(n):
            {body}

        @pipeline
        def outer():
            return bad(1)

        @target(default=True)
        def all():
            return outer()
    """)
    error = inside.merkl("build", code=2).stderr

    assert words in error
    assert "Merklfile.py:17, in all" in error
    assert "Merklfile.py:13, in outer" in error or "too deep" in words
    assert "merkl/" not in error and "Traceback" not in error
    assert error.count("\n") <= 16


def test_an_endless_pipeline_that_is_run_by_name_is_told_by_its_own_line(inside: Any) -> None:
    inside.merklfile("""
        @pipeline
        def endless(n=0):
            return endless(n + 1)
    """)

    assert inside.merkl("run", "Merklfile.endless", code=2).stderr.splitlines()[:4] == [
        "pipelines call each other too deep, from endless",
        "  at:",
        "    Merklfile.py:3, in endless",
        "      @pipeline",
    ]


SCRIPT = """
from merkl import pipeline, task

@task
def length(text):
    print("length", text)
    return len(text)

@pipeline
def both(texts):
    print("BODY")
    first = length(texts[0])
    yield first
    second = length(texts[first.eval()])
    return first, second

print(both(["ab", "c", "def"])[1].v)
"""


def test_a_plain_script_remembers_what_it_constructed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    said = [
        subprocess.run(
            [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]

    assert [each.stdout.splitlines() for each in said] == [["BODY", "3"], ["3"]]
    # From elsewhere paths would mean something else.
    other = subprocess.run(
        [sys.executable, script], cwd=os.path.dirname(tmp_path), capture_output=True, text=True, check=True
    )
    assert other.stdout.splitlines() == ["BODY", "3"]


def test_a_build_of_remembered_pipelines_is_answered_by_a_snapshot(inside: Any) -> None:
    inside.merklfile(WORDS)
    inside.write("in.txt", "or not")
    inside.merkl("build")
    inside.merkl("build")

    assert "no snapshot" not in inside.merkl("build", "-v").stdout

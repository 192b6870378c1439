"""What of a call's arguments counts: values, Futures at any depth, files, code."""

from typing import Any

import pytest

BOTH = pytest.mark.parametrize("jobs", ["-j1", "-j2"])


@BOTH
def test_futures_are_found_in_lists_dicts_sets_and_dataclasses(inside: Any, jobs: str) -> None:
    inside.merklfile("""
        from collections import namedtuple
        from dataclasses import dataclass

        Point = namedtuple("Point", "x y")

        @dataclass(frozen=True)
        class Box:
            inner: object
            size: int = 1

            def __post_init__(self):
                if not isinstance(self.size, int):
                    raise TypeError(self.size)

        @task
        def number(n):
            return n

        @task
        def add(a, *rest, box, **more):
            point, (inside,) = more["point"], a["in"]
            return point.x + point.y + inside + sum(rest) + box.inner[0] + box.size + sum(more["some"])

        @target(default=True)
        def all():
            n = [number(10 ** i) for i in range(7)]
            total = add(
                {"in": (n[0],)}, n[1], n[2],
                box=Box([n[3]], 7), point=Point(n[4], n[5]), some={n[6]},
            )
            total > "total.txt"
    """)
    assert sorted(inside.build(jobs)) == ["add"] + ["number"] * 7
    assert inside.read("total.txt") == "1111118\n"
    assert inside.build(jobs) == []


def test_a_changed_list_of_the_callers_does_not_change_the_call(inside: Any) -> None:
    inside.merklfile("""
        @task
        def total(numbers):
            return sum(numbers)

        @target(default=True)
        def all():
            numbers = [1, 2]
            future = total(numbers)
            numbers.append(100)
            future > "total.txt"
    """)
    inside.build()

    assert inside.read("total.txt") == "3\n"


def test_a_file_argument_counts_by_content_and_path(inside: Any) -> None:
    inside.write("a.txt", "same")
    inside.write("b.txt", "same")
    text = """
        @task
        def size(path):
            return f"{path} {len(open(path).read())}"

        @target(default=True)
        def all():
            size(file("%s")) > "size.txt"
    """
    inside.merklfile(text % "a.txt")
    assert inside.build() == ["size"]
    inside.merklfile(text % "b.txt")
    assert inside.build() == ["size"]
    assert inside.read("size.txt") == "b.txt 4"

    inside.write("b.txt", "other")
    assert inside.build() == ["size"]
    assert inside.read("size.txt") == "b.txt 5"
    inside.write("b.txt", "same")
    assert inside.build() == []
    assert inside.read("size.txt") == "b.txt 4"


def test_a_plain_path_is_text_and_nothing_more(inside: Any) -> None:
    inside.write("a.txt", "one")
    inside.merklfile("""
        @task
        def read(path):
            return open(path).read()

        @target(default=True)
        def all():
            read("a.txt") > "out.txt"
    """)
    inside.build()
    inside.write("a.txt", "two")

    assert inside.build() == []


@BOTH
def test_code_among_the_arguments_counts(inside: Any, jobs: str) -> None:
    text = """
        from functools import partial

        def scaled(n, by):
            return n * by

        @task
        def apply(function, n):
            return function(n)

        @target(default=True)
        def all():
            apply(lambda n: n + %(add)s, 1) > "lambda.txt"
            apply(partial(scaled, by=%(by)s), 2) > "partial.txt"
            apply(scaled.__call__ if False else abs, -3) > "abs.txt"
    """
    inside.merklfile(text % {"add": 1, "by": 2})
    assert inside.build(jobs) == ["apply"] * 3
    assert [inside.read(f"{n}.txt") for n in ("lambda", "partial", "abs")] == ["2\n", "4\n", "3\n"]

    inside.merklfile(text % {"add": 5, "by": 2})
    assert inside.build(jobs) == ["apply"]
    assert inside.read("lambda.txt") == "6\n"
    inside.merklfile(text % {"add": 5, "by": 3})
    assert inside.build(jobs) == ["apply"]
    assert inside.read("partial.txt") == "6\n"


def test_an_argument_without_an_encoding_names_task_parameter_and_type(inside: Any) -> None:
    inside.merklfile("""
        import threading

        @task
        def f(things):
            return 1

        @target(default=True)
        def all():
            f({"lock": [threading.Lock()]})
    """)
    said = inside.merkl("build", code=2).stderr

    assert "f: the argument 'things' holds a value of type _thread.lock" in said
    assert "things['lock'][0]" in said
    assert "Merklfile.py:" in said


def test_a_call_that_does_not_fit_is_refused_where_it_is_written(inside: Any) -> None:
    inside.merklfile("""
        @task
        def f(a, b=1):
            return a

        @target(default=True)
        def all():
            f(1, c=3)
    """)
    said = inside.merkl("build", code=2).stderr

    assert "f has no parameter 'c'" in said
    assert "f(a, b=1)" in said
    assert "Merklfile.py:9, in all" in said


def test_version_replaces_the_code_and_deps_add_to_it(inside: Any) -> None:
    text = """
        SETTING = %(setting)r

        @task(version=%(version)r)
        def versioned():
            return %(result)r

        @task(deps=[SETTING])
        def dependent():
            return 1

        @target(default=True)
        def all():
            versioned() > "v.txt"
            dependent() > "d.txt"
    """
    inside.merklfile(text % {"setting": "a", "version": "1", "result": "old"})
    assert sorted(inside.build()) == ["dependent", "versioned"]
    inside.merklfile(text % {"setting": "a", "version": "1", "result": "new"})
    assert inside.build() == []
    assert inside.read("v.txt") == "old"
    inside.merklfile(text % {"setting": "a", "version": "2", "result": "new"})
    assert inside.build() == ["versioned"]
    assert inside.read("v.txt") == "new"
    inside.merklfile(text % {"setting": "b", "version": "2", "result": "new"})
    assert inside.build() == ["dependent"]


def test_a_file_or_a_future_in_deps_counts(project: Any) -> None:
    project.write("model.bin", "one")
    text = """
        @task
        def other():
            return %d

        @task(deps=[FileRef("model.bin")])
        def reads():
            return open("model.bin").read()

        def after(future):
            @task(deps=[future])
            def dependent():
                return "x"
            return dependent

        @target(default=True)
        def all():
            reads() > "read.txt"
            after(other())() > "x.txt"
    """
    project.merklfile(text % 1)
    assert sorted(project.build("-j1")) == ["dependent", "other", "reads"]
    project.write("model.bin", "two")
    assert project.build() == ["reads"]
    assert project.read("read.txt") == "two"
    project.merklfile(text % 2)
    assert project.build() == ["other", "dependent"]


@pytest.mark.parametrize(
    ("mode", "own", "file", "helper"),
    [("FUNCTION", True, False, False), ("MODULE", True, True, False), ("FIND_DEPS", True, False, True)],
)
def test_a_hash_mode_says_which_edits_count(
    inside: Any, mode: str, own: bool, file: bool, helper: bool
) -> None:
    files = {"own": "1", "file": "1", "helper": "1"}

    def write(**edits: str) -> None:
        now = files | edits
        inside.write("lib.py", f"def helper():\n    return {now['helper']}\n")
        inside.write(
            "tasks.py",
            "from merkl import *\nimport lib\n"
            f"@task(hash_mode=HashMode.{mode})\ndef f():\n    return lib.helper() + {now['own']}\n"
            f"def unused():\n    return {now['file']}\n",
        )

    inside.merklfile("""
        import tasks

        @target(default=True)
        def all():
            tasks.f() > "out.txt"
    """)
    write()
    assert inside.build() == ["f"]
    edits: dict[str, str] = {}
    for edit, counts in (("own", own), ("file", file), ("helper", helper)):
        edits[edit] = "2"
        write(**edits)
        assert (inside.build() == ["f"]) is counts, edit


def test_a_file_in_a_dataclass_of_the_project_counts_by_content(inside: Any) -> None:
    inside.write("a.txt", "one")
    inside.merklfile("""
        from dataclasses import dataclass

        @dataclass
        class Box:
            path: object

        @task
        def read(box):
            with open(box.path) as text:
                return text.read()

        @target(default=True)
        def all():
            read(Box(file("a.txt"))) > "out.txt"
    """)
    assert inside.build("-j1") == ["read"]
    inside.write("a.txt", "two")
    assert inside.build("-j1") == ["read"]
    assert inside.read("out.txt") == "two"


@pytest.mark.parametrize(
    ("made", "change"),
    [
        ("numpy.ones(3)", "it[0] = 5"),
        ("[{'k': numpy.ones(3)}]", "it[0]['k'] += 1"),
        ("bytearray(b'abc')", "it.append(1)"),
        ("collections.deque([1])", "it.append(2)"),
        ("Own(1)", "it.x = 2"),
        ("Data(1)", "it.x = 2"),
        ("pandas.DataFrame({'a': [1, 2]})", "it.loc[0, 'a'] = 7"),
    ],
)
def test_an_argument_that_was_changed_after_the_call_is_not_used(inside: Any, made: str, change: str) -> None:
    inside.merklfile(f"""
        import collections, dataclasses, numpy, os, pandas

        class Own:
            def __init__(self, x):
                self.x = x

        @dataclasses.dataclass
        class Data:
            x: int

        @task
        def f(it):
            return 1

        @target(default=True)
        def all():
            it = {made}
            f(it) > "out.txt"
            if os.path.exists("changed"):
                {change}
    """)
    inside.write("changed", "")
    error = inside.merkl("build", "-j1", code=2)
    assert "was changed after the task was called with it" in error.stderr
    (inside.path / "changed").unlink()
    assert inside.build("-j1") == ["f"]
    inside.write("changed", "")
    assert inside.build("-j1") == []  # The result that is there belongs to what was passed.


@pytest.mark.parametrize(
    "made",
    [
        "[]; items.append(items)",
        "{}; items['a'] = [items]",
        "[]; exec('for _ in range(3000): items = [items]')",
    ],
)
@pytest.mark.parametrize("option", ["", "(ignore_args=['x'])"])
def test_what_contains_itself_is_refused(inside: Any, made: str, option: str) -> None:
    inside.merklfile(f"""
        items = {made}

        @task{option}
        def f(x):
            return 1

        @target(default=True)
        def all():
            f(items) > "one.txt"
    """)
    error = inside.merkl("build", "-j1", code=2).stderr
    assert "the argument 'x' holds a value of type " in error
    assert "contains itself, or is nested more than 200 deep" in error
    assert 'f(items) > "one.txt"' in error

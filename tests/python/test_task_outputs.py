"""What Python tasks leave: how many outputs, of which kind, and what becomes of the files they name."""

import json
import os
from typing import Any

import pytest

BOTH = pytest.mark.parametrize("jobs", ["-j1", "-j2"])


@BOTH
def test_outputs_are_told_from_the_return_statements(inside: Any, jobs: str) -> None:
    inside.merklfile("""
        @task
        def pair(n):
            if n > 5:
                return n, "large"
            return n, "small"

        @task
        def named(n):
            return {"low": n - 1, "high": n + 1}

        @task
        def one(n):
            return [n, n]

        @task
        def nothing():
            pass

        @target(default=True)
        def all():
            number, word = pair(3)
            number > "number.txt"
            word > "word.txt"
            made = named(10)
            made["low"] > "low.txt"
            made["high"] > "high.txt"
            one(7) > "one.json"
            nothing() > "nothing.json"
    """)
    assert sorted(inside.build(jobs)) == ["named", "nothing", "one", "pair"]
    assert (inside.read("number.txt"), inside.read("word.txt")) == ("3\n", "small")
    assert (inside.read("low.txt"), inside.read("high.txt")) == ("9\n", "11\n")
    assert json.loads(inside.read("one.json")) == [7, 7]
    assert json.loads(inside.read("nothing.json")) is None
    assert inside.build(jobs) == []


def test_outputs_can_be_declared(inside: Any) -> None:
    inside.merklfile("""
        @task(outs=3)
        def three():
            return [n * n for n in range(3)]

        @task(outs=["a", "b"])
        def named():
            return dict(a=1, b=2)

        @task(outs=1)
        def one():
            return 1, 2

        @target(default=True)
        def all():
            for n, future in enumerate(three()):
                future > f"{n}.txt"
            named()["b"] > "b.txt"
            one() > "one.json"
    """)
    assert sorted(inside.build()) == ["named", "one", "three"]

    assert [inside.read(f"{n}.txt") for n in range(3)] == ["0\n", "1\n", "4\n"]
    assert inside.read("b.txt") == "2\n"
    assert json.loads(inside.read("one.json")) == [1, 2]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("@task(outs=0)\n        def f(): return 1", "outs=0 is no number of outputs"),
        ("@task(outs='a')\n        def f(): return 1", "outs='a' is neither a number nor a list of names"),
        ("@task(outs=['a', 'a'])\n        def f(): return 1", "a name stands twice in outs=['a', 'a']"),
        ("@task(outs=['a', 2])\n        def f(): return 1", "outs names are strings, and 2 is none"),
        (
            "@task\n        def f(x):\n            if x: return 1, 2\n            return 3",
            "f returns a tuple of 2 and one value: its outputs cannot be told",
        ),
        (
            "@task\n        def f(x):\n            if x: return {'a': 1}\n            return {'b': 1}",
            "f returns a dict of a and a dict of b",
        ),
    ],
)
def test_outs_that_cannot_be_are_refused_before_anything_runs(inside: Any, code: str, says: str) -> None:
    inside.merklfile(f"""
        {code}

        @target(default=True)
        def all():
            return f(1)
    """)
    done = inside.merkl("build", code=2)

    assert says in done.stderr
    assert "Merklfile.py:" in done.stderr


@BOTH
def test_a_result_of_another_shape_fails_the_task_and_says_both(inside: Any, jobs: str) -> None:
    inside.merklfile("""
        @task(outs=2)
        def f():
            return [1, 2, 3]

        @task(outs=["a", "b"])
        def g():
            return {"a": 1, "c": 2}

        @target(default=True)
        def all():
            return f(), g()
    """)
    done = inside.merkl("build", "-k", jobs, code=None)

    assert "f should return 2 values, and returned 3" in done.stderr + done.stdout
    assert "g should return a dict of a, b, and returned a dict of a, c" in done.stderr + done.stdout
    assert done.returncode != 0


@BOTH
def test_a_file_from_the_tasks_own_tmpdir_is_taken_with_its_name_and_mode(inside: Any, jobs: str) -> None:
    inside.merklfile("""
        import os
        import tempfile

        @task
        def tool(text):
            folder = tempfile.mkdtemp()
            path = os.path.join(folder, "hello.sh")
            with open(path, "w") as f:
                f.write(f"#!/bin/sh\\necho {text}\\n")
            os.chmod(path, 0o755)
            print(os.environ["TMPDIR"], path)
            return FileRef(path)

        run = bash_task("{file_arg('tool', '.sh')} > {out_file_arg('said', '.txt')}")

        @target(default=True)
        def all():
            script = tool("hi") > "bin/hi"
            run(script) > "said.txt"
    """)
    assert inside.build(jobs) == ["tool", "run"]

    assert inside.read("said.txt") == "hi\n"
    assert os.access(inside.path / "bin/hi", os.X_OK)
    tmpdir = inside.merkl("log", "bin/hi").stdout.split()[0]
    assert tmpdir.startswith(str(inside.path))
    assert not os.path.exists(tmpdir)


@BOTH
def test_a_file_that_is_not_the_tasks_own_is_copied_and_stays(inside: Any, jobs: str) -> None:
    inside.write("data/in.csv", "a,b\n")
    inside.merklfile("""
        @task
        def same(path):
            return path

        @task
        def folder():
            return DirRef("data")

        @target(default=True)
        def all():
            same(file("data/in.csv")) > "out.csv"
            folder() > "copy"
    """)
    assert sorted(inside.build(jobs)) == ["folder", "same"]

    assert inside.read("data/in.csv") == inside.read("out.csv") == inside.read("copy/in.csv") == "a,b\n"


@BOTH
def test_one_file_may_be_two_outputs(inside: Any, jobs: str) -> None:
    inside.merklfile("""
        import os

        @task
        def twice():
            path = os.path.join(os.environ["TMPDIR"], "x.txt")
            with open(path, "w") as f:
                f.write("x")
            return FileRef(path), FileRef(path)

        @target(default=True)
        def all():
            one, two = twice()
            one > "one.txt"
            two > "two.txt"
    """)
    assert inside.build(jobs) == ["twice"]
    assert inside.read("one.txt") == inside.read("two.txt") == "x"


def test_directories_travel_whole_from_task_to_task(inside: Any) -> None:
    inside.merklfile("""
        import os

        @task
        def make():
            top = os.path.join(os.environ["TMPDIR"], "tree")
            os.makedirs(os.path.join(top, "empty"))
            os.makedirs(os.path.join(top, "sub"))
            with open(os.path.join(top, "sub", "f.txt"), "w") as f:
                f.write("deep")
            os.symlink("sub/f.txt", os.path.join(top, "link"))
            return DirRef(top)

        @task
        def look(tree):
            assert isinstance(tree, DirRef)
            return sorted(os.listdir(tree)), open(os.path.join(tree, "link")).read()

        @target(default=True)
        def all():
            tree = make() > "out"
            names, text = look(tree)
            names > "names.json"
            text > "text.txt"
    """)
    assert inside.build() == ["make", "look"]

    assert json.loads(inside.read("names.json")) == ["empty", "link", "sub"]
    assert inside.read("text.txt") == inside.read("out/link") == "deep"
    assert os.readlink(inside.path / "out/link") == "sub/f.txt"
    assert os.listdir(inside.path / "out/empty") == []


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("FileRef('nowhere.txt')", "FileRef('nowhere.txt'), and there is no such file"),
        ("DirRef('Merklfile.py')", "DirRef('Merklfile.py'), and there is no such directory"),
        ("lambda: 1", "which is defined in a Merklfile, and would not come back as the same"),
        ("open('Merklfile.py')", "cannot be stored"),
        ("[FileRef(os.path.join(os.environ['TMPDIR'], 'x'))]", "inside another value"),
    ],
)
@BOTH
def test_a_result_that_cannot_be_kept_fails_the_task_by_name(
    project: Any, jobs: str, returned: str, says: str
) -> None:
    project.merklfile(f"""
        import os

        @task
        def bad():
            return {returned}

        @target(default=True)
        def all():
            return bad()
    """)
    done = project.merkl("build", jobs, code=1)

    assert says in done.stderr + done.stdout
    assert "bad()" in done.stderr + done.stdout


def test_values_are_placed_in_the_form_that_the_extension_asks_for(inside: Any) -> None:
    pytest.importorskip("numpy")
    inside.merklfile("""
        @task
        def text():
            return "words"

        @task
        def table():
            return [["a", 1], ["b", 2]]

        @task(outs=1)
        def data():
            return {"k": [1, 2.5, None]}

        @task
        def array():
            import numpy
            return numpy.arange(3)

        @task
        def raw():
            return b"\\x00\\xff"

        @target(default=True)
        def all():
            text() > "t.txt"
            data() > "d.json"
            array() > "a.npy"
            raw() > "r.bin"
            raw() > "r.dat"

        @target
        def wrong():
            data() > "d.npy"

        @target
        def unknown():
            data() > "d.xyz"
    """)
    import numpy

    inside.build()

    assert inside.read("t.txt") == "words"
    assert json.loads(inside.read("d.json")) == {"k": [1, 2.5, None]}
    assert numpy.load(inside.path / "a.npy").tolist() == [0, 1, 2]
    assert (inside.path / "r.bin").read_bytes() == (inside.path / "r.dat").read_bytes() == b"\x00\xff"
    assert "d.npy" in inside.merkl("build", "wrong", code=1).stderr
    said = inside.merkl("build", "unknown", code=1).stderr
    assert ".xyz" in said and ".json" in said

"""Builds whose tasks run on the workers of a real Dask cluster, which share a directory with the project and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MERKLFILE = """
    import helper
    from helper import half

    greet = bash_task("echo said; echo hello {arg('name')} > {out_file_arg('o', '.txt')}")
    upper = bash_task("tr a-z A-Z < {file_arg('f', '.txt')} > {out_file_arg('o', '.txt')}")
    both = bash_task("cat {file_arg('a')} {file_arg('b')} > {out_file_arg('o', '.txt')}")
    names = bash_task("cd {dir_arg('d')}; find . | sort; cat sub/b", stdout=str)
    where = bash_task("pwd > {out_file_arg('o')}; pwd")
    factor = 10

    @task
    def scaled(x):
        print("scaling", x)
        return helper.twice(x) * factor

    @task
    def total(*values, f):
        return sum(values) + len(open(f).read())

    @task
    def squares(n) -> MerklList[int]:
        for i in range(n):
            yield i * i

    @target
    def all():
        g = greet("bob")
        both(upper(g), file("src/text.txt")) > "both.txt"
        names(DirRef("data")) > "names.txt"
        total(*[scaled(i) for i in range(3)], f=file("src/text.txt")) > "total.json"
        squares(4) > "squares.json"

    @target
    def mixed():
        bash_task("cat {file_arg('a')} {file_arg('b')} > {out_file_arg('o')}", target="lab")(
            bash_task("pwd > {out_file_arg('o')}", target="local")(), where()
        ) > "mixed.txt"
"""


@pytest.fixture
def far(project, dask, tmp_path):
    """A project with the executor ``lab``, and a directory that its workers see as well."""
    describe(project, tmp_path, dask.setting())
    project.merklfile(MERKLFILE)
    project.write("helper.py", "def twice(x): return 2 * x\ndef half(x): return x / 2\n")
    project.write("src/text.txt", "text\n")
    project.write("data/a", "a")
    project.write("data/sub/b", "b\n")
    return project


def describe(project, tmp_path: Path, setting) -> None:
    (tmp_path / "shared").mkdir(exist_ok=True)
    settings = {"remote": {"url": str(tmp_path / "shared")}, "executors": {"lab": setting}}
    project.write("merkl.yaml", json.dumps(settings))


def outputs(project) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in project.path.iterdir() if p.suffix in (".txt", ".json")}


def test_a_build_on_a_cluster_makes_what_one_here_makes_and_each_finds_what_the_other_made(far, tmp_path):
    ran = far.build("all", "--target", "lab")
    assert sorted(ran) == sorted("greet upper both names total scaled scaled scaled squares".split())
    made = outputs(far)
    assert made["both.txt"] == b"HELLO BOB\ntext\n"
    assert made["total.json"] == b"65\n"
    assert json.loads(made["squares.json"]) == [0, 1, 4, 9]
    assert not list(far.path.glob(".merkl/stage/*"))

    assert far.build("all", "--target", "lab") == []
    shutil.rmtree(far.path / ".merkl")  # Another machine of the same user.
    assert far.build("all", "-j1") == []
    assert outputs(far) == made

    shutil.rmtree(far.path / ".merkl")
    shutil.rmtree(tmp_path / "shared")
    (tmp_path / "shared").mkdir()
    assert len(far.build("all", "-j1")) == len(ran)
    assert outputs(far) == made


def test_a_failure_on_a_cluster_is_shown_as_one_here(far):
    far.merklfile("""
        bad = bash_task("echo before; cat {file_arg('f')}; echo worse >&2; exit 3")

        @task
        def raises(x):
            print("about to")
            raise ValueError(f"no {x}")

        @target
        def all():
            return bad(file("src/text.txt")), raises(4)
    """)
    events = far.events("all", "-k", "--target", "lab", code=1)
    failed = {e["task"]: e for e in events if e["event"] == "failed"}
    assert "bad failed: exit code 3" in failed["bad"]["error"]
    assert "ValueError: no 4" in failed["raises"]["error"]
    for task, printed in (("bad", ["before", "text", "worse"]), ("raises", ["about", "to"])):
        assert sorted((far.path / failed[task]["log"]).read_text().split()) == printed


@pytest.mark.full
def test_tasks_may_say_where_they_run(far):
    far.build("mixed")
    here = [str(far.path), str(far.path)]
    assert far.read("mixed.txt").split() == here
    assert far.build("mixed", "--target", "lab") == []  # It is in no key.

    far.build("mixed", "--target", "lab", "-B")
    first, second = far.read("mixed.txt").split()
    assert first == str(far.path)
    assert "mirrors" in second


@pytest.mark.full
def test_a_secret_goes_along_and_is_not_kept(far, tmp_path):
    far.merklfile("""
        told = bash_task("echo {secret_arg('TOKEN')} >&2; echo {secret_arg('TOKEN')} | wc -c", stdout=str)

        @task
        def length(token):
            return len(token)

        @target
        def all():
            told() > "told.txt"
            length(Secret("TOKEN")) > "length.json"
    """)
    env = {**os.environ, "TOKEN": "geheimnis"}
    far.build("all", "--target", "lab", env=env)
    assert far.read("told.txt").strip() == "10"
    assert far.read("length.json").strip() == "9"
    places = (tmp_path / "shared", far.path / ".merkl")
    found = [
        p for place in places for p in place.rglob("*") if p.is_file() and b"geheimnis" in p.read_bytes()
    ]
    assert found == []


@pytest.mark.full
@pytest.mark.needs("gcc")
def test_what_a_compiler_finds_there_is_what_it_would_find_here(far):
    far.write("include/x.h", "#define X 41\n")
    far.write("src/a.c", '#include <stdio.h>\n#include "../include/x.h"\nint main(){printf("%d", X);}\n')
    far.merklfile("""
        cc = bash_task("gcc -MD -MF {depfile_arg()} -o {out_file_arg('exe')} {file_arg('src','.c')}")
        run = bash_task("{file_arg('exe')}", stdout=str)

        @target
        def all():
            run(cc(file("src/a.c"))) > "c.txt"
    """)
    assert far.build("all", "--target", "lab") == ["cc", "run"]
    assert far.read("c.txt").strip() == "41"
    assert far.build("all") == []

    far.write("include/x.h", "#define X 42\n")
    assert far.build("all", "--target", "lab") == ["cc", "run"]
    assert far.read("c.txt").strip() == "42"


@pytest.mark.full
def test_a_script_evaluates_calls_on_a_cluster(far):
    far.write(
        "script.py",
        "from merkl import task\n"
        "@task(target='lab')\n"
        "def add(a, b): return a + b\n"
        "@task(target='lab', eager=True)\n"
        "def product(a, b): return a * b\n"
        "print(add(add(1, 2), product(3, 4)).eval())\n",
    )

    def run() -> str:
        return subprocess.run(
            [sys.executable, "script.py"], cwd=far.path, capture_output=True, text=True, check=True
        ).stdout

    assert run() == "15\n"
    assert run() == "15\n"


def test_what_must_be_shared_is_asked_for(far):
    settings = json.loads(far.read("merkl.yaml"))
    del settings["remote"]
    far.write("merkl.yaml", json.dumps(settings))
    done = far.merkl("build", "all", "--target", "lab", code=2)
    assert "needs a store that its workers see as well" in done.stderr
    assert "Traceback" not in done.stderr

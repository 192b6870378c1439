"""What runs in a build and in which order, and what does not."""

import json
import logging
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

BOTH = pytest.mark.parametrize("jobs", ["-j1", "-j2"])

WORDS = """
    say = bash_task("echo {arg('word')} >> said; echo {arg('word')} > {out_file_arg('out', '.txt')}")
    join = bash_task("cat {files_arg('parts')} > {out_file_arg('out', '.txt')}; echo joined >> said")
"""


def said(project: Any) -> list[str]:
    """What the tasks wrote down since the last look."""
    path = project.path / "said"
    words: list[str] = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return words


def everything(project: Any) -> dict[str, tuple[int, bytes]]:
    """All files of the project with their modification times."""
    files = (path for path in project.path.rglob("*") if path.is_file())
    return {str(p.relative_to(project.path)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def test_one_job_runs_in_the_order_of_the_code(inside: Any) -> None:
    inside.merklfile(
        WORDS
        + """
    @target(default=True)
    def all():
        parts = [say(word) for word in ("d", "b", "a", "c")]
        join(parts) > "all.txt"
        say("last") > "last.txt"
    """
    )
    inside.build("-j1")

    assert said(inside) == ["d", "b", "a", "c", "joined", "last"]
    assert inside.read("all.txt") == "d\nb\na\nc\n"


@BOTH
def test_a_node_that_two_targets_and_two_consumers_need_runs_once(inside: Any, jobs: str) -> None:
    inside.merklfile(
        WORDS
        + """
    @target
    def one():
        join([say("shared"), say("one")]) > "one.txt"

    @target
    def two():
        join([say("shared"), say("two")]) > "two.txt"
        join([say("two"), say("shared")]) > "three.txt"
    """
    )
    inside.build(jobs, "one", "two")

    assert sorted(said(inside)) == ["joined"] * 3 + ["one", "shared", "two"]
    assert inside.read("three.txt") == "two\nshared\n"


def test_without_keep_going_nothing_starts_after_a_failure(inside: Any) -> None:
    inside.merklfile(
        WORDS
        + """
    fail = bash_task("false {arg('n')}")

    @target(default=True)
    def all():
        say("before") > "before.txt"
        fail(1)
        join([say("after")]) > "after.txt"
    """
    )
    events = inside.events("-j1", code=1)

    assert said(inside) == ["before"]
    assert {e["task"]: e["event"] for e in events if "task" in e and e["event"] != "running"} == {
        "say": "skipped", "fail": "failed", "join": "skipped",
    }  # fmt: skip
    assert (events[-1]["failed"], events[-1]["skipped"], events[-1]["ran"]) == (1, 2, 1)


@BOTH
def test_with_keep_going_all_that_does_not_need_the_failure_runs(inside: Any, jobs: str) -> None:
    inside.merklfile(
        WORDS
        + """
    fail = bash_task("false; : {out_file_arg('out', '.txt')}")

    @target(default=True)
    def all():
        join([say("a"), fail()]) > "never.txt"
        join([say("b"), say("c")]) > "good.txt"
    """
    )
    events = inside.events("-k", jobs, code=1)

    assert sorted(said(inside)) == ["a", "b", "c", "joined"]
    assert (events[-1]["failed"], events[-1]["skipped"], events[-1]["ran"]) == (1, 1, 4)
    assert inside.read("good.txt") == "b\nc\n" and not (inside.path / "never.txt").exists()


def test_a_dry_run_says_what_would_run_and_writes_nothing(inside: Any) -> None:
    inside.merklfile(
        WORDS
        + """
    @target(default=True)
    def all():
        join([say("a"), say("b")]) > "all.txt"
    """
    )
    before = everything(inside)

    text = inside.merkl("build", "-n").stdout

    assert text.count("would run") == 4 or text.count("would run") + text.count("may run") >= 3, text
    assert said(inside) == []
    assert {name for name in everything(inside) if not name.startswith((".merkl", "__pycache__"))} == set(
        before
    )

    inside.build()
    said(inside)
    before = everything(inside)
    assert "nothing would run" in inside.merkl("build", "-n").stdout
    visible = {name: what for name, what in everything(inside).items() if not name.startswith(".merkl")}
    assert visible == {name: what for name, what in before.items() if not name.startswith(".merkl")}


def test_a_diamond_is_cut_off_where_the_bytes_are_the_same(inside: Any) -> None:
    text = """
        @task
        def top():
            return {%s}

        @task
        def left(n):
            return n["a"]

        @task
        def right(n):
            return n["b"]

        @task
        def bottom(a, b):
            return a + b

        @target(default=True)
        def all():
            n = top()
            bottom(left(n), right(n)) > "out.txt"
    """.replace("def top", "def top").replace("@task\n        def top", "@task(outs=1)\n        def top")
    inside.merklfile(text % '"a": 1, "b": 2')
    assert sorted(inside.build("-j1")) == ["bottom", "left", "right", "top"]

    inside.merklfile(text % '"a": 1 + 0, "b": 2')
    events = inside.events()
    assert [e["task"] for e in events if e["event"] == "ran"] == ["top"]
    assert sorted(e["task"] for e in events if e["event"] == "cutoff") == ["bottom", "left", "right"]

    inside.merklfile(text % '"a": 1 + 0, "b": 2, "c": 3')
    assert sorted(inside.build()) == ["left", "right", "top"]
    inside.merklfile(text % '"a": 5, "b": 2')
    assert sorted(inside.build()) == ["bottom", "left", "right", "top"]
    assert inside.read("out.txt") == "7\n"
    inside.merklfile(text % '"a": 1, "b": 2')
    assert inside.build() == []
    assert inside.read("out.txt") == "3\n"


RANDOM = """
    roll = bash_task("head -c 8 /dev/urandom | od -An -tx8 > {out_file_arg('out', '.txt')}")
    copy = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}; echo {arg('name')} >> said")

    @target(default=True)
    def all():
        rolled = roll() > "rolled.txt"
        copy(rolled, "one") > "one.txt"

    @target
    def other():
        copy(roll(), "two") > "two.txt"
"""


def test_the_first_result_of_a_key_stays_its_result(inside: Any) -> None:
    inside.merklfile(RANDOM)
    inside.build()
    first = inside.read("rolled.txt")

    assert inside.build("-B") == ["roll", "copy"]
    forced = inside.read("rolled.txt")
    assert forced != first and inside.read("one.txt") == forced

    # What ran by force is not filed where there was a record: the first one answers again, for all that need it.
    assert inside.build() == []
    assert inside.read("rolled.txt") == inside.read("one.txt") == first
    inside.build("other")
    assert inside.read("two.txt") == first


def test_a_lost_result_is_made_again_and_what_needs_it_agrees_with_it(inside: Any) -> None:
    inside.merklfile(RANDOM)
    inside.build()
    first = inside.read("rolled.txt")
    _lose(inside, first.encode())
    for name in ("rolled.txt", "one.txt"):
        (inside.path / name).unlink()

    ran = inside.build()

    assert ran == ["roll", "copy"]
    assert inside.read("rolled.txt") == inside.read("one.txt") != first
    assert inside.build() == []


def _lose(project: Any, data: bytes) -> None:
    """Take bytes out of the store."""
    from merkl.digest import Digest
    from merkl.store.local import LocalStore

    store = LocalStore(project.path / ".merkl/store")
    store.database.write(lambda c: c.execute("DELETE FROM blob WHERE digest = ?", (Digest.of(data),)))
    store.close()
    shutil.rmtree(project.path / ".merkl/view", ignore_errors=True)


def test_lost_bytes_that_nobody_needs_cost_nothing(inside: Any) -> None:
    inside.merklfile(
        WORDS
        + """
    @target(default=True)
    def all():
        join([say("a"), say("b")]) > "all.txt"
    """
    )
    inside.build()
    _lose(inside, b"a\n")

    assert inside.build() == []
    (inside.path / "all.txt").unlink()
    assert inside.build() == []
    assert inside.read("all.txt") == "a\nb\n"


def test_a_damaged_blob_is_a_miss_and_is_made_again(inside: Any) -> None:
    inside.merklfile("""
        large = bash_task("head -c 300000 /dev/zero | tr '\\\\0' x > {out_file_arg('out', '.txt')}")
        count = bash_task("wc -c < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}; : {arg('n')}")

        @target(default=True)
        def all():
            big = large() > "big.txt"
            count(big, 1) > "count.txt"

        @target
        def again():
            count(large(), 2) > "again.txt"
    """)
    inside.build()
    blobs = [
        path for path in (inside.path / ".merkl/store/blobs").glob("*/*") if path.stat().st_size == 300_000
    ]
    assert len(blobs) == 1
    shutil.rmtree(inside.path / ".merkl/view")
    blobs[0].chmod(0o644)
    with blobs[0].open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    (inside.path / "big.txt").unlink()

    assert inside.build() == ["large"]
    assert set(inside.read("big.txt")) == {"x"}
    assert inside.build("again") == ["count"]
    assert inside.read("again.txt").split() == ["300000"]


def test_a_damaged_input_is_made_again_in_the_middle_of_a_build(inside: Any) -> None:
    inside.merklfile("""
        large = bash_task("head -c 300000 /dev/zero | tr '\\\\0' x > {out_file_arg('out', '.txt')}")
        count = bash_task("wc -c < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}; : {arg('n')}")

        @target(default=True)
        def all(n: int = 1):
            count(large(), n) > "count.txt"
    """)
    inside.build()
    (blob,) = (inside.path / ".merkl/store/blobs").glob("*/*")
    shutil.rmtree(inside.path / ".merkl/view")
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"damage")

    assert inside.build("n=2") == ["large", "count"]
    assert inside.read("count.txt").split() == ["300000"]


@BOTH
def test_an_uncached_task_runs_once_in_every_build_that_reaches_it(project: Any, jobs: str) -> None:
    project.merklfile("""
        @task(cache=False)
        def now():
            with open("runs", "a") as f:
                f.write("x")
            return open("clock").read()

        @task
        def use(text, n):
            return text + str(n)

        @target(default=True)
        def all():
            use(now(), 1) > "1.txt"
            use(now(), 2) > "2.txt"

        @target
        def other():
            use("x", 1) > "other.txt"
    """)
    project.write("clock", "a")
    assert sorted(project.build(jobs)) == ["now", "use", "use"]
    assert project.build(jobs) == ["now"]
    project.write("clock", "b")
    assert sorted(project.build(jobs)) == ["now", "use", "use"]
    project.write("clock", "a")
    assert project.build(jobs) == ["now"]
    assert project.read("1.txt") == "a1" and project.read("runs") == "xxxx"
    assert project.build(jobs, "other") == ["use"]


def test_tasks_without_outputs_run_for_what_they_do(inside: Any) -> None:
    inside.merklfile("""
        check = bash_task("echo checked >> said; : {file_arg('text', '.txt')}", cache=False)
        lint = bash_task("echo linted >> said; : {file_arg('text', '.txt')}")

        @target(default=True)
        def test():
            check("in.txt")
            lint("in.txt")
    """)
    inside.write("in.txt", "1")
    inside.build("-j1")
    assert said(inside) == ["checked", "linted"]
    inside.build("-j1")
    assert said(inside) == ["checked"]
    inside.write("in.txt", "2")
    inside.build("-j1")
    assert said(inside) == ["checked", "linted"]


def test_an_always_target_runs_its_own_tasks_each_time(inside: Any) -> None:
    inside.merklfile(
        WORDS
        + """
    deploy = bash_task("echo deployed {file_arg('text', '.txt')} >> said", name="deploy")

    @target(always=True)
    def ship():
        deploy(say("made"))

    @target(default=True)
    def calm():
        deploy(say("made"))
    """
    )
    inside.build("ship", "-j1")
    assert said(inside)[:2] == ["made", "deployed"]
    inside.build("ship", "-j1")
    assert said(inside)[:1] == ["deployed"]
    inside.build("calm")
    assert said(inside) == []


@BOTH
def test_after_orders_without_data(inside: Any, jobs: str) -> None:
    inside.merklfile("""
        import time

        @task
        def prepare():
            time.sleep(0.3)
            with open("said", "a") as f:
                f.write("prepared ")

        @task(cache=False)
        def work(n):
            with open("said", "a") as f:
                f.write(f"work{n} ")
            return n

        @target
        def first():
            return prepare()

        @target(default=True, after=["first"])
        def second():
            work(1) > "1.txt"
    """)
    inside.build(jobs)
    assert said(inside) == ["prepared", "work1"]
    inside.build(jobs)
    assert said(inside) == ["work1"]


def test_after_a_failure_what_comes_after_does_not_run(inside: Any) -> None:
    inside.merklfile("""
        fail = bash_task("false")
        work = bash_task("echo work >> said")

        @target
        def first():
            fail()

        @target(default=True, after=["first"])
        def second():
            work()
    """)
    inside.merkl("build", "-k", code=1)

    assert said(inside) == []


def test_records_say_what_ran_with_which_arguments(inside: Any) -> None:
    inside.merklfile(
        WORDS
        + """
    @target(default=True)
    def all():
        join([say("hello")]) > "all.txt"
    """
    )
    inside.build()
    (database,) = (inside.path / ".merkl/store").glob("store-*.db")
    connection = sqlite3.connect(database)
    rows = {
        task: (json.loads(arguments), json.loads(dependencies))
        for task, arguments, dependencies in connection.execute(
            "SELECT task, arguments, dependencies FROM record"
        )
    }
    connection.close()

    assert rows["say"][0]["word"] == "hello"
    assert [dependency["task"] for dependency in rows["join"][1]] == ["say"]


def test_results_are_shared_by_projects_with_one_store(inside: Any, tmp_path: Any) -> None:
    text = """
        count = bash_task("wc -l < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}", portable=True)

        @task
        def double(path):
            return open(path).read().strip() * 2

        @target(default=True)
        def all():
            double(count("in.txt")) > "out.txt"
    """
    other = type(inside)(tmp_path / "other")
    environment = os.environ | {"MERKL_STORE": str(tmp_path / "shared")}
    for each in (inside, other):
        each.path.mkdir(exist_ok=True)
        each.write("in.txt", "a\nb\n")
        each.merklfile(text)

    assert inside.build(env=environment) == ["count", "double"]
    assert other.build(env=environment) == []
    assert other.read("out.txt") == inside.read("out.txt") == "22"
    assert not (other.path / ".merkl/store").exists()


def test_a_moved_project_keeps_its_results(inside: Any, tmp_path: Any) -> None:
    inside.write("in.txt", "a\n")
    inside.write("lib.py", "import os\nHERE = os.path.dirname(__file__)\ndef f(t):\n    return t.upper()\n")
    inside.merklfile("""
        import lib

        count = bash_task("wc -l < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")

        @task
        def upper(path, count):
            return lib.f(open(path).read())

        @target(default=True)
        def all():
            upper(file("in.txt"), count("in.txt")) > "out.txt"
    """)
    inside.build()
    moved = type(inside)(tmp_path / "a new 'place'")
    os.rename(inside.path, moved.path)

    assert moved.build() == []
    (moved.path / "out.txt").unlink()
    assert moved.build() == []
    assert moved.read("out.txt") == "A\n"


def test_what_is_logged_can_be_written_whatever_names_files_have(inside: Any, tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "build.log", encoding="utf-8")
    logger = logging.getLogger("merkl")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        inside.merklfile(r"""
            bash_task("echo > {out_file_arg('o')}")() > "out/\udcff.txt"
        """)
        inside.merkl("build")
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
        handler.close()

    assert r"placed out/\udcff.txt" in (tmp_path / "build.log").read_text()


def test_what_a_call_that_ended_merkl_itself_left_is_removed_by_the_next_build(project: Any) -> None:
    project.merklfile("""
        import os

        @task
        def made(x):
            if os.path.exists("end"):
                os._exit(3)
            return x

        @target(default=True)
        def all():
            made(1) > "made.txt"
    """)
    project.write("end", "")
    project.merkl("build", "-j1", code=3)
    assert list((project.path / ".merkl/run").iterdir())
    (project.path / "end").unlink()

    project.merkl("build", "-j1")
    assert not any(list((project.path / f".merkl/{name}").iterdir()) for name in ("run", "stage", "builds"))

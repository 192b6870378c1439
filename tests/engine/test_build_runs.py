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


def test_one_job_runs_in_the_order_of_the_code(project: Any) -> None:
    project.merklfile(
        WORDS
        + """
    @target(default=True)
    def all():
        parts = [say(word) for word in ("d", "b", "a", "c")]
        join(parts) > "all.txt"
        say("last") > "last.txt"
    """
    )
    project.build("-j1")

    assert said(project) == ["d", "b", "a", "c", "joined", "last"]
    assert project.read("all.txt") == "d\nb\na\nc\n"


@BOTH
def test_a_node_that_two_targets_and_two_consumers_need_runs_once(project: Any, jobs: str) -> None:
    project.merklfile(
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
    project.build(jobs, "one", "two")

    assert sorted(said(project)) == ["joined"] * 3 + ["one", "shared", "two"]
    assert project.read("three.txt") == "two\nshared\n"


def test_without_keep_going_nothing_starts_after_a_failure(project: Any) -> None:
    project.merklfile(
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
    events = project.events("-j1", code=1)

    assert said(project) == ["before"]
    assert {e["task"]: e["event"] for e in events if "task" in e and e["event"] != "running"} == {
        "say": "skipped", "fail": "failed", "join": "skipped",
    }  # fmt: skip
    assert (events[-1]["failed"], events[-1]["skipped"], events[-1]["ran"]) == (1, 2, 1)


@BOTH
def test_with_keep_going_all_that_does_not_need_the_failure_runs(project: Any, jobs: str) -> None:
    project.merklfile(
        WORDS
        + """
    fail = bash_task("false; : {out_file_arg('out', '.txt')}")

    @target(default=True)
    def all():
        join([say("a"), fail()]) > "never.txt"
        join([say("b"), say("c")]) > "good.txt"
    """
    )
    events = project.events("-k", jobs, code=1)

    assert sorted(said(project)) == ["a", "b", "c", "joined"]
    assert (events[-1]["failed"], events[-1]["skipped"], events[-1]["ran"]) == (1, 1, 4)
    assert project.read("good.txt") == "b\nc\n" and not (project.path / "never.txt").exists()


def test_a_dry_run_says_what_would_run_and_writes_nothing(project: Any) -> None:
    project.merklfile(
        WORDS
        + """
    @target(default=True)
    def all():
        join([say("a"), say("b")]) > "all.txt"
    """
    )
    before = everything(project)

    text = project.merkl("build", "-n").stdout

    assert text.count("would run") == 4 or text.count("would run") + text.count("may run") >= 3, text
    assert said(project) == []
    assert {name for name in everything(project) if not name.startswith((".merkl", "__pycache__"))} == set(
        before
    )

    project.build()
    said(project)
    before = everything(project)
    assert "nothing would run" in project.merkl("build", "-n").stdout
    visible = {name: what for name, what in everything(project).items() if not name.startswith(".merkl")}
    assert visible == {name: what for name, what in before.items() if not name.startswith(".merkl")}


def test_a_diamond_is_cut_off_where_the_bytes_are_the_same(project: Any) -> None:
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
    project.merklfile(text % '"a": 1, "b": 2')
    assert sorted(project.build("-j1")) == ["bottom", "left", "right", "top"]

    project.merklfile(text % '"a": 1 + 0, "b": 2')
    events = project.events()
    assert [e["task"] for e in events if e["event"] == "ran"] == ["top"]
    assert sorted(e["task"] for e in events if e["event"] == "cutoff") == ["bottom", "left", "right"]

    project.merklfile(text % '"a": 1 + 0, "b": 2, "c": 3')
    assert sorted(project.build()) == ["left", "right", "top"]
    project.merklfile(text % '"a": 5, "b": 2')
    assert sorted(project.build()) == ["bottom", "left", "right", "top"]
    assert project.read("out.txt") == "7\n"
    project.merklfile(text % '"a": 1, "b": 2')
    assert project.build() == []
    assert project.read("out.txt") == "3\n"


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


def test_the_first_result_of_a_key_stays_its_result(project: Any) -> None:
    project.merklfile(RANDOM)
    project.build()
    first = project.read("rolled.txt")

    assert project.build("-B") == ["roll", "copy"]
    forced = project.read("rolled.txt")
    assert forced != first and project.read("one.txt") == forced

    # What ran by force is not filed where there was a record: the first one answers again, for all that need it.
    assert project.build() == []
    assert project.read("rolled.txt") == project.read("one.txt") == first
    project.build("other")
    assert project.read("two.txt") == first


def test_a_lost_result_is_made_again_and_what_needs_it_agrees_with_it(project: Any) -> None:
    project.merklfile(RANDOM)
    project.build()
    first = project.read("rolled.txt")
    _lose(project, first.encode())
    for name in ("rolled.txt", "one.txt"):
        (project.path / name).unlink()

    ran = project.build()

    assert ran == ["roll", "copy"]
    assert project.read("rolled.txt") == project.read("one.txt") != first
    assert project.build() == []


def _lose(project: Any, data: bytes) -> None:
    """Take bytes out of the store."""
    from merkl.digest import Digest
    from merkl.store.local import LocalStore

    store = LocalStore(project.path / ".merkl/store")
    store.database.write(lambda c: c.execute("DELETE FROM blob WHERE digest = ?", (Digest.of(data),)))
    store.close()
    shutil.rmtree(project.path / ".merkl/view", ignore_errors=True)


def test_lost_bytes_that_nobody_needs_cost_nothing(project: Any) -> None:
    project.merklfile(
        WORDS
        + """
    @target(default=True)
    def all():
        join([say("a"), say("b")]) > "all.txt"
    """
    )
    project.build()
    _lose(project, b"a\n")

    assert project.build() == []
    (project.path / "all.txt").unlink()
    assert project.build() == []
    assert project.read("all.txt") == "a\nb\n"


def test_a_damaged_blob_is_a_miss_and_is_made_again(project: Any) -> None:
    project.merklfile("""
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
    project.build()
    blobs = [
        path for path in (project.path / ".merkl/store/blobs").glob("*/*") if path.stat().st_size == 300_000
    ]
    assert len(blobs) == 1
    shutil.rmtree(project.path / ".merkl/view")
    blobs[0].chmod(0o644)
    with blobs[0].open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    (project.path / "big.txt").unlink()

    assert project.build() == ["large"]
    assert set(project.read("big.txt")) == {"x"}
    assert project.build("again") == ["count"]
    assert project.read("again.txt").split() == ["300000"]


def test_a_damaged_input_is_made_again_in_the_middle_of_a_build(project: Any) -> None:
    project.merklfile("""
        large = bash_task("head -c 300000 /dev/zero | tr '\\\\0' x > {out_file_arg('out', '.txt')}")
        count = bash_task("wc -c < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}; : {arg('n')}")

        @target(default=True)
        def all(n: int = 1):
            count(large(), n) > "count.txt"
    """)
    project.build()
    (blob,) = (project.path / ".merkl/store/blobs").glob("*/*")
    shutil.rmtree(project.path / ".merkl/view")
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"damage")

    assert project.build("n=2") == ["large", "count"]
    assert project.read("count.txt").split() == ["300000"]


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


def test_tasks_without_outputs_run_for_what_they_do(project: Any) -> None:
    project.merklfile("""
        check = bash_task("echo checked >> said; : {file_arg('text', '.txt')}", cache=False)
        lint = bash_task("echo linted >> said; : {file_arg('text', '.txt')}")

        @target(default=True)
        def test():
            check("in.txt")
            lint("in.txt")
    """)
    project.write("in.txt", "1")
    project.build("-j1")
    assert said(project) == ["checked", "linted"]
    project.build("-j1")
    assert said(project) == ["checked"]
    project.write("in.txt", "2")
    project.build("-j1")
    assert said(project) == ["checked", "linted"]


def test_an_always_target_runs_its_own_tasks_each_time(project: Any) -> None:
    project.merklfile(
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
    project.build("ship", "-j1")
    assert said(project)[:2] == ["made", "deployed"]
    project.build("ship", "-j1")
    assert said(project)[:1] == ["deployed"]
    project.build("calm")
    assert said(project) == []


@BOTH
def test_after_orders_without_data(project: Any, jobs: str) -> None:
    project.merklfile("""
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
    project.build(jobs)
    assert said(project) == ["prepared", "work1"]
    project.build(jobs)
    assert said(project) == ["work1"]


def test_after_a_failure_what_comes_after_does_not_run(project: Any) -> None:
    project.merklfile("""
        fail = bash_task("false")
        work = bash_task("echo work >> said")

        @target
        def first():
            fail()

        @target(default=True, after=["first"])
        def second():
            work()
    """)
    project.merkl("build", "-k", code=1)

    assert said(project) == []


def test_records_say_what_ran_with_which_arguments(project: Any) -> None:
    project.merklfile(
        WORDS
        + """
    @target(default=True)
    def all():
        join([say("hello")]) > "all.txt"
    """
    )
    project.build()
    (database,) = (project.path / ".merkl/store").glob("store-*.db")
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


def test_results_are_shared_by_projects_with_one_store(project: Any, tmp_path: Any) -> None:
    text = """
        count = bash_task("wc -l < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}", portable=True)

        @task
        def double(path):
            return open(path).read().strip() * 2

        @target(default=True)
        def all():
            double(count("in.txt")) > "out.txt"
    """
    other = type(project)(tmp_path / "other")
    environment = os.environ | {"MERKL_STORE": str(tmp_path / "shared")}
    for each in (project, other):
        each.path.mkdir(exist_ok=True)
        each.write("in.txt", "a\nb\n")
        each.merklfile(text)

    assert project.build(env=environment) == ["count", "double"]
    assert other.build(env=environment) == []
    assert other.read("out.txt") == project.read("out.txt") == "22"
    assert not (other.path / ".merkl/store").exists()


def test_a_moved_project_keeps_its_results(project: Any, tmp_path: Any) -> None:
    project.write("in.txt", "a\n")
    project.write("lib.py", "import os\nHERE = os.path.dirname(__file__)\ndef f(t):\n    return t.upper()\n")
    project.merklfile("""
        import lib

        count = bash_task("wc -l < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")

        @task
        def upper(path, count):
            return lib.f(open(path).read())

        @target(default=True)
        def all():
            upper(file("in.txt"), count("in.txt")) > "out.txt"
    """)
    project.build()
    moved = type(project)(tmp_path / "a new 'place'")
    os.rename(project.path, moved.path)

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

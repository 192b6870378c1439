"""Experiments that build tools fail: each asserts which tasks ran, and what the bytes are."""

import os
import signal
import threading
import time
from typing import Any

import pytest

CHAIN = """
    @task
    def load(path):
        # {comment}
        with open(path) as f:
            return [int(line) for line in f]

    @task
    def total(numbers, scale=1):
        return sum(numbers) * {scale}

    write = bash_task("printf '%s\\\\n' {{arg('number')}} > {{out_file_arg('report', '.txt')}}")

    @target(default=True)
    def report():
        write(total(load(file("numbers.txt")))) > "report.txt"
"""


@pytest.fixture
def chain(project: Any) -> Any:
    project.write("numbers.txt", "1\n2\n3\n")
    project.merklfile(CHAIN.format(comment="first", scale=1))
    assert project.build() == ["load", "total", "write"]
    assert project.read("report.txt") == "6\n"
    return project


def test_nothing_runs_the_second_time(chain: Any) -> None:
    assert chain.build() == []
    assert chain.read("report.txt") == "6\n"


def test_an_edited_helper_runs_what_calls_it(project: Any) -> None:
    project.write("lib.py", "def scaled(n):\n    return n * 2\n")
    project.merklfile("""
        import lib

        @task
        def double(n):
            return lib.scaled(n)

        @task
        def other(n):
            return n + 1

        @target(default=True)
        def both():
            double(4) > "double.txt"
            other(4) > "other.txt"
    """)
    assert sorted(project.build()) == ["double", "other"]
    assert project.read("double.txt") == "8\n"

    project.write("lib.py", "def scaled(n):\n    return n * 3\n")

    assert project.build() == ["double"]
    assert project.read("double.txt") == "12\n"


def test_a_comment_upstream_is_cut_off_in_the_same_run(chain: Any) -> None:
    script = chain.write("gen.sh", "# one\nprintf 'x\\n' > \"$1\"\n")
    chain.merklfile("""
        gen = bash_task("bash {file_arg('script', '.sh')} {out_file_arg('out', '.txt')}")
        upper = bash_task("tr a-z A-Z < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def up():
            upper(gen("gen.sh")) > "up.txt"
    """)
    assert chain.build() == ["gen", "upper"]

    script.write_text(script.read_text().replace("# one", "# two"))

    assert chain.build() == ["gen"]
    assert chain.build() == []
    assert chain.read("up.txt") == "X\n"


def test_a_comment_in_a_python_task_runs_nothing(chain: Any) -> None:
    chain.merklfile(CHAIN.format(comment="another comment", scale=1))

    assert chain.build() == []


def test_going_back_to_old_code_and_old_data_runs_nothing(chain: Any) -> None:
    chain.merklfile(CHAIN.format(comment="first", scale=10))
    assert chain.build() == ["total", "write"]
    assert chain.read("report.txt") == "60\n"
    chain.write("numbers.txt", "5\n")
    assert chain.build() == ["load", "total", "write"]

    chain.merklfile(CHAIN.format(comment="first", scale=1))
    chain.write("numbers.txt", "1\n2\n3\n")

    assert chain.build() == []
    assert chain.read("report.txt") == "6\n"


def test_a_touched_input_runs_nothing(chain: Any) -> None:
    os.utime(chain.path / "numbers.txt")

    assert chain.build() == []


def test_an_edit_that_keeps_size_and_mtime_is_seen(chain: Any) -> None:
    path = chain.path / "numbers.txt"
    before = path.stat()
    path.write_text("7\n2\n3\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert chain.build() == ["load", "total", "write"]
    assert chain.read("report.txt") == "12\n"


def test_a_failing_command_leaves_no_partial_output(project: Any) -> None:
    project.merklfile("""
        half = bash_task("echo half > {out_file_arg('out', '.txt')}; exit 3")

        @target(default=True)
        def all():
            half() > "out.txt"
    """)
    done = project.merkl("build", code=1)

    assert not (project.path / "out.txt").exists()
    assert "half failed" in done.stdout + done.stderr and "3" in done.stdout + done.stderr

    project.write("out.txt", "what was here before\n")
    project.merkl("build", code=1)
    assert project.read("out.txt") == "what was here before\n"


def test_a_failure_in_a_pipe_is_a_failure(project: Any) -> None:
    project.merklfile("""
        piped = bash_task("false | cat > {out_file_arg('out', '.txt')}; echo hi")

        @target(default=True)
        def all():
            piped() > "out.txt"
    """)
    assert project.build(code=1) == []
    assert not (project.path / "out.txt").exists()


def test_a_killed_builder_is_followed_by_a_complete_build(project: Any) -> None:
    project.merklfile("""
        slow = bash_task("echo begin > {out_file_arg('out', '.txt')}; sleep {arg('s')}; echo end >> {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            slow(s=1.5) > "out.txt"
    """)
    process = project.popen("build")
    deadline = time.monotonic() + 20
    while not list(project.path.glob(".merkl/stage/*/out.txt")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    assert project.build() == ["slow"]
    assert project.read("out.txt") == "begin\nend\n"
    assert project.build() == []


def test_an_input_edited_while_a_task_reads_it_is_built_again(project: Any) -> None:
    project.write("in.txt", "old\n")
    project.merklfile("""
        slow = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}; while [ ! -e go ]; do sleep 0.02; done")

        @target(default=True)
        def all():
            slow("in.txt") > "out.txt"
    """)

    def edit() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not any(
            path.stat().st_size for path in project.path.glob(".merkl/stage/*/*.txt")
        ):
            time.sleep(0.02)
        project.write("in.txt", "new\n")
        project.write("go", "")

    thread = threading.Thread(target=edit)
    thread.start()
    done = project.merkl("build", code=1)
    thread.join()

    assert "in.txt changed while slow" in done.stdout + done.stderr
    assert not (project.path / "out.txt").exists()
    assert project.build() == ["slow"]
    assert project.read("out.txt") == "new\n"


def test_two_builds_at_once_run_each_task_once(project: Any) -> None:
    project.merklfile("""
        slow = bash_task("echo {arg('n')} >> ran; sleep 0.7; echo {arg('n')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            for n in range(3):
                slow(n) > f"out{n}.txt"
    """)
    builds = [project.popen("build", "-j2") for _ in range(2)]
    texts = ["".join(build.communicate(timeout=60)) for build in builds]

    assert [build.returncode for build in builds] == [0, 0], texts
    assert sorted(project.read("ran").split()) == ["0", "1", "2"]
    assert any("waiting for slow" in text for text in texts), texts
    assert [project.read(f"out{n}.txt") for n in range(3)] == ["0\n", "1\n", "2\n"]


def test_a_hand_corrupted_intermediate_is_not_passed_on(project: Any) -> None:
    project.write("in.txt", "text\n")
    project.merklfile("""
        upper = bash_task("tr a-z A-Z < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")
        twice = bash_task("cat {file_arg('text', '.txt')} {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            middle = upper("in.txt") > "middle.txt"
            twice(middle) > "twice.txt"
    """)
    project.build()
    project.write("middle.txt", "rubbish\n")
    (project.path / "twice.txt").unlink()

    done = project.merkl("build")

    assert project.read("middle.txt") == "TEXT\n"
    assert project.read("twice.txt") == "TEXT\nTEXT\n"
    assert "merkl restore middle.txt" in done.stdout + done.stderr
    project.merkl("restore", "middle.txt")
    assert project.read("middle.txt") == "rubbish\n"


def test_why_names_the_line_that_changed(chain: Any) -> None:
    chain.merklfile(CHAIN.format(comment="first", scale=10))

    text = chain.merkl("why", "report").stdout

    assert "total" in text
    assert "-    return sum(numbers) * 1" in text and "+    return sum(numbers) * 10" in text


def test_why_names_the_argument_and_the_file_that_changed(project: Any) -> None:
    text = """
        count = bash_task("head -n {arg('n', type=int)} {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            count(%d, "in.txt") > "out.txt"
    """
    project.write("in.txt", "1\n2\n")
    project.merklfile(text % 1)
    project.build()
    project.merklfile(text % 2)
    project.write("in.txt", "1\n3\n")

    said = project.merkl("why", "all").stdout

    assert "the argument n changed" in said and "1  →  2" in said
    assert "the file in.txt changed" in said


@pytest.mark.needs("strace")
def test_an_undeclared_read_is_not_seen_by_a_build_and_is_named_by_a_check(project: Any) -> None:
    project.write("config.ini", "one")
    project.merklfile("""
        page = bash_task("cat config.ini > {out_file_arg('page', '.html')}")

        @target(default=True)
        def all():
            page() > "page.html"
    """)
    assert project.build() == ["page"]
    project.write("config.ini", "two")
    assert project.build() == []
    assert project.read("page.html") == "one"

    done = project.merkl("build", "--check-deps", "-B")

    assert "page page.html does not declare all that it uses:\n        read config.ini: " in done.stdout
    assert project.read("page.html") == "two"
    refused = project.merkl("build", "--strict-deps", "-B", code=1)
    assert "page uses what it does not declare: config.ini" in refused.stderr

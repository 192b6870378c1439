"""Builds beside builds, locks whose holders are gone, and forks: FAULTS rows 46, 47, 50 and 53.

That two builds share the work is tested in tests/engine/test_two_builds.py, and the store alone, with processes, threads and
forks, in tests/store/test_store_processes.py; here many whole builds meet, again and again.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from twenty_tasks import expect_nothing_left, none_left

# A process that builds in the directory it is started in, once for each line it reads, and says how that went.
BUILDER = """
import contextlib, io, json, os, sys
from merkl.cli.main import run

for line in sys.stdin:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run(["build", "--json", *line.split()])
    print(json.dumps([code, said.getvalue()]), flush=True)
"""

SAME = """
    part = bash_task("echo {arg('n')} of {arg('round')} >> ran; cat {file_arg('seed', '.txt')} > {out_file_arg('out', '.txt')}"
                     "; echo {arg('round')} {arg('n')} >> {out_file_arg('out', '.txt')}")
    large = bash_task("{ printf '%0120000d' 0; cat {file_arg('text', '.txt')}; } > {out_file_arg('out', '.bin')}")

    @task
    def joined(parts, round):
        return "".join(open(part).read() for part in parts)

    @target(default=True)
    def all(round="0"):
        parts = [part(n, round, "seed.txt") for n in range(4)]
        for n, each in enumerate(parts):
            each > f"parts/{n}.txt"
        joined(parts, round) >> "joined.txt"
        large(parts[3]) > "large.bin"
"""


def expected(round_: int) -> dict[str, str]:
    parts = {f"parts/{n}.txt": f"seed\n{round_} {n}\n" for n in range(4)}
    return {**parts, "joined.txt": "".join(parts.values()), "large.bin": "0" * 120_000 + parts["parts/3.txt"]}


class Builders:
    """Processes that build at the same moment, round after round, in the given directories."""

    def __init__(self, directories: list[Path], env: dict[str, str]) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", BUILDER], cwd=directory, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True,
            )
            for directory in directories
        ]  # fmt: skip

    def build(self, *words: str) -> list[str]:
        """One round; what each said.  All must end well."""
        import json

        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(" ".join(words) + "\n")
            process.stdin.flush()
        said = []
        for process in self._processes:
            assert process.stdout is not None
            code, text = json.loads(process.stdout.readline())
            assert code == 0, text
            assert "locked" not in text and "Traceback" not in text, text
            assert '"event": "note"' not in text, text
            said.append(text)
        return said

    def close(self) -> None:
        for process in self._processes:
            process.communicate(timeout=60)
            assert process.returncode == 0


def workspaces(project: Any, tmp_path: Path, count: int) -> list[Path]:
    """Directories with the same project."""
    made = []
    for n in range(count):
        where = tmp_path / f"workspace{n}"
        where.mkdir()
        project.merklfile(SAME)
        (where / "Merklfile.py").write_text(project.read("Merklfile.py"))
        (where / "seed.txt").write_text("seed\n")
        made.append(where)
    return made


def expect_rounds(project: Any, builders: Builders, places: list[Path], rounds: int) -> None:
    """In each round all tasks are new; in the end every task has run once, and all is in place."""
    for round_ in range(rounds):
        builders.build(f"round={round_}")
        for place in places:
            now = {name: (place / name).read_text() for name in expected(round_)}
            assert now == expected(round_), f"round {round_} in {place}"
    builders.close()
    ran = [line for place in places for line in (place / "ran").read_text().splitlines()]
    assert sorted(ran) == sorted(f"{n} of {round_}" for n in range(4) for round_ in range(rounds))


@pytest.mark.parametrize("rounds", [8, pytest.param(200, marks=pytest.mark.full)])
def test_row_46_two_builds_of_one_target(project: Any, tmp_path: Path, rounds: int) -> None:
    (place,) = workspaces(project, tmp_path, 1)
    builders = Builders([place] * 2, dict(os.environ))

    expect_rounds(project, builders, [place], rounds)

    assert "nothing is wrong" in project.merkl("fsck", cwd=place).stdout
    expect_nothing_left(place)


@pytest.mark.parametrize("rounds", [3, pytest.param(200, marks=pytest.mark.full)])
def test_row_47_two_workspaces_and_one_store_with_sixteen_processes(
    project: Any, tmp_path: Path, rounds: int
) -> None:
    places = workspaces(project, tmp_path, 2)
    env = {**os.environ, "MERKL_STORE": str(tmp_path / "store")}
    builders = Builders(places * 8, env)

    expect_rounds(project, builders, places, rounds)

    for place in places:
        assert project.build("round=0", cwd=place, env=env) == []
        assert "nothing is wrong" in project.merkl("fsck", cwd=place, env=env).stdout
        expect_nothing_left(place, tmp_path / "store")


# ---- 50: locks whose holders are gone ---------------------------------------------------------------------------------

SLOW = """
    slow = bash_task("echo >> ran; [ -e go ] || sleep 60; echo slow > {out_file_arg('out', '.txt')}")

    @target(default=True)
    def all():
        slow() > "slow.txt"
"""


def started(project: Any) -> "subprocess.Popen[str]":
    """A build that runs its only task."""
    process: subprocess.Popen[str] = project.popen("build")
    deadline = time.monotonic() + 30
    while not (project.path / "ran").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    return process


def end_orphans(project: Any) -> None:
    """End the commands of a killed build: they are ours, and may live on."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "cwd") == str(project.path) and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue


def test_row_50_the_lock_of_a_killed_build_hinders_nobody(project: Any) -> None:
    project.merklfile(SLOW)
    first = started(project)
    first.kill()
    first.communicate()
    assert os.listdir(project.path / ".merkl/builds") and os.listdir(project.path / ".merkl/store/holders")
    project.write("go", "")

    began = time.monotonic()
    events = project.events()
    assert time.monotonic() - began < 20

    assert [e["event"] for e in events if e["event"] in ("waiting", "ran")] == ["ran"]
    end_orphans(project)
    assert project.build() == []
    expect_nothing_left(project.path)


@pytest.mark.parametrize("host", ["", "another-host", "localhost"])
def test_row_50_what_is_written_beside_a_lock_decides_nothing(project: Any, host: str) -> None:
    """The note of a dead holder names a process that lives, here or on another host: no number of a process is believed."""
    project.merklfile(SLOW)
    first = started(project)
    (note,) = (project.path / ".merkl/store/holders").iterdir()
    text = note.read_text()
    assert f'"pid": {first.pid}' in text
    first.kill()
    first.communicate()
    end_orphans(project)
    text = text.replace(f'"pid": {first.pid}', f'"pid": {os.getpid()}')
    note.write_text(text.replace(socket.gethostname(), host or socket.gethostname()))
    note.rename(note.with_name(f"{os.getpid()}-00000000"))
    (project.path / ".merkl/builds" / "0badcafe").write_bytes(b"")
    (project.path / ".merkl/store/opening.lock").touch()
    project.write("go", "")

    events = project.events()

    assert [e["event"] for e in events if e["event"] in ("waiting", "ran")] == ["ran"]
    expect_nothing_left(project.path)


def test_row_50_a_live_lock_is_waited_for_although_its_note_is_gone(project: Any) -> None:
    project.merklfile(SLOW)
    first = started(project)
    for note in (project.path / ".merkl/store/holders").iterdir():
        note.unlink()
    second = project.popen("build", "--json")
    assert second.stdout is not None
    assert any('"event": "waiting"' in line for line in iter(second.stdout.readline, ""))
    time.sleep(0.3)
    assert second.poll() is None and len(project.read("ran").splitlines()) == 1
    project.write("go", "")  # The first is past asking.
    first.terminate()
    first.communicate(timeout=30)
    out, err = second.communicate(timeout=30)

    assert second.returncode == 0, out + err
    assert none_left(project.path)


# ---- 53: a fork after everything was opened ----------------------------------------------------------------------------

FORKS = """
import contextlib, io, os, sys, threading
from merkl.config import load_config
from merkl.engine.build import build
from merkl.engine.evaluating import Quiet
from merkl.engine.request import open_merklfile, open_project, selected

def make(project, merklfile, *words):
    chosen = selected(project, merklfile, words, os.getcwd())
    reporter = Quiet()
    done, _ = build(project, chosen.selection, reporter)
    assert not done.failed, reporter.errors
    return done.ran

project = open_project(load_config(os.getcwd(), jobs=2))
merklfile = open_merklfile(project, {})
assert make(project, merklfile, "first") == 1  # Index and store are open now.
children = []
for n in range(4):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert make(project, merklfile, "first") == 0
            assert make(project, merklfile, f"child{n}") == 3
            project.close()
            code = 0
        finally:
            os._exit(code)
    children.append(child)
assert make(project, merklfile, "parent") == 3
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert codes == [0] * 4, codes
assert make(project, merklfile, "parent", *(f"child{n}" for n in range(4))) == 0
project.close()
print("well")
"""


def test_row_53_a_process_forks_after_it_has_built_and_all_of_them_build(project: Any) -> None:
    project.merklfile("""
        part = bash_task("echo {arg('who')} {arg('n')} > {out_file_arg('out', '.txt')}; echo {arg('who')} {arg('n')} >> ran")

        @target
        def first():
            part("first", 0) >> "first.txt"

        def of(who):
            def made():
                for n in range(3):
                    part(who, n) >> f"{who}/{n}.txt"
            return made

        for who in ("parent", "child0", "child1", "child2", "child3"):
            target(name=who)(of(who))
    """)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS],
        cwd=project.path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.stdout == "well\n", done.stderr
    assert len(project.read("ran").splitlines()) == 1 + 5 * 3
    names = ("parent", "child0", "child1", "child2", "child3")
    assert project.build(*names) == []
    assert "nothing is wrong" in project.merkl("fsck").stdout
    expect_nothing_left(project.path)


def test_row_53_a_task_forks_while_the_build_goes_on(project: Any) -> None:
    """As multiprocessing does by default: the child has a copy of all that the builder had open, and ends some time later."""
    project.merklfile("""
        import os

        @task
        def forks(n):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            return n

        part = bash_task("echo {arg('n')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            for n in range(6):
                forks(n) > f"fork{n}.json"
                part(n) > f"part{n}.txt"
    """)
    for jobs in ("-j1", "-j3"):
        assert len(project.build(jobs, "-B")) == 12
    assert "nothing is wrong" in project.merkl("fsck").stdout
    expect_nothing_left(project.path)

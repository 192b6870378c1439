"""merkl shares the right to run with make: under ``make -j`` it takes make's tokens, and gives its own tasks' makes some.

Counted are the commands at the leaves, by the times at which they began and ended.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from merkl.execute.base import Exited, ProcessJob
from merkl.execute.environment import of_worker
from merkl.execute.jobserver import Heard, heard, join, open_fifo, open_pipe
from merkl.execute.local import Local

LEAF = """
echo "$EPOCHREALTIME +" >> {log}
sleep ${{1:-0.1}}
echo "$EPOCHREALTIME -" >> {log}
"""
LEAVES = "all: $(foreach n,1 2 3 4,leaf$(n))\nleaf%:\n\t@bash {leaf}\n"
TASKS = """
import os
make = bash_task("make -s -f leaves.mk; : {arg('n')}", cache=False)
leaf = bash_task("bash leaf.sh; : {arg('n')}", cache=False)

@target(default=True)
def all():
    return [make(n) for n in range(2)] + [leaf(n) for n in range(4)]
"""


SIX = """
from merkl import *
leaf = bash_task("bash {arg('leaf')}; : {arg('n')}", cache=False)
@target(default=True)
def all():
    return [leaf(%r, n) for n in range(6)]
"""


@pytest.fixture
def leaves(project) -> Iterator[Path]:
    """The log of leaf commands of a project with makefiles."""
    log = project.path / "times"
    leaf = project.write("leaf.sh", LEAF.format(log=log))
    project.write("leaves.mk", LEAVES.format(leaf=leaf))
    project.merklfile(TASKS)
    return log


def most_at_once(log: Path) -> int:
    """The largest number of leaf commands that ran at one time."""
    changes = sorted(line.split() for line in log.read_text().splitlines())
    assert [sign for _, sign in changes].count("+") == [sign for _, sign in changes].count("-") > 0
    running = most = 0
    for _, sign in changes:
        running += 1 if sign == "+" else -1
        most = max(most, running)
    return most


# ---- what make says ----


@pytest.mark.parametrize(
    ("flags", "meant"),
    [
        ("", Heard()),
        (" -j4 --jobserver-auth=3,4", Heard("3,4")),
        ("ks -j --jobserver-fds=5,6 -- X=--jobserver-auth=1,2", Heard("5,6")),
        (" -j --jobserver-auth=3,4 --jobserver-auth=fifo:/tmp/f", Heard("fifo:/tmp/f")),
        (" -j1", Heard("", alone=True)),
        (" -j", Heard()),
    ],
)
def test_of_the_flags_of_make_the_last_jobserver_counts(flags, meant):
    assert heard({"MAKEFLAGS": flags}) == meant


def test_a_worker_is_not_told_of_descriptors_that_it_does_not_have(monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", "k -j4 --jobserver-auth=3,4 -- A=b")
    assert of_worker({"X": "1"}, None)[b"MAKEFLAGS"] == b"k -j4 -- A=b"
    assert of_worker({"X": "1"}, None)[b"X"] == b"1"


# ---- merkl serves ----


@pytest.mark.needs("make")
def test_makes_in_tasks_share_the_slots_of_the_build(inside, leaves):
    inside.merkl("build", "-j3")

    assert leaves.read_text().count("+") == 12
    assert 2 <= most_at_once(leaves) <= 3


@pytest.mark.needs("make")
def test_a_single_make_gets_all_slots_that_nobody_else_uses(inside, leaves):
    inside.merklfile(TASKS.replace("range(2)", "range(1)").replace("range(4)", "range(0)"))

    inside.merkl("build", "-j4")

    assert 2 <= most_at_once(leaves) <= 4


@pytest.mark.needs("make")
def test_without_a_jobserver_a_make_runs_one_command_at_a_time(inside, leaves):
    inside.merklfile(TASKS.replace("range(2)", "range(1)").replace("range(4)", "range(0)"))
    inside.write("merkl.yaml", "jobserver: off\n")

    inside.merkl("build", "-j4")

    assert most_at_once(leaves) == 1


CLIENT = """
import os, subprocess, sys
auth = [word for word in os.environ["MAKEFLAGS"].split() if word.startswith("--jobserver-auth=fifo:")][-1]
path = auth.partition("fifo:")[2]
reader, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY)
running, held = [], b""
for n in range(4):
    if n:
        held += os.read(reader, 1)
    running.append(subprocess.Popen(["bash", "leaf.sh"]))
for each in running:
    each.wait()
    os.write(writer, held[:1])
    held = held[1:]
"""


def test_a_named_pipe_is_offered_where_merkl_yaml_asks_for_one(inside, leaves):
    inside.write("client.py", CLIENT)
    inside.write("merkl.yaml", "jobserver: fifo\n")
    inside.merklfile(f"""
        client = bash_task("{sys.executable} client.py; test -p .merkl/run/*-jobserver", cache=False)
        leaf = bash_task("bash leaf.sh; : {{arg('n')}}", cache=False)

        @task(cache=False)
        def told():
            import os
            return os.environ["MAKEFLAGS"]

        @target(default=True)
        def all():
            told() >> "told.txt"
            return [client()] + [leaf(n) for n in range(4)]
    """)

    inside.merkl("build", "-j4")

    assert leaves.read_text().count("+") == 8
    assert 2 <= most_at_once(leaves) <= 4
    assert "--jobserver-auth=fifo:" in inside.read("told.txt")  # Nothing has to be inherited for it.
    assert not [name for name in os.listdir(inside.path / ".merkl/run") if name.endswith("jobserver")]


def test_a_named_pipe_in_a_directory_with_spaces_cannot_be_named(inside):
    spaced = inside.path / "a b"
    spaced.mkdir()
    (spaced / "Merklfile.py").write_text(
        "from merkl import *\n@target(default=True)\ndef x(): return bash_task('true')()\n"
    )
    (spaced / "merkl.yaml").write_text("jobserver: fifo\n")

    failed = inside.merkl("build", "-j2", code=2, cwd=spaced)

    assert "jobserver: fifo needs a project whose path has no spaces" in failed.stderr


def test_the_named_pipe_of_a_build_that_was_killed_is_removed_by_the_next(project, leaves):
    project.write("merkl.yaml", "jobserver: fifo\n")
    project.merklfile(
        '@target(default=True)\ndef x(): return bash_task("echo > ready; sleep 5", cache=False)()'
    )
    build = project.popen("build", "-j2")
    run = project.path / ".merkl/run"
    while not (project.path / "ready").exists():
        assert build.poll() is None
        time.sleep(0.02)
    assert [name for name in os.listdir(run) if name.endswith("-jobserver")]
    build.kill()
    build.communicate()

    project.merklfile('@target(default=True)\ndef x(): return bash_task("true", cache=False)()')
    project.build()

    assert not [name for name in os.listdir(run) if name.endswith("-jobserver")]


def command(root: Path, script: str, name: str) -> ProcessJob:
    """A job that runs a line of bash."""
    return ProcessJob(
        [b"/bin/bash", b"-c", script.encode()], {b"PATH": os.environb[b"PATH"]}, os.fsencode(root),
        os.fsencode(root / name),
    )  # fmt: skip


def run_all(executor: Local, jobs: list[ProcessJob]) -> None:
    """Run jobs one after another, as room comes."""
    started = ended = 0
    while ended < len(jobs):
        while started < len(jobs) and executor.has_room():
            executor.start(jobs[started])
            started += 1
        for each in executor.wait(10):
            assert each.how == Exited(0)
            ended += 1


def test_tokens_that_a_killed_child_held_come_back(tmp_path):
    log = tmp_path / "times"
    leaf = LEAF.format(log=log).replace("0.1", "0.4")
    with Local(3, tokens=open_pipe(3)) as executor:
        run_all(executor, [command(tmp_path, "read -rN2 -u60 tokens; [[ $tokens == ++ ]]", "thief")])
        run_all(executor, [command(tmp_path, leaf, f"{n}") for n in range(6)])

    assert most_at_once(log) == 3


@pytest.mark.parametrize("jobserver", ["pipe", "fifo"])
def test_more_slots_than_a_pipe_has_room_for_are_no_harm(tmp_path, jobserver):
    jobs = 10**20
    tokens = open_pipe(jobs) if jobserver == "pipe" else open_fifo(jobs, f"{tmp_path}/fifo")
    with Local(jobs, tokens=tokens) as executor:
        run_all(executor, [command(tmp_path, "true", f"{n}") for n in range(3)])


@pytest.mark.parametrize(
    "auth", ["", "3", "a,b", "-2,-2", "1,2,3", f"{10**20},4", "fifo:", "fifo:/dev/null", "fifo:\ud800"]
)
def test_what_names_no_jobserver_is_none(auth):
    assert join(auth) is None


def test_a_build_inside_a_task_of_another_shares_its_slots(inside, leaves):
    inside.write("inner/Merklfile.py", SIX % str(inside.path / "leaf.sh"))
    inside.merklfile(
        TASKS.replace("range(2)", "range(1)").replace(
            "make -s -f leaves.mk", f"cd inner && {sys.executable} -m merkl build -j8"
        )
    )

    inside.merkl("build", "-j3")

    assert leaves.read_text().count("+") == 10
    assert 2 <= most_at_once(leaves) <= 3


# ---- merkl takes part ----

UNDER_MAKE = """
.PHONY: one two three
all: one two three leaf1 leaf2 leaf3
one two three:
\t{plus}cd $@ && {merkl} build -B -q -j8
leaf%:
\t@bash {leaf}
"""
MERKL = f"{sys.executable} -m merkl"


@pytest.fixture
def three(project, leaves) -> Path:
    """Three projects in one directory, each of six leaves, and the log of all."""
    for name in ("one", "two", "three"):
        project.write(f"{name}/Merklfile.py", SIX % str(project.path / "leaf.sh"))
    return leaves


@pytest.mark.needs("make")
def test_three_builds_and_three_commands_under_make_are_no_more_than_it_allows(project, three):
    project.write("Makefile", UNDER_MAKE.format(plus="+", merkl=MERKL, leaf=project.path / "leaf.sh"))

    done = subprocess.run(
        ["make", "-j4"], cwd=project.path, capture_output=True, text=True, timeout=60, check=True
    )

    assert three.read_text().count("+") == 21
    assert 2 <= most_at_once(three) <= 4
    assert "INTERNAL" not in done.stderr  # make counts its tokens at the end.
    assert "jobserver" not in done.stdout + done.stderr


@pytest.mark.needs("make")
@pytest.mark.parametrize(
    ("jobs", "line", "most", "said"),
    [
        ("-j4", "{merkl} build", 1, "write + before the line of the Makefile that runs merkl"),
        ("-j4", "{merkl} build -j3", 3, ""),
        ("-j1", "+{merkl} build", 1, ""),
    ],
    ids=["closed", "closed-but-asked", "alone"],
)
def test_under_a_make_that_shares_nothing_one_task_runs_unless_more_are_asked_for(
    project, three, jobs, line, most, said
):
    project.write("Makefile", f"all:\n\t{line.format(merkl=f'cd one && {MERKL}')}\n")

    done = subprocess.run(
        ["make", jobs],
        cwd=project.path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "MERKL_JOBS": ""},
    )

    assert most_at_once(three) == most if most == 1 else 2 <= most_at_once(three) <= most
    assert said in done.stdout + done.stderr


@pytest.fixture
def jobserver(tmp_path) -> Iterator[Path]:
    """A named pipe with three tokens that can be told apart."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    os.write(fd, b"abc")
    yield path
    os.close(fd)


def tokens_in(path: Path) -> bytes:
    """The tokens that are there, in order; they are taken out."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return bytes(sorted(os.read(fd, 100)))
    finally:
        os.close(fd)


def test_of_a_named_pipe_no_more_is_taken_than_there_is_and_all_is_given_back(inside, leaves, jobserver):
    inside.merklfile(TASKS.replace("range(2)", "range(0)").replace("range(4)", "range(10)"))
    env = {**os.environ, "MAKEFLAGS": f" -j4 --jobserver-auth=fifo:{jobserver}"}

    inside.merkl("build", "-j9", env=env)

    assert 2 <= most_at_once(leaves) <= 4
    assert tokens_in(jobserver) == b"abc"


def test_tokens_are_given_back_when_tasks_fail_and_run_out_of_time(inside, leaves, jobserver):
    inside.merklfile("""
        fails = bash_task("sleep 0.1; false; : {arg('n')}", cache=False)
        slow = bash_task("sleep 60; : {arg('n')}", cache=False, timeout=0.3)

        @task
        def dies(n):
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)

        @target(default=True)
        def all():
            return [fails(1), slow(1), dies(1), fails(2), slow(2), dies(2)]
    """)
    env = {**os.environ, "MAKEFLAGS": f" -j4 --jobserver-auth=fifo:{jobserver}"}

    inside.merkl("build", "-k", "-j9", env=env, code=1)

    assert tokens_in(jobserver) == b"abc"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_tokens_are_given_back_when_the_build_is_stopped(project, leaves, jobserver, number):
    project.merklfile(TASKS.replace("range(2)", "range(0)").replace("leaf.sh;", "leaf.sh 30;"))
    env = {**os.environ, "MAKEFLAGS": f" -j4 --jobserver-auth=fifo:{jobserver}"}
    build = project.popen("build", "-j3", env=env)
    deadline = time.monotonic() + 30
    while not leaves.exists() or leaves.read_text().count("+") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    build.send_signal(number)
    build.communicate(timeout=30)

    assert build.returncode == 130
    assert tokens_in(jobserver) == b"abc"


def test_a_pipe_that_is_not_of_our_parent_is_left_alone(inside, leaves):
    """The numbers in MAKEFLAGS may by now be of other files; a read from those would be a theft."""
    reader, writer = os.pipe()  # Not inheritable, so nobody can have given them to us.
    try:
        os.write(writer, b"data")
        env = {**os.environ, "MAKEFLAGS": f" -j4 --jobserver-auth={reader},{writer}"}
        inside.merklfile(TASKS.replace("range(2)", "range(0)"))

        said = inside.merkl("build", env=env)

        assert "the jobserver of make is not open to merkl" in said.stdout + said.stderr
        assert most_at_once(leaves) == 1
        assert os.read(reader, 10) == b"data"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_build_waits_for_a_token_and_starts_when_it_comes(tmp_path, jobserver):
    fd = os.open(jobserver, os.O_RDWR)
    taken = os.read(fd, 3)
    tokens = join(f"fifo:{jobserver}")
    with Local(2, tokens=tokens) as executor:
        executor.start(command(tmp_path, "sleep 30", "first"))
        assert not executor.has_room()
        assert executor.wait(0.05) == []
        assert not executor.has_room()
        os.write(fd, taken[:1])
        began = time.monotonic()
        executor.wait(20)  # Returns since there may be room now.
        assert time.monotonic() - began < 10
        assert executor.has_room()
    os.write(fd, taken[1:])
    assert tokens_in(jobserver) == b"abc"
    os.close(fd)

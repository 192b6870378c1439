"""A worker, the scheduler, the client or the user's patience is lost while tasks run on a cluster: no wrong result, no hang,
no process that stays."""

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from servers.dask_cluster import DaskCluster

FULL = bool(os.environ.get("MERKL_FULL"))
WAIT_S = 60.0


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A cluster whose parts may be killed; whoever does that starts others."""
    path = tmp_path_factory.mktemp("cluster")
    with DaskCluster(path, threads=1, options=["--resources", "gpu=1"]) as cluster:
        yield cluster


def describe(project, tmp_path: Path, cluster, **settings) -> None:
    (tmp_path / "shared").mkdir()
    setting = {**cluster.setting(), **settings}
    text = {"remote": {"url": str(tmp_path / "shared")}, "executors": {"lab": setting}, "target": "lab"}
    project.write("merkl.yaml", json.dumps(text))


def running(mark: str) -> list[int]:
    """The processes that have ``mark`` as an argument of theirs."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            pass  # It has ended.
    return found


def children(pid: int) -> list[int]:
    """The processes that a process has started and that are its own still."""
    return [
        int(each)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for each in path.read_text().split()
    ]


def wait_until(holds, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


SLEEPS = """
    nap = bash_task("sleep {arg('s')}; echo {arg('n')} > {out_file_arg('o')}")

    @target
    def all():
        nap("0", "first") > "first"
        for i in range(3):
            nap("MARK", i) > f"slow{i}"
"""


PYTHON = """
        add(add(1, 1), 1) > "three.json"

    @task
    def add(a, b):
        return a + b
"""


def started(project, mark: str):
    """A build that has come to tasks that take for ever."""
    project.merklfile(SLEEPS.replace("MARK", mark))
    process = project.popen("build", "all")
    wait_until(lambda: len(running(mark)) == 2, "both workers run one")
    return process


def test_what_is_interrupted_leaves_no_process_and_what_ended_is_kept(project, dask, tmp_path):
    describe(project, tmp_path, dask)
    mark = f"7{random.randrange(10**6)}.5"
    project.merklfile(SLEEPS.replace("MARK", mark) + PYTHON)
    process = project.popen("build", "all", "-j4")
    wait_until(
        lambda: len(running(mark)) == 3 and (project.path / "first").exists(), "one has ended, the others run"
    )
    wait_until((project.path / "three.json").exists, "a call has ended as well")
    assert children(process.pid) == []  # No worker for calls, which all run elsewhere.

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, err
    assert "interrupted" in err
    wait_until(lambda: not running(mark), "no command is left")
    assert project.read("first") == "first\n"


@pytest.mark.full
def test_what_a_killed_client_had_running_ends_and_what_had_ended_is_found(project, dask, tmp_path):
    describe(project, tmp_path, dask)
    mark = f"7{random.randrange(10**6)}.5"
    project.merklfile(SLEEPS.replace("MARK", mark))
    process = project.popen("build", "all")
    wait_until(
        lambda: len(running(mark)) == 3 and (project.path / "first").exists(), "one has ended, the others run"
    )
    process.kill()
    process.communicate()
    wait_until(lambda: not running(mark), "no command is left")

    project.merklfile(SLEEPS.replace("MARK", "0"))
    assert sorted(project.build("all")) == ["nap"] * 3  # The first had ended.


@pytest.mark.full
def test_a_task_that_heeds_an_interrupt_on_a_cluster_ends_well_and_the_build_goes_on(project, dask, tmp_path):
    describe(project, tmp_path, dask)
    project.merklfile(
        """
        @task
        def train(mark):
            import time
            try:
                open(mark, "w").close()
                time.sleep(600)
            except KeyboardInterrupt:
                return "as far as it came"

        @target
        def all():
            bash_task("cat {file_arg('f')} > {out_file_arg('o')}")(train("MARK")) > "out"
    """.replace("MARK", str(tmp_path / "mark"))
    )
    process = project.popen("build", "all")
    wait_until((tmp_path / "mark").exists, "it has begun")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert project.read("out") == "as far as it came"
    (tmp_path / "mark").unlink()
    process = project.popen("build", "all")
    wait_until((tmp_path / "mark").exists, "what an interrupt decided is not found again")
    process.kill()
    process.communicate()


TAKEN_AWAY = """
    nap = bash_task('''
        if mkdir FIRST 2>/dev/null; then
            setsid sh -c "kill -TERM $$; kill -TERM $PPID" >/dev/null 2>&1 &
            sleep 600
        fi
        echo {arg('n')} > {out_file_arg('o')}
        ''')

    @task
    def call(n):
        import os, signal, time
        try:
            os.mkdir("SECOND")
        except FileExistsError:
            return str(n)
        above = os.getppid()
        if not os.fork():
            os.setsid()
            os.kill(os.getppid(), signal.SIGTERM)
            os.kill(above, signal.SIGTERM)
            os._exit(0)
        time.sleep(600)

    @target
    def all():
        nap(1) > "nap"
        call(2) > "call.txt"
"""


def test_what_is_ended_with_the_machine_that_it_runs_on_has_not_failed(project, dask, tmp_path):
    describe(project, tmp_path, dask)
    project.merklfile(
        TAKEN_AWAY.replace("FIRST", f"{tmp_path}/first").replace("SECOND", f"{tmp_path}/second")
    )

    assert sorted(project.build("all")) == ["call", "nap"]  # A queue ends a job with SIGTERM to all of it.

    assert (tmp_path / "first").exists() and (tmp_path / "second").exists()
    assert (project.read("nap"), project.read("call.txt")) == ("1\n", "2")


def test_resources_that_nobody_has_fail(project, own, tmp_path):
    describe(project, tmp_path, own)
    project.merklfile("""
        shown = bash_task("echo > {out_file_arg('o')}", resources={"gpu": 4})

        @target
        def all():
            shown() > "screen"
    """)
    done = project.merkl("build", "all", code=1)
    assert "shown needs 4 gpu, and no worker of the executor lab has more than 1 gpu" in done.stderr


def test_a_scheduler_that_is_killed_ends_the_build_and_the_next_one_goes_on(project, own, tmp_path):
    describe(project, tmp_path, own, timeout=3)
    mark = f"7{random.randrange(10**6)}.5"
    process = started(project, mark)
    port = int(own.address.rpartition(":")[2])
    own.kill_scheduler()
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1, err
    assert f"the executor lab at {own.address} was lost" in err
    assert "Traceback" not in err
    wait_until(lambda: not running(mark), "no command is left")

    own.start_scheduler(port)
    process = project.popen("build", "all")  # Nothing runs, and it can be interrupted.
    said = process.stdout.readline()
    while "no worker of lab" not in said:
        assert said, "the build ended"
        said = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, err

    own.start_worker()
    own.start_worker()
    project.merklfile(SLEEPS.replace("MARK", "0"))
    assert project.build("all") == ["nap"] * 3


def test_workers_killed_at_random_moments_change_nothing_but_the_time(project, own, tmp_path):
    describe(project, tmp_path, own, losses=1000)
    project.merklfile("""
        nap = bash_task("sleep 0.2; cat {file_arg('f')} > {out_file_arg('o')}; echo {arg('n')} >> {out_file_arg('o')}")

        @task
        def count(*files):
            return [len(open(each).read()) for each in files]

        @target
        def all():
            futures = [file("src")] * 3
            for i in range(12):
                futures[i % 3] = nap(futures[i % 3], i)
            count(*futures) > "counts.json"
    """)
    project.write("src", "source\n")
    process = project.popen("build", "all")
    kills, over = 50 if FULL else 5, threading.Event()

    def kill() -> None:
        for _ in range(kills):
            if over.wait(random.uniform(0.3, 1.5)):
                return
            alive = [n for n, worker in enumerate(own.workers) if worker.poll() is None]
            own.start_worker()
            own.kill_worker(random.choice(alive))

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        _, err = process.communicate(timeout=WAIT_S * (10 if FULL else 2))
    finally:
        over.set()
        killer.join()
    assert process.returncode == 0, err
    assert json.loads(project.read("counts.json")) == [15, 16, 16]
    assert project.build("all") == []

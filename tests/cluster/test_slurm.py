"""A real Slurm that runs the example, while it takes jobs away from it."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.dask_cluster import certificates
from servers.slurm import PROGRAMS, Slurm

pytestmark = [pytest.mark.full, pytest.mark.needs(*PROGRAMS)]

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with Slurm() as running:
        yield running


@pytest.fixture
def queued(project: Any, slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty project whose tasks run in jobs of one CPU, each with a directory and a home of its own."""
    for name, value in slurm.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "1s")
    homes = tmp_path / "homes"
    homes.mkdir()
    (tmp_path / "shared").mkdir()
    options = {
        "cores": 1,
        "memory": "1GB",
        "job_mem": "700M",
        "queue": "low",
        "interface": "lo",
        "python": sys.executable,
        "walltime": "01:00:00",
        "death_timeout": 60,
        "log_directory": str(tmp_path / "jobs"),
        "local_directory": "$HOME/scratch",
        "job_script_prologue": [f"export HOME={homes}/$SLURM_JOB_ID", "mkdir -p $HOME", "cd $HOME"],
        "worker_extra_args": ["--memory-limit", "0"],
        "scheduler_options": {"dashboard_address": None},
    }
    executor = {
        "engine": "dask", "cluster": "dask_jobqueue.SLURMCluster", "options": options, "scale": 2,
        "store": str(tmp_path / "shared"),
    }  # fmt: skip
    project.write("merkl.yaml", json.dumps({"executors": {"slurm": executor}}))
    return project


def outputs(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes() for p in sorted((root / "build").rglob("*")) if p.is_file()
    }


def wait_for(what: Any, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_example_is_byte_for_byte_what_it_is_here(queued, slurm, tmp_path):
    left_out = shutil.ignore_patterns(".merkl", "build", "__pycache__")
    shutil.copytree(EXAMPLES, queued.path, ignore=left_out, dirs_exist_ok=True)
    local = type(queued)(tmp_path / "local")
    shutil.copytree(EXAMPLES, local.path, ignore=left_out)
    local.merkl("build", "-q")

    ran = queued.build("--target", "slurm")

    assert ran
    assert {name: data for name, data in outputs(queued.path).items() if not name.endswith(".mk")} == {
        name: data for name, data in outputs(local.path).items() if not name.endswith(".mk")
    }
    assert queued.build("--target", "slurm") == queued.build() == []
    wait_for(lambda: not slurm.jobs())


TINY = """
tiny = bash_task("echo {arg('n')} > {out_file_arg('o')}", name="tiny")

@target(default=True)
def all():
    for n in range(3):
        tiny(n) > f"out/{n}"
"""


def test_with_tls_the_jobs_get_the_certificates(queued, tmp_path):
    queued.merklfile(TINY)
    settings = json.loads(queued.read("merkl.yaml"))
    settings["executors"]["slurm"]["security"] = certificates(tmp_path / "tls")
    queued.write("merkl.yaml", json.dumps(settings))

    assert queued.build("--target", "slurm") == ["tiny"] * 3

    logs = [path.read_text() for path in (tmp_path / "jobs").glob("*.err")]
    assert any("Registered to:" in log and "tls://" in log for log in logs)
    assert not any("tcp://" in log for log in logs)


SLOW = """
slow = bash_task("sleep 2; echo {arg('n')} > {out_file_arg('o')}", name="slow")

@target(default=True)
def all():
    for n in range(6):
        slow(n) > f"out/{n}"
"""


@pytest.mark.parametrize("there", [False, True], ids=["before a worker is there", "while tasks run"])
def test_jobs_that_are_preempted_cost_time_only(queued, slurm, there):
    queued.merklfile(SLOW)
    build = queued.popen("build", "--json", "--target", "slurm")
    wait_for(lambda: len(slurm.jobs(partition="low")) == 2)
    taken = slurm.jobs(partition="low")
    while there and json.loads(build.stdout.readline())["event"] != "ran":
        pass

    slurm.run("sbatch", "-p", "high", "-n", "2", "--mem=100", "-o", "/dev/null", "--wrap", "sleep 3")
    out, err = build.communicate(timeout=300)

    assert build.returncode == 0, out + err
    assert [slurm.state(job) for job in taken] == ["PREEMPTED", "PREEMPTED"]
    assert [queued.read(f"out/{n}") for n in range(6)] == [f"{n}\n" for n in range(6)]
    wait_for(lambda: not slurm.jobs(partition="low"))


GREEDY = """
small = bash_task("echo {arg('n')} > {out_file_arg('o')}", name="small")
greedy = bash_task('''python3 -c "import time; kept = bytearray(2_000_000_000); time.sleep(60)"; echo > {out_file_arg('o')}''', name="greedy")

@target(default=True)
def all():
    greedy() > "out/greedy"
    for n in range(3):
        small(n) > f"out/{n}"
"""


def test_a_task_that_takes_more_memory_than_its_job_has_fails_with_a_message_that_says_so(queued, slurm):
    queued.merklfile(GREEDY)
    settings = json.loads(queued.read("merkl.yaml"))
    settings["executors"]["slurm"]["losses"] = 1
    queued.write("merkl.yaml", json.dumps(settings))

    events = queued.events("-k", "--target", "slurm", code=1)

    [failed] = [event for event in events if event["event"] == "failed"]
    assert failed["task"] == "greedy"
    assert "worker" in failed["error"]
    assert sorted(event["task"] for event in events if event["event"] == "ran") == ["small"] * 3
    wait_for(lambda: not slurm.jobs())

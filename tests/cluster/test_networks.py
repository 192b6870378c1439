"""A scheduler and workers in networks of their own, which see no directory of the project, and whose cables are pulled."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.dask_cluster import DaskCluster
from servers.networks import PROGRAMS, Networks

pytestmark = [pytest.mark.full, pytest.mark.needs(*PROGRAMS)]

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
MACHINES = ("scheduler", "worker-0", "worker-1")
SHORT = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "4s"}


LEFT_OUT = shutil.ignore_patterns(".merkl", "build", "__pycache__")


class Far:
    """A project and the machines that its tasks run on."""

    def __init__(self, project: Any, networks: Networks, cluster: DaskCluster, shared: Path) -> None:
        self.project = project
        self.networks = networks
        self.cluster = cluster
        setting = cluster.setting(store=str(shared), timeout=5)
        project.write("merkl.yaml", json.dumps({"executors": {"lab": setting}, "target": "lab"}))


@pytest.fixture
def far(project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    if os.getuid() != 0:
        pytest.skip("only root makes network namespaces")
    for name, value in SHORT.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "shared").mkdir()
    with Networks(MACHINES) as networks:
        prefix = {name: networks.prefix(name, project.path) for name in MACHINES}
        with DaskCluster(
            tmp_path / "dask", host=networks.addresses["scheduler"], prefix=prefix, environ=SHORT
        ) as cluster:
            yield Far(project, networks, cluster, tmp_path / "shared")


def copied(name: str, to: Path) -> None:
    left_out = shutil.ignore_patterns(".merkl", "build", "__pycache__", "pipeline", "brotli")
    shutil.copytree(EXAMPLES / name, to, ignore=left_out, dirs_exist_ok=True)


def outputs(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted((root / "build").rglob("*"))
        if p.is_file() and not p.name.endswith(".merkl")
    }


@pytest.mark.parametrize("example", ["", "pipeline"])
def test_an_example_is_byte_for_byte_what_it_is_here(far, example, tmp_path):
    copied(example, far.project.path)
    local = type(far.project)(tmp_path / "local")
    copied(example, local.path)
    local.merkl("build", "-q")

    assert far.project.build()

    assert outputs(far.project.path) == outputs(local.path) != {}
    assert far.project.build() == []
    assert far.project.build("--target", "local") == []


@pytest.mark.needs("gcc", "ar", "tar")
def test_a_c_library_whose_headers_nobody_lists_is_byte_for_byte_what_it_is_here(far, tmp_path):
    shutil.copytree(EXAMPLES / "brotli", far.project.path, ignore=LEFT_OUT, dirs_exist_ok=True)
    fetched = far.project.merkl("build", "vendor/brotli", "--target", "local", code=None)
    if fetched.returncode:
        refuse = pytest.fail if os.environ.get("MERKL_REQUIRE_ALL") else pytest.skip
        refuse(f"brotli's source distribution could not be fetched:\n{fetched.stderr}")
    local = type(far.project)(tmp_path / "local")
    shutil.copytree(far.project.path, local.path, ignore=LEFT_OUT)
    (local.path / "merkl.yaml").unlink()
    local.merkl("build", "-q", "optimise=0")

    assert len(far.project.build("optimise=0")) > 30

    assert outputs(far.project.path) == outputs(local.path) != {}
    assert far.project.build("optimise=0") == far.project.build("--target", "local", "optimise=0") == []


SLOW = """
slow = bash_task("sleep 1; echo {arg('n')} > {out_file_arg('o')}", name="slow")

@target(default=True)
def all():
    for n in range(12):
        slow(n) > f"out/{n}"
"""


def started(build: Any, count: int) -> None:
    """Read what a build says until so many tasks have run."""
    while count:
        event = json.loads(build.stdout.readline())
        count -= event["event"] == "ran"


def test_a_worker_that_is_cut_off_costs_time_only(far):
    far.project.merklfile(SLOW)
    build = far.project.popen("build", "--json")
    started(build, 2)

    far.networks.cut("worker-0")
    _, err = build.communicate(timeout=300)

    assert build.returncode == 0, err
    assert [far.project.read(f"out/{n}") for n in range(12)] == [f"{n}\n" for n in range(12)]


def test_a_network_that_comes_back_soon_is_not_noticed(far):
    far.project.merklfile(SLOW)
    build = far.project.popen("build", "--json")
    started(build, 1)

    far.networks.cut("worker-1")
    time.sleep(1)
    far.networks.join("worker-1")
    _, err = build.communicate(timeout=300)

    assert build.returncode == 0, err


def test_a_scheduler_that_is_cut_off_ends_the_build_and_the_next_one_goes_on(far):
    far.project.merklfile(SLOW)
    build = far.project.popen("build", "--json")
    started(build, 2)

    far.networks.cut("scheduler")
    out, err = build.communicate(timeout=120)

    assert build.returncode == 1, err
    errors = [event for event in map(json.loads, out.splitlines()) if event["event"] in ("failed", "error")]
    assert any(far.cluster.address in event["error"] for event in errors)

    far.networks.join("scheduler")
    far.cluster.kill_scheduler()
    far.cluster.start_scheduler(int(far.cluster.address.rpartition(":")[2]))
    far.cluster.start_worker()
    assert len(far.project.build()) <= 10
    assert [far.project.read(f"out/{n}") for n in range(12)] == [f"{n}\n" for n in range(12)]

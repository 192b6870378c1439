"""What is wrong with a cluster is said, and ends a build in time: a store that is not the same,
workers that are of another merkl."""

import json
import sys
import time
from pathlib import Path

import pytest
from servers.dask_cluster import DaskCluster

WAIT_S = 60.0
MERKLFILE = """
    made = bash_task("sleep {arg('s')}; echo {arg('n')} > {out_file_arg('o')}")

    @target
    def all():
        made("0", "one") > "one"

    @target
    def slow():
        made("3", "two") > "two"
"""


def describe(project, remote: Path | str, setting) -> None:
    project.merklfile(MERKLFILE)
    settings = {"remote": {"url": str(remote)}, "executors": {"lab": setting}, "target": "lab"}
    project.write("merkl.yaml", json.dumps(settings))


def wait_until(holds, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="a path that is another directory for each process")
def test_a_store_that_is_another_directory_where_tasks_run_is_named(project, dask):
    describe(project, "/proc/self/cwd/shared", dask.setting())
    (project.path / "shared").mkdir()
    done = project.merkl("build", "all", code=3)
    assert "is not there" in done.stderr
    assert "(lab)" in done.stderr

    others = [dask.path / f"worker-{n}" / "shared" for n in range(len(dask.workers))]
    for other in others:
        other.mkdir()
    try:
        done = project.merkl("build", "all", code=1)
        assert "is not the place that it is here" in done.stderr
        assert "is it mounted there" in done.stderr
        assert [list(other.iterdir()) for other in others] == [[] for _ in others]
    finally:
        for other in others:
            other.rmdir()


@pytest.mark.full
@pytest.mark.parametrize("before", [True, False])
def test_what_was_for_a_worker_that_died_goes_to_one_that_came_later(project, tmp_path, before):
    (tmp_path / "shared").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "sitecustomize.py").write_text("import merkl; merkl.__version__ = '0.0.1'\n")
    prefix = {"worker-0": ["env", f"PYTHONPATH={tmp_path / 'old'}"]}
    with DaskCluster(tmp_path / "cluster", prefix=prefix) as cluster:
        describe(project, tmp_path / "shared", cluster.setting())
        process = project.popen("build", "slow")
        log = lambda: [p for p in Path("/proc").glob("[0-9]*/cmdline") if _is(p, b"sleep", b"3")]  # noqa: E731
        wait_until(log, "it runs")
        if before:
            cluster.start_worker()
            cluster.wait_for_workers(3)
        cluster.kill_worker(1)
        if not before:
            cluster.start_worker()
        _, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, err
        assert project.read("two") == "two\n"


def _is(path: Path, *words: bytes) -> bool:
    try:
        return path.read_bytes().split(b"\0")[:-1] == list(words)
    except OSError:
        return False  # It has ended.

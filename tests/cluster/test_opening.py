"""Joining a scheduler, making a cluster, and what is said when that is not possible."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from servers.dask_cluster import DaskCluster, certificates

from merkl.cluster import versions
from merkl.cluster.classes import cluster_class
from merkl.cluster.opening import opened
from merkl.config import system_name
from merkl.errors import ConfigError, ExecutorError
from merkl.executors import executors_from


def executor(**settings):
    return executors_from({"lab": {"engine": "dask", **settings}}, "/", "merkl.yaml")["lab"]


def test_a_scheduler_is_joined_and_left_as_it_was(dask, caplog):
    for _ in range(2):
        there = opened(executor(**dask.setting()))
        assert there.address == dask.address
        assert sorted(there.workers().values()) == [2, 2]
        assert there.threads() == 4
        assert there.unfit() == {}
        there.close()
        there.close()


def test_what_dask_logs_is_kept_and_its_loggers_are_as_before_when_all_is_closed(dask, capfd):
    import distributed

    logger = logging.getLogger("distributed.client")
    before = logger.handlers, logger.propagate, logging.getLogger(distributed.__name__).handlers
    first, second = (opened(executor(**dask.setting())) for _ in range(2))
    logger.error("something\nwent wrong")
    first.close()
    logger.error("again")
    second.close()

    assert list(first.said) == ["something"]
    assert list(second.said) == ["something", "again"]
    assert "wrong" not in "".join(capfd.readouterr())
    assert (logger.handlers, logger.propagate, logging.getLogger("distributed").handlers) == before


def test_a_worker_that_differs_is_named_with_what_differs(dask, monkeypatch):
    monkeypatch.setattr(versions, "__version__", "0.0")
    there = opened(executor(**dask.setting()))
    try:
        unfit = there.unfit()
        assert sorted(unfit) == sorted(there.workers())
        monkeypatch.undo()
        assert there.unfit() == unfit  # Each is asked once.
    finally:
        there.close()

    assert all(why.endswith("there and 0.0 here") and why.startswith("merkl is ") for why in unfit.values())


def test_the_question_needs_no_merkl_and_the_answer_says_so():
    lonely = "import sys; sys.modules['merkl'] = None; print(eval(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", lonely, versions.QUESTION], capture_output=True, text=True, check=True
    )

    why = versions.difference(eval(done.stdout))
    assert why.startswith("merkl cannot be imported there (ModuleNotFoundError: ")
    assert why.endswith(f"{sys.executable})")
    assert versions.difference({**versions.versions_here(), "python": "3.7"}).startswith(
        "python is 3.7 there and 3."
    )
    assert (
        versions.difference({**versions.versions_here(), "system": "x"})
        == f"system is x there and {system_name()} here"
    )
    assert versions.difference(eval(versions.QUESTION)) == ""
    assert "cannot be asked" in versions.difference(OSError("gone"))


def test_a_scheduler_that_is_not_there_or_says_nothing_is_named_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:  # Takes connections, and answers none.
        port = silent.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(ExecutorError) as caught:
            opened(executor(address=f"tcp://127.0.0.1:{port}", timeout=1))
    assert time.monotonic() - began < 30
    assert f"the executor lab does not answer at tcp://127.0.0.1:{port}" in caught.value.headline
    assert "merkl doctor" in caught.value.hint

    with pytest.raises(ExecutorError, match="does not answer"):
        opened(executor(address=f"tcp://127.0.0.1:{port}", timeout=1))


def test_with_tls_both_sides_show_certificates(tmp_path):
    tls, others = certificates(tmp_path / "ours"), certificates(tmp_path / "others")
    with DaskCluster(tmp_path / "dask", workers=1, tls=tls) as cluster:
        there = opened(executor(**cluster.setting()))
        assert there.address.startswith("tls://")
        assert there.threads() == 2
        there.close()

        for wrong in (
            {"security": others},
            {"address": cluster.address.replace("tls:", "tcp:"), "security": None},
        ):
            with pytest.raises(ExecutorError, match="does not answer"):
                opened(executor(**{**cluster.setting(timeout=3), **wrong}))
        with pytest.raises(ConfigError, match=r"there is no file /nowhere/ca\.pem"):
            opened(executor(address=cluster.address, security={**tls, "ca": "/nowhere/ca.pem"}))


# ---- clusters that are made ----------------------------------------------------------------------------------------

# As Dask's own deployment packages do it, in one process.
CLUSTERS = """
import distributed

made = []


class Inside(distributed.LocalCluster):
    def __init__(self, **options):
        super().__init__(processes=False, dashboard_address=None, n_workers=0, **options)
        made.append(self)


class Bad(Inside):
    def scale(self, count):
        if count:
            raise RuntimeError("no credit")
"""


@pytest.fixture
def clusters(tmp_path, monkeypatch):
    (tmp_path / "clusters_of_mine.py").write_text(CLUSTERS)
    monkeypatch.syspath_prepend(tmp_path)
    import clusters_of_mine

    return clusters_of_mine


@pytest.mark.parametrize("scale", [2, {"min": 2, "max": 3}])
def test_a_cluster_is_made_with_its_options_and_closed_at_the_end(clusters, scale):
    there = opened(
        executor(cluster="clusters_of_mine.Inside", options={"threads_per_worker": 3}, scale=scale)
    )
    try:
        there.client.wait_for_workers(2, timeout=60)
        assert there.threads() == 6
    finally:
        there.close()

    [made] = clusters.made
    assert made.status.name == "closed"


def test_a_cluster_that_cannot_be_made_is_closed_and_the_reason_told(clusters):
    with pytest.raises(ExecutorError, match=r"clusters_of_mine\.Bad could not be made") as caught:
        opened(executor(cluster="clusters_of_mine.Bad", scale=1))
    assert caught.value.details["error"] == "RuntimeError: no credit"
    assert clusters.made[0].status.name == "closed"

    with pytest.raises(ExecutorError) as caught:
        opened(executor(cluster="clusters_of_mine.Inside", options={"cores": 2}, scale=1))
    assert "unexpected keyword argument 'cores'" in str(caught.value)
    assert "as they are" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("dask_nowhere.Cluster", "needs the package dask_nowhere", "pip install 'dask_nowhere'"),
        ("dask_yarn.YarnCluster", "needs the package dask_yarn", "pip install 'dask-yarn'"),
        ("distributed.LocalClutser", "the module distributed has no LocalClutser", "docs/cluster.md"),
        ("distributed.wait", "is no class", ""),
        ("dask_clusters_of_a_cloud.Cluster", "cannot be imported: ImportError: not all", "pip install"),
    ],
)
def test_a_class_that_is_not_there_is_said_with_the_package_that_has_it(
    name, said, hint, tmp_path, monkeypatch
):
    (tmp_path / "dask_clusters_of_a_cloud.py").write_text("raise ImportError('not\\n\\nall')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=said) as caught:
        cluster_class(executor(cluster=name))
    assert hint in caught.value.hint


def test_a_submission_that_fails_ends_the_opening_and_not_the_build_after_hours(monkeypatch, tmp_path):
    for program, script in (("sbatch", "echo 'no such partition: mian' >&2; exit 1"), ("scancel", "exit 0")):
        (tmp_path / program).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    before = signal.getsignal(signal.SIGINT)
    options = {"cores": 1, "memory": "1GB", "queue": "mian", "interface": "lo"}
    with pytest.raises(ExecutorError, match="SLURMCluster could not be made") as caught:
        opened(
            executor(
                cluster="dask_jobqueue.SLURMCluster",
                options={**options, "scheduler_options": {"dashboard_address": None}},
                scale=1,
            )
        )
    assert "no such partition: mian" in str(caught.value)
    assert signal.getsignal(signal.SIGINT) is before  # dask_jobqueue takes it for itself when it is imported.


# ---- merkl doctor --------------------------------------------------------------------------------------------------


def test_doctor_tries_executors_and_starts_none(inside, dask):
    import json

    inside.write("clusters_here.py", "raise SystemExit('loaded')\n")
    executors = {
        "lab": dask.setting(store="shared"),
        "gone": {"engine": "dask", "address": "tcp://127.0.0.1:1", "timeout": 1},
        "slurm": {"engine": "dask", "cluster": "dask_nowhere.Cluster"},
        "own": {"engine": "dask", "cluster": "clusters_here.Cluster", "store": "shared"},
    }
    inside.write("merkl.yaml", json.dumps({"executors": executors, "target": "lab"}))
    sys.path.insert(0, str(inside.path))

    found: dict[str, list[str]] = {}
    for each in json.loads(inside.merkl("doctor", "--json").stdout)["findings"]:
        found.setdefault(each["what"], []).append(f"{each['verdict']}: {each['text']}")

    assert found["lab"] == [f"ok: {dask.address} answers: 2 workers, 4 threads"]
    assert found["gone"][0].startswith("lacks: the executor gone does not answer at tcp://127.0.0.1:1")
    assert found["slurm"][0].startswith("lacks: the executor slurm: dask_nowhere.Cluster needs the package")
    assert found["own"] == ["ok: clusters_here.Cluster is the project's own code, which is not loaded here"]

    inside.write("merkl.yaml", json.dumps({"executors": {"gone": executors["gone"]}, "target": "gone"}))
    said = inside.merkl("doctor", code=1).stdout
    assert "broken  gone" in said
    assert "nothing leads there that data could travel by" in said
    assert threading.active_count() < 50
    assert os.getcwd() == str(inside.path)

"""What docs/cluster.md configures: merkl takes it, and the classes that it names take their options."""

import inspect
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from merkl.cluster.classes import cluster_class
from merkl.errors import ConfigError
from merkl.executors import ExecutorConfig, executors_from

PAGE = Path(__file__).parent.parent.parent / "docs/cluster.md"


def documented() -> dict[str, ExecutorConfig]:
    found: dict[str, ExecutorConfig] = {}
    for block in re.findall(r"^```(?:yaml|text).*?\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S):
        if re.search(r"^executors:", block, flags=re.M):
            found |= executors_from(yaml.safe_load(block)["executors"], "/", "merkl.yaml")
    return found


def parameters(*kinds: Any) -> set[str]:
    """The names that these constructors take, and those that they pass on to."""
    return {
        name
        for kind in kinds
        for each in inspect.getmro(kind)
        if "__init__" in vars(each)
        for name, parameter in inspect.signature(vars(each)["__init__"]).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }


def there(executor: ExecutorConfig) -> Any:
    """The class of an executor; without its package the test is skipped."""
    try:
        return cluster_class(executor)
    except ConfigError as error:
        if os.environ.get("MERKL_REQUIRE_ALL") or "jobqueue" in executor.cluster:
            raise
        pytest.skip(f"{error.headline}: scripts/test-full installs it")


def test_all_that_the_page_promises_is_configured():
    assert {"lab", "here", "slurm", "k8s", "aws"} <= set(documented())


def test_a_wrong_option_would_be_seen():
    import dask_jobqueue

    assert "cores" in parameters(dask_jobqueue.SLURMCluster, dask_jobqueue.slurm.SLURMJob)
    assert "corse" not in parameters(dask_jobqueue.SLURMCluster, dask_jobqueue.slurm.SLURMJob)


@pytest.mark.parametrize(
    "name",
    [
        "here",
        "slurm",
        pytest.param("k8s", marks=pytest.mark.full),  # Heavy packages: scripts/test-full installs them.
        pytest.param("aws", marks=pytest.mark.full),
    ],
)
def test_the_class_takes_the_options_that_are_shown(name):
    executor = documented()[name]
    kind = there(executor)
    kinds = [kind, *filter(None, [getattr(kind, "job_cls", None)])]

    assert set(executor.options) <= parameters(*kinds)


@pytest.mark.parametrize(
    "name",
    ["dask_jobqueue.PBSCluster", "dask_jobqueue.SGECluster", "dask_jobqueue.LSFCluster",
     "dask_jobqueue.OARCluster", "dask_jobqueue.HTCondorCluster",
     *(pytest.param(f"dask_cloudprovider.{each}", marks=pytest.mark.full) for each in ("aws.EC2Cluster",))],
)  # fmt: skip
def test_the_other_classes_that_are_named_are_there(name):
    assert name.rpartition(".")[2].removesuffix("Cluster") in PAGE.read_text()
    assert there(ExecutorConfig("any", cluster=name))

"""The executors that merkl.yaml describes, tried out for ``merkl doctor``.

It decides which lack is a fault: one that no task runs on by default costs only what names it.

The invariant: it starts no cluster, runs no task, and loads no code of the project's own.
"""

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from merkl.cli.finding import Finding, Verdict
from merkl.config import Config
from merkl.dataclass import replace
from merkl.errors import MerklError
from merkl.report.words import plural

if TYPE_CHECKING:
    from merkl.executors import ExecutorConfig

_PATIENCE_S: Final = 10.0


def executor_findings(config: Config) -> Iterator[Finding]:
    """What there is to say of each executor; nothing if none is described."""
    for executor in config.executors.values():
        lacks: Verdict = "broken" if executor.name == config.target else "lacks"
        try:
            yield from _cluster(config, executor) if executor.cluster else _scheduler(executor, lacks)
        except MerklError as error:
            yield Finding(executor.name, lacks, str(error).replace("\n", "; "))
        if not executor.store and config.remote is None:
            yield Finding(
                executor.name,
                lacks,
                "nothing leads there that data could travel by: store: or remote: is not set",
            )


def _scheduler(executor: "ExecutorConfig", lacks: Verdict) -> Iterator[Finding]:
    from merkl.cluster.opening import opened

    connected = opened(replace(executor, timeout=min(executor.timeout, _PATIENCE_S)))
    try:
        there, unfit = connected.workers(), connected.unfit()
    finally:
        connected.close()
    threads = sum(there.values())
    if not there:
        yield Finding(executor.name, "lacks", f"{executor.address} answers and has no workers")
        return
    text = f"{executor.address} answers: {plural(len(there), 'worker')}, {plural(threads, 'thread')}"
    yield Finding(executor.name, "ok" if len(unfit) < len(there) else lacks, text)
    for address, why in unfit.items():
        yield Finding(executor.name, "lacks", f"{address} gets no tasks: {why}")


def _cluster(config: Config, executor: "ExecutorConfig") -> Iterator[Finding]:
    from merkl.cluster.classes import cluster_class, origin
    from merkl.engine.where import require_engine

    require_engine(executor)
    file = origin(executor)
    if file and os.path.realpath(file).startswith(os.path.realpath(config.root) + os.sep):
        yield Finding(
            executor.name, "ok", f"{executor.cluster} is the project's own code, which is not loaded here"
        )
        return
    kind = cluster_class(executor)
    program = getattr(getattr(kind, "job_cls", None), "submit_command", None)
    if isinstance(program, str) and shutil.which(program.split()[0]) is None:
        yield Finding(
            executor.name, "lacks", f"{executor.cluster} submits jobs with {program}, which is not on PATH"
        )
        return
    yield Finding(executor.name, "ok", f"{executor.cluster} is installed; a build makes the cluster")

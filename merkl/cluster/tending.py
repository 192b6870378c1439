"""Keeping a cluster as large as it was asked to be.

Dask submits a job once.  One that a queue ends, because another needs its place or because it took too much memory, is
taken off Dask's list a while after its worker has gone (``distributed.deploy.lost-worker-timeout``), or never if that was not
there yet, and nothing puts a new one there: with all gone, a build would wait for ever.

The invariant: nothing is asked of a cluster that is being closed.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

EVERY_S: Final = 3.0
_QUEUE: Final = (
    "squeue",
    "-h",
    "-o",
    "%i",
    "-t",
    "pending,running,suspended,configuring,requeued,resizing",
    "-j",
)


def tend(cluster: Any, said: deque[str], ending: contextlib.ExitStack) -> None:
    """Have what is missing submitted again, now and then, until ``ending``; what goes wrong is put to what was ``said``.

    Of a cluster that is not of Dask's own kind, whoever runs it does so.
    """
    if not hasattr(cluster, "worker_spec") or not hasattr(cluster, "_correct_state"):
        return
    from tornado.ioloop import PeriodicCallback

    started: list[PeriodicCallback] = []

    async def correct() -> None:
        if cluster.status.name != "running":
            return
        try:
            await _drop_ended(cluster)
            await cluster._correct_state()
        except Exception as error:  # noqa: BLE001 - sbatch that fails now may work the next time.
            said.append(f"{type(error).__name__}: {error}".partition("\n")[0][:400])

    def start() -> None:
        started.append(PeriodicCallback(correct, EVERY_S * 1000))
        started[0].start()

    def stop() -> None:
        for each in started:
            each.stop()

    cluster.loop.add_callback(start)
    ending.callback(cluster.loop.add_callback, stop)


async def _drop_ended(cluster: Any) -> None:
    """Take jobs of Slurm off Dask's list that have ended before their worker was there."""
    here = {str(each["name"]) for each in cluster.scheduler_info["workers"].values()}
    absent = {
        name: str(job.job_id)
        for name, job in cluster.workers.items()
        if getattr(job, "cancel_command", "") == "scancel" and getattr(job, "job_id", None)
        if str(name) not in here and not any(worker.startswith(f"{name}-") for worker in here)
    }
    if not absent:
        return
    queued = await _queued([*absent.values()])
    if queued is None:
        return
    for name, number in absent.items():
        if number not in queued:
            cluster.workers.pop(name, None)


async def _queued(numbers: Sequence[str]) -> set[str] | None:
    """Which jobs are in Slurm's queue; None if it does not say."""
    asked = await asyncio.create_subprocess_exec(
        *_QUEUE, ",".join(numbers), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asked.communicate()
    if asked.returncode:  # Of one number that it has forgotten; of several it leaves out that.
        return set() if b"Invalid job id" in err else None
    return set(out.decode().split())

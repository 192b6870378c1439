"""Opening an executor: joining a scheduler that runs, or making a cluster and closing it at the end.

It decides what Dask is told, and how what goes wrong is said.  It knows no tasks.

The invariant: whatever is opened here is closed by ``Opened.close``, also if opening it fails half way; what was there before
is only left.
"""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from merkl.cluster.classes import cluster_class
from merkl.cluster.listening import listening
from merkl.cluster.tending import tend
from merkl.cluster.versions import QUESTION, difference
from merkl.dataclass import dataclass, field
from merkl.engine.where import require_engine
from merkl.errors import ConfigError, ExecutorError
from merkl.executors import ExecutorConfig, TlsFiles

_CLOSING_S: Final = 30.0
_GRACE_S: Final = 2.0  # Beyond the time that Dask was given.


@dataclass(slots=True, eq=False)
class Opened:
    """An executor that is connected.  ``said`` are the last lines that Dask logged; ``client`` is a synchronous one.

    Safe to use from any thread.
    """

    executor: ExecutorConfig
    client: Any
    address: str
    said: deque[str]
    _ending: contextlib.ExitStack
    _unfit: dict[str, str] = field(default_factory=dict)  # By address; empty of one that fits.

    def threads(self) -> int:
        """How many tasks its workers can run at once, now.

        Raises:
            ExecutorError: the scheduler does not answer.
        """
        return sum(self.workers().values())

    def unfit(self) -> dict[str, str]:
        """The workers that cannot be used, by address, and what is different there.  Each is asked once.

        Raises:
            ExecutorError: the scheduler does not answer.
        """
        there = self.workers()
        new = [address for address in there if address not in self._unfit]
        if new:
            answers = self._ask(
                lambda: self.client.run(eval, QUESTION, workers=new, on_error="return", asynchronous=True)
            )
            for address, answer in answers.items():
                self._unfit[address] = difference(answer)
        return {address: self._unfit[address] for address in there if self._unfit.get(address)}

    def workers(self) -> dict[str, int]:
        """The workers there are now: by address, how many threads each has.

        Raises:
            ExecutorError: the scheduler does not answer.
        """
        found: dict[str, int] = self._ask(lambda: self.client.nthreads(asynchronous=True))
        return dict(found)

    def _ask(self, ask: Callable[[], Any]) -> Any:
        async def asked() -> Any:
            return await ask()

        try:
            return self.client.sync(asked, callback_timeout=self.executor.timeout)
        except Exception as error:
            raise not_answering(self.executor, self.address, error, self.said) from error

    def close(self) -> None:
        """Leave the scheduler, or end the cluster that was made.  Idempotent, and never raises."""
        self._ending.close()


def opened(executor: ExecutorConfig) -> Opened:
    """Connect with an executor.  This may take as long as a cluster needs to start.

    Raises:
        ConfigError: Dask or the package of the cluster's class is not installed, or there is no such class, or a file is
            not there.
        ExecutorError: the scheduler does not answer in time, or the cluster cannot be made.
    """
    require_engine(executor)
    security = _security(executor)
    with contextlib.ExitStack() as ending:
        said = ending.enter_context(listening())
        where: Any = executor.address
        if executor.cluster:
            where = _made(executor, security, said, ending)
        client = _client(executor, where, security, said, ending)
        address = executor.address or str(client.scheduler.address)
        return Opened(executor, client, address, said, ending.pop_all())
    raise AssertionError("no context here swallows an error")


def not_answering(
    executor: ExecutorConfig, address: str, error: BaseException, said: deque[str]
) -> ExecutorError:
    """The error for a scheduler that cannot be reached, or is not any more."""
    lines = "\n".join(said)
    return ExecutorError(
        f"the executor {executor.name} does not answer at {address}",
        hint="is its scheduler running (dask scheduler)? `merkl doctor` tries it; --target local runs everything here",
        error=f"{type(error).__name__}: {error}".rstrip(": "),
        dask=lines or None,
    )


# ---- what Dask is told ---------------------------------------------------------------------------------------------


def _security(executor: ExecutorConfig) -> Any:
    """Dask's settings for TLS; None leaves them to Dask's own configuration."""
    files = executor.security
    if files is None:
        return None
    for name in ("ca", "cert", "key"):
        path = getattr(files, name)
        if path and not os.path.isfile(path):
            raise ConfigError(
                f"the executor {executor.name}: security: there is no file {path}",
                hint=f"{name} is a path, from the project's directory or absolute",
            )
    import distributed

    made: Any = distributed.Security
    return made(require_encryption=True, **_roles(files))


def _roles(files: TlsFiles) -> dict[str, str]:
    """The same certificate in every role: with a cluster that is made, all processes are ours."""
    found = {"tls_ca_file": files.ca}
    for role in ("client", "scheduler", "worker"):
        found[f"tls_{role}_cert"] = files.cert
        found[f"tls_{role}_key"] = files.key or files.cert
    return found


def _client(
    executor: ExecutorConfig, where: Any, security: Any, said: deque[str], ending: contextlib.ExitStack
) -> Any:
    import distributed

    made: Any = distributed.Client
    given = {} if security is None else {"security": security}
    waited: Future[Any] = Future()

    def connect() -> None:
        try:
            waited.set_result(
                made(
                    where,
                    timeout=executor.timeout,
                    set_as_default=False,
                    name=f"merkl-{os.getpid()}",
                    **given,
                )
            )
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for.
            waited.set_exception(error)

    # In a thread, since with somebody at the other end who takes the connection and says nothing Dask waits for ever.
    threading.Thread(target=connect, name="merkl: connecting", daemon=True).start()
    try:
        client = waited.result(executor.timeout + _GRACE_S)
    except Exception as error:
        waited.add_done_callback(_unwanted)
        raise not_answering(executor, executor.place, error, said) from error
    ending.callback(_ended, client)
    return client


def _unwanted(waited: "Future[Any]") -> None:
    """Leave a scheduler that has answered too late."""
    if waited.exception() is None:
        _ended(waited.result())


def _ended(what: Any) -> None:
    """Close a client or a cluster; what cannot be closed any more is gone already."""
    try:
        what.close(timeout=_CLOSING_S)
    except Exception:  # noqa: BLE001 - whatever the class and the network come up with.
        if not hasattr(what, "scale"):
            return
        # Where a job could not be submitted, Dask gives up half way, and leaves its scheduler running in this process.
        from distributed.deploy.cluster import Cluster

        with contextlib.suppress(Exception):
            what.sync(what.scheduler.close, callback_timeout=_CLOSING_S)
            what.sync(Cluster._close, what, callback_timeout=_CLOSING_S)


def _made(executor: ExecutorConfig, security: Any, said: deque[str], ending: contextlib.ExitStack) -> Any:
    """A cluster, with as many workers asked for as are to be."""
    kind = cluster_class(executor)
    options = dict(executor.options)
    if security is not None:
        options.setdefault("security", security)
    try:
        cluster = kind(**options)
        ending.callback(_ended, cluster)
        _scale(executor, cluster)
        tend(cluster, said, ending)
    except Exception as error:
        raise ExecutorError(
            f"the executor {executor.name}: {executor.cluster} could not be made",
            hint="`options:` are passed to the class as they are; --target local runs everything here",
            error=f"{type(error).__name__}: {error}",
            dask="\n".join(said) or None,
        ) from error
    return cluster


def _scale(executor: ExecutorConfig, cluster: Any) -> None:
    scale = executor.scale
    if scale is None:
        return
    if not scale.fixed:
        cluster.adapt(minimum=scale.least, maximum=scale.most)
        return
    cluster.scale(scale.most)
    if hasattr(cluster, "_correct_state") and hasattr(cluster, "__await__"):
        # It submits in the background, where what goes wrong would only be logged, and no worker ever come.
        async def submitted() -> None:
            await cluster
            for worker in list(cluster.workers.values()):
                await worker  # One that could not be submitted raises here.

        cluster.sync(submitted)

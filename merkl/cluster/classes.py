"""The class that a cluster is made of, found by the name that merkl.yaml gives.

It decides what is said of one that is not there.  It makes no cluster.

The invariant: what is imported does not get hold of signals.
"""

import contextlib
import importlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, Final, cast

from merkl.errors import ConfigError
from merkl.executors import ExecutorConfig

PACKAGES: Final = {
    "dask_jobqueue": "dask-jobqueue",
    "dask_kubernetes": "dask-kubernetes",
    "dask_cloudprovider": "dask-cloudprovider",
    "dask_gateway": "dask-gateway",
    "dask_yarn": "dask-yarn",
    "dask_mpi": "dask-mpi",
    "coiled": "coiled",
}


def origin(executor: ExecutorConfig) -> str:
    """The file of the package that a cluster's class comes from; empty if there is none.  It is not imported."""
    from importlib.util import find_spec

    with contextlib.suppress(ImportError, ValueError):
        found = find_spec(executor.cluster.partition(".")[0])
        return (found.origin if found is not None else None) or ""
    return ""


def cluster_class(executor: ExecutorConfig) -> Any:
    """The class that a cluster is made of.

    Raises:
        ConfigError: its package is not installed, or has no such class.
    """
    module, _, name = executor.cluster.rpartition(".")
    package, _, part = module.partition(".")
    install = PACKAGES.get(package, package)
    if package == "dask_cloudprovider":
        install += f"[{part.partition('.')[0] or 'all'}]"
    what = f"the executor {executor.name}: {executor.cluster}"
    try:
        with _signals_kept():
            found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        lacking = (error.name or module).partition(".")[0]
        raise ConfigError(
            f"{what} needs the package {lacking}, which is not installed",
            hint=f"pip install '{install}'",
        ) from None
    except AttributeError:
        raise ConfigError(
            f"{what}: the module {module} has no {name}", hint="docs/cluster.md names the usual ones"
        ) from None
    except Exception as error:
        # Some packages say of a part of them that it was not installed, in many lines.
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        hint = f"pip install '{install}'" if isinstance(error, ImportError) else ""
        raise ConfigError(f"{what} cannot be imported: {said:.300}", hint=hint) from error
    if not isinstance(found, type):
        raise ConfigError(f"{what} is no class")
    return found


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Let no module that this thread imports take signals for itself.

    dask_jobqueue does: with it, Ctrl-C would end a build at once, and in another thread than the first it cannot be imported.
    """
    ours, real = threading.get_ident(), signal.signal

    def kept(number: Any, handler: Any) -> Any:
        return signal.getsignal(number) if threading.get_ident() == ours else real(number, handler)

    signal.signal = cast(Any, kept)
    try:
        yield
    finally:
        signal.signal = real

"""Where a task runs: on this machine, or on which executor of merkl.yaml.

It decides whose word counts: ``--target local`` before a task's own ``target``, that before what holds for tasks that
name none; and which tasks run here in any case: those with the terminal, and batches, which are put together here.  It
opens nothing and imports no engine.

The invariant: what it says depends on settings and on the call alone, so a plan and the build that follows agree, and no
key depends on it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from merkl.config import Config
from merkl.errors import ConfigError
from merkl.nodes import Call, Node
from merkl.python.calls import is_batched_call
from merkl.resources import LOCAL

if TYPE_CHECKING:
    from merkl.executors import ExecutorConfig

_PACKAGES: Final = {"dask": "distributed"}  # By engine.


def where(config: Config, call: Call) -> "ExecutorConfig | None":
    """The executor that a call is for; None is this machine.

    Raises:
        ConfigError: the task names one that is not described.
    """
    own = call.target
    if config.only_here or own == LOCAL or call.interactive or is_batched_call(call):
        return None
    name = own or config.target
    if not name:
        return None
    executor = config.executors.get(name)
    if executor is None:
        from merkl.executors import unknown_executor

        raise unknown_executor(f"{call.task_name}: target", name, config.executors)
    return executor


def run_here(config: Config, nodes: Iterable[Node]) -> list[Node]:
    """Those of ``nodes`` that are for this machine; for the others there is what they need here.

    Raises:
        ConfigError: a task of any of them names an executor that is not described, or whose engine is not installed.
    """
    here = []
    names: set[str] = set()
    for node in nodes:
        if name := elsewhere(config, node):
            names.add(name)
        else:
            here.append(node)
    for name in sorted(names):
        require_engine(config.executors[name])
    return here


def elsewhere(config: Config, node: Node) -> str:
    """The name of the executor that a node is for; empty for this machine.

    Raises:
        ConfigError: its task names one that is not described; the message says where.
    """
    try:
        executor = where(config, node.call)
    except ConfigError as error:
        raise ConfigError(error.headline, hint=error.hint, at=node.place) from None
    return "" if executor is None else executor.name


def may_be_elsewhere(config: Config, node: Node) -> bool:
    """As ``elsewhere``, of a node that may be known: then nobody cares for a name that no executor has."""
    try:
        return bool(elsewhere(config, node))
    except ConfigError:
        return True


def require_engine(executor: "ExecutorConfig") -> None:
    """See that what an executor needs is installed here; it is not imported.

    Raises:
        ConfigError: it is not.
    """
    from importlib.util import find_spec

    package = _PACKAGES[executor.engine]
    if find_spec(package) is None:
        raise ConfigError(
            f"the executor {executor.name} needs the package {package}, which is not installed",
            hint=f"pip install 'merkl[{executor.engine}]'; or run everything here: --target {LOCAL}",
        )

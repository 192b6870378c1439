"""Which calls are of Python tasks, and of which kind, for whoever meets one and need not know what tasks are.

It decides nothing, and imports none of what it tells apart: a build of commands has no such calls.

The invariant: where nobody has loaded a class, there is no object of it.
"""

import sys
from typing import TYPE_CHECKING, Final, TypeGuard

from merkl.nodes import Node

if TYPE_CHECKING:
    from merkl.python.batch import BatchedCall, BatchRun
    from merkl.python.mapping import Mapped
    from merkl.python.parcel import Parcel
    from merkl.python.task import PythonCall
    from merkl.python.written import WrittenCall

NEEDED: Final = ("merkl.python.run", "cloudpickle")  # Modules that a worker loads before its first call.


_known: Final[dict[tuple[type, str], bool]] = {}


def _is(value: object, module: str, name: str) -> bool:
    kind = type(value)
    known = _known.get((kind, name))
    if known is None:
        # A class that is there before another cannot be made from it, so the answer stays.
        loaded = sys.modules.get(module)
        known = _known[kind, name] = loaded is not None and issubclass(kind, getattr(loaded, name))
    return known


def is_python_call(call: object) -> "TypeGuard[PythonCall]":
    """Whether it is a call that was made here."""
    return _is(call, "merkl.python.task", "PythonCall")


def is_written_call(call: object) -> "TypeGuard[WrittenCall]":
    """Whether it is one that was written down."""
    return _is(call, "merkl.python.written", "WrittenCall")


def is_task_call(call: object) -> "TypeGuard[PythonCall | WrittenCall]":
    """Whether it is a call of a Python task, made here or written down."""
    return is_python_call(call) or is_written_call(call)


def is_parcel(call: object) -> "TypeGuard[Parcel]":
    """Whether it is one that came from elsewhere."""
    return _is(call, "merkl.python.parcel", "Parcel")


def is_batched_call(call: object) -> "TypeGuard[BatchedCall]":
    """Whether it is one of a batch."""
    return _is(call, "merkl.python.batch", "BatchedCall")


def is_mapped(call: object) -> "TypeGuard[Mapped]":
    """Whether it is that of a task that is mapped over a list."""
    return _is(call, "merkl.python.mapping", "Mapped")


def batch_of(node: Node) -> "BatchRun | None":
    """The call of a batch task that a node belongs to, if any."""
    return node.call.batch if is_batched_call(node.call) else None

"""``merkl.metadata``: what a task says of its own run.

It decides what may be said: JSON values, exactly as they will be read back.

The invariant: what is said is in the record of the run, and in no key and no comparison.
"""

import math
from contextvars import ContextVar
from typing import Any, Final

from merkl.errors import TaskError
from merkl.lending import lent
from merkl.nodes import calling_place

SAID: Final = "\0metadata"
"""The name under which it comes back from a worker, among the outputs: no output has such a name."""

_DEEPEST: Final = 50

said: ContextVar[dict[str, Any] | None] = ContextVar("merkl_said", default=None)


def metadata(**values: Any) -> None:
    """Add to the record of the task that is running: numbers, texts, None, and lists and dicts of them.

    What is said again under the same name replaces what was said before.

    Raises:
        TaskError: no task is running, or a value is none of these.
    """
    known = said.get()
    if known is None:
        known = lent(said)
    if known is None:
        raise TaskError(
            "merkl.metadata adds to the record of a task, and no task is running here",
            hint="call it in the task's function; future.metadata reads it",
            at=calling_place(),
        )
    for name, value in values.items():
        if (wrong := _no_json(value, 0)) is not None:
            raise TaskError(
                f"merkl.metadata({name}=…) takes JSON values, and {wrong!r:.60} is of type {type(wrong).__name__}"
                if not isinstance(wrong, float)
                else f"merkl.metadata({name}=…) takes JSON values, and {wrong!r} is none",
                hint="turn it into a number, a text, or a list or dict of them, such as float(x)",
                at=calling_place(),
            )
    known.update(values)


def _no_json(value: object, depth: int) -> object:
    """What of a value JSON would not give back; None if it is all as JSON has it."""
    if value is None or isinstance(value, str | bool | int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    if depth < _DEEPEST and isinstance(value, list | tuple):
        return next((wrong for item in value if (wrong := _no_json(item, depth + 1)) is not None), None)
    if depth < _DEEPEST and isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                return name
            if (wrong := _no_json(item, depth + 1)) is not None:
                return wrong
        return None
    return value

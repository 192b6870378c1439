"""What a function returned, for people and as JSON.

It decides how values and files are shown, and how much of a large value.  It knows no Futures: ``Found`` says what each
came to.

The invariant: a file is shown as a path, and what is printed as JSON is JSON that every program can read.
"""

import dataclasses
import enum
import math
import os
import pprint
from collections.abc import Iterator, Mapping
from typing import Any, Final

from merkl.dataclass import dataclass
from merkl.nodes import Future
from merkl.report.words import harmless

_MOST: Final = 100  # Lines of one value.
_WIDTH: Final = 100  # Columns.
_LARGE: Final = 20_000  # Members of a container; a larger one is not laid out, but cut.


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a file or directory is, relative to the current directory; several if it was placed at several."""

    paths: tuple[str, ...]


Found = Mapping[Future[Any], Any]
"""What each Future came to: a value, or ``Paths``."""


def lines_of(value: object, found: Found) -> Iterator[str]:
    """The lines that show a result; none for None."""
    if isinstance(value, Future):
        yield from lines_of(found[value], found)
    elif isinstance(value, Paths):
        yield ", ".join(harmless(path) for path in value.paths)
    elif isinstance(value, str):
        yield from _cut(harmless(value.removesuffix("\n")).split("\n"))
    elif (members := _named(value)) is not None:
        for name, member in members:
            yield from _member(name, list(lines_of(member, found)), nested=_named(member) is not None)
    elif value is not None:
        yield from _cut(harmless(_laid_out(value)).split("\n"))


def _member(name: str, lines: list[str], *, nested: bool) -> Iterator[str]:
    if len(lines) <= 1 and not nested:
        yield f"{harmless(name)}: {lines[0] if lines else 'None'}"
        return
    yield f"{harmless(name)}:"
    yield from (f"  {line}" for line in lines)


def _named(value: object) -> list[tuple[str, Any]] | None:
    """The members of a container that holds Futures, by what they are called; None of anything else."""
    if not _holds_future(value):
        return None
    if isinstance(value, dict):
        return [(str(name), member) for name, member in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, (list, tuple)):
        return [(str(index), member) for index, member in enumerate(value)]
    return None


def _holds_future(value: object) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        return False
    return any(isinstance(member, Future) or _holds_future(member) for member in value)


def _laid_out(value: object) -> str:
    if isinstance(value, (list, tuple, dict, set, frozenset)) and len(value) > _LARGE:
        import reprlib

        brief = reprlib.Repr()
        brief.maxlist = brief.maxtuple = brief.maxdict = brief.maxset = brief.maxfrozenset = 20
        return f"{brief.repr(value)}\n({len(value)} members)"
    return pprint.pformat(value, width=_WIDTH, sort_dicts=False, compact=True)


def _cut(lines: list[str]) -> Iterator[str]:
    yield from lines[:_MOST]
    if len(lines) > _MOST:
        yield f"… {len(lines) - _MOST} more lines; --json prints all of it"


def as_json(value: Any, found: Found) -> Any:
    """A result as JSON values: a file is ``{"path": …}``, and what JSON has no way to say is ``{"repr": …}``."""
    if isinstance(value, Future):
        return as_json(found[value], found)
    if isinstance(value, Paths):
        return {"path": value.paths[0]} if len(value.paths) == 1 else {"paths": list(value.paths)}
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"repr": repr(value)}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {str(name): as_json(member, found) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(member, found) for member in value]
    if isinstance(value, (set, frozenset)):
        return sorted((as_json(member, found) for member in value), key=repr)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: as_json(getattr(value, each.name), found) for each in dataclasses.fields(value)}
    return {"repr": repr(value)}

"""What a record says of a call besides its results: the arguments and the dependencies, to be looked at and asked for.

It decides what of an argument is kept: plain values as they are, so that numbers can be compared; all else as text, cut short.
And that a build, which looks at none of it, keeps no more than it must in memory.

The invariant: nothing here enters a key, and no secret is in it.
"""

import enum
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from merkl.bash.calls import is_bash_call
from merkl.bash.slots import Plain
from merkl.dataclass import replace
from merkl.digest import Key
from merkl.engine.lookup import Lookup
from merkl.nodes import Dep, Node
from merkl.python.calls import is_python_call, is_written_call
from merkl.store.base import Record
from merkl.store.sole import sparing

if TYPE_CHECKING:
    from merkl.python.task import PythonCall

_LONGEST: Final = 400  # Characters of a text that is kept whole.
_DEEPEST: Final = 50
_AT_ONCE: Final = 5_000  # Records.
_NOTHING: Final[Mapping[str, Any]] = {}
_TEXT: Final = object()  # What only text can be had of.


def in_brief(record: Record) -> Record:
    """A record without what is only there to be looked at, and is in the store: a build may keep a hundred thousand."""
    said = record.metadata or _NOTHING
    return replace(
        record, outputs=sparing(record.outputs), arguments=_NOTHING, dependencies=(), metadata=said
    )


def arguments_of(node: Node) -> dict[str, Any]:
    """The arguments by name, as JSON values; what only JSON's text can be had of, as text.

    Those that are results of other nodes stand among the dependencies.
    """
    call = node.call
    if is_written_call(call):
        return dict(call.arguments)
    if is_python_call(call):
        return _python_arguments(node, call)
    texts = {
        part.name: f"{part.text} ({part.digest})" if part.digest else part.text
        for part in call.parts()
        if part.group in ("argument", "environment")
    }
    if is_bash_call(call):
        plain = {name: slot.value for name, slot in call.slots.items() if isinstance(slot, Plain)}
        return {name: _brief(plain[name], text) if name in plain else text for name, text in texts.items()}
    return texts


def _python_arguments(node: Node, call: "PythonCall") -> dict[str, Any]:
    from merkl.python.call import FromDep  # There is such a call, so it is loaded.

    wanted = call.task.settings.cache_args
    if wanted is False or not call.values:
        return {}
    arguments = dict(call.task.counted(call.arguments))
    texts: dict[str, str] | None = None
    kept: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, FromDep):
            continue
        if _is_brief(value):
            kept[name] = value
            continue
        if wanted and (said := _whole(value, node, 0)) is not _TEXT:
            kept[name] = said
            continue
        if texts is None:
            texts = {
                part.name: f"{part.text} ({part.digest})" if part.digest else part.text
                for part in call.parts()
                if part.group == "argument"
            }
        kept[name] = texts.get(name, "")
    return kept


def _brief(value: object, text: str) -> object:
    return value if _is_brief(value) else text


def _is_brief(value: object) -> bool:
    # Their own types: of a path or an enum it is not said what it is equal to.
    if type(value) is str:
        return len(value) <= _LONGEST
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return value is None or type(value) is bool or (type(value) is float and math.isfinite(value))


def _is_of(module: str, value: object, *names: str) -> bool:
    """Whether a value is of one of those classes; if nobody has loaded the module, which takes its time, there is none."""
    there = sys.modules.get(module)
    return there is not None and isinstance(value, tuple(getattr(there, name) for name in names))


def _whole(value: object, node: Node, depth: int) -> Any:
    """An argument, or a part of one, as JSON as far as that can say it; ``_TEXT`` if it cannot."""
    if type(value) is str or _is_brief(value):
        return value
    from merkl.python.call import FromDep, Unchanged

    if isinstance(value, FromDep):
        return _input(node.deps[value.index])
    if isinstance(value, Unchanged):
        value = value.value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, str) or _is_of("pathlib", value, "PurePath"):
        return str(value)
    if _is_of("datetime", value, "date", "time"):
        return cast(Any, value).isoformat()
    if depth == _DEEPEST:
        return _TEXT

    def part(item: object) -> object:
        said = _whole(item, node, depth + 1)
        return _shown(item) if said is _TEXT else said

    if isinstance(value, set | frozenset):
        return sorted(map(part, value), key=repr)
    if isinstance(value, list | tuple):
        return list(map(part, value))
    if isinstance(value, Mapping):
        return {name if type(name) is str else _shown(name): part(item) for name, item in value.items()}
    if hasattr(type(value), "__dataclass_fields__"):
        import dataclasses  # Somebody has: what is kept of a build is told without.

        known = dataclasses.fields(cast(Any, value))
        return {each.name: part(getattr(value, each.name, None)) for each in known}
    return _TEXT


def _shown(value: object) -> str:
    if type(value) in (bytes, bytearray):
        value = value[:_LONGEST]  # type: ignore[index]  # No more is kept, and all of it as text takes four times its room.
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a class may do anything.
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def dependencies_of(node: Node) -> tuple[Any, ...]:
    """The files and the nodes that a node needs, as JSON values, in the order in which its record has their digests."""
    sources = [{"file": s.path, "digest": s.digest.hex()} for s in node.sources]
    return (*sources, *map(_input, node.deps))


def _input(dep: Dep) -> dict[str, str]:
    return {"node": dep.future.node.key.hex(), "task": dep.future.node.name, "output": dep.future.output}


class InBrief:
    """A store of which nobody looks at what records are filed by key for: see ``in_brief``.  As ``Lookup``."""

    def __init__(self, store: Lookup) -> None:
        self._store = store
        self.by_content_key: Final = store.by_content_key  # What these answer is filed once more, whole.
        self.present: Final = store.present
        self.read: Final = store.read

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records of those keys, of which some at a time are in memory whole."""
        found: dict[Key, Record] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = self._store.by_key(keys[start : start + _AT_ONCE])
            found.update((key, in_brief(record)) for key, record in some.items())
        return found

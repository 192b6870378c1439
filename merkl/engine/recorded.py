"""What a record says of a call besides its results: the arguments and the dependencies, to be looked at and asked for.

It decides what of an argument is kept: plain values as they are, so that numbers can be compared; all else as text, cut short.
It knows no store.

The invariant: nothing here enters a key, and no secret is in it.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from merkl.bash.slots import Plain
from merkl.bash.task import BashCall
from merkl.nodes import Node
from merkl.python.call import FromDep
from merkl.python.task import PythonCall

_LONGEST: Final = 400  # Characters of a text that is kept whole.
_DEEPEST: Final = 50


def arguments_of(node: Node) -> dict[str, Any]:
    """The arguments by name, as JSON values; what only JSON's text can be had of, as text.

    Those that are results of other nodes stand among the dependencies.
    """
    call = node.call
    if isinstance(call, PythonCall):
        return _python_arguments(call)
    texts = {
        part.name: f"{part.text} ({part.digest})" if part.digest else part.text
        for part in call.parts()
        if part.group in ("argument", "environment")
    }
    if isinstance(call, BashCall):
        plain = {name: slot.value for name, slot in call.slots.items() if isinstance(slot, Plain)}
        return {name: _brief(plain[name], text) if name in plain else text for name, text in texts.items()}
    return texts


def _python_arguments(call: PythonCall) -> dict[str, Any]:
    wanted = call.task.settings.cache_args
    if wanted is False or not call.values:
        return {}
    arguments = dict(call.task.counted(call.arguments))
    texts: dict[str, str] | None = None
    kept: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, FromDep):
            continue
        if _is_brief(value) or (wanted and _is_json(value, 0)):
            kept[name] = value
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


def _is_json(value: object, depth: int) -> bool:
    if type(value) is str or _is_brief(value):
        return True
    if depth < _DEEPEST and isinstance(value, list | tuple):
        return all(_is_json(item, depth + 1) for item in value)
    if depth < _DEEPEST and isinstance(value, Mapping):
        return all(type(name) is str and _is_json(item, depth + 1) for name, item in value.items())
    return False


def dependencies_of(node: Node) -> tuple[Any, ...]:
    """The files and the nodes that a node needs, as JSON values, in the order in which its record has their digests."""
    sources = [{"file": s.path, "digest": s.digest.hex()} for s in node.sources]
    deps = [
        {"node": d.future.node.key.hex(), "task": d.future.node.name, "output": d.future.output}
        for d in node.deps
    ]
    return (*sources, *deps)

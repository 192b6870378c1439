"""What may be typed as the value of a target's parameter, where that is a few words or a path: for completion.

It decides nothing about what is accepted; that is ``conversion``'s.

The invariant: every word that is offered is accepted.
"""

import enum
import sys
import types
import typing
from typing import Any, Final

from merkl.merklfile.arguments import type_of, types_of
from merkl.merklfile.targets import Parameter, Target
from merkl.workspace.refs import DirRef, FileRef

# Types with nothing to offer, looked at without evaluating hints.
_OBVIOUS: Final = frozenset({"str", "int", "float"})


def offers(target: Target[..., Any]) -> dict[str, dict[str, Any]]:
    """By the names of parameters: ``choices``, words; ``path``, ``file`` or ``dir``; ``several`` if a comma follows."""
    open_ones = [each for each in target.parameters if not _is_obvious(each)]
    if not open_ones:
        return {}
    hints = types_of(target)
    found = {each.name: _offer(type_of(each, hints)) for each in open_ones}
    return {name: offer for name, offer in found.items() if "choices" in offer or "path" in offer}


def _is_obvious(parameter: Parameter) -> bool:
    if parameter.several or (parameter.hint or type(parameter.default).__name__) in _OBVIOUS:
        return True
    return not parameter.hint and (parameter.required or parameter.default is None)


def _offer(hint: object) -> dict[str, Any]:
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _offer(inner[0])
    if origin is typing.Literal:
        return {"choices": [str(each) for each in inner]}
    if origin in (typing.Union, types.UnionType):
        return _either([_offer(each) for each in inner if each is not type(None)], type(None) in inner)
    kind = origin or hint
    if not isinstance(kind, type):
        return {}
    if kind is bool:
        return {"choices": ["true", "false"]}
    if issubclass(kind, enum.Enum):
        return {"choices": [str(each) for each in kind.__members__]}
    if issubclass(kind, FileRef) or _is_path(kind):
        return {"path": "file"}
    if kind is DirRef:
        return {"path": "dir"}
    if kind in (list, tuple, set, frozenset) and inner and (len(inner) == 1 or inner[-1] is ...):
        return {**_offer(inner[0]), "several": True}
    return {}


def _either(kinds: list[dict[str, Any]], optional: bool) -> dict[str, Any]:
    for each in kinds:
        if "path" in each:
            return each
    choices = [choice for each in kinds for choice in each.get("choices", ())]
    return (
        {"choices": [*dict.fromkeys(choices), "none"]}
        if optional and choices
        else {"choices": choices}
        if choices
        else {}
    )


def _is_path(kind: type) -> bool:
    """Whether it is one of ``pathlib``'s, which is slow to load: if nobody has, there is none."""
    module = sys.modules.get("pathlib")
    return module is not None and issubclass(kind, module.PurePath)

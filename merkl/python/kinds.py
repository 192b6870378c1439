"""What sort of thing a value is, as far as the code digest cares.

It decides which values are code, which can change in place, and how one is shown to a person.
"""

import enum
import functools
import os
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from merkl.digest import type_name
from merkl.python.owners import wrapped_in
from merkl.python.project import Project

FIXED: Final = frozenset({type(None), bool, int, float, complex, str, bytes, type(...)})
_CODE: Final = (
    *(FunctionType, MethodType, BuiltinFunctionType, type),
    *(
        functools.partial,
        functools.partialmethod,
        functools.cached_property,
        property,
        staticmethod,
        classmethod,
    ),
)
_C_METHODS: Final = (type(str.upper), type(str.__add__), type("".__add__))


def is_settled(value: object) -> bool:
    """Whether the value cannot change in place, or notes by itself what in it can."""
    if type(value) in (tuple, frozenset):
        return all(map(is_settled, value))  # type: ignore[call-overload]
    if type(value) in FIXED or isinstance(value, (ModuleType, enum.Enum, os.PathLike)):
        return True
    return is_code(value) or parts_of(value) is not None


def is_code(value: object) -> bool:
    """Whether the value is there to be run, or a wrapper of what is."""
    if isinstance(value, (*_CODE, *_C_METHODS)):
        return True
    return type(value).__name__ == "ufunc" or wrapped_in(value) is not None


def parts_of(value: Any) -> tuple[object, ...] | None:
    """What one of Python's own wrappers is made of; None for anything else."""
    match value:
        case functools.partial() | functools.partialmethod():
            keywords = tuple(part for pair in sorted(value.keywords.items()) for part in pair)
            return (value.func, len(value.args), *value.args, *keywords)
        case property():
            return (value.fget, value.fset, value.fdel)
        case staticmethod() | classmethod():
            return (value.__func__,)
        case functools.cached_property():
            return (value.func,)
    if type(value).__module__ == "re" and hasattr(value, "groupindex"):
        return (value.pattern, int(value.flags))
    return None


def is_section(value: object) -> bool:
    """Whether the value is a section of a parameters file: a dict with attributes, which counts as a plain one."""
    return isinstance(value, dict) and callable(getattr(type(value), "plain", None))


def shown(value: object, project: Project) -> str:
    """``value`` for a person to compare with another; short, and the same in every process."""
    if isinstance(value, (set, frozenset)):
        text = "{" + ", ".join(sorted(shown(member, project) for member in value)) + "}"
    elif isinstance(value, (FunctionType, type)):
        text = f"{value.__module__}.{value.__qualname__}"
    else:
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001  # The user's code.
            text = f"<{type_name(type(value))}>"
    text = text.replace(project.root + os.sep, "").replace(repr(project.root), "'.'")
    head = text.split(" at 0x")[0]
    return head[:2000] if head == text else f"{head}>"

"""What a pipeline passed to tasks and what it returned, as JSON values, and back.

It decides what can be remembered: values that come back equal, and what a module binds to a name.  It knows no store.

The invariant: reading runs nobody's code: a class is only filled, and only by what ``dataclasses`` or ``enum`` made of it.
"""

import dataclasses
import datetime
import enum
import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

from merkl.nodes import Future
from merkl.python.owners import OUR_NAME
from merkl.python.project import Project
from merkl.workspace.refs import DirRef, FileRef


class Unstorable(Exception):
    """A value that cannot be remembered; says which."""


_TIMES: Final[dict[str, Any]] = {
    "date": datetime.date,
    "datetime": datetime.datetime,
    "time": datetime.time,
}
_LETTERS: Final[dict[Any, str]] = {list: "l", tuple: "t", set: "s", frozenset: "z"}
_PATHS: Final[dict[str, Any]] = {
    each.__name__: each for each in (pathlib.PosixPath, pathlib.PurePosixPath, pathlib.PureWindowsPath)
}


class Writer:
    """Turns values into JSON; ``name`` says what stands for a Future."""

    def __init__(self, name: Callable[[Future[Any]], list[Any]]) -> None:
        self._name = name

    def write(self, value: Any) -> Any:
        """``value`` as JSON: a plain one as it is, all else as a list that begins with a letter.

        Raises:
            Unstorable: there is no form for it.
        """
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if isinstance(value, Future):
            return self._name(value)
        if kind in (list, tuple, set, frozenset):
            members = value if kind in (list, tuple) else sorted(value, key=repr)
            return [_LETTERS[kind], *map(self.write, members)]
        if kind is dict or (isinstance(value, dict) and hasattr(value, "plain")):
            return ["d", *([self.write(name), self.write(item)] for name, item in value.items())]
        if kind is bytes:
            return ["b", value.hex()]
        if kind in (FileRef, DirRef):
            return ["F" if kind is FileRef else "D", str.__str__(value)]
        return self._other(value)

    def _other(self, value: Any) -> Any:
        kind = type(value)
        if kind in _TIMES.values():
            return ["when", kind.__name__, value.isoformat()]
        if kind in _PATHS.values():
            return ["path", kind.__name__, str(value)]
        if isinstance(value, enum.Enum):
            return ["e", _named(kind), value.name]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {each.name: self.write(getattr(value, each.name)) for each in dataclasses.fields(value)}
            return ["o", _named(kind), fields]
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return ["n", _named(kind), *map(self.write, value)]
        if isinstance(value, (type, FunctionType)) or callable(value):
            return ["g", _named(value)]
        raise Unstorable(f"a value of type {kind.__module__}.{kind.__qualname__}")


class Reader:
    """The opposite; ``future`` finds what a name stood for."""

    def __init__(self, future: Callable[[list[Any]], Future[Any]], project: Project) -> None:
        self._future = future
        self._project = project

    def read(self, written: Any) -> Any:
        """The value.

        Raises:
            LookupError, TypeError, ValueError: it is not one that ``Writer`` wrote, or what it names is gone.
        """
        if not isinstance(written, list):
            return written
        letter, *rest = written
        match letter:
            case "f" | "i":
                return self._future(written)
            case "l" | "t" | "s" | "z":
                return {"l": list, "t": tuple, "s": set, "z": frozenset}[letter](map(self.read, rest))
            case "d":
                return {self.read(name): self.read(item) for name, item in rest}
            case "b":
                return bytes.fromhex(rest[0])
            case "F":
                return FileRef(rest[0])
            case "D":
                return DirRef(rest[0])
            case "when":
                return _TIMES[rest[0]].fromisoformat(rest[1])
            case "path":
                return _PATHS[rest[0]](rest[1])
            case _:
                return self._of_class(letter, rest)

    def _of_class(self, letter: str, rest: list[Any]) -> Any:
        cls: Any = found(rest[0], self._project)
        if letter == "g":
            return cls
        if letter == "e" and isinstance(cls, enum.EnumMeta):
            return cls[rest[1]]
        if letter == "n" and isinstance(cls, type) and issubclass(cls, tuple):
            return tuple.__new__(cls, map(self.read, rest[1:]))
        if letter == "o" and isinstance(cls, type) and dataclasses.is_dataclass(cls):
            made = object.__new__(cls)
            for name, value in rest[1].items():
                object.__setattr__(made, name, self.read(value))
            return made
        raise ValueError(f"not a value: {letter}")


# ---- names -----------------------------------------------------------------------------------------------------------


def _named(value: Any) -> str:
    reference = named(value)
    if reference is None:
        raise Unstorable(f"{value!r:.80}, which no module binds to a name")
    return reference


_names: dict[int, tuple[object, str]] = {}


def named(value: Any) -> str | None:
    """``module:name`` of something that a module binds, such as a task, a function or a class; None if none does."""
    known = _names.get(id(value))
    if known is not None and known[0] is value and found(known[1], None) is value:
        return known[1]
    function = getattr(value, "function", value)
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    reference = f"{module}:{name}"
    if not isinstance(name, str) or found(reference, None) is not value:
        reference = _bound(value, module) or ""
    if not reference:
        return None
    _names[id(value)] = (value, reference)
    return reference


def _bound(value: Any, module: object) -> str | None:
    """The name of a global variable that is ``value``, in the module where it was made."""
    file = getattr(getattr(value, "place", None), "file", None)
    for name, each in list(sys.modules.items()):
        names = getattr(each, "__dict__", {})
        if name == module or (file is not None and names.get("__file__") == file):
            bound = next((key for key, item in list(names.items()) if item is value), None)
            if bound is not None:
                return f"{name}:{bound}"
    return None


def found(reference: str, project: Project | None) -> Any:
    """What a name stands for now; None if nothing.  A module of ``project``, or of ours, that is not there yet is imported."""
    module, _, path = reference.partition(":")
    value: Any = sys.modules.get(module)
    if value is None and project is not None:
        spec = importlib.util.find_spec(module)
        if spec is not None and (module.startswith(f"{OUR_NAME}.") or project.owns(spec.origin, module)):
            value = importlib.import_module(module)
    for name in path.split("."):
        value = getattr(value, name, None)
    return value

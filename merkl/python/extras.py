"""``deps=``: what a task's key covers besides its code and arguments.

It decides what may stand there, and as what it counts: code by its digest, another package's by the version installed, a
task by what its own calls' keys have of it, everything else as an argument of that value does.

The invariant: what has no meaning there is refused, with its position; nothing counts by its name alone if more is known.
"""

import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final, Protocol

from merkl.digest import Digest, encode
from merkl.errors import TaskError, UnhashableArgument
from merkl.nodes import Future, Part, Placeable, PlacedTask, calling_place, session
from merkl.python.code import code_of
from merkl.python.project import Project
from merkl.python.versions import versions_of
from merkl.workspace.refs import DirRef, FileRef

_LONGEST: Final = 400  # Characters that are kept to be shown.


class Freezes(Protocol):
    """What takes arguments apart and encodes them; the dependencies and files in them are its to keep."""

    def freeze(self, value: Any, task: str, parameter: str) -> Any: ...
    def encode(self, value: object, task: str, parameter: str) -> bytes: ...


def deps_of(deps: object) -> tuple[object, ...]:
    """Read ``deps=``.

    Raises:
        TaskError: it is no list, or a member of it cannot mean what it seems to.
    """
    if not isinstance(deps, (list, tuple)):
        raise TaskError(
            f"deps is a list, not {_named(deps)}", hint="deps=[…], also for a single one", at=calling_place()
        )
    for position, dep in enumerate(deps):
        if isinstance(dep, os.PathLike) and not isinstance(dep, (FileRef, DirRef)):
            raise TaskError(
                f"deps[{position}] is the path {os.fspath(dep)!r}, which says nothing of what is in it",
                hint=f"file({os.fspath(dep)!r}) counts by contents, the text itself as text",
                at=calling_place(),
            )
        if isinstance(dep, PlacedTask):
            raise TaskError(
                f"deps[{position}] is a task with a place", hint="name the task", at=calling_place()
            )
    return tuple(deps)


def encoded_deps(deps: Sequence[object], freezer: Freezes, task: str, project: Project) -> list[bytes]:
    """The encoding of each.

    Raises:
        UnhashableArgument: one has none; its position is named.
    """
    return [_encoded(dep, freezer, f"{task}: deps[{position}]", project) for position, dep in enumerate(deps)]


def _encoded(dep: Any, freezer: Freezes, what: str, project: Project) -> bytes:
    if isinstance(dep, Placeable):
        return _task(dep, freezer, what, project)
    try:
        encoded = freezer.encode(freezer.freeze(dep, "", "deps"), "", "deps")
    except UnhashableArgument:
        raise UnhashableArgument(
            f"{what} is {_named(dep)}, which has no stable encoding",
            hint="functions, modules, classes, tasks, plain values, Futures and files can stand in deps=",
        ) from None
    versions = versions_of(_foreign(dep, project))
    return encode((encoded, *versions)) if versions else encoded


def _task(task: Any, freezer: Freezes, what: str, project: Project) -> bytes:
    """What of a task is in the keys of its calls: its code or version, and what it depends on itself."""
    what = f"{what}, {task.name}"
    function = getattr(task, "function", None)
    if function is None:
        tools = [(spec, session().tool(spec)) for spec in task.tools]
        return encode(("bash", task.identity, tools, encoded_deps(task.deps, freezer, what, project)))
    settings = getattr(task, "settings", None)
    if settings is None:  # A pipeline has no results of its own.
        return encode(
            (freezer.encode(function, "", "deps"), *encoded_deps(task.deps, freezer, what, project))
        )
    deps = encoded_deps(settings.deps, freezer, what, project)
    if settings.names_code:
        return encode(("versioned task", settings.hash_key or task.name, settings.version, deps))
    code = task.code(project)
    if not deps and code.digest == code_of(function, project).digest:
        return freezer.encode(function, "", "deps")
    return encode(("task", bytes(code.digest), deps))


def _foreign(dep: object, project: Project) -> tuple[str, ...]:
    """The names of another package that a dep stands for; none if it is the project's own, or a plain value."""
    from merkl.python.kinds import is_code

    if not isinstance(dep, ModuleType) and not is_code(dep):
        return ()
    code = code_of(dep, project)
    return () if code.parts else code.foreign


def shown_deps(deps: Sequence[object], project: Project) -> list[Part]:
    """What of ``deps=`` is shown of a call; Futures and files are shown as what they are."""
    parts = []
    for position, dep in enumerate(deps):
        name = f"deps[{position}]"
        if isinstance(dep, (Future, FileRef, DirRef)):
            continue
        if isinstance(dep, Placeable):
            function = getattr(dep, "function", None)
            if function is None:
                parts += [Part("dependency", name, str(part.text), part.digest) for part in dep.shown]  # type: ignore[attr-defined]
                continue
            dep = function
        parts += _shown(dep, name, project)
    return parts


def _shown(dep: object, name: str, project: Project) -> list[Part]:
    from merkl.python.kinds import is_code

    if isinstance(dep, ModuleType) or is_code(dep):
        code = code_of(dep, project)
        own = [Part("code", part.name, part.source, part.digest.short) for part in code.parts]
        return own or [Part("dependency", name, ", ".join(versions_of(code.foreign)) or _named(dep))]
    text = repr(dep)
    if len(text) <= _LONGEST:
        return [Part("dependency", name, text)]
    return [Part("dependency", name, f"{text[:_LONGEST]}…", Digest.of(text.encode("utf-8", "replace")).short)]


def _named(dep: object) -> str:
    """A value in a few words that are the same in every process."""
    if isinstance(dep, ModuleType):
        return f"the module {dep.__name__}"
    if isinstance(dep, str):
        return f"{dep!r:.60}"
    return f"a {getattr(type(dep), '__qualname__', 'value')}"

"""The digest of the code that a task runs: its own, and all it reaches in the project.

It decides what counts in each hash mode, and remembers digests for as long as nothing they were made
from has changed.  It knows no tasks, arguments or stores.

The invariant: a digest taken twice without an edit, a rebinding or a change of a small value between is
the same digest, in every process, and an edit of anything reached gives another.  A large mutable
value (over 16 kB encoded) counts as it was when first seen.
"""

import enum
import os
from collections.abc import Callable
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol

from merkl.digest import Digest, Unencodable, encode, tagged
from merkl.errors import TaskError
from merkl.python import owners
from merkl.python.parts import Code, CodePart, Reading
from merkl.python.project import Project

if TYPE_CHECKING:
    import ast

    from merkl.python.trail import Watch

CODE_DOMAIN: Final = b"merkl code 1\0"  # Bump to forget all results of Python tasks.


class HashMode(enum.Enum):
    """How much of a function's code counts."""

    FUNCTION = "function"  # Its own definition.
    MODULE = "module"  # The whole file it is defined in.
    FIND_DEPS = "find_deps"  # Its own definition and all it reaches in the project.


_Known = tuple[object, Code, "Watch | None"]
_known: dict[tuple[int, Project, HashMode, bool], _Known] = {}
_KEPT: Final = 10_000  # Functions; beyond that those they belong to are let go.


def code_of(
    function: object, project: Project, mode: HashMode = HashMode.FIND_DEPS, *, strict_source: bool = False
) -> Code:
    """The code of a function, method, partial, class, module, or object that wraps one.

    With ``strict_source`` the raw text of each definition counts, comments and white space included.

    Raises:
        TaskError: there is no code to be found.
    """
    key = (id(function), project, mode, strict_source)
    known = _known.get(key)
    if known is not None and known[0] is function and (known[2] is None or holds(known[2], project)):
        return known[1]
    try:
        code, watch = _make(function, project, mode, strict_source)
    except Unencodable as error:
        raise TaskError(
            f"no code can be found for {function!r:.80}",
            reason=error.reason,
            hint="use a function defined in a file of the project",
        ) from None
    if len(_known) >= _KEPT:
        _known.clear()
    _known[key] = (function, code, watch)
    return code


def watch_of(
    function: object, project: Project, mode: HashMode = HashMode.FIND_DEPS, *, strict_source: bool = False
) -> "Watch | None":
    """What the last ``code_of`` of this rests on besides texts: as long as it ``holds``, asking again gives the same."""
    known = _known.get((id(function), project, mode, strict_source))
    return None if known is None else known[2]


def holds(watch: "Watch", project: Project) -> bool:
    """Whether nothing of what was looked at was rebound, or changed in place."""

    def encoder() -> Callable[[object], bytes]:
        from merkl.python.values import Describer

        return Describer(project, reading=watch.reading).value

    return watch.holds(encoder)


def _make(function: object, project: Project, mode: HashMode, strict: bool) -> "tuple[Code, Watch | None]":
    if mode is not HashMode.FIND_DEPS:
        part = _own_part(function, project, mode, strict)
        return Code(_digest(mode, strict, b"", (part,)), (part,)), None
    from merkl.python.reach import reach

    reached = reach(project, function, raw=strict)
    digest = _digest(mode, strict, reached.description, reached.parts)
    return Code(digest, reached.parts, reached.foreign), reached.watch


def _digest(mode: HashMode, strict: bool, description: bytes, parts: tuple[CodePart, ...]) -> Digest:
    members = tuple((part.name, bytes(part.digest)) for part in parts)
    return Digest.of(CODE_DOMAIN + encode((mode.value, strict, description, members)))


def _own_part(function: object, project: Project, mode: HashMode, strict: bool) -> CodePart:
    """The one part of the narrow modes: the definition, or the file it stands in."""
    inner = owners.innermost(function)
    if not isinstance(inner, FunctionType):
        raise Unencodable(function, "is no Python function")
    definition = owners.definition_of(inner)
    code = inner.__code__
    label = owners.function_label(project, inner)
    if definition is None:
        digest, text, name, line = owners.bytecode(code), "", code.co_qualname, code.co_firstlineno
        return CodePart(f"{label}:{name}", digest, text, f"{label}:{line}")
    if mode is HashMode.MODULE:
        from merkl.python.definitions import definitions_in

        definition = definitions_in(definition.source).module
    documented = Reading.DOCUMENTED if definition.reads_docstrings else Reading.PLAIN
    reading = Reading.RAW if strict else documented
    return CodePart(
        f"{label}:{definition.qualname}",
        definition.digest(reading),
        definition.text,
        f"{label}:{definition.line}",
    )


class CodeHook(Protocol):
    """A ``Hook`` that may be told how what is inside a value is encoded; otherwise it does that itself."""

    def __call__(self, value: Any, encode: Callable[[object], bytes] | None = None, /) -> bytes | None: ...


def encode_hook(project: Project) -> CodeHook:
    """A hook for ``merkl.digest.encode`` that knows code among arguments.

    A function, class, module, method, partial or wrapper of the project is written as the digest of its
    code, and so is the class of an instance; what belongs to another package is written as a reference.
    """

    def hook(value: Any, encode: Callable[[object], bytes] | None = None, /) -> bytes | None:
        from merkl.python.kinds import is_code

        if isinstance(value, type) and value.__module__ == "builtins":
            return None
        if isinstance(value, ModuleType) or is_code(value):
            return tagged(b"C", _argument(value))
        if (cls := type(value)).__module__ == "builtins" or not _has_text(cls, project):
            return None
        return _instance(value, cls, encode)

    def _argument(value: object) -> bytes:
        try:
            return bytes(code_of(value, project).digest)
        except TaskError as error:
            raise Unencodable(value, str(error.details["reason"])) from None

    def _instance(value: Any, cls: type, encode_inside: Callable[[object], bytes] | None) -> bytes | None:
        if isinstance(value, enum.Enum):
            fields: object = (value.name, value.value)
        elif hasattr(cls, "__dataclass_fields__"):
            fields = [(name, getattr(value, name)) for name in cls.__dataclass_fields__]
        elif isinstance(value, tuple):
            fields = tuple(value)
        else:
            return None
        from merkl.digest import Encoder

        inside = encode_inside or Encoder(hook).value
        try:
            return tagged(b"C", encode(("instance", _argument(cls))) + inside(fields))
        except RecursionError:
            raise Unencodable(value, "contains itself") from None

    return hook


def _has_text(cls: type, project: Project) -> bool:
    namespace = owners.namespace_of(cls)
    return namespace is not None and project.owns_module(namespace) and bool(owners.classes_of(cls))


def module_label(thing: object, project: Project) -> str:
    """What the module of a function or class, or a module itself, is called in keys.

    A module of the project goes by its path under the root, so that it has one name as a script, under
    ``python -m``, imported, and in a worker; any other by its dotted name.
    """
    if isinstance(thing, ModuleType):
        return project.module_label(vars(thing))
    inner = thing if isinstance(thing, type) else owners.innermost(thing)
    if isinstance(inner, FunctionType):
        return owners.function_label(project, inner)
    namespace = owners.namespace_of(inner if isinstance(inner, type) else type(inner))
    return project.module_label(namespace or {})


def definition_of(function: object) -> "ast.AST | None":
    """The syntax of a function, or of what a wrapper is around; None if nobody has its text any more."""
    inner = owners.innermost(function)
    definition = owners.definition_of(inner) if isinstance(inner, FunctionType) else None
    return definition.roots[0] if definition is not None else None


def definition_site(function: object, project: Project | None = None) -> str:
    """File and line for a message: ``Merklfile.py:12``; relative to the project, or to the current directory."""
    inner = owners.innermost(function)
    code: CodeType | None = getattr(inner, "__code__", None)
    if isinstance(inner, MethodType) or code is None:
        return "?"
    filename = code.co_filename
    if filename.startswith("<"):
        return f"{filename}:{code.co_firstlineno}"
    relative = project.relative(os.path.abspath(filename)) if project else os.path.relpath(filename)
    return f"{relative or filename}:{code.co_firstlineno}"

"""Where a function, class or module comes from: its text, its module, and its name in a key.

It decides whether something is the project's own or another's, and how another's is referred to.

The invariant: a reference finds the thing it names; what cannot be found by a reference gets none.
"""

import functools
import os
import sys
from collections.abc import Mapping
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from merkl.digest import Digest, encode
from merkl.python import sources
from merkl.python.project import Project

if TYPE_CHECKING:
    from merkl.python.definitions import Definition, Definitions

Namespace = dict[str, Any]
OUR_NAME: Final = __name__.partition(".")[0]
KEPT: Final = 50_000  # Entries of each memory below, which keep what they are about alive.


def plain_function(member: object) -> FunctionType | None:
    """The Python function in a class member, however it is wrapped there."""
    for name in ("__func__", "fget", "func"):
        if not isinstance(member, (FunctionType, type)):
            member = getattr(member, name, member)
    return member if isinstance(member, FunctionType) else None


def innermost(function: object) -> object:
    """What ``functools.wraps`` and partials were put around."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif not isinstance(function, type) and (inner := wrapped_in(function)) is not None:
            function = inner
        else:
            return getattr(function, "__func__", function)


def wrapped_in(value: object) -> object:
    """``value.__wrapped__`` if it really has one, without asking a ``__getattr__``; else None."""
    own = getattr(value, "__dict__", None)
    if isinstance(own, dict) and "__wrapped__" in own:
        return own["__wrapped__"]
    if any("__wrapped__" in vars(base) for base in type(value).__mro__):
        return getattr(value, "__wrapped__", None)
    return None


def owns_function(project: Project, function: FunctionType) -> bool:
    """Whether the function's code was written in the project."""
    filename, name = function.__code__.co_filename, function.__globals__.get("__name__", "?")
    if filename.startswith("<"):  # Made by exec, as the methods of a dataclass are.
        return project.owns_module(function.__globals__)
    return project.owns(filename, name)


def function_label(project: Project, function: FunctionType) -> str:
    """The label of the module whose text holds the function."""
    filename = function.__code__.co_filename
    named = function.__globals__
    if filename.startswith("<"):
        return project.module_label(named)
    own = {**named, "__file__": filename} if "__file__" not in named else named
    same = os.path.basename(str(own["__file__"])) == os.path.basename(filename)
    return project.module_label(own) if same else project.label(filename, str(named.get("__name__", "?")))


def _index(source: sources.Source) -> "Definitions":
    # Brings in ast, which a build with nothing to do spares.
    from merkl.python.definitions import definitions_in

    return definitions_in(source)


def definition_of(function: FunctionType) -> "Definition | None":
    """The syntax that the function was compiled from, or None if nobody has its text."""
    return _definition_of_code(function.__code__)


def _definition_of_code(code: CodeType) -> "Definition | None":
    known = _definitions.get(id(code))
    if known is None or known[0] is not code:
        source = sources.source_of(code)
        if len(_definitions) > KEPT:
            _definitions.clear()
        known = _definitions[id(code)] = (code, _index(source).function(code) if source else None)
    return known[1]


_definitions: "dict[int, tuple[CodeType, Definition | None]]" = {}


def decorators_of(function: object) -> list[Digest]:
    """The decorators in the text of a wrapped function, without merkl's own, whose options are not code."""
    inner = innermost(function)
    definition = definition_of(inner) if isinstance(inner, FunctionType) else None
    return [
        form
        for name, form in (definition.decorators if definition is not None else ())
        if not _is_ours(inner.__globals__.get(name) if isinstance(inner, FunctionType) else None)
    ]


def _is_ours(value: object) -> bool:
    module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return str(module).partition(".")[0] == OUR_NAME


def namespace_of(cls: type) -> Namespace | None:
    """The globals that a class's methods see, or those of the module it says it is from."""
    if (method := _own_method(cls)) is not None:
        return method.__globals__
    module = sys.modules.get(cls.__module__)
    return vars(module) if module is not None else None


def has_methods(cls: type) -> bool:
    """Whether a function inside the class was written there."""
    return _own_method(cls) is not None


def _own_method(cls: type) -> FunctionType | None:
    for member in list(vars(cls).values()):
        function = plain_function(member)
        # Those that ``dataclass`` makes have a name of their own in their code.
        if function is not None and function.__code__.co_qualname.startswith(cls.__qualname__ + "."):
            return function
    return None


def classes_of(cls: type) -> "list[Definition]":
    """The definitions a class may have come from; none for one made by a call, as named tuples are."""
    known = _classes.get(id(cls))
    if known is None or known[0] is not cls:
        if len(_classes) > KEPT:
            _classes.clear()
        known = _classes[id(cls)] = (cls, _find_classes(cls))
    return known[1]


_classes: "dict[int, tuple[type, list[Definition]]]" = {}


def _find_classes(cls: type) -> "list[Definition]":
    method = _own_method(cls)
    namespace = namespace_of(cls)
    if method is not None:
        source = sources.source_of(method.__code__)
    else:
        source = sources.source_of_module(namespace) if namespace is not None else None
    if source is None:
        return []
    found = _index(source).classes(cls.__qualname__)
    if method is not None and len(found) > 1:
        line = method.__code__.co_firstlineno
        found = [d for d in found if d.line <= line <= (getattr(d.roots[0], "end_lineno", None) or line)]
    return found


def reference(value: Any) -> str | None:
    """``module:name`` of something that is found there, else None.

    Private modules on the way are left out: libraries move things about behind their public names.
    """
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module is None and type(value).__name__ == "ufunc":
        module, qualname = type(value).__module__, value.__name__
    if not isinstance(module, str) or not isinstance(qualname, str):
        return None
    found: object = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if found is not value:
        return None
    first, *rest = module.split(".")
    return f"{'.'.join([first, *(name for name in rest if not name.startswith('_'))])}:{qualname}"


def imported_reference(
    project: Project, namespace: Mapping[str, Any], source: sources.Source | None, name: str
) -> str | None:
    """How a module's own text refers to a global imported from another package, if that still holds."""
    if source is None:
        return None
    for statement in _index(source).imported(name):
        module = sys.modules.get(statement.module or "") if not statement.level else None
        if module is None or project.owns_module(vars(module)):
            continue
        for alias in statement.names:
            member = name if alias.name == "*" else alias.name
            fits = alias.name == "*" or name == (alias.asname or alias.name)
            if fits and getattr(module, member, None) is namespace.get(name):
                return f"{statement.module}:{member}"
    return None


def bytecode(code: CodeType) -> Digest:
    """The digest of compiled code, for want of its text; it holds for one Python version only."""
    return Digest.of(
        encode(("bytecode", sys.implementation.cache_tag, *sys.version_info[:3])) + _compiled(code)
    )


def _compiled(code: CodeType) -> bytes:
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    consts = b"".join(_constant(const) for const in code.co_consts)
    return encode((code.co_name, counts, names, code.co_code, code.co_exceptiontable, consts))


def _constant(const: object) -> bytes:
    if isinstance(const, CodeType):
        return _compiled(const)
    if isinstance(const, tuple):
        return encode(b"".join(map(_constant, const)))
    return encode(const)


def native_digest(module: ModuleType) -> Digest | None:
    """The digest of an extension module's file; None for a module that has a text or no file."""
    path = getattr(module, "__file__", None)
    if not isinstance(path, str) or path.endswith(".py"):
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _file_digest(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@functools.lru_cache(maxsize=256)
def _file_digest(path: str, *_stamp: int) -> Digest:
    with open(path, "rb") as file:
        return Digest.of(file.read())

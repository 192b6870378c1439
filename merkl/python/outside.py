"""What a Merklfile sets in modules that are not its own: ``settings.SIZE = 7``.

It decides which of that no worker would see: a worker imports a module as its file says, and runs no Merklfile.  It knows
neither keys nor processes.

The invariant: what a module of the project sets when it is imported, in itself or in another, is never held against a
task, since a worker imports it, too.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from merkl.nodes import Place, calling_place, session

if TYPE_CHECKING:
    from merkl.python.project import Project

_ABSENT: Final = object()
_watched: Final[dict[str, ModuleType]] = {}  # The project's modules that were imported here.
# By the namespace's identity and a name: the namespace, what the module itself has there, and where that was replaced.
_set: Final[dict[tuple[int, str], tuple[dict[str, Any], object, Place]]] = {}
_in_libraries: Final[dict[tuple[int, str], Place]] = {}
_importing: Final[list[ModuleType]] = []
_hearing: Final[list[bool]] = []


class _Heard(ModuleType):
    """A module while a Merklfile's code runs."""

    def __setattr__(self, name: str, value: object) -> None:
        _note(self, name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        _note(self, name)
        super().__delattr__(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.__name__,)


def _note(module: ModuleType, name: str) -> None:
    names = vars(module)
    if _importing or (name.startswith("__") and name.endswith("__")) or sys._getframe(2).f_globals is names:
        return
    if f"{module.__name__}.{name}" in sys.modules:  # Import sets this.
        return
    inside = sys.modules.get("merkl.python.inside")  # Otherwise no task runs here.
    if inside is None or not isinstance(session(), inside.Inside):
        _set.setdefault((id(names), name), (names, names.get(name, _ABSENT), calling_place()))


@contextlib.contextmanager
def importing(module: ModuleType) -> Iterator[None]:
    """Run a module of the project inside."""
    _importing.append(module)
    try:
        yield
    finally:
        _importing.remove(module)
    _watched[module.__name__] = module
    if _hearing:
        _hear(module)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Run a Merklfile's code inside: what it sets in the project's modules is noted."""
    _hearing.append(True)
    if len(_hearing) == 1:
        for module in _watched.values():
            _hear(module)
    try:
        yield
    finally:
        _hearing.pop()
        if not _hearing:
            for module in _watched.values():
                if isinstance(module, _Heard):
                    setattr(module, "__class__", ModuleType)  # noqa: B010  # To mypy that is another kind of assignment.


def _hear(module: ModuleType) -> None:
    if type(module) is ModuleType and sys.modules.get(module.__name__) is module:
        module.__class__ = _Heard


def forget() -> None:
    """The project's modules are going to be imported anew."""
    for kept in (_watched, _set, _in_libraries):
        kept.clear()


def look(code: CodeType, namespace: Mapping[str, Any], project: "Project") -> None:
    """Note what the statements of a Merklfile, of which ``code`` was run in ``namespace``, set in modules of others."""
    plain, setting = (compile(text, "", "exec").co_code[::2] for text in ("a; a.b", "a.b = a"))
    if not set(code.co_code[::2]) & set(setting) - set(plain):
        return  # As almost always; the module that tells more takes a while to load.
    from merkl.snapshot import recorder  # A worker does not need it.

    with recorder.unheard():  # To look for a module of Python's own is not the Merklfile's doing.
        import dis
    chain: list[str] = []
    line = code.co_firstlineno
    for step in dis.get_instructions(code):
        line = (step.positions and step.positions.lineno) or line
        if step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            chain = [step.argval]
        elif step.opname == "LOAD_ATTR" and chain:
            chain.append(step.argval)
        elif step.opname == "STORE_ATTR" and chain:
            module = _module(namespace.get(chain[0]), chain[1:])
            if module is not None and not project.owns_module(vars(module)):
                _in_libraries[id(module), step.argval] = Place(code.co_filename, line)
            chain = []
        elif step.opname != "CACHE":
            chain = []


def _module(value: object, names: Iterable[str]) -> ModuleType | None:
    for name in names:
        value = vars(value).get(name) if isinstance(value, ModuleType) else None
    return value if isinstance(value, ModuleType) else None


def anything_set() -> bool:
    """Whether there is a name in another module that the Merklfile set."""
    return bool(_in_libraries) or any(map(_differs, _set))


def _differs(at: tuple[int, str]) -> bool:
    names, before, _ = _set[at]
    now = names.get(at[1], _ABSENT)
    plain = type(now) is type(before) and type(now) in (bool, int, float, str, bytes)
    return now is not before and not (plain and now == before)


def reached(looked_up: Iterable[tuple[int, str]], foreign: Iterable[str]) -> tuple[str, Place] | None:
    """The first name in another module that the Merklfile set and that code reaches, with where that was.

    ``looked_up`` has the identities of namespaces, with the names that code looks up there.
    """
    for at in looked_up:
        if at in _set and _differs(at):
            names, _, place = _set[at]
            return f"{names['__name__']}.{at[1]}", place
    if _in_libraries:
        for name in foreign:
            found = _in_libraries.get(_last_module(name))
            if found is not None:
                return name, found
    return None


def _last_module(dotted: str) -> tuple[int, str]:
    """The innermost module of a dotted name, by its identity, and the name that is looked up in it."""
    first, *rest = dotted.split(".")
    module: object = sys.modules.get(first)
    while len(rest) > 1 and isinstance(inner := getattr(module, rest[0], None), ModuleType):
        module = inner
        rest.pop(0)
    return id(module), rest[0] if rest else ""

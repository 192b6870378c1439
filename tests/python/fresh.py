"""Import a small project as a new process would, and look at its code."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from merkl.python.code import Code, HashMode, code_of
from merkl.python.project import Project


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@contextlib.contextmanager
def imported(root: Path, name: str = "tasks") -> Iterator[ModuleType]:
    """The module ``name`` of the project at ``root``, which is forgotten afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(root))
        for new in set(sys.modules) - before:
            if _lies_in(sys.modules[new], root):
                del sys.modules[new]


def _lies_in(module: ModuleType, root: Path) -> bool:
    known = vars(module)
    places = [known.get("__file__"), *known.get("__path__", [])]
    return any(str(place).startswith(str(root)) for place in places)


def code(root: Path, mode: HashMode = HashMode.FIND_DEPS, *, strict: bool = False) -> Code:
    """The code of ``tasks.task`` of the project at ``root``."""
    with imported(root) as tasks:
        return code_of(tasks.task, Project(str(root)), mode, strict_source=strict)

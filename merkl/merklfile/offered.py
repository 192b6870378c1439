"""Which functions of a project ``merkl run`` could be given, found in the text of its modules.

It decides by decorators, since it runs and imports nothing: those called ``task``, ``batch``, ``pipeline`` or ``target``.
It is a help for who types, and for completion: a function that is not found here can be run all the same.

The invariant: it reads no more than ``_MOST`` files, and never raises because of what is in one.
"""

import os
import re
from collections.abc import Iterator
from typing import Final

_MOST: Final = 500  # Files.
_DEEPEST: Final = 4  # Directories below the root.
_LARGEST: Final = 500_000  # Bytes; a larger file was hardly written by hand.
_NOT_CODE: Final = frozenset({"node_modules", "site-packages", "__pycache__", "build", "dist"})
_FUNCTION: Final = re.compile(
    rb"^@(?:\w+\.)*(?:task|batch|pipeline|target)\b.*\n(?:(?:[@ \t)\]].*)?\n)*?(?:async )?def (\w+)",
    re.MULTILINE,
)


def functions_in(root: str) -> list[str]:
    """The tasks, batches, pipelines and targets of the modules below ``root``, as ``module.function``."""
    found = []
    for path, module in modules_in(root):
        try:
            with open(path, "rb") as file:
                text = file.read(_LARGEST)
        except OSError:
            continue
        found += [f"{module}.{name.decode()}" for name in _FUNCTION.findall(text)]
    return list(dict.fromkeys(found))


def binds(path: str, name: str) -> bool:
    """Whether a module's text looks as if it made something of that name."""
    try:
        with open(path, "rb") as file:
            text = file.read(_LARGEST)
    except OSError:
        return False
    word = re.escape(name.encode())
    made = rb"^(?:async def|def|class) +%s\b|^%s *[:=]|^ *(?:from|import) .*\b%s\b"
    return re.search(made % (word, word, word), text, re.MULTILINE) is not None


def modules_in(root: str) -> Iterator[tuple[str, str]]:
    """Path and dotted name of each module below ``root``, those nearest to it first."""
    todo = [(root, "", 0)]
    left = _MOST
    while todo and left:
        directory, prefix, depth = todo.pop(0)
        try:
            with os.scandir(directory) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in listed:
            name = entry.name
            if name.endswith(".py") and name[:-3].isidentifier() and left:
                left -= 1
                inner = f"{prefix}{name[:-3]}"
                yield entry.path, prefix[:-1] if name == "__init__.py" else inner
            elif name.isidentifier() and name not in _NOT_CODE and depth < _DEEPEST and _is_code(entry):
                todo.append((entry.path, f"{prefix}{name}.", depth + 1))


def _is_code(entry: "os.DirEntry[str]") -> bool:
    try:
        is_environment = os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))
        return entry.is_dir(follow_symlinks=False) and not is_environment
    except OSError:
        return False

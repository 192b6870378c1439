"""Which modules are the project's own, and what each is called in a key.

It decides by where a module's file lies and by the module's name; it reads no code.

The invariant: one file has one label, whether it runs as a script, under ``python -m``, is imported, or
sends its functions to a worker; and no label holds a path outside the project.
"""

import functools
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from merkl.dataclass import dataclass

INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
STANDARD_LIBRARY: Final = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
OURSELVES: Final = os.path.dirname(os.path.dirname(os.path.realpath(__file__))) + os.sep


@dataclass(frozen=True)
class Project:
    """A root directory, and the dotted prefixes of modules elsewhere that count as if they were in it.

    A module is the project's own if its file lies under ``root`` and not in a virtual environment, a
    ``site-packages`` or the standard library; if it is installed editable; if ``modules`` names it or a
    package around it; or if it is ``__main__``.  merkl itself never is.
    """

    root: str
    modules: tuple[str, ...] = ()

    def owns(self, filename: str | None, name: str) -> bool:
        """Whether the module ``name`` with this file is the project's own."""
        return _place(self, filename, name) is not None

    def label(self, filename: str | None, name: str) -> str:
        """What the module is called in keys: its path under the root, else its dotted name."""
        return _place(self, filename, name) or name

    def owns_module(self, namespace: Mapping[str, Any]) -> bool:
        """``owns`` of the module with this namespace; a package of several directories has no file."""
        return _place(self, *_identity(namespace)) is not None

    def module_label(self, namespace: Mapping[str, Any]) -> str:
        """``label`` of the module with this namespace."""
        filename, name = _identity(namespace)
        return self.label(filename, name)

    def relative(self, path: str) -> str | None:
        """``path`` relative to the root, with forward slashes; None if it is outside."""
        return self._relative(path, os.path.realpath(path))

    def _relative(self, path: str, real: str) -> str | None:
        for root, found in ((self.root, path), (_real(self.root), real)):
            if found == root:
                return "."
            if found.startswith(root.rstrip(os.sep) + os.sep):
                return os.path.relpath(found, root).replace(os.sep, "/")
        return None


def is_beside_us(filename: str | None, root: str) -> bool:
    """Whether a file outside ``root`` lies beside merkl in the directory that merkl is installed from in place."""
    if filename is None or filename.startswith(os.path.join(root, "")):
        return False
    return any(filename.startswith(each) and OURSELVES.startswith(each) for each in _editable_roots())


def _identity(namespace: Mapping[str, Any]) -> tuple[str | None, str]:
    """A module's file, or its first directory, and its dotted name also when it runs as ``__main__``."""
    name = namespace.get("__name__")
    spec = namespace.get("__spec__")
    filename = namespace.get("__file__")
    if not isinstance(filename, str):
        filename = next((p for p in namespace.get("__path__", ()) if isinstance(p, str)), None)
        filename = filename and os.path.join(filename, "")
    if name == "__main__" and spec is not None and filename is not None:
        name = spec.name
    return filename, name if isinstance(name, str) else "?"


def is_foreign(filename: str) -> bool:
    """Whether it is quickly seen of a module's file that no project owns it: most modules are merkl's or Python's own."""
    return filename.startswith((OURSELVES, STANDARD_LIBRARY)) and _is_absolute(filename)


def _is_absolute(filename: str) -> bool:
    """Whether a path is as ``abspath`` would have it, as far as that is quickly seen."""
    return filename.startswith("/") and not ("/." in filename or "//" in filename or filename.endswith("/"))


@functools.lru_cache(maxsize=4096)
def _place(project: Project, filename: str | None, name: str) -> str | None:
    """The label of a module of the project, or None if it is not one."""
    if filename is None or filename.startswith("<"):
        known = name == "__main__" or _within(name, project.modules)
        return name if known else None
    path = filename if _is_absolute(filename) else os.path.abspath(filename)
    if path.startswith((OURSELVES, STANDARD_LIBRARY)):
        return None  # Most modules are of these, and to look at a path takes longer than all else here.
    real = _real_file(path)
    if real.startswith((OURSELVES, STANDARD_LIBRARY)):
        return None
    relative = project._relative(path, real)
    if relative is not None and not _installed(project.root, relative):
        return relative
    if _within(name, project.modules):
        return name
    if INSTALLED & set(real.split(os.sep)):
        return None
    if name == "__main__":
        return os.path.splitext(os.path.basename(path))[0]
    return name if any(real.startswith(root) for root in _editable_roots()) else None


def _within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def _installed(root: str, relative: str) -> bool:
    """Whether a directory between the root and the file is a virtual environment or holds packages."""
    directories = relative.split("/")[:-1]
    if INSTALLED & set(directories):
        return True
    paths = (os.path.join(root, *directories[:depth]) for depth in range(1, len(directories) + 1))
    return any(_is_environment(path) for path in paths)


@functools.lru_cache(maxsize=4096)
def _is_environment(directory: str) -> bool:
    return os.path.exists(os.path.join(directory, "pyvenv.cfg"))


@functools.lru_cache(maxsize=1024)
def _real(path: str) -> str:
    return os.path.realpath(path)


def _real_file(path: str) -> str:
    """As ``realpath`` of an absolute path, which looks at each directory above anew; hundreds of modules share few."""
    folder, name = os.path.split(path)
    real = os.path.join(_real(folder), name)
    return os.path.realpath(path) if os.path.islink(real) else real


@functools.lru_cache(maxsize=1)
def _editable_roots() -> tuple[str, ...]:
    """The directories that packages are installed from in place, each with a slash at its end."""
    sites = [path for path in sys.path if os.path.basename(path) in INSTALLED and os.path.isdir(path)]
    roots = {os.path.realpath(path) for site in sites for path in _linked(site)}
    return tuple(sorted(os.path.join(root, "") for root in roots if os.path.isdir(root)))


def _linked(site: str) -> Iterator[str]:
    """What the ``.pth`` files and the records of editable installs in ``site`` point to."""
    for entry in sorted(os.listdir(site)):
        path = os.path.join(site, entry)
        if entry.endswith((".pth", ".egg-link")):
            with open(path, encoding="utf-8", errors="replace") as lines:
                yield from (line.strip() for line in lines if os.path.isabs(line.strip()))
        elif entry.endswith(".dist-info"):
            yield from _in_place(os.path.join(path, "direct_url.json"))


def _path_of(url: str) -> str:
    """The path that a URL of a file names, whatever host it says."""
    path = url.removeprefix("file:").partition("#")[0].partition("?")[0]
    if path.startswith("//"):
        path = "/" + path[2:].partition("/")[2]
    if "%" in path:
        from urllib.parse import unquote  # Slow to load.

        path = unquote(path)
    return path


def _in_place(record: str) -> Iterator[str]:
    """The source directory that an installer's record names, if the install is editable (PEP 610)."""
    import json

    try:
        with open(record, encoding="utf-8") as file:
            found = json.load(file)
        if found.get("dir_info", {}).get("editable") is True and found["url"].startswith("file:"):
            yield _path_of(found["url"])
    except (OSError, ValueError, KeyError, AttributeError):
        return

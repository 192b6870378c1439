"""Versions of installed distributions, as values for ``deps=``.

It decides which distribution a module comes from: the one of its name if that has it, which is quick to see, else the ones
whose records name it.

The invariant: nothing is imported for it, save ``importlib.metadata``, and what is answered holds for where this Python runs.
"""

import functools
import os
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Final

from merkl.errors import TaskError

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_NOT_INSTALLED: Final = sys.stdlib_module_names | {"builtins", "__main__", __name__.partition(".")[0]}


def pip_version_of(distribution: object) -> str:
    """A value that changes when another version of ``distribution`` is installed: ``"numpy 2.1.0"``.

    A name is that of the distribution (``scikit-learn``), not of a module in it (``sklearn``).  A module, function or class
    may stand for the distribution that it comes from, as for ``find_pip_version``.

    Raises:
        TaskError: nothing of that name is installed.
    """
    if not isinstance(distribution, str):
        return find_pip_version(distribution)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{distribution} {version(distribution)}"
    except (PackageNotFoundError, ValueError):
        raise TaskError(
            f"pip_version_of({distribution!r}): no distribution of that name is installed",
            hint=_hint(distribution),
        ) from None


def find_pip_version(thing: object) -> str:
    """The distribution behind a module, function or class, and its version: ``"PyYAML 6.0.2"`` for the module ``yaml``.

    Text is the dotted name of a module, which need not be imported.  If several distributions share the module, all are named.

    Raises:
        TaskError: it comes from none that is installed.
    """
    module = module_of(thing)
    if module is None:
        raise TaskError(
            f"find_pip_version takes a module, function or class, and {thing!r:.60} is none",
            hint="find_pip_version(numpy), or pip_version_of('numpy') by the name of the distribution",
        )
    found = versions_of([module])
    if not found:
        top = module.partition(".")[0]
        part = (
            "a part of Python"
            if top in sys.stdlib_module_names or top == "builtins"
            else "of no distribution"
        )
        raise TaskError(
            f"find_pip_version: the module {module} is {part}, so it has no version of its own",
            hint="put the module or function itself into deps=, or any value that changes with it",
        )
    return ", ".join(found)


def module_of(thing: object) -> str | None:
    """The module that something comes from, by its dotted name; None for a plain value."""
    if isinstance(thing, str):
        return thing if all(part.isidentifier() for part in thing.split(".")) else None
    if isinstance(thing, ModuleType):
        return thing.__name__
    if not callable(thing):
        return None
    for holder in (
        thing,
        getattr(thing, "__objclass__", None),
        getattr(thing, "__self__", None),
        type(thing),
    ):
        name = holder.__name__ if isinstance(holder, ModuleType) else getattr(holder, "__module__", None)
        if isinstance(name, str):
            return name
    return None


def versions_of(modules: Iterable[str]) -> tuple[str, ...]:
    """The installed distributions that modules come from, each once with its version, sorted.

    What is Python's own, or merkl, or in no distribution, is left out.
    """
    third = frozenset(name for name in modules if name.partition(".")[0] not in _NOT_INSTALLED)
    return _versions(third, tuple(sys.path)) if third else ()


@functools.lru_cache(maxsize=1_000)
def _versions(modules: frozenset[str], path: tuple[str, ...]) -> tuple[str, ...]:
    named = {name for module in sorted(modules) for name in _distributions(module, path)}
    return tuple(sorted(_version(name, path) for name in named))


@functools.lru_cache(maxsize=1_000)
def _version(name: str, path: tuple[str, ...]) -> str:  # noqa: ARG001 - what it was asked on.
    from importlib.metadata import version

    return f"{name} {version(name)}"


def _distributions(module: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the distributions that have a module, which is taken from its dotted name."""
    top = module.partition(".")[0]
    places = _places(top, path)
    if not places:
        return ()
    regular = len(places) == 1 and not places[0].endswith(os.sep)
    found = _by_name(top, places[0], path) if regular else ()
    return found or _by_record(module, path) or _editable(places, path)


@functools.lru_cache(maxsize=1_000)
def _places(top: str, path: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001 - as above.
    """The file of a top-level module; for a package without one its directories, each with a slash at its end."""
    import importlib.util

    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return ()
    if spec is None:
        return ()
    if spec.origin not in (None, "namespace", "built-in", "frozen"):
        return (str(spec.origin),)
    return tuple(os.path.join(place, "") for place in spec.submodule_search_locations or ())


@functools.lru_cache(maxsize=1_000)
def _by_name(top: str, file: str, path: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001 - as above.
    """The distribution that is called as its module is, if it is the one that has this file."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(top)
    except (PackageNotFoundError, ValueError):
        return ()
    wanted = os.path.basename(file) if os.path.splitext(os.path.basename(file))[0] == top else f"{top}/"
    return (found.name,) if _has(found, wanted) or _holds(found, file) else ()


def _has(found: "Distribution", start: str) -> bool:
    """Whether a distribution's record names a file that begins so."""
    listed = found.read_text("RECORD") or found.read_text("installed-files.txt") or ""
    return f"\n{start}" in f"\n{listed}"


def _holds(found: "Distribution", file: str) -> bool:
    """Whether a distribution is installed in place, from a directory with this file."""
    root = _source(found)
    return root is not None and os.path.realpath(file).startswith(os.path.join(root, ""))


def _source(found: "Distribution") -> str | None:
    """The directory that an editable installation is from (PEP 610)."""
    import json
    from urllib.parse import unquote, urlsplit

    try:
        said = json.loads(found.read_text("direct_url.json") or "{}")
        if said.get("dir_info", {}).get("editable") is True and said["url"].startswith("file:"):
            return os.path.realpath(unquote(urlsplit(said["url"]).path))
    except (ValueError, KeyError, AttributeError):
        pass
    return None


@functools.lru_cache(maxsize=1)
def _packages(path: tuple[str, ...]) -> dict[str, list[str]]:  # noqa: ARG001 - as above.
    # Some 50 ms where 50 distributions are installed.
    from importlib.metadata import packages_distributions

    return {name: sorted(set(found)) for name, found in packages_distributions().items()}


@functools.lru_cache(maxsize=1_000)
def _by_record(module: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """The distributions whose records name the module; of those that share a package, the ones with the most of its name."""
    names = _packages(path).get(module.partition(".")[0], [])
    if len(names) < 2:
        return tuple(names)
    from importlib.metadata import distribution

    parts = module.split(".")
    for depth in range(len(parts), 1, -1):
        start = "/".join(parts[:depth])
        fitting = [name for name in names if any(_has(distribution(name), start + end) for end in ("/", "."))]
        if fitting:
            return tuple(fitting)
    return tuple(names)


@functools.lru_cache(maxsize=1_000)
def _editable(places: tuple[str, ...], path: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001 - as above.
    from importlib.metadata import distributions

    return tuple(sorted({d.name for d in distributions() if any(_holds(d, place) for place in places)}))


def _hint(name: str) -> str:
    """What to do: the distribution that a module of that name comes from, or an installation."""
    found = _packages(tuple(sys.path)).get(name)
    if found:
        return f"the module {name} comes from pip_version_of({found[0]!r})"
    return f"install it into the environment of {sys.executable}"

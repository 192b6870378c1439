"""What the words after ``status``, ``pull`` and ``push`` mean: paths, or a request that needs the Merklfile.

It decides that by names alone, as a request is read: a target first, unless the word is written as a path.  It loads
nothing, so which targets there are is what the last list says.

The invariant: words that name only paths which are there, or which merkl knows, never make it run a Merklfile.
"""

import os
from collections.abc import Sequence

from merkl.dataclass import dataclass
from merkl.engine.project import Project
from merkl.errors import UsageError
from merkl.workspace.paths import absolute, normalise
from merkl.workspace.sidecar import SUFFIX


@dataclass(frozen=True, slots=True)
class Named:
    """The words of a command: ``paths``, normalised, and ``request``, the words that only a Merklfile can answer."""

    paths: tuple[str, ...]
    request: tuple[str, ...]


def named(project: Project, words: Sequence[str], cwd: str) -> Named:
    """Sort words that were typed in the directory ``cwd``.  A word that names nothing known is left to the Merklfile.

    Raises:
        UsageError: a path is empty or lies outside the project.
    """
    paths: list[str] = []
    request: list[str] = []
    targets = {str(target.get("name")).replace("-", "_") for target in project.index.targets()}
    for at, word in enumerate(words):
        if word == "--":
            request += words[at:]
            break
        if _is_value(word) or (not _is_spelt_as_path(word) and word.replace("-", "_") in targets):
            request.append(word)
            continue
        path = normalise(word, cwd, project.root)
        if path.startswith("/"):
            raise UsageError(f"{word} is outside the project", hint=f"the project is {project.root}")
        if _is_spelt_as_path(word) or _is_known(project, path):
            paths.append(path)
        else:
            request.append(word)
    return Named(tuple(paths), tuple(request))


def _is_value(word: str) -> bool:
    name, sign, _ = word.partition("=")
    return bool(sign) and name.replace("-", "_").isidentifier()


def _is_spelt_as_path(word: str) -> bool:
    return word in (".", "..") or word.startswith(("/", "./", "../"))


def _is_known(project: Project, path: str) -> bool:
    where = absolute(path, project.root)
    if os.path.lexists(where) or os.path.lexists(where + SUFFIX):
        return True
    return any(f"{known}/".startswith(f"{path}/") for known in project.index.all_placed())

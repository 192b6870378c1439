"""What a round of a watch depended on, so that a change of it means another round.

It decides where in the file system news of such a change would come from.  It knows no project and asks no file for its
bytes: ``gather`` puts it together in the process that built, ``compare`` looks whether it still holds.

The invariant: it says what was *used*, not what is there now; so a change that came while the build ran shows.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from merkl.dataclass import dataclass, field
from merkl.digest import Digest
from merkl.stamp import Stamp
from merkl.workspace.paths import absolute, reserved, temporary

_PYTHONS: Final = "__pycache__"  # Python's own, written whenever a module is imported.


@dataclass(frozen=True, slots=True)
class Input:
    """A file or directory that was read.  ``executable`` None: its bytes alone count.

    ``stamp`` is the file's just before it was read, if that is known.
    """

    digest: Digest
    directory: bool = False
    executable: bool | None = None
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What was placed."""

    digest: Digest
    directory: bool = False
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Empty:
    """A place where no file was, which one would change something."""


@dataclass(frozen=True, slots=True)
class Untouched:
    """A file of which nobody knows whether it counts.  ``digest`` is there if its stamp could hide an edit."""

    stamp: Stamp
    digest: Digest | None = None


Known: TypeAlias = Input | Output | Empty | Untouched


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern, the absolute directory that it starts from, and what it matched, as normalised paths."""

    base: str
    pattern: str
    found: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matters:
    """All that a round depended on.  Paths are normalised: relative to ``root``, or absolute outside it.

    A glob may match otherwise if a name in one of the directories ``listed`` changed, or one of the files ``rules``.
    ``links`` are files that a symbolic link among ``files`` leads to, absolute, with the names that lead there.
    ``doubtful`` are files that changed when the round had begun, of which nobody knows whether it read them before, or
    that changed under a task that failed.
    """

    root: str
    files: dict[str, Known] = field(default_factory=dict)
    globs: tuple[Glob, ...] = ()
    listed: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    links: dict[str, tuple[str, ...]] = field(default_factory=dict)
    doubtful: frozenset[str] = frozenset()

    def trees(self) -> list[str]:
        """The directories of which all that is inside counts."""
        return [
            path
            for path, known in self.files.items()
            if isinstance(known, Input | Output) and known.directory
        ]

    def directories(self) -> set[str]:
        """The absolute paths of the directories in which news would show, also those that are not there."""
        found: set[str] = set()
        parents = {os.path.dirname(path) for path in self.files if path != "."}
        parents.update(os.path.dirname(path) for path in (*self.rules, *self.links))
        parents.update("" if path == "." else path for path in self.listed)
        for parent in parents:
            while parent not in found:
                found.add(parent)
                if parent in ("", "/") or parent.startswith("/"):
                    break  # Outside the project only the directory itself.
                parent = os.path.dirname(parent)
        whole = {absolute(path or ".", self.root) for path in found}
        for tree in self.trees():
            whole.update(_inside(absolute(tree, self.root)))
        return whole


def _inside(directory: str) -> Iterator[str]:
    """A directory and all below it, without what belongs to version control or to merkl."""
    for folder, folders, _ in os.walk(directory):
        folders[:] = [name for name in folders if not is_ours(name)]
        yield folder


def is_ours(name: str) -> bool:
    """Whether a name belongs to merkl, to version control or to Python, and never matters."""
    raw = os.fsencode(name)
    return reserved(raw) or temporary(raw) or name == _PYTHONS


def leading(root: str, paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The files that symbolic links among normalised ``paths`` lead to, with their names."""
    found: dict[str, tuple[str, ...]] = {}
    for path in paths:
        where = absolute(path, root)
        if os.path.islink(where):
            real = os.path.realpath(where)
            found[real] = (*found.get(real, ()), path)
    return found

"""What one load of a Merklfile has found so far, and which file of it is running.

It decides what a target is called and which names are one.  It runs nothing.

The invariant: a registry belongs to one load; what is declared while a file runs goes to the load that runs it.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from merkl.config import Config
from merkl.dataclass import dataclass, field
from merkl.digest import Digest
from merkl.errors import MerklfileError, NotYetKnown
from merkl.lending import lent
from merkl.merklfile.targets import Target
from merkl.nodes import Place, Session


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """One Merklfile that has run or is running.

    ``path`` is absolute; ``name`` the module's; ``prefix`` what the names of its targets begin with, empty for none;
    ``included_by`` the path of the file that asked for it first, empty for the root.
    """

    path: str
    name: str
    prefix: str
    module: ModuleType
    included_by: str = ""


@dataclass(slots=True, eq=False)
class Merklfile:
    """A loaded Merklfile: its targets by full name in the order of declaration, and the files it is made of.

    ``read`` and ``listed`` are what it looked at while it ran, as normalised paths: files with parameters or with rules
    for globs, and directories; ``globs`` what each pattern matched, by the absolute directory it started from and its text;
    ``values`` the digest of each file of parameters.  ``sets`` are the values given for parameters, as text by dotted name; ``matched`` those
    of them that some file has, and ``parameters`` all dotted names by file.  ``unknown`` says what ended the load before
    the last line: a pipeline whose tasks cannot be told before another has run.
    """

    path: str
    config: Config
    session: Session
    sets: Mapping[str, str] = field(default_factory=dict)
    targets: dict[str, Target[..., Any]] = field(default_factory=dict)
    files: dict[str, LoadedFile] = field(default_factory=dict)
    read: dict[str, None] = field(default_factory=dict)
    listed: dict[str, None] = field(default_factory=dict)
    globs: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    values: dict[str, Digest] = field(default_factory=dict)
    matched: set[str] = field(default_factory=set)
    parameters: dict[str, list[str]] = field(default_factory=dict)
    unknown: NotYetKnown | None = None
    _spellings: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """The project's root directory."""
        return self.config.root

    @property
    def defaults(self) -> tuple[Target[..., Any], ...]:
        """The targets that are built when none is named: those with ``default=True`` and no prefix."""
        return tuple(t for t in self.targets.values() if t.declared.default and not t.declared.prefix)

    def find(self, name: str) -> Target[..., Any] | None:
        """The target of that name, in which ``-`` and ``_`` are one letter."""
        full = name if name in self.targets else self._spellings.get(_folded(name), "")
        return self.targets.get(full)

    def declare(self, target: Target[..., Any]) -> None:
        """Add a target.

        Raises:
            MerklfileError: there is one of that name.
        """
        other = self.find(target.name)
        if other is not None:
            raise MerklfileError(
                f"two targets are named {target.name!r}",
                one=self.shown(other.place),
                other=self.shown(target.place),
                hint="rename one of them, or give it name=",
            )
        self.targets[target.name] = target
        self._spellings[_folded(target.name)] = target.name

    def shown(self, place: Place) -> str:
        """A place for people: relative to the project."""
        return str(Place(shown_path(place.file, self.root), place.line))


def _folded(name: str) -> str:
    return name.replace("-", "_")


def shown_path(path: str, root: str) -> str:
    """A path for people: relative to ``root`` if it lies inside."""
    prefix = root.rstrip(os.sep) + os.sep
    return path[len(prefix) :] if path.startswith(prefix) else path


@dataclass(frozen=True, slots=True)
class Here:
    """The file that is running: its load, its own entry, and the paths of the files around it, outermost first."""

    merklfile: Merklfile
    file: LoadedFile | None = None
    stack: tuple[str, ...] = ()


_here: ContextVar[Here | None] = ContextVar("merkl_merklfile", default=None)


def here() -> Here | None:
    """Where the running code belongs; None in code that no load and no build started, such as a script."""
    return _here.get() or lent(_here)


@contextlib.contextmanager
def running(place: Here) -> Iterator[Here]:
    """Run the code inside as part of a load."""
    token = _here.set(place)
    try:
        yield place
    finally:
        _here.reset(token)

"""The project's files, as inputs that were discovered.

It decides what counts as changed while a command ran, and since.  The invariant: it errs towards changed.
"""

import functools
import math
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.engine.lookup import FindChange
from merkl.engine.project import Project
from merkl.store.base import Discovered
from merkl.workspace.paths import absolute

if TYPE_CHECKING:
    from merkl.bash.includes import Asked

_MOST_TEXTS: Final = 20_000
_asked: "dict[Digest, tuple[Asked, ...]]" = {}  # By the text: a hundred C files read the same headers.
_FUTURE_NS: Final = 60_000_000_000  # A stamp so far ahead is not of now, whoever's clock it is.


def change_finder(project: Project, placed: Iterable[str]) -> FindChange:
    """What compares a discovered set with the files there are, in a build that places the paths ``placed``.

    A file that a node of the build places is not what it was, whatever is there now: the command is to run, and to be told
    that it must declare it.
    """

    @functools.cache  # When somebody asks: there may be many, and no task that finds its inputs.
    def places() -> frozenset[str]:
        return frozenset(placed)

    @functools.cache
    def is_made(path: str) -> bool:
        while path and path not in places():
            path = path.rpartition("/")[0]
        return path in places()

    def find(discovered: Discovered) -> str | None:
        made = (path for path, digest in discovered.files.items() if digest is not None and is_made(path))
        return next(made, None) if places() else None

    return lambda discovered: find(discovered) or project.first_change(discovered)


@dataclass(frozen=True, slots=True)
class Began:
    """When a command began: by the clock of the project's file system, and by one that nobody sets."""

    clock_ns: int
    steady_ns: int

    @classmethod
    def now(cls, project: Project) -> "Began":
        """This moment."""
        return cls(project.index.clock_ns(), time.monotonic_ns())


@dataclass(frozen=True, slots=True)
class Files:
    """Asked after a command has ended."""

    project: Project
    began: Began

    def digest(self, path: str) -> Digest | None:
        """The digest of a file that is there, None of anything else."""
        return self.project.digest_at(path)

    def is_there(self, path: str) -> bool:
        """Whether something is at a path, be it a link that leads nowhere."""
        return os.path.lexists(absolute(path, self.project.root))

    def changed(self, path: str) -> bool:
        """Whether it may have changed since the command began: a ctime of then or later, of a link or of its file.

        One far in the future is from before the clock was set back, unless that was done while the command ran.
        """
        now = Began.now(self.project)
        set_meanwhile = (
            abs((now.clock_ns - self.began.clock_ns) - (now.steady_ns - self.began.steady_ns)) > _FUTURE_NS
        )
        until = math.inf if set_meanwhile else now.clock_ns + _FUTURE_NS
        where = absolute(path, self.project.root)
        for stat in (os.lstat, os.stat):
            try:
                if self.began.clock_ns <= stat(where).st_ctime_ns < until:
                    return True
            except OSError:
                pass
        return False

    def asked(self, path: str) -> "tuple[Asked, ...]":
        """The names that the text of a file asks for; nothing, if it is no text or cannot be read."""
        from merkl.bash.includes import LARGEST_TEXT, asked_for

        try:
            with open(absolute(path, self.project.root), "rb") as file:
                text = file.read(LARGEST_TEXT + 1)
        except OSError:
            return ()
        if len(text) > LARGEST_TEXT:
            return ()
        digest = Digest.of(text)
        if digest not in _asked:
            if len(_asked) >= _MOST_TEXTS:
                _asked.clear()
            _asked[digest] = asked_for(text)
        return _asked[digest]

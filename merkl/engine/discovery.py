"""The project's files, as inputs that were discovered.

It decides what counts as changed while a command ran.  The invariant: it errs towards changed.
"""

import os
from dataclasses import dataclass

from merkl.digest import Digest
from merkl.engine.project import Project
from merkl.workspace.paths import absolute


@dataclass(frozen=True, slots=True)
class Files:
    """Asked after a command has ended that began at ``began_ns``, by the clock of the project's file system."""

    project: Project
    began_ns: int

    def digest(self, path: str) -> Digest | None:
        """The digest of a file that is there, None of anything else."""
        return self.project.digest_at(path)

    def is_there(self, path: str) -> bool:
        """Whether something is at a path, be it a link that leads nowhere."""
        return os.path.lexists(absolute(path, self.project.root))

    def changed(self, path: str) -> bool:
        """Whether it may have changed since the command began: a ctime of then or later, of a link or of its file."""
        where = absolute(path, self.project.root)
        for stat in (os.lstat, os.stat):
            try:
                if stat(where).st_ctime_ns >= self.began_ns:
                    return True
            except OSError:
                pass
        return False

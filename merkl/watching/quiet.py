"""A round of ``merkl.watch``, which shows nothing: what happened is in what it reports.

It decides nothing.
"""

import contextlib
import sys

from merkl.config import load_config
from merkl.dataclass import dataclass
from merkl.engine.evaluating import Quiet
from merkl.engine.project import Project
from merkl.engine.request import Chosen, open_merklfile, open_project, selected
from merkl.errors import MerklError
from merkl.events import Reporter
from merkl.merklfile.registry import Merklfile


@dataclass(frozen=True, slots=True)
class Given:
    """What is asked for: ``words`` as typed in ``cwd``.  Implements ``round.Door``."""

    root: str
    cwd: str
    words: tuple[str, ...]
    jobs: int | None

    def open(self) -> Project:
        """See ``Door``."""
        return open_project(load_config(self.root, jobs=self.jobs))

    def load(self, project: Project) -> Merklfile:
        """See ``Door``."""
        with contextlib.redirect_stdout(sys.stderr):
            return open_merklfile(project)

    def choose(self, project: Project, merklfile: Merklfile) -> Chosen:
        """See ``Door``."""
        with contextlib.redirect_stdout(sys.stderr):
            return selected(project, merklfile, self.words, self.cwd)

    def reporter(self, project: Project) -> Reporter:  # noqa: ARG002
        """See ``Door``."""
        return Quiet()

    def tell(self, error: BaseException) -> None:
        """See ``Door``; what is no bug is in the report."""
        if not isinstance(error, MerklError):
            import traceback

            traceback.print_exception(error)

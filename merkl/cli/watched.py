"""One round of ``merkl watch``, in its own process: a build that shows itself as ``merkl build`` does.

It decides nothing: that a round has ended, and how, is said by the watcher.
"""

from merkl.cli import opening
from merkl.cli.edge import show_bug, show_error
from merkl.cli.options import Options
from merkl.dataclass import dataclass
from merkl.engine.project import Project
from merkl.engine.request import Chosen
from merkl.errors import MerklError
from merkl.events import Reporter
from merkl.merklfile.registry import Merklfile
from merkl.report.ready import ready_streams


@dataclass(frozen=True, slots=True)
class Given:
    """What was asked for.  Implements ``round.Door``."""

    options: Options
    words: tuple[str, ...]

    def open(self) -> Project:
        """See ``Door``."""
        ready_streams()  # The process is new.
        return opening.opened(self.options, runs=True)

    def load(self, project: Project) -> Merklfile:
        """See ``Door``."""
        return opening.loaded(self.options, project)

    def choose(self, project: Project, merklfile: Merklfile) -> Chosen:
        """See ``Door``."""
        return opening.chosen(self.options, project, merklfile, self.words)

    def reporter(self, project: Project) -> Reporter:
        """See ``Door``."""
        return opening.reporter_of(self.options, project, brief=True)

    def tell(self, error: BaseException) -> None:
        """See ``Door``."""
        if isinstance(error, MerklError):
            show_error(error, json=self.options.json)
        else:
            show_bug()

"""What commands have in common: a project opened and closed, a request chosen, a reporter made.

It decides which reporter a build gets.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO, cast

from merkl.cli.given import Options
from merkl.cluster.making import away
from merkl.config import Config
from merkl.dataclass import dataclass
from merkl.digest import Key
from merkl.engine.project import Project
from merkl.engine.purity import watched
from merkl.engine.request import Chosen, open_merklfile, open_project, selected
from merkl.engine.select import labels
from merkl.errors import MerklError
from merkl.events import Note, Reporter
from merkl.merklfile.registry import Merklfile
from merkl.nodes import Future, shorten_places, walk
from merkl.report.color import Paint, When, painter, wanted
from merkl.signals import ends_in_order

if TYPE_CHECKING:  # Only a build needs it.
    from merkl.engine.judge import Judge
    from merkl.report.printed import Output


def paint_of(options: Options, stream: TextIO) -> Paint:
    """How to color what goes to a stream."""
    return painter(wanted(cast(When, options.color), stream, os.environ))


@contextlib.contextmanager
def project_of(options: Options, config: Config | None = None, *, runs: bool = False) -> Iterator[Project]:
    """The project that is meant, closed afterwards; what it has to say then is told."""
    with ends_in_order():
        project = opened(options, config, runs=runs)
        try:
            yield project
        except MerklError as error:
            shorten_places(error, project.root)
            raise
        finally:
            project.close()


def opened(options: Options, config: Config | None = None, *, runs: bool = False) -> Project:
    """The project that is meant; what its Merklfile evaluates is shown as the options say.

    Unless the command ``runs`` tasks, what a pipeline evaluates is not run.
    """
    project = open_project(config or options.config())
    project.only_looks, project.verbose = not runs, bool(options.verbose)
    project.builder = functools.partial(evaluate_as, options)
    project.make_away = away
    return project


def evaluate_as(options: Options, project: Project, futures: Sequence[Future[Any]]) -> list[Any]:
    """What ``.eval()`` in a Merklfile does: a build of its own, which has no last line."""
    from merkl.engine.evaluating import Quiet, evaluate

    def reporter() -> Reporter:
        return Quiet() if options.json else _lines(options, project, summary=False)

    try:
        return evaluate(project, futures, make_reporter=reporter)
    except MerklError as error:
        error.told = not options.json
        raise


def loaded_quietly() -> contextlib.AbstractContextManager[object]:
    """What the user's code prints while it says what to build goes to stderr: stdout is for what the command says."""
    return contextlib.redirect_stdout(sys.stderr)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, chosen in an open project."""

    project: Project
    merklfile: Merklfile
    chosen: Chosen

    def labels(self, judge: "Judge | None" = None) -> dict[Key, str]:
        """Every node's name for people, also of those that a judge has met."""
        found = labels(walk(self.chosen.selection.roots), self.project.placements)
        if judge is not None:
            found.steps = judge.steps
        return found


@contextlib.contextmanager
def asked(
    options: Options, words: Sequence[str], *, runs: bool = False, config: Config | None = None
) -> Iterator[Asked]:
    """Load the Merklfile and choose what the words of a request ask for; ``runs`` as for ``opened``."""
    with project_of(options, config, runs=runs) as project:
        merklfile = loaded(options, project)
        yield Asked(project, merklfile, chosen(options, project, merklfile, words))


def loaded(options: Options, project: Project) -> Merklfile:
    """Run the project's Merklfile."""
    with _hashing_shown(options), loaded_quietly(), watched():
        return open_merklfile(project, options.sets)


def chosen(options: Options, project: Project, merklfile: Merklfile, words: Sequence[str]) -> Chosen:
    """What a request asks for."""
    with _hashing_shown(options), loaded_quietly(), watched():
        return selected(project, merklfile, words, options.cwd)


def _hashing_shown(options: Options) -> contextlib.AbstractContextManager[object]:
    if not options.json and (sys.stdout is None or not sys.stdout.isatty()):
        return contextlib.nullcontext()
    from merkl.cli.hashing import hashing_shown

    return hashing_shown(options)


def reporter_of(options: Options, project: Project, *, brief: bool = False) -> Reporter:
    """The reporter that the options ask for; a ``brief`` one has no last line, and one for each task only if verbose."""
    from merkl.report.json import JsonLines
    from merkl.report.running import Listed

    inner: Reporter = JsonLines(sys.stdout) if options.json else _lines(options, project, brief=brief)
    return Listed(project.config.state, inner)


def _lines(options: Options, project: Project, *, summary: bool = True, brief: bool = False) -> Reporter:
    """Lines, and on a terminal a live block below them."""
    from merkl.report.lines import Shown
    from merkl.report.reporters import reporter_for

    output = cast("Output", project.config.output)
    endings = options.verbose if brief else options.progress != "none"
    shown = Shown(output, verbose=options.verbose, endings=endings, summary=summary and not brief)
    return reporter_for(project.root, shown, options.color, options.progress)


def tell(options: Options, notes: Sequence[Note]) -> None:
    """Say what the user should know, beside the output of a command that is no build."""
    for note in notes:
        if not options.quiet:
            hint = f"\n  hint: {note.hint}" if note.hint else ""
            sys.stderr.write(f"note: {note.text}{hint}\n")

"""``merkl restore``: bring back a file of yours that was saved before it was replaced.

It decides which of several saved versions is meant: the latest, or one chosen by the beginning of its digest.
"""

import os
import sys
import time

import click

from merkl.cli.opening import project_of, reporter_of, tell
from merkl.cli.options import OfPaths, Options, options_of, shared
from merkl.engine.project import Project
from merkl.engine.replacing import restore
from merkl.errors import UsageError, did_you_mean
from merkl.report.words import one_line, size
from merkl.workspace.ledger import SavedEdit
from merkl.workspace.paths import normalise


@click.command(cls=OfPaths, short_help="Bring back a file that you edited and merkl replaced.")
@click.argument("paths", nargs=-1, metavar="[PATH…]")
@click.option(
    "--version", "digest", metavar="DIGEST", help="The version to bring back, instead of the latest."
)
@shared("dry_run quiet")
@click.pass_context
def command(context: click.Context, paths: tuple[str, ...], digest: str | None) -> int:
    """Bring PATH back as it was when you had edited it; without PATH, list what was saved.

    What is at PATH now is saved first, unless merkl made it.
    """
    options = options_of(context)
    with project_of(options, options.existing()) as project:
        if paths:
            for path in paths:
                _restore(options, project, normalise(path, options.cwd, project.root), digest or "")
        else:
            _list(options, project)
        tell(options, project.take_notes())
    return 0


def _list(options: Options, project: Project) -> None:
    edits = project.index.saved()
    if not edits:
        sys.stdout.write("nothing of yours was replaced\n")
    for edit in edits:
        shown = os.path.relpath(os.path.join(project.root, edit.path), options.cwd)
        sys.stdout.write(f"{_when(edit)}  {edit.digest.short}  {size(edit.size):>10}  {one_line(shown)}\n")


def _restore(options: Options, project: Project, path: str, digest: str) -> None:
    edits = project.index.saved(path)
    chosen = next((edit for edit in edits if edit.digest.hex().startswith(digest.lower())), None)
    if chosen is None:
        everything = {edit.path for edit in project.index.saved()}
        hint = did_you_mean(path, everything, "`merkl restore` lists what was saved")
        what = f"no version {digest} of {path}" if edits else f"nothing of {path}"
        raise UsageError(f"{what} was saved", hint=hint)
    if options.dry_run:
        sys.stdout.write(f"would restore {one_line(path)} as it was on {_when(chosen)}\n")
        return
    reporter = reporter_of(options, project)
    try:
        restore(project, path, chosen, reporter)
    finally:
        reporter.close()
    if not options.quiet:
        sys.stdout.write(f"restored {one_line(path)} as it was on {_when(chosen)}\n")


def _when(edit: SavedEdit) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(edit.saved_ns / 1e9))

"""``merkl clean``: remove outputs from the workspace.

It decides which paths are meant: only those where merkl last put something.
"""

import contextlib
import itertools
import os
import sys

import click

from merkl.cli.opening import asked, loaded, paint_of, project_of, reporter_of, tell
from merkl.cli.options import Command, Options, options_of, shared, words_of
from merkl.engine.joint import once
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.replacing import clean
from merkl.engine.request import everything_placed
from merkl.errors import UsageError
from merkl.report.words import one_line


@click.command(cls=Command, short_help="Remove outputs; the store keeps them.")
@click.argument("words", nargs=-1, metavar="[TARGET…] [NAME=VALUE…]")
@click.option("--stale", is_flag=True, help="Remove what merkl placed once and no target places now.")
@shared("dry_run quiet sets")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], stale: bool) -> int:
    """Remove the outputs that TARGETs place, or all that merkl placed; the next build brings them back.

    What you edited since is saved in the store first: `merkl restore` lists it.  With TARGETs or --stale this loads the
    Merklfile, and so runs its code.
    """
    options = options_of(context)
    asked_for = words_of(context, words)
    if stale and asked_for:
        raise UsageError(
            "--stale is about what belongs to no target", hint="merkl clean --stale, without targets"
        )
    if asked_for:
        with asked(options, asked_for) as it:
            placed = it.project.index.all_placed()
            paths = [p.path for p in once(it.chosen.selection.placements) if p.path in placed]
            return _clean(options, it.project, paths)
    with project_of(options, options.existing()) as project:
        paths = _stale(options, project) if stale else sorted(project.index.all_placed())
        return _clean(options, project, paths)


def _stale(options: Options, project: Project) -> list[str]:
    placements, unasked = _everything(options, project)
    wanted = {placement.path for placement in placements}
    found = []
    for path, row in sorted(project.index.all_placed().items()):
        if path not in wanted and row.target not in unasked and not _is_function(project, row.target):
            found.append(path)
    if unasked and not options.quiet:
        names = ", ".join(sorted(unasked))
        sys.stderr.write(
            f"note: what {names} placed is kept: without values for parameters it cannot be asked\n"
        )
    return found


def _is_function(project: Project, target: str) -> bool:
    """Whether it is a function of a module that is there, called by ``merkl run``: it may well be asked for again."""
    path, colon, _ = target.rpartition(":")
    if colon:
        return os.path.isfile(os.path.join(project.root, path))
    *packages, name = target.split(".")
    paths = [os.path.join(project.root, each) for each in itertools.accumulate(packages, os.path.join)]
    return bool(paths and name) and (
        any(os.path.isfile(f"{each}.py") for each in paths) or os.path.isdir(paths[-1])
    )


def _everything(options: Options, project: Project) -> tuple[list[Placement], set[str]]:
    merklfile = loaded(options, project)
    with contextlib.redirect_stdout(sys.stderr):
        return everything_placed(project, merklfile)


def _clean(options: Options, project: Project, paths: list[str]) -> int:
    reporter = reporter_of(options, project)
    try:
        removed = clean(project, paths, reporter, dry_run=options.dry_run)
    finally:
        reporter.close()
    if not options.quiet:
        paint = paint_of(options, sys.stdout)
        word = "would remove" if options.dry_run else "removed"
        for path in removed:
            shown = os.path.relpath(os.path.join(project.root, path), options.cwd)
            sys.stdout.write(f"{paint(word, 'quiet')} {one_line(shown)}\n")
        if not removed:
            sys.stdout.write("nothing to remove\n")
    tell(options, project.take_notes())
    return 0

"""``merkl track``: keep data in the store, and a sidecar of it in git.

It decides what the words mean.
"""

import contextlib
import os
from collections.abc import Sequence

import click

from merkl.cli.hashing import hashing_shown
from merkl.cli.opening import project_of, tell
from merkl.cli.options import OfPaths, Options, options_of, shared
from merkl.cli.tracked import say
from merkl.engine.project import Project
from merkl.engine.tracking import Done, refresh, track
from merkl.errors import UsageError
from merkl.events import Note
from merkl.store.builds import register_build
from merkl.workspace import git
from merkl.workspace.listing import glob_files, is_pattern
from merkl.workspace.paths import absolute, normalise, unplaceable
from merkl.workspace.sidecar import SUFFIX, sidecar_of


@click.command(cls=OfPaths, short_help="Keep data in the store, and a sidecar in git.")
@click.argument("paths", nargs=-1, metavar="[PATH…]")
@click.option("--move", is_flag=True, help="Leave the data in the store only; merkl pull brings it back.")
@shared("dry_run quiet json rehash")
@click.pass_context
def command(context: click.Context, paths: tuple[str, ...], move: bool) -> int:
    """Put what is at each PATH into the store, write a sidecar PATH.merkl beside it, and add PATH to .gitignore.

    A PATH is a file, a directory, which is tracked as a whole, or a pattern, which means the files that match it.  One
    that is tracked already gets a new sidecar if it was changed; without PATH this is done to all that are tracked.
    The Merklfile is not loaded.
    """
    options = options_of(context)
    if move and not paths:
        raise UsageError("--move needs a PATH", hint="merkl track --move PATH")
    with project_of(options, options.existing()) as project:
        # As a build, so that nobody clears what has no sidecar yet.
        registered = contextlib.nullcontext() if options.dry_run else register_build(project.config.state)
        with registered, hashing_shown(options):
            if paths:
                done = track(project, _meant(project, options, paths), move=move, dry_run=options.dry_run)
            else:
                done = refresh(project, dry_run=options.dry_run)
        say(options, project, done)
        notes = [*project.take_notes(), *_hidden(project, done)]
        notes += [Note(f"{path} is left as it is: {why}") for path, why in done.left.items()]
        tell(options, notes)
    return 0


def _meant(project: Project, options: Options, words: Sequence[str]) -> list[str]:
    """The normalised paths that were typed, or match what was.  Sidecars that a shell's ``*`` added are left out."""
    found: list[str] = []
    for word in words:
        path = normalise(word, options.cwd, project.root)
        if os.path.lexists(absolute(path, project.root)) or not is_pattern(word):
            found.append(path)
            continue
        kept = set(git.listed(project.root) or ())
        files = glob_files(project.root, options.cwd, word).files
        matching = [each for each in files if unplaceable(each) is None and each not in kept]
        if not matching:
            known = "; git keeps what does" if files else ""
            raise UsageError(f"no file to track matches {word}{known}", hint="`ls` says what there is")
        found += matching
    data = set(found)
    return [path for path in found if not (path.endswith(SUFFIX) and path.removesuffix(SUFFIX) in data)]


def _hidden(project: Project, done: Done) -> list[Note]:
    """What git should keep, and ignores by a rule of somebody's."""
    asked = [sidecar_of(each.path) for each in done.tracked if each.change != "untracked"]
    if not asked:
        return []
    return [
        Note(
            f"git ignores the sidecar {path} too: {rule.file}:{rule.line}: {rule.pattern}",
            "take that rule back, so that git keeps the sidecar",
        )
        for path, rule in git.ignored(project.root, asked).items()
    ]

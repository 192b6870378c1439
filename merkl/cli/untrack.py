"""``merkl untrack``: give data back to whoever wants to keep it.

It decides nothing but what the words mean.
"""

import click

from merkl.cli.opening import project_of, tell
from merkl.cli.options import OfPaths, options_of, shared
from merkl.cli.tracked import say
from merkl.engine.tracking import untrack
from merkl.workspace.paths import normalise
from merkl.workspace.sidecar import SUFFIX


@click.command(cls=OfPaths, short_help="Remove the sidecar of data; the data stays.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@shared("dry_run quiet json")
@click.pass_context
def command(context: click.Context, paths: tuple[str, ...]) -> int:
    """Remove the sidecar of what is at each PATH, and its line in .gitignore.

    The data stays where it is.  Its bytes stay in the store until merkl gc finds that nothing names them.  The Merklfile
    is not loaded.
    """
    options = options_of(context)
    with project_of(options, options.existing()) as project:
        asked = [normalise(path, options.cwd, project.root).removesuffix(SUFFIX) for path in paths]
        say(options, project, untrack(project, asked, dry_run=options.dry_run))
        tell(options, project.take_notes())
    return 0

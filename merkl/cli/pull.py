"""``merkl pull``: the data that sidecars describe, and results, from store and remote to the workspace.

It decides which sidecars belong to a target; what may be replaced is the engine's to say.
"""

import click

from merkl.cli.moving import transferred
from merkl.cli.options import Command, options_of, shared, words_of
from merkl.engine.naming import named
from merkl.engine.project import Project
from merkl.engine.pull import pull
from merkl.engine.transfer import sidecars_below


@click.command(cls=Command, short_help="Bring tracked files and results from store or remote.")
@click.argument("words", nargs=-1, metavar="[PATH|TARGET…] [NAME=VALUE…]")
@click.option("--force", "overwrite", is_flag=True, help="Replace modified files too; each is saved first.")
@shared("dry_run quiet verbose json progress sets rehash", without="--force")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], overwrite: bool) -> int:
    """Bring the data at PATHs that have a sidecar, or all, to what its sidecar says, with its time; run nothing.

    What you modified is left as it is, unless --force is given: then it is saved, and `merkl restore` brings it back.
    With a TARGET all that is missing or outdated is brought first, since the Merklfile may read it; then its results are
    brought and placed, as far as some cache has them: this loads the Merklfile, and so runs its code.  Without a TARGET
    no Merklfile is loaded.

    Exit code: 0 all is there, 3 the store, the remote or a disk failed, 6 something was left or no cache has it; 2 as for build.
    """
    options = options_of(context)
    project = Project(options.existing())
    try:
        asked = named(project, words_of(context, words), options.cwd)
        code = 0
        if asked.paths or not asked.request:
            paths = sidecars_below(project, asked.paths)
            code = transferred(
                options,
                "pull",
                lambda watcher: pull(project, paths, watcher, force=overwrite, dry_run=options.dry_run),
            )
    finally:
        project.close()
    if asked.request:
        from merkl.cli.fetching import pull_request

        code = max(code, pull_request(options, asked.request, overwrite=overwrite))
    return code

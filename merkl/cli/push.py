"""``merkl push``: tracked data and results, from this machine to the remote.

It decides what a request means: a path its sidecars, a target all results that its graph has here, and nothing both of all.
"""

from collections.abc import Iterable, Iterator, Sequence

import click

from merkl.cli.moving import transferred
from merkl.cli.options import Command, Options, options_of, shared, words_of
from merkl.engine.naming import named
from merkl.engine.project import Project
from merkl.engine.push import constructions_of, last_results, push, results_of
from merkl.engine.transfer import no_remote, sidecars_below
from merkl.nodes import walk
from merkl.store.remote.upload import Result


@click.command(cls=Command, short_help="Send tracked files and results to the remote.")
@click.argument("words", nargs=-1, metavar="[PATH|TARGET…] [NAME=VALUE…]")
@shared("dry_run quiet verbose json progress sets rehash")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...]) -> int:
    """Send to the remote what it lacks: the data at PATHs that have a sidecar, and the results of TARGETs; run nothing.

    A TARGET's results are those of all its tasks, as far as they are in the store, so that a build elsewhere runs nothing.
    Without words it is all sidecars, and the results of the last build of each task; then, and for PATHs, no Merklfile is
    loaded.  With a TARGET this loads the Merklfile, and so runs its code.

    It may be interrupted and started again: what has arrived is not sent twice.

    Exit code: 0 all is there, 3 the store or the remote failed, 6 what a sidecar names is not here; 2 as for build.
    """
    options = options_of(context)
    project = Project(options.existing())
    try:
        if project.config.remote is None:
            raise no_remote()
        asked = named(project, words_of(context, words), options.cwd)
        code = 0
        if asked.paths or not asked.request:
            results = iter(()) if asked.paths else last_results(project)
            code = _push(options, project, sidecars_below(project, asked.paths), results)
    finally:
        project.close()
    return max(code, _push_request(options, list(asked.request))) if asked.request else code


def _push(options: Options, project: Project, paths: Sequence[str], results: Iterable[Result]) -> int:
    return transferred(
        options, "push", lambda watcher: push(project, paths, results, watcher, dry_run=options.dry_run)
    )


def _push_request(options: Options, words: list[str]) -> int:
    from merkl.cli.opening import asked
    from merkl.engine.fetch import tracked_of

    with asked(options, words) as it:
        selection = it.chosen.selection

        def results() -> Iterator[Result]:
            constructions, evaluated = constructions_of(it.project)
            yield from results_of(it.project, walk([*selection.roots, *evaluated]))
            yield from constructions

        return _push(options, it.project, tracked_of(it.project, selection), results())

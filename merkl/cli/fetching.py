"""What ``pull TARGET`` and ``build --pull`` have in common: the results that some cache has, placed, and no task run.

It decides what is said of the rest, and the exit code.
"""

import sys
from collections.abc import Sequence

from merkl.cli.moving import exit_code_of, transferred
from merkl.cli.opening import Asked, asked, reporter_of
from merkl.cli.options import Options
from merkl.engine.fetch import fetch, replaceable, tracked_of
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.pull import pull
from merkl.engine.standing import find_sidecars, standing
from merkl.errors import InputMissing, MerklError, MerklfileError
from merkl.report.words import harmless


def pull_paths(options: Options, project: Project, paths: Sequence[str], *, overwrite: bool = False) -> int:
    """Pull the data of sidecars; the exit code."""
    return transferred(
        options,
        "pull",
        lambda watcher: pull(project, paths, watcher, force=overwrite, dry_run=options.dry_run),
    )


def pull_request(options: Options, words: Sequence[str], *, overwrite: bool) -> int:
    """Pull the data of sidecars that a request reads or places, and its results; the exit code.

    Tracked data comes before all: the Merklfile may read it, so what the request needs cannot be known without it.
    """
    code, done = pull_tracked(options)
    try:
        return max(code, _pull_rest(options, words, done, overwrite=overwrite))
    except (InputMissing, MerklfileError) as error:
        wants_a_file = isinstance(error, InputMissing) or isinstance(error.__cause__, FileNotFoundError)
        if not (options.dry_run and done and wants_a_file):
            raise
        what = harmless(error.headline)
        sys.stderr.write(f"note: what else would be pulled is known when these are here: {what}\n")
        return code


def _pull_rest(options: Options, words: Sequence[str], done: set[str], *, overwrite: bool) -> int:
    code = 0
    with asked(options, words, runs=True) as it:
        selection = it.chosen.selection
        paths = [path for path in tracked_of(it.project, selection) if path not in done]
        if paths or (options.dry_run and not done):
            code = max(code, pull_paths(options, it.project, paths, overwrite=overwrite))
        if options.dry_run:
            return code
        rest: Sequence[Placement] = [each for each in selection.placements if not each.sidecar]
        refused: list[MerklError] = []
        if not overwrite:
            rest, refused = replaceable(it.project, rest)
        return max(code, fetch_results(options, it, rest), *(_tell(options, error) for error in refused))


def pull_tracked(options: Options) -> tuple[int, set[str]]:
    """Pull the tracked data that no node made, where something is missing or outdated; the exit code, and which.

    It is done before a Merklfile is loaded, since that may read them.  What was modified is an input like any other.
    """
    project = Project(options.existing())
    try:
        stood = standing(project, find_sidecars(project))
        wanted = [
            each for each in stood if each.state in ("missing", "outdated") and each.sidecar is not None
        ]
        paths = [each.path for each in wanted if each.sidecar is not None and each.sidecar.key is None]
        return (pull_paths(options, project, paths) if paths else 0), set(paths)
    finally:
        project.close()


def fetch_results(options: Options, it: Asked, placements: Sequence[Placement]) -> int:
    """Bring and place the results of a request as far as there are any, and say which there are not; the exit code."""
    reporter = reporter_of(options, it.project)
    try:
        missing = fetch(it.project, it.chosen.selection, reporter, placements)
    finally:
        reporter.close()
    return 0 if missing is None else _tell(options, missing)


def _tell(options: Options, error: MerklError) -> int:
    if options.json:
        from merkl.report.json import JsonLines, error_object

        JsonLines(sys.stdout).write(error_object(error))
    else:
        sys.stdout.flush()
        sys.stderr.write(harmless(str(error)) + "\n")
    return exit_code_of(error)

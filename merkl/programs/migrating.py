"""``merkl.migrate_output_files``: tracked outputs given to the calls that make them now.

It decides which placements are meant: those of this program.  What can be migrated is said in ``engine.migrating``.
"""

from collections.abc import Iterable

from merkl.engine.migrating import Migration, migrate, migrations
from merkl.engine.project import Project
from merkl.errors import UsageError
from merkl.nodes import PathLike, session


def migrate_output_files(
    paths: Iterable[PathLike] | None = None, *, dry_run: bool = False
) -> list[Migration]:
    """Let the calls that this program placed with ``>>`` have the results that lie at their paths, and run nothing.

    It is for after a refactor that changed keys and, by your word, no results.  All that was placed is meant, or what was
    placed at ``paths``.  What was done, or would be, is returned, with what was refused and why.

    Raises:
        UsageError: nothing was placed at one of the paths, or this is code of a task.
    """
    current = session()
    if not isinstance(current, Project):
        raise UsageError(
            "migrate_output_files was called inside a task", hint="call it where the tasks are called"
        )
    chosen = [each for each in current.placements if each.sidecar]
    if paths is not None:
        wanted = [current.path(path) for path in paths]
        there = {each.path for each in chosen}
        if missing := [path for path in wanted if path not in there]:
            raise UsageError(
                f"nothing was placed with >> at {missing[0]}",
                hint="call the tasks and place their Futures first",
            )
        chosen = [each for each in chosen if each.path in wanted]
    return migrations(current, chosen) if dry_run else migrate(current, chosen)

"""``merkl gc --remote``: free space in the remote.

It decides which ages may be asked for, and what of git counts; what may go then is the remote's own to say.
"""

import json
import sys
from collections.abc import Sequence
from typing import Final

from merkl.cli.opening import project_of, tell
from merkl.cli.options import Options
from merkl.engine.roots import roots_of, roots_of_branches
from merkl.engine.transfer import no_remote
from merkl.errors import UsageError
from merkl.events import Note
from merkl.report.words import one_line, plural, size
from merkl.store.remote.collect import DAY_S, GRACE_S, Cleared, KeepThere, collect_remote

KEEP_DAYS: Final = 30.0


def clear_remote(
    options: Options, days: float | None, branches: Sequence[str], *, skip_unreadable: bool
) -> int:
    """Remove from the remote what was not pushed for so many days and is not wanted; the exit code."""
    if days is not None and days * DAY_S < GRACE_S:
        raise UsageError(
            f"--keep-days of a remote is {GRACE_S / DAY_S:.0f} at least",
            hint="somebody may be pushing results of what is there now",
        )
    with project_of(options, options.existing()) as project:
        settings = project.config.remote
        if settings is None or project.remote is None:
            raise no_remote()
        roots = (
            roots_of_branches(project, branches, skip_unreadable=skip_unreadable)
            if branches
            else roots_of(project, skip_unreadable=skip_unreadable)
        )
        keep = KeepThere(
            namespace=settings.namespace,
            keys=frozenset(roots.keys),
            digests=frozenset(roots.digests),
            trees=frozenset(roots.trees),
            days=KEEP_DAYS if days is None else days,
            loose=days is not None,
            skip_unreadable=skip_unreadable,
        )
        done = collect_remote(project.remote, keep, dry_run=options.dry_run)
        if options.json:
            sys.stdout.write(json.dumps(_object(done)) + "\n")
        elif not options.quiet:
            where = one_line(project.remote.url)
            sys.stdout.write(f"{_line(done, dry_run=options.dry_run)} in {where}\n")
        skipped = [
            Note(f"passed over: {each}", "what it names may have been removed") for each in roots.unread
        ]
        tell(options, [*skipped, *project.take_notes(), *project.remote.take_notes()])
    return 0


def _line(done: Cleared, *, dry_run: bool) -> str:
    would = "would remove" if dry_run else "removed"
    what = f"{plural(done.records, 'record')} and {plural(done.contents, 'blob')}, {size(done.freed)}"
    return f"{would} {what}; {size(done.left)} left"


def _object(done: Cleared) -> dict[str, object]:
    return {
        "version": 1, "records": done.records, "blobs": done.contents, "freed": done.freed, "left": done.left,
    }  # fmt: skip

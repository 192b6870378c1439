"""``merkl gc``: free space in the store.

It decides what a project wants to keep: what made the outputs that are in place now, and every saved edit.
"""

import json
import re
import sys

import click

from merkl.cli.opening import project_of, tell
from merkl.cli.options import Command, options_of, shared
from merkl.config import size_of
from merkl.engine.project import Project
from merkl.errors import UsageError
from merkl.report.words import plural, size
from merkl.store.collect import Keep, collect

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([hdw]?)")
_DAYS = {"h": 1 / 24, "d": 1.0, "": 1.0, "w": 7.0}


@click.command(cls=Command, short_help="Free space in the store.")
@click.option("--older-than", metavar="AGE", help="Forget results not used for AGE: 30d, 12h, 2w.")
@click.option(
    "--max-size", metavar="SIZE", help="Forget results until the store has at most SIZE: 500MB, 10G."
)
@shared("dry_run quiet json")
@click.pass_context
def command(context: click.Context, older_than: str | None, max_size: str | None) -> int:
    """Remove bytes that no result needs, and with AGE or SIZE old results too.

    The results of outputs that are in place stay, and so does every file of yours that was saved.  Builds may go on
    meanwhile; what was stored within the last hour stays.
    """
    options = options_of(context)
    days = None if older_than is None else days_of(older_than)
    most = None if max_size is None else bytes_of(max_size)
    with project_of(options, options.existing()) as project:
        keep = _keep(project, days, most)
        done = collect(project.store, keep, state_dirs=[project.config.state], dry_run=options.dry_run)
        if options.json:
            item = {
                "version": 1,
                "records": done.records,
                "blobs": done.blobs,
                "freed": done.freed,
                "left": done.left,
            }
            sys.stdout.write(json.dumps(item) + "\n")
        elif not options.quiet:
            would = "would remove" if options.dry_run else "removed"
            what = f"{plural(done.records, 'result')} and {plural(done.blobs, 'blob')}, {size(done.freed)}"
            sys.stdout.write(f"{would} {what}; {size(done.left)} left\n")
        tell(options, project.take_notes())
    return 0


def _keep(project: Project, days: float | None, most: int | None) -> Keep:
    placed = project.index.all_placed().values()
    return Keep(
        keys=frozenset(each.key for each in placed),
        digests=frozenset(edit.digest for edit in project.index.saved()),
        older_than_days=days,
        max_size=most,
    )


def days_of(text: str) -> float:
    """An age in days: ``30d``, ``12h``, ``2w``, and a plain number.

    Raises:
        UsageError: it is none.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--older-than takes an age such as 30d, 12h or 2w, not {text!r}")
    return float(match[1]) * _DAYS[match[2]]


def bytes_of(text: str) -> int:
    """A size in bytes: ``500MB``, ``10G``, ``1.5GiB``, and a plain number.

    Raises:
        UsageError: it is none.
    """
    count = size_of(text)
    if count is None:
        raise UsageError(f"--max-size takes a size such as 500MB or 10G, not {text!r}")
    return count

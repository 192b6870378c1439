"""``merkl gc``: free space in the store.

It decides how old is old, and what a store that several projects share means for it; what this project wants to keep is
the engine's to say.
"""

import json
import os
import re
import sys
import time
from typing import Final

import click

from merkl.cli.opening import project_of, tell
from merkl.cli.options import Command, options_of, shared
from merkl.engine.project import Project
from merkl.engine.roots import Roots, roots_of
from merkl.errors import UsageError
from merkl.events import Note
from merkl.report.words import plural, size
from merkl.sizes import size_of
from merkl.store.choice import DAY_S, Keep, readers
from merkl.store.collect import Collected, collect

KEEP_DAYS: Final = 30.0
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([hdw]?)")
_DAYS = {"h": 1 / 24, "d": 1.0, "": 1.0, "w": 7.0}


@click.command(cls=Command, short_help="Free space in the store.")
@click.option(
    "--keep-days", metavar="DAYS", help="Keep results used in the last DAYS: 30, 12h, 2w.  [default: 30]"
)
@click.option(
    "--max-size", metavar="SIZE", help="Forget results until the store has at most SIZE: 500MB, 10G."
)
@click.option(
    "--saved-edits", is_flag=True, help="Forget edits of yours, too, that were saved before these days."
)
@click.option("--skip-unreadable", is_flag=True, help="Go on although a sidecar cannot be read.")
@click.option("--remote", is_flag=True, help="Free space in the remote instead.")
@click.option(
    "--branch",
    "branches",
    metavar="NAME",
    multiple=True,
    help="With --remote: of git, keep what NAME tracks only.",
)
@shared("dry_run quiet json")
@click.pass_context
def command(
    context: click.Context,
    keep_days: str | None,
    max_size: str | None,
    saved_edits: bool,
    skip_unreadable: bool,
    remote: bool,
    branches: tuple[str, ...],
) -> int:
    """Remove results that nothing here needs and bytes of no result, if they were not used for DAYS.

    What made the outputs that are in place stays, with what that was made from, and so does what sidecars name, here and
    in git's branches, tags and stashes, and every file of yours that was saved.  With SIZE alone results go whatever
    their age, until that is reached.  Builds may go on meanwhile; what was stored within the last hour stays.

    In a store that is not this project's alone, nobody knows what the others need: there results go by age and size
    only, and bytes without a result only if DAYS are given.

    With --remote it is the remote's results that go, if they were not pushed for DAYS and nothing that git tracks was
    made from them; what is younger than a week stays.  Others may push and pull meanwhile.
    """
    options = options_of(context)
    if remote or branches:
        from merkl.cli.gc_remote import clear_remote

        if not remote or max_size is not None or saved_edits:
            given = "--branch" if not remote else "--max-size" if max_size is not None else "--saved-edits"
            raise UsageError(
                f"{given} is {'for' if not remote else 'not for'} --remote", hint="see `merkl gc --help`"
            )
        days = None if keep_days is None else days_of(keep_days)
        return clear_remote(options, days, branches, skip_unreadable=skip_unreadable)
    days = _days(keep_days, max_size)
    most = None if max_size is None else bytes_of(max_size)
    with project_of(options, options.existing()) as project:
        if saved_edits and not options.dry_run:
            project.index.forget_saved(time.time_ns() - int((KEEP_DAYS if days is None else days) * 86_400e9))
        roots = roots_of(project, skip_unreadable=skip_unreadable)
        keep = _keep(project, roots, days, most, asked=keep_days is not None)
        done = collect(project.store, keep, state_dirs=[project.config.state], dry_run=options.dry_run)
        if options.json:
            sys.stdout.write(json.dumps(_object(done)) + "\n")
        elif not options.quiet:
            sys.stdout.write(_line(done, dry_run=options.dry_run) + "\n")
        skipped = [
            Note(f"passed over: {each}", "what it names may have been removed") for each in roots.unread
        ]
        tell(options, [*skipped, *project.take_notes()])
    return 0


def _days(keep_days: str | None, max_size: str | None) -> float | None:
    """The age from which results go; None if they go by size alone."""
    if keep_days is not None:
        return days_of(keep_days)
    return KEEP_DAYS if max_size is None else None


def _keep(project: Project, roots: Roots, days: float | None, most: int | None, *, asked: bool) -> Keep:
    """``asked`` says whether the age was given by the user."""
    # Bytes of no result may be data that an earlier commit tracks, of which the store has the only copy.
    loose_s = (KEEP_DAYS if days is None else days) * DAY_S
    if is_shared(project):
        loose_s = days * DAY_S if asked and days is not None else float("inf")
    return Keep(
        keys=frozenset(roots.keys),
        digests=frozenset(roots.digests),
        trees=frozenset(roots.trees),
        older_than_days=days,
        max_size=most,
        loose_s=loose_s,
    )


def is_shared(project: Project) -> bool:
    """Whether other projects may use the store: it is not in this one's state directory, or they have read from it."""
    state = os.path.realpath(project.config.state)
    if not (os.path.realpath(project.store.directory) + os.sep).startswith(state + os.sep):
        return True
    return any(
        not os.path.realpath(each).startswith(state + os.sep) and os.path.isdir(each)
        for each in readers(project.store)
    )


def _line(done: Collected, *, dry_run: bool) -> str:
    would = "would remove" if dry_run else "removed"
    what = f"{plural(done.records, 'result')} and {plural(done.blobs, 'blob')}, {size(done.freed)}"
    aside = f", and {plural(done.aside, 'file')} set aside as damaged long ago" if done.aside else ""
    return f"{would} {what}{aside}; {size(done.left)} left"


def _object(done: Collected) -> dict[str, object]:
    return {
        "version": 1, "records": done.records, "blobs": done.blobs, "freed": done.freed, "left": done.left,
        "aside": done.aside,
    }  # fmt: skip


def days_of(text: str) -> float:
    """An age in days: ``30d``, ``12h``, ``2w``, and a plain number.

    Raises:
        UsageError: it is none.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--keep-days takes an age such as 30, 12h or 2w, not {text!r}")
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

"""``merkl cache``: what the store holds, by task and by age."""

import json
import os
import sqlite3
import sys
from collections.abc import Iterable
from typing import Final

import click

from merkl.cli.cached import show
from merkl.cli.opening import project_of, tell
from merkl.cli.options import Command, Options, options_of, shared
from merkl.errors import UsageError
from merkl.report.words import duration, one_line, plural, size
from merkl.store.caches import SqliteCache
from merkl.store.census import AGES, Census, Share, count
from merkl.store.find import find

_MOST: Final = 20  # Tasks that are listed without -v.


@click.command(cls=Command, short_help="Say what the store holds.")
@click.argument("what", required=False, type=click.Choice(["ls"]), metavar="[ls]")
@click.option("--where", metavar="QUESTION", help="With ls: what must be true of a record.")
@click.option("--sort", metavar="FIELD", help="With ls: the field to go by; -FIELD for the largest first.")
@click.option("--limit", metavar="N", type=click.IntRange(min=0), help="With ls: at most so many records.")
@click.option("--of", "path", metavar="FILE", help="The file of a SqliteCache, instead of the store.")
@shared("verbose json")
@click.pass_context
def command(
    context: click.Context,
    what: str | None,
    where: str | None,
    sort: str | None,
    limit: int | None,
    path: str | None,
) -> int:
    """Say how much the store holds, of which tasks, and when it was last used.

    Bytes that several tasks need count for each of them, and once in the whole.  Without -v only the largest tasks are
    listed.

    With ls, list the records themselves, the latest first: when each task ran, on which arguments, for how long, and what
    it said of it.  --where "args.size = 128 and metadata.loss < 0.2" asks for some of them.
    """
    options = options_of(context)
    if what is None and (where, sort, limit) != (None, None, None):
        raise UsageError("--where, --sort and --limit are of ls", hint="merkl cache ls --where …")
    if path is not None:
        if what is not None:
            raise UsageError("ls lists the records of the store", hint="leave out --of, or ls")
        return _show_file(options, path)
    if what is not None:
        with project_of(options, options.existing()) as project:
            records = find(project.store, where or "", sort=sort or "", limit=limit)
            show(records, as_json=bool(options.json), whole=bool(options.verbose))
            tell(options, project.take_notes())
        return 0
    with project_of(options, options.existing()) as project:
        found = count(project.store)
        if options.json:
            sys.stdout.write(json.dumps(_object(found, project.store.directory)) + "\n")
        else:
            most = None if options.verbose else _MOST
            sys.stdout.write("\n".join(_lines(found, project.store.directory, most)) + "\n")
        tell(options, project.take_notes())
    return 0


def _show_file(options: Options, path: str) -> int:
    """What a ``SqliteCache`` holds, by function."""
    where = os.path.join(options.cwd, path)
    if not os.path.isfile(where):
        raise UsageError(f"there is no {path}", hint="the file that SqliteCache(…) was given")
    try:
        usage = SqliteCache(where).usage()
    except sqlite3.Error as error:
        raise UsageError(f"{path} is not the file of a SqliteCache: {error}") from None
    if options.json:
        tasks = [{"task": task, "records": each.results, "bytes": each.bytes} for task, each in usage.items()]
        sys.stdout.write(json.dumps({"version": 1, "file": where, "tasks": tasks}) + "\n")
    else:
        shown = [
            (one_line(task), Share(records=each.results, bytes=each.bytes)) for task, each in usage.items()
        ]
        sys.stdout.write("\n".join(_table("task", shown)) + "\n")
    return 0


def _lines(found: Census, directory: str, most: int | None) -> list[str]:
    whole = found.whole
    lines = [f"{one_line(directory)}: {_holds(whole)}"]
    if found.tasks:
        shown = list(found.tasks.items())[:most]
        lines += ["", *_table("task", [(one_line(task), share) for task, share in shown])]
        if len(shown) < len(found.tasks):
            lines.append(f"and {plural(len(found.tasks) - len(shown), 'more task')}: -v lists them")
        lines += ["", *_table("last used", list(zip(_ages(), found.ages, strict=True)))]
    rest = []
    if found.unnamed.blobs:
        rest.append(f"{plural(found.unnamed.blobs, 'blob')}, {size(found.unnamed.bytes)}: of no result")
    if found.elsewhere:
        rest.append(f"{plural(found.elsewhere, 'blob')} that results need: not here")
    if found.aside.blobs:
        rest.append(f"{plural(found.aside.blobs, 'file')}, {size(found.aside.bytes)}: set aside as damaged")
    return [*lines, *([""] if rest else []), *rest]


def _holds(share: Share) -> str:
    return f"{plural(share.records, 'result')} and {plural(share.blobs, 'blob')}, {size(share.bytes)}"


def _ages() -> list[str]:
    names = [f"within {plural(days, 'day')}" for days in AGES]
    return [*names, "before that"]


def _table(title: str, rows: Iterable[tuple[str, Share]]) -> list[str]:
    """Rows with their columns under each other, numbers to the right."""
    head = (title, "results", "bytes", "took")
    cells = [head] + [
        (name, str(share.records), size(share.bytes), duration(share.seconds))
        for name, share in rows
        if share.records
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    ]  # fmt: skip


def _object(found: Census, directory: str) -> dict[str, object]:
    ages: list[int | None] = [*AGES, None]
    return {
        "version": 1, "directory": directory, **_share(found.whole),
        "tasks": [{"task": task, **_share(share)} for task, share in found.tasks.items()],
        "ages": [{"days": days, **_share(share)} for days, share in zip(ages, found.ages, strict=True)],
        "unnamed": {"blobs": found.unnamed.blobs, "bytes": found.unnamed.bytes},
        "aside": {"files": found.aside.blobs, "bytes": found.aside.bytes},
        "elsewhere": found.elsewhere,
    }  # fmt: skip


def _share(share: Share) -> dict[str, object]:
    return {"records": share.records, "blobs": share.blobs, "bytes": share.bytes, "seconds": share.seconds}

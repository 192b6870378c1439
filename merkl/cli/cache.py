"""``merkl cache``: what the store holds, by task and by age."""

import json
import sys
from collections.abc import Iterable
from typing import Final

import click

from merkl.cli.opening import project_of, tell
from merkl.cli.options import Command, options_of, shared
from merkl.report.words import duration, one_line, plural, size
from merkl.store.census import AGES, Census, Share, count

_MOST: Final = 20  # Tasks that are listed without -v.


@click.command(cls=Command, short_help="Say what the store holds.")
@shared("verbose json")
@click.pass_context
def command(context: click.Context) -> int:
    """Say how much the store holds, of which tasks, and when it was last used.

    Bytes that several tasks need count for each of them, and once in the whole.  Without -v only the largest tasks are
    listed.
    """
    options = options_of(context)
    with project_of(options, options.existing()) as project:
        found = count(project.store)
        if options.json:
            sys.stdout.write(json.dumps(_object(found, project.store.directory)) + "\n")
        else:
            most = None if options.verbose else _MOST
            sys.stdout.write("\n".join(_lines(found, project.store.directory, most)) + "\n")
        tell(options, project.take_notes())
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

"""``merkl fsck``: every byte of the store compared with its name."""

import json
import sys
from collections.abc import Callable

import click

from merkl.cli.opening import project_of, tell
from merkl.cli.options import Command, Options, options_of, shared
from merkl.report.words import one_line, plural, size
from merkl.store.check import Findings, check


@click.command(cls=Command, short_help="Check every byte of the store.")
@click.option("--repair", is_flag=True, help="Remove leftovers, and results whose bytes are gone.")
@shared("quiet json")
@click.pass_context
def command(context: click.Context, repair: bool) -> int:
    """Read everything in the store and compare it with its digest.

    Damaged bytes are set aside in any case, and are made again when they are needed.  Exit code: 0 if nothing was wrong,
    3 otherwise.
    """
    options = options_of(context)
    with project_of(options, options.existing()) as project:
        found = check(project.store, repair=repair, progress=_progress(options))
        if options.json:
            sys.stdout.write(json.dumps(_object(found)) + "\n")
        elif not options.quiet or not found.is_clean:
            sys.stdout.write("\n".join(_lines(found, repair)) + "\n")
        tell(options, project.take_notes())
    return 0 if found.is_clean else 3


def _progress(options: Options) -> Callable[[int, int], object] | None:
    """A counter on one line of a terminal."""
    if options.quiet or options.json or options.progress != "auto" or not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            sys.stderr.write(f"\r{done}/{total}" + ("\n" if done == total else ""))
            sys.stderr.flush()

    return show


def _lines(found: Findings, repair: bool) -> list[str]:
    lines = []
    if found.database_damaged:
        lines.append("the database was damaged and has been rebuilt")
    lines += [f"damaged, set aside: {digest.hex()}" for digest in found.bad]
    if found.bad_records:
        lines.append(f"{plural(found.bad_records, 'damaged record')} removed")
    for each in found.incomplete:
        missing = ", ".join(digest.short for digest in each.missing)
        lines.append(f"{'removed ' if repair else ''}incomplete: {one_line(each.task)} lacks {missing}")
    if found.stray:
        hint = "" if repair else "; `merkl fsck --repair` removes them"
        lines.append(f"{plural(len(found.stray), 'leftover file')}{' removed' if repair else ''}{hint}")
    if found.orphans:
        lines.append(
            f"{plural(len(found.orphans), 'blob')} that no result needs; `merkl gc` removes them in time"
        )
    verdict = "nothing is wrong" if found.is_clean else "what was damaged is made again when it is needed"
    return [*lines, f"{plural(found.blobs, 'blob')}, {size(found.bytes)}: {verdict}"]


def _object(found: Findings) -> dict[str, object]:
    return {
        "version": 1, "clean": found.is_clean, "blobs": found.blobs, "bytes": found.bytes,
        "bad": [digest.hex() for digest in found.bad], "bad_records": found.bad_records,
        "incomplete": [
            {"task": each.task, "key": each.key.hex(), "missing": [digest.hex() for digest in each.missing]}
            for each in found.incomplete
        ],
        "orphans": len(found.orphans), "stray": found.stray, "database_damaged": found.database_damaged,
    }  # fmt: skip

"""``merkl fsck``: every byte of the store compared with its name, and of the remote if that is asked for."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from merkl.cli.opening import project_of, tell
from merkl.cli.options import Command, Options, options_of, shared
from merkl.engine.lost import Lost, lost_data
from merkl.engine.project import Project
from merkl.errors import ConfigError, StoreError, UsageError
from merkl.events import Note
from merkl.report.words import one_line, plural, size
from merkl.store.check import Findings, check

if TYPE_CHECKING:  # Only a remote needs it.
    from merkl.store.remote.soundness import RemoteFindings


@click.command(cls=Command, short_help="Check every byte of the store.")
@click.option("--repair", is_flag=True, help="Remove leftovers, and results whose bytes are gone.")
@click.option("--remote", is_flag=True, help="Read everything in the remote too.")
@click.option("--sample", metavar="PERCENT", help="With --remote: read about so much of it, such as 5%.")
@shared("quiet json")
@click.pass_context
def command(context: click.Context, repair: bool, remote: bool, sample: str | None) -> int:
    """Read everything in the store and compare it with its digest.

    Damaged bytes are set aside in any case.  They come again from the remote, if there is one that has them; else they
    are made again when they are needed; tracked data that nobody can make is named.  With --remote, damaged contents
    there are set aside too, so that the next push of what they belong to sends them again.  With --sample it is another
    part of the remote each time.  Exit code: 0 if nothing was wrong, 3 otherwise.
    """
    options = options_of(context)
    share = 1.0 if sample is None else share_of(sample)
    if sample is not None and not remote:
        raise UsageError("--sample is for --remote", hint="the store of this machine is always read whole")
    with project_of(options, options.existing()) as project:
        if remote and project.remote is None:
            raise ConfigError(
                "the project has no remote", hint="`remote:` in merkl.yaml names one, or MERKL_REMOTE"
            )
        found = check(project.store, repair=repair, progress=_progress(options), remote=project.remote)
        there = _inspected(project, options, share) if remote else None
        lost = _lost(project, found)
        clean = found.is_clean and not lost and (there is None or there.is_clean)
        if options.json:
            sys.stdout.write(json.dumps(_object(found, there, lost)) + "\n")
        elif not options.quiet or not clean:
            lines = [
                *_lines(found, repair, lost),
                *(_remote_lines(there, project) if there is not None else ()),
            ]
            sys.stdout.write("\n".join(lines) + "\n")
        notes = project.take_notes()
        if found.unasked:
            notes.append(Note(f"the remote was not asked for what is missing: {found.unasked}", ""))
        tell(options, notes)
    return 0 if clean else 3


def _lost(project: Project, found: Findings) -> list[Lost]:
    """The tracked data of which the store has no whole copy, nor the remote, as far as that could be asked."""
    damaged = {*found.bad, *(digest for each in found.incomplete for digest in each.missing)}
    lost = lost_data(project, damaged)
    if not lost or project.remote is None or found.unasked:
        return lost
    try:
        there = project.remote.has({digest for each in lost for digest in each.missing} - set(found.bad))
    except StoreError as error:
        found.unasked = error.headline
        return lost
    return [each for each in lost if not there.issuperset(each.missing)]


def share_of(text: str) -> float:
    """A part of a whole: ``5%`` is 0.05.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)\s*%?", text.strip())
    if match is None or not 0 < float(match[1]) <= 100:
        raise UsageError(f"--sample takes a percentage such as 5%, not {text!r}")
    return float(match[1]) / 100


def _inspected(project: Project, options: Options, share: float) -> "RemoteFindings":
    from merkl.store.remote.soundness import inspect

    assert project.remote is not None
    return inspect(project.remote, share=share, progress=_progress(options))


def _progress(options: Options) -> Callable[[int, int], object] | None:
    """A counter on one line of a terminal."""
    if options.quiet or options.json or options.progress != "auto" or not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            sys.stderr.write(f"\r{done}/{total}" + ("\n" if done == total else ""))
            sys.stderr.flush()

    return show


def _lines(found: Findings, repair: bool, lost: Sequence[Lost]) -> list[str]:
    lines = []
    if found.database_damaged:
        lines.append("the database was damaged and has been rebuilt")
    again = set(found.fetched)
    for digest in found.bad:
        fetched = ", fetched again from the remote" if digest in again else ""
        lines.append(f"damaged, set aside{fetched}: {digest.hex()}")
    if found.bad_records:
        lines.append(f"{plural(found.bad_records, 'damaged record')} removed")
    for each in found.incomplete:
        missing = ", ".join(digest.short for digest in each.missing)
        done = "removed " if repair and not found.unasked else ""
        lines.append(f"{done}incomplete: {one_line(each.task)} lacks {missing}")
    if found.stray:
        hint = "" if repair else "; `merkl fsck --repair` removes them"
        lines.append(f"{plural(len(found.stray), 'leftover file')}{' removed' if repair else ''}{hint}")
    if found.orphans:
        kept = "tracked data and saved edits stay, `merkl gc` removes the rest in time"
        lines.append(f"{plural(len(found.orphans), 'blob')} that no result needs: {kept}")
    if found.elsewhere:
        lines.append(f"{plural(found.elsewhere, 'result')} with bytes that are only in the remote")
    for data in lost:
        lacks = ", ".join(digest.short for digest in data.missing)
        lines.append(f"damaged or gone: the tracked {one_line(data.path)} lacks {lacks}")
        lines += [f"  set aside: {one_line(file)}" for file in data.aside]
        lines.append(f"  hint: {one_line(data.hint)}")
    verdict = "nothing is wrong" if found.is_clean else "what was damaged is made again when it is needed"
    if not found.is_clean and set(found.bad) == again and not (found.incomplete or found.bad_records):
        verdict = "what was damaged is whole again"
    if lost:
        verdict = f"no task can make {plural(len(lost), 'tracked path')} again, see above"
    return [*lines, f"{plural(found.blobs, 'blob')}, {size(found.bytes)}: {verdict}"]


def _remote_lines(there: "RemoteFindings", project: Project) -> list[str]:
    assert project.remote is not None
    aside = set(there.aside)
    lines = [f"damaged in the remote{', set aside' if name in aside else ''}: {name}" for name in there.bad]
    for name, missing in there.lacking.items():
        lines.append(
            f"incomplete in the remote: {name} lacks {', '.join(digest.short for digest in missing)}"
        )
    verdict = "nothing is wrong" if there.is_clean else "`merkl push` of what belongs there sends it again"
    objects = plural(there.total, "object")
    looked = objects if there.objects == there.total else f"{there.objects:,} of {objects}"
    where = f"{looked} in {one_line(project.remote.url)}"
    return [*lines, f"{where}, {size(there.bytes)}: {verdict}"]


def _object(found: Findings, there: "RemoteFindings | None", lost: Sequence[Lost]) -> dict[str, object]:
    clean = found.is_clean and not lost and (there is None or there.is_clean)
    remote = {} if there is None else {
        "remote": {
            "objects": there.objects, "total": there.total, "bytes": there.bytes, "bad": there.bad, "aside": there.aside,
            "incomplete": {name: [each.hex() for each in missing] for name, missing in there.lacking.items()},
        }
    }  # fmt: skip
    return {
        "version": 1, "clean": clean, "blobs": found.blobs, "bytes": found.bytes,
        "bad": [digest.hex() for digest in found.bad], "bad_records": found.bad_records,
        "fetched": [digest.hex() for digest in found.fetched], "elsewhere": found.elsewhere,
        "incomplete": [
            {"task": each.task, "key": each.key.hex(), "missing": [digest.hex() for digest in each.missing]}
            for each in found.incomplete
        ],
        "lost": [
            {"path": each.path, "missing": [digest.hex() for digest in each.missing], "aside": each.aside, "hint": each.hint}
            for each in lost
        ],
        "orphans": len(found.orphans), "stray": found.stray, "database_damaged": found.database_damaged, **remote,
    }  # fmt: skip

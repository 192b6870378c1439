"""``merkl merge-sidecar``: what git calls to merge two versions of a sidecar.

It decides how a conflict is explained; what is one is the engine's.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from merkl.cli.options import Command, options_of, shared
from merkl.engine.merging import Conflict, merge
from merkl.errors import UsageError
from merkl.report.words import harmless, size, typed
from merkl.workspace.sidecar import SUFFIX, Sidecar


@click.command(cls=Command, hidden=True, short_help="Merge a sidecar, for git.")
@click.argument("base")
@click.argument("ours")
@click.argument("theirs")
@click.argument("path")
@shared()
@click.pass_context
def command(context: click.Context, base: str, ours: str, theirs: str, path: str) -> int:
    """Merge the sidecar at PATH: git's merge driver, which merkl init --git installs.

    BASE, OURS and THEIRS are files with the three versions; the merge is written to OURS.  Exit code: 0 merged, 1 a
    conflict, which is written there too and explained.
    """
    cwd = options_of(context).cwd
    try:
        versions = [Path(cwd, each).read_bytes() for each in (base, ours, theirs)]
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be read: {error.strerror}", hint="git calls this"
        ) from None
    merged = merge(versions[0], versions[1], versions[2], os.path.join(cwd, path))
    Path(cwd, ours).write_bytes(merged.data if isinstance(merged, Conflict) else merged)
    if not isinstance(merged, Conflict):
        return 0
    sys.stderr.write(harmless("\n".join(_explained(path, merged))) + "\n")
    return 1


def _explained(path: str, conflict: Conflict) -> list[str]:
    side, data = typed(path), typed(path.removesuffix(SUFFIX))
    why = f"; {conflict.why}" if conflict.why else ""
    lines = [f"{path}: both sides changed the data, each in its own way{why}"]
    lines += [f"  ours:   {_described(conflict.ours)}", f"  theirs: {_described(conflict.theirs)}"]
    made = conflict.ours is not None and conflict.theirs is not None and conflict.ours.key is not None
    if made:
        lines.append(f"  hint: `merkl build` makes what the merged code says, then: git add {side}")
    lines.append(
        f"  hint: one side: git checkout --ours {side}  (or --theirs), merkl pull {data}, git add {side}"
    )
    if not made:  # What a task makes is nothing to track.
        lines.append(f"  hint: something else: put it at {data}, then: merkl track {data}")
    return lines


def _described(side: Sidecar | None) -> str:
    if side is None:
        return "no sidecar"
    when = datetime.fromtimestamp(side.modified_ns // 1_000_000_000, UTC)
    maker = f", made by {side.task}" if side.key is not None else ""
    return f"{side.digest.short}, {size(side.size)}, of {when:%Y-%m-%d %H:%M:%S} UTC{maker}"

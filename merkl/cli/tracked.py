"""How ``track`` and ``untrack`` say what they did.

It decides only wording.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Final

from merkl.cli.options import Options
from merkl.engine.project import Project
from merkl.engine.tracking import Done, Tracked
from merkl.report.words import one_line, plural, size, typed
from merkl.workspace import git
from merkl.workspace.paths import absolute
from merkl.workspace.sidecar import sidecar_of

_MOST_NAMED: Final = 5  # So many paths are spelt out in a hint.


def say(options: Options, project: Project, done: Done) -> None:
    """Print what was done, and what is left to do for git."""
    if options.json:
        for each in done.tracked:
            sys.stdout.write(json.dumps(_as_object(each, done)) + "\n")
        return
    if options.quiet:
        return
    for each in done.tracked:
        sys.stdout.write(_line(options, project, each) + "\n")
    for file, paths in done.ignored.items():
        sys.stdout.write(f"{_ignoring(options, project, file, paths, done)}\n")
    if not done.tracked and not done.left:
        sys.stdout.write("nothing that is tracked was changed\n")
    if not options.dry_run:
        _say_what_to_add(options, project, done)


def _say_what_to_add(options: Options, project: Project, done: Done) -> None:
    """Name the command that tells git: of what is there, or was known to git."""
    changed = [sidecar_of(each.path) for each in done.tracked if each.change != "unchanged"]
    kept = git.listed(project.root) if changed else None
    if kept is None:
        return
    known = set(kept)
    files = [
        file
        for file in (*changed, *done.ignored)
        if file in known or os.path.lexists(absolute(file, project.root))
    ]
    words = [typed(_shown(options, project, file)) for file in files]
    if words:
        sys.stdout.write(f"  hint: git add {' '.join(words) if len(words) <= _MOST_NAMED else '--all'}\n")


def _line(options: Options, project: Project, each: Tracked) -> str:
    path = one_line(_shown(options, project, each.path))
    if options.dry_run:
        verb = {"tracked": "track", "updated": "update", "untracked": "untrack"}.get(each.change)
        return f"would {verb} {path}" if verb else f"unchanged {path}"
    many = f" ({size(each.sidecar.size)})" if each.sidecar is not None and each.change != "untracked" else ""
    where = ", now in the store only" if each.moved else ""
    return f"{each.change} {path}{many}{where}"


def _ignoring(options: Options, project: Project, file: str, paths: Sequence[str], done: Done) -> str:
    gone = any(each.change == "untracked" for each in done.tracked)
    verb = "no longer ignores" if gone else "now ignores"
    what = one_line(_shown(options, project, paths[0])) if len(paths) == 1 else plural(len(paths), "path")
    return f"git {verb} {what}: see {one_line(_shown(options, project, file))}"


def _shown(options: Options, project: Project, path: str) -> str:
    """A path as it would be typed here."""
    return os.path.relpath(absolute(path, project.root), options.cwd)


def _as_object(each: Tracked, done: Done) -> dict[str, object]:
    file = next((file for file, paths in done.ignored.items() if each.path in paths), None)
    side = each.sidecar
    known = {} if side is None else {"kind": side.kind, "digest": str(side.digest), "size": side.size}
    return {
        "event": "track", "path": each.path, "change": each.change, **known, "moved": each.moved, "gitignore": file,
    }  # fmt: skip

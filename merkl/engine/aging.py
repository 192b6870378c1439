"""Which outputs are stale, as far as can be said without a Merklfile: by what the last build remembered (``lineage``).

It decides which of the files that an output was made from are what they were.  It needs nothing that makes or judges
nodes, which would take longer to import than to ask.

The invariant: an output is called stale only if some file that its last build named or found is no longer what it was.
"""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from merkl.engine.project import Project
from merkl.errors import InputMissing


def aged(project: Project, paths: Iterable[str]) -> dict[str, str]:
    """Which of ``paths`` were made from files that have changed since, and in a few words which file that is."""
    why: dict[str, str] = {}
    changed: dict[tuple[Any, ...], str] = {}
    for value, made in project.index.lineages.of(paths).values():
        try:
            lineage = json.loads(value)
            reasons = _reasons(project, lineage, changed)
            why.update((path, reasons[node]) for path, node in made.items() if reasons[node])
        except (ValueError, TypeError, KeyError, IndexError):
            continue  # A damaged page: it is only memory, and the next build writes it anew.
    return why


def _reasons(project: Project, lineage: Mapping[str, Any], asked: dict[tuple[Any, ...], str]) -> list[str]:
    """For each node of a lineage the first change of a file that it was made from, or nothing."""
    sources = [tuple(source) for source in lineage["sources"]]
    new = sorted(
        {source for source in sources if source not in asked}, key=lambda source: os.fsencode(source[0])
    )
    project.index.expect([source[0] for source in new])
    for source in new:
        asked[source] = _change(project, *source)
    changes = [asked[source] for source in sources]
    reasons: list[str] = []
    for own, deps in lineage["nodes"]:
        here = (changes[number] for number in own)
        reasons.append(next(filter(None, (*here, *(reasons[number] for number in deps))), ""))
    return reasons


def _change(project: Project, path: str, kind: Any, digest: str, executable: bool) -> str:
    """What happened to a source since, in a few words, or nothing."""
    try:
        now = project.index.source(path, kind or "any")
    except InputMissing:
        return f"{path} is gone" if kind else ""
    if not kind:
        return f"{path} is new"
    if now.digest.hex() != digest:
        return f"{path} changed"
    mode = kind != "any" and now.executable != executable
    return f"{path} has another executable bit" if mode else ""

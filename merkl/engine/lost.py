"""Tracked data that a pull cannot bring, and that fsck found damaged: nobody can make it again.

It decides what the user is told of such data.  It restores nothing.

The invariant: data that a task makes is never called lost.
"""

import os
from collections.abc import Collection, Sequence

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.engine.project import Project
from merkl.engine.standing import Standing, find_sidecars, standing
from merkl.engine.transfer import REMOTE_HINT
from merkl.errors import OutOfDate, StoreCorrupt
from merkl.tree import Tree
from merkl.workspace.sidecar import Sidecar


@dataclass(frozen=True, slots=True)
class Lost:
    """Data with a sidecar of which the store has no whole copy: ``missing`` are its contents that are damaged or gone.

    ``aside`` are the files that hold what was damaged; ``hint`` says what to do.
    """

    path: str
    missing: Sequence[Digest]
    aside: Sequence[str]
    hint: str


def lost_data(project: Project, damaged: Collection[Digest]) -> list[Lost]:
    """The tracked data, made by no task, that needs contents which are not in the store any more: because they are among
    ``damaged``, or were set aside before.
    """
    kept_aside = _aside(project)
    suspects = set(damaged) | kept_aside.keys()
    if not suspects:
        return []
    found = []
    for stood in standing(project, find_sidecars(project)):
        if stood.sidecar is None or stood.sidecar.key is not None:
            continue
        needed = _contents(project, stood.sidecar) & suspects
        missing = sorted(needed - project.store.has(needed))
        if missing:
            aside = [file for digest in missing for file in kept_aside.get(digest, ())]
            found.append(Lost(stood.path, missing, aside, _hint(stood)))
    return found


def _hint(stood: Standing) -> str:
    path = stood.path
    if stood.state == "fresh":
        return f"{path} itself is undamaged: `merkl track {path}` stores it again"
    restore = f"restore {path} from a backup, then `merkl track {path}` stores it"
    if stood.state == "missing":
        return restore
    return f"{path} is another version: `merkl track {path}` if it is fine, or {restore}"


def _contents(project: Project, sidecar: Sidecar) -> set[Digest]:
    """What a sidecar's data consists of, as far as the store can say."""
    data = project.store.read(sidecar.digest) if sidecar.kind == "dir" else None
    try:
        entries = () if data is None else Tree.decode(data).entries
    except ValueError:
        entries = ()
    return {sidecar.digest} | {entry.digest for entry in entries if entry.digest is not None}


def _aside(project: Project) -> dict[Digest, list[str]]:
    """The files in quarantine, by the content that each should have been."""
    directory = os.path.join(project.store.directory, "quarantine")
    found: dict[Digest, list[str]] = {}
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return found
    for name in names:
        try:
            digest = Digest(bytes.fromhex(name.partition("-")[0]))
        except ValueError:
            continue  # A database that was damaged.
        found.setdefault(digest, []).append(os.path.join(directory, name))
    return found


def damaged_everywhere(
    project: Project, path: str, sidecar: Sidecar, error: StoreCorrupt, *, remote: bool
) -> StoreCorrupt:
    """The error of a pull that found the data damaged, or gone when it was read; ``remote``: that was asked too."""
    headline = f"cannot pull {path}: {_nobody(remote, ' undamaged')}"
    why = _files(project, sidecar) or {"found": error.headline}
    return StoreCorrupt(headline, hint=_restore(path, sidecar, remote), **why)


def in_no_cache(project: Project, path: str, sidecar: Sidecar, *, remote: bool) -> OutOfDate:
    """The error of a pull of data that nobody who was asked has; ``remote``: that was asked too."""
    aside = _files(project, sidecar)
    if aside:
        headline = f"cannot pull {path}: {_nobody(remote, ' undamaged')}"
        return OutOfDate(headline, hint=_restore(path, sidecar, remote), **aside)
    hint = f"`merkl push {path}` where it is" if remote else REMOTE_HINT
    return OutOfDate(f"cannot pull {path}: {_nobody(remote)}", hint=hint + _or_build(sidecar))


def _nobody(remote: bool, how: str = "") -> str:
    if remote:
        return f"neither the store nor the remote has it{how}"
    return f"it is not{how} in the store, and there is no remote"


def _files(project: Project, sidecar: Sidecar) -> dict[str, str]:
    kept_aside = _aside(project)
    files = [file for digest in sorted(_contents(project, sidecar)) for file in kept_aside.get(digest, ())]
    return {"set aside": "\n".join(files)} if files else {}


def _restore(path: str, sidecar: Sidecar, remote: bool) -> str:
    push = f"`merkl push {path}` where it is undamaged, or " if remote else ""
    return f"{push}restore {path} from a backup, then `merkl track {path}` stores it{_or_build(sidecar)}"


def _or_build(sidecar: Sidecar) -> str:
    return "" if sidecar.key is None else "; or `merkl build` the target that makes it"

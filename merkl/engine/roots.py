"""What a project wants its store to keep, found without loading its Merklfile.

It decides what counts as wanted: what made the outputs that were placed, the data that sidecars name in the work tree and
in git, and saved edits.  It removes nothing.

The invariant: a sidecar that cannot be read is never passed over in silence, for nobody knows what it names.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from merkl.dataclass import dataclass, field
from merkl.digest import Digest, Key
from merkl.engine.project import Project
from merkl.engine.standing import find_sidecars
from merkl.errors import SidecarConflict, SidecarError
from merkl.pattern import pattern
from merkl.workspace.history import Kept, kept_sidecars
from merkl.workspace.paths import absolute
from merkl.workspace.sidecar import SUFFIX, parse_sidecar, read_bytes_of

_NAMES: Final = pattern(rb'^(digest|key): "([0-9a-f]{64})"', re.MULTILINE)


@dataclass(slots=True)
class Roots:
    """Results by key, contents of files and values, and those of directories; ``unread`` are sidecars passed over."""

    keys: set[Key] = field(default_factory=set)
    digests: set[Digest] = field(default_factory=set)
    trees: set[Digest] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)


def roots_of(project: Project, *, skip_unreadable: bool = False) -> Roots:
    """Everything that the project wants to keep.

    Raises:
        SidecarError: a sidecar cannot be read, unless those are to be skipped.
        WorkspaceError: git cannot be asked for its own.
    """
    roots = Roots(keys=_placed(project))
    for edit in project.index.saved():
        (roots.trees if edit.kind == "dir" else roots.digests).add(edit.digest)
    unread: list[SidecarError] = []
    _add_all(roots, [*_in_place(project, unread), *kept_sidecars(project.root)], unread, skip_unreadable)
    return roots


def roots_of_branches(project: Project, branches: Sequence[str], *, skip_unreadable: bool = False) -> Roots:
    """What the sidecars of some branches name, and nothing else.

    Raises:
        SidecarError, WorkspaceError: as ``roots_of``; or git does not know one of them.
    """
    roots, unread = Roots(), list[SidecarError]()
    _add_all(roots, kept_sidecars(project.root, branches), unread, skip_unreadable)
    return roots


def _placed(project: Project) -> set[Key]:
    """The keys of what was placed; not of an output that is gone and whose target is gone too."""
    listed = {target.get("name") for target in project.index.targets()}
    return {
        row.key
        for path, row in project.index.all_placed().items()
        if not (listed and row.target and row.target not in listed)
        or os.path.lexists(absolute(path, project.root))
    }


def _in_place(project: Project, unread: list[SidecarError]) -> Iterator[Kept]:
    """The sidecars of the work tree; ``unread`` gets what cannot be read, or looked into."""
    blind: list[OSError] = []
    for path in find_sidecars(project, blind=blind):
        try:
            data = read_bytes_of(project.root, path)
        except SidecarError as error:
            unread.append(error)
        else:
            if data is not None:  # Else it has just been removed.
                yield Kept(path + SUFFIX, data)
    for unlisted in blind:
        where = os.path.relpath(str(unlisted.filename), project.root)
        headline = f"sidecars may lie in {where}, which cannot be listed: {unlisted.strerror}"
        unread.append(SidecarError(headline, hint="see who may read it"))


def _add_all(
    roots: Roots, all_kept: Iterable[Kept], unread: list[SidecarError], skip_unreadable: bool
) -> None:
    """Add what sidecars name; ``unread`` are those that could not be read so far."""
    for kept in all_kept:
        try:
            _add(roots, kept)
        except SidecarError as error:
            unread.append(error)
    if unread and not skip_unreadable:
        raise _stop(unread[0]) from unread[0]
    roots.unread += [error.headline for error in unread]


def _add(roots: Roots, kept: Kept) -> None:
    try:
        sidecar = parse_sidecar(kept.data, kept.name)
    except SidecarConflict:
        for what, text in _NAMES.findall(kept.data):  # Both sides are wanted until somebody chooses.
            if what == b"key":
                roots.keys.add(Key.parse(text.decode("ascii")))
            else:
                roots.trees.add(Digest.parse(text.decode("ascii")))
        return
    (roots.trees if sidecar.kind == "dir" else roots.digests).add(sidecar.digest)
    if sidecar.key is not None:
        roots.keys.add(sidecar.key)


def _stop(error: SidecarError) -> SidecarError:
    return SidecarError(
        f"nothing was removed, since nobody knows what is tracked: {error.headline}",
        hint=f"{error.hint}; or `merkl gc --skip-unreadable` goes on without it",
        **error.details,
    )

"""A directory that becomes another by changing only what differs: of 100,000 files, the one that is not the same.

It decides when that is worth it, and in which order things change.  It does not know whose files they are.

The invariant: everything that is to come lies in a draft beside the directory before anything in that changes; so what
can fail fails while it is still the old one.  Only renaming is left then, and a process killed in the middle of that leaves
each entry as it was or as it shall be, which ``is_between`` recognises.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.errors import PlacementError
from merkl.stamp import Stamp
from merkl.tree import Tree, TreeEntry
from merkl.workspace import folding
from merkl.workspace.copying import Content
from merkl.workspace.drafts import discard_draft, draft_name
from merkl.workspace.paths import placeable
from merkl.workspace.place import explained
from merkl.workspace.reach import DIRECTORY, parent_of
from merkl.workspace.trees import may_restore, restore_entry

_WORTH: Final = 0.25  # Of all entries; if more of them change, a directory is made anew and takes the old one's place at once.


@dataclass(frozen=True, slots=True)
class Patch:
    """What has to be done: directories to make, files and links to put, and what has to go, in that order."""

    folders: tuple[TreeEntry, ...]
    entries: tuple[TreeEntry, ...]
    gone: tuple[TreeEntry, ...]


def patch_between(old: Tree, new: Tree) -> Patch | None:
    """What makes ``old`` to ``new``; None if it is not worth it, or something changes its kind."""
    before = {entry.path: entry for entry in old.entries}
    after = {entry.path for entry in new.entries}
    changed = [entry for entry in new.entries if before.get(entry.path) != entry]
    gone = [entry for entry in old.entries if entry.path not in after]
    if len(changed) + len(gone) > _WORTH * len(old.entries):
        return None
    for entry in changed:
        known = before.get(entry.path)
        if known is not None and (known.kind == "dir") != (entry.kind == "dir"):
            return None
    folders = tuple(entry for entry in changed if entry.kind == "dir")
    entries = tuple(entry for entry in changed if entry.kind != "dir")
    return Patch(folders, entries, tuple(reversed(gone)))  # What is in a directory goes before it.


def is_between(found: Tree, old: Tree, new: Tree) -> bool:
    """Whether each entry is that of ``old`` or of ``new``, as a patch that was broken off leaves them."""
    one, other, now = ({entry.path: entry for entry in tree.entries} for tree in (old, new, found))
    return all(
        now.get(path) in (one.get(path), other.get(path)) for path in one.keys() | other.keys() | now.keys()
    )


def apply_patch(
    root: str,
    path: str,
    patch: Patch,
    new: Tree,
    open_blob: Callable[[Digest], Content],
    *,
    mtime_ns: int | None = None,
    last_look: Callable[[], None] | None = None,
) -> Stamp | None:
    """Turn the directory at ``path``, a normalised path in the project at ``root``, into ``new``; its stamp.

    None if it is a link, or some directory in it cannot be written: nothing has changed then, and it can only be replaced
    as a whole.  ``last_look`` is called when all is ready: if it raises, nothing has changed either.

    Raises:
        PlacementError: the path is not one that merkl may write, or ``new`` holds what could lead out of it.
        WorkspaceError: the system refused.
    """
    placeable(path)
    with explained(root, path), parent_of(root, path, create=False) as (parent, name):
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return None
        top = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            _check(top, path, patch, new)
            if not _may_write(top, patch):
                return None
            draft = draft_name(root, path, name)
            os.mkdir(draft, dir_fd=parent)
            try:
                _prepare_and_swap(parent, draft, top, patch, open_blob, path, last_look)
            finally:
                discard_draft(root, parent, draft)
            if mtime_ns is not None:
                os.utime(top, ns=(mtime_ns, mtime_ns))
            return Stamp.of(os.fstat(top))
        finally:
            os.close(top)


def _check(top: int, shown: str, patch: Patch, new: Tree) -> None:
    """See that what comes may be there, beside what stays."""
    try:
        new.check()
    except ValueError as error:
        raise PlacementError(f"cannot place the directory {shown}: {error}") from None
    entries = {entry.path: entry for entry in new.entries}
    for entry in (*patch.folders, *patch.entries):
        may_restore(entries, entry, shown)
    for entry in new.entries:  # A link that stays may lead elsewhere now.
        if entry.kind == "link":
            may_restore(entries, entry, shown)
    for one, other in folding.twins(os.fsdecode(entry.path) for entry in new.entries):
        if folding.one_below(top, one, other):
            raise PlacementError(
                f"cannot place the directory {shown}: {one} and {other} in it are one file on this file system",
                hint="let one of them have another name where they were made",
            )


def _may_write(top: int, patch: Patch) -> bool:
    made = {entry.path for entry in patch.folders}
    above = {entry.path.rpartition(b"/")[0] for entry in (*patch.folders, *patch.entries, *patch.gone)} - made
    return all(os.access(folder or b".", os.W_OK | os.X_OK, dir_fd=top) for folder in above)


def _prepare_and_swap(
    parent: int,
    draft: bytes,
    top: int,
    patch: Patch,
    open_blob: Callable[[Digest], Content],
    shown: str,
    last_look: Callable[[], None] | None,
) -> None:
    aside = os.open(draft, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        for number, entry in enumerate(patch.entries):
            restore_entry(entry, aside, b"%d" % number, open_blob, shown)
        if last_look is not None:
            last_look()
        for entry in patch.folders:
            with _folder_of(top, entry.path) as (folder, name):
                os.mkdir(name, dir_fd=folder)
        for number, entry in enumerate(patch.entries):
            with _folder_of(top, entry.path) as (folder, name):
                os.rename(b"%d" % number, name, src_dir_fd=aside, dst_dir_fd=folder)
        for entry in patch.gone:
            with _folder_of(top, entry.path) as (folder, name):
                (os.rmdir if entry.kind == "dir" else os.unlink)(name, dir_fd=folder)
    finally:
        os.close(aside)


@contextmanager
def _folder_of(top: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    """A descriptor of the directory that holds ``path``, below ``top``, through no link; and the last name."""
    *above, name = path.split(b"/")
    folder = os.dup(top)
    try:
        for each in above:
            inner = os.open(each, DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder, name
    finally:
        os.close(folder)

"""What lies where outputs are wanted: whether it is what should be there, may be replaced, and how it is saved if not.

It decides whether what is at a path may be replaced.

The invariant: bytes are replaced or removed only if merkl put them there, or if they are safe in the store.
"""

import os
import time
from collections.abc import Sequence
from typing import BinaryIO

from merkl import events
from merkl.digest import Digest
from merkl.engine.project import Project
from merkl.errors import PlacementError, StoreCorrupt
from merkl.events import Reporter
from merkl.nodes import Artifact
from merkl.python.placed import as_placed
from merkl.stamp import Absent
from merkl.workspace import ledger
from merkl.workspace.index import Other
from merkl.workspace.place import link_at, place_file, place_link, place_tree, remove_placed


def value_name(artifact: Artifact) -> str:
    """What tells a stored value from others, in the ledger."""
    return f"{artifact.serializer} {artifact.digest.hex()}"


def is_there(project: Project, path: str, artifact: Artifact) -> bool:
    """Whether ``path`` has the bytes, kind and executable bit of an artifact, or the written form of a value."""
    found = project.index.look(path)
    if not isinstance(found, Artifact):
        return False
    artifact = as_placed(artifact, path)
    if artifact.kind == "value":
        row = project.index.placed(path)
        placed = row is not None and row.digest == found.digest and row.value == value_name(artifact)
        return placed and not found.executable
    return agrees(found, artifact)


def agrees(found: Artifact | Absent | Other, artifact: Artifact) -> bool:
    """Whether what was found has the bytes, kind and executable bit of an artifact."""
    return (
        isinstance(found, Artifact)
        and found.digest == artifact.digest
        and found.kind == artifact.kind
        and found.executable == artifact.executable
    )


def is_replaceable(project: Project, path: str) -> bool:
    """Whether what is at ``path`` is nothing, or merkl's own: no link is."""
    if link_at(project.root, path):
        return False
    found = project.index.look(path)
    if isinstance(found, Artifact):
        row = project.index.placed(path)
        return row is not None and row.digest == found.digest and row.executable == found.executable
    return isinstance(found, Absent)


def make_replaceable(project: Project, path: str, reporter: Reporter) -> bool:
    """Make sure that what is at ``path`` may be replaced or removed: save it unless it is merkl's; True if it is safe.

    Raises:
        PlacementError: it is something that cannot be kept, such as a socket.
    """
    link = link_at(project.root, path)
    if link:
        save_link(project, path, link)
        reporter.report(events.Saved(path, link))
        return True
    found = project.index.look(path)
    if isinstance(found, Absent):
        return False
    if isinstance(found, Other):
        raise PlacementError(
            f"cannot place an output: {found.what}", hint="remove it, or choose another path"
        )
    if is_replaceable(project, path):
        return True
    if found.kind == "dir" and not _has_entries(project, path):
        return True
    save_edit(project, path, found)
    reporter.report(events.Saved(path))
    return True


def _has_entries(project: Project, path: str) -> bool:
    with os.scandir(os.path.join(project.root, path)) as entries:
        return next(entries, None) is not None


def save_edit(project: Project, path: str, found: Artifact) -> None:
    """Put what is at ``path`` into the store so that it outlives a loss of power, and remember that it is there."""
    from merkl.engine.sidecars import keep

    digest = keep(project.store, project.root, path, found.kind, durable=True)
    project.index.add_saved(
        ledger.SavedEdit(path, digest, found.kind, found.size, time.time_ns(), found.executable)
    )


def save_link(project: Project, path: str, text: str) -> None:
    """Put the text of the link at ``path`` into the store, as ``save_edit`` does with data."""
    raw = os.fsencode(text)
    digest = project.store.put([raw], durable=True)
    project.index.add_saved(ledger.SavedEdit(path, digest, "link", len(raw), time.time_ns()))


def clean(project: Project, paths: Sequence[str], reporter: Reporter, *, dry_run: bool) -> list[str]:
    """Remove placed outputs; what was edited since is saved first.  The paths that were, or would be, removed."""
    removed = []
    for path in paths:
        found = project.index.look(path)
        if isinstance(found, (Absent, Other)):
            if isinstance(found, Absent) and not dry_run:
                project.index.forget_placed(path)
            continue
        removed.append(path)
        if not dry_run:
            make_replaceable(project, path, reporter)
            remove_placed(project.root, path)
            project.index.forget_placed(path)
    project.index.flush()
    return removed


def restore(project: Project, path: str, edit: ledger.SavedEdit, reporter: Reporter) -> None:
    """Bring back an edit that was saved; what is at the path now is saved first if it is not merkl's.

    Raises:
        StoreCorrupt: its bytes are gone.
    """
    replace = make_replaceable(project, path, reporter)
    content = project.store.open(edit.digest)
    if content is None:
        raise StoreCorrupt(
            f"the saved {path} is no longer in the store", hint="`merkl fsck` says what else is gone"
        )
    with content:
        if edit.kind == "dir":
            from merkl.store.treecheck import tree_in

            tree = tree_in(content.read(), edit.digest)

            def opened(digest: Digest) -> BinaryIO:
                blob = project.store.open(digest)
                if blob is None:
                    raise StoreCorrupt(f"a file of the saved {path} is no longer in the store")
                return blob

            place_tree(project.root, path, tree, opened, replace=replace, own=True)
        elif edit.kind == "link":
            place_link(project.root, path, content.read(), replace=replace)
        else:
            place_file(project.root, path, content, executable=edit.executable, replace=replace)
    project.index.forget_placed(path)
    project.index.flush()

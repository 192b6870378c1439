"""Files that a task returned with ``rm_after_caching``: removed where they were, once they are safe.

It decides when they are safe.

The invariant: nothing is removed unless a published record names its bytes, these outlive a loss of power, and what lies
there now is still what was recorded.
"""

import os
from collections.abc import Sequence

from merkl.digest import Digest, Key
from merkl.engine.project import Project
from merkl.errors import MerklError
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.store.removal import remove_tree
from merkl.tree import Tree
from merkl.workspace.hashing import hash_file


def remove_originals(project: Project, content: Key, originals: Sequence[tuple[bytes, Artifact]]) -> None:
    """Remove what is at those paths, each given with what a call made of it; the user is told of what stays.

    ``content`` is the content key under which the call's record was filed, unless another was there first.
    """
    records = project.store.by_content_key([content]).get(content, [])
    named = {artifact.digest for record in records for artifact in record.outputs.values()}
    for path, artifact in originals:
        kept = artifact.digest in named
        why = _why_not(project, path, artifact) if kept else "no record in the store names it"
        if why:
            note = Note(
                f"{os.fsdecode(path)} is left where it is: {why}", "it was returned with rm_after_caching"
            )
            project.shelter.notes.append(note)
        else:
            remove_tree(path)


def _why_not(project: Project, path: bytes, artifact: Artifact) -> str:
    state = os.fsencode(os.path.realpath(project.config.state))
    if os.path.islink(path) or os.path.realpath(path).startswith(state + b"/"):
        return "it is a link, or merkl's own"
    try:
        if _digest_at(path, artifact) != artifact.digest:
            return "it was changed meanwhile"
        if not all(map(project.store.make_durable, _contents(project, artifact))):
            return "the store could not keep it"
    except (MerklError, OSError, ValueError) as error:
        return f"it cannot be seen to be safe ({error})"
    return ""


def _digest_at(path: bytes, artifact: Artifact) -> Digest:
    if artifact.kind == "dir":
        from merkl.workspace.trees import hash_one, read_tree

        return read_tree(path, hash_one, "save", shown=os.fsdecode(path)).digest
    return hash_file(path).digest


def _contents(project: Project, artifact: Artifact) -> list[Digest]:
    if artifact.kind != "dir":
        return [artifact.digest]
    tree = Tree.decode(project.store.read(artifact.digest) or b"")
    return [artifact.digest, *(entry.digest for entry in tree.entries if entry.digest is not None)]

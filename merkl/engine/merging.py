"""Merging two versions of a sidecar, for git.

It decides when the two are one: if one side changed nothing, if both name the same data (then the later time stands), or
if both are tracked directories in which no file was changed on both sides.  Which of two results the merged code makes
only a build can know, so such a pair is a conflict.

The invariant: what comes out is a sidecar that one of the sides wrote, or one of a tree that the store has; or both sides,
whole, between git's markers.
"""

from merkl.config import load_config
from merkl.dataclass import dataclass, replace
from merkl.engine.project import Project
from merkl.errors import MerklError, SidecarError
from merkl.root import find_root
from merkl.tree import Tree, TreeEntry, leads_to
from merkl.workspace.sidecar import Sidecar, parse_sidecar, render_sidecar


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two versions that nobody but the user can choose from: ``data`` is both, with git's markers.

    A side is None if it is no sidecar; ``why`` may say more.
    """

    data: bytes
    ours: Sidecar | None
    theirs: Sidecar | None
    why: str = ""


def merge(base: bytes, ours: bytes, theirs: bytes, path: str) -> bytes | Conflict:
    """Merge three versions of the sidecar at the absolute ``path``; ``base`` is empty if both sides added it."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    both = _both(ours, theirs)
    one, problem = _parsed(ours, "ours")
    other, other_problem = _parsed(theirs, "theirs")
    if one is None or other is None:
        return Conflict(both, one, other, problem or other_problem)
    if one.same_data(other):
        return ours if one.modified_ns >= other.modified_ns else theirs
    before, _ = _parsed(base, "base")
    sides = (before, one, other)
    if any(each is None or each.kind != "dir" or each.key is not None for each in sides):
        return Conflict(both, one, other)
    assert before is not None
    merged = _merged_directory(before, one, other, path)
    return render_sidecar(merged) if isinstance(merged, Sidecar) else Conflict(both, one, other, merged)


def _parsed(data: bytes, name: str) -> tuple[Sidecar | None, str]:
    try:
        return parse_sidecar(data, name), ""
    except SidecarError as error:
        return None, error.headline


def _both(ours: bytes, theirs: bytes) -> bytes:
    end = b"\r\n" if b"\r\n" in ours else b"\n"
    one, other = (side if side.endswith(b"\n") or not side else side + end for side in (ours, theirs))
    return b"<<<<<<< ours%b%b=======%b%b>>>>>>> theirs%b" % (end, one, end, other, end)


def _merged_directory(base: Sidecar, ours: Sidecar, theirs: Sidecar, path: str) -> Sidecar | str:
    """The sidecar of a directory with the changes of both sides, or why there is none."""
    root = find_root(path)
    if root is None:
        return ""
    try:
        project = Project(load_config(root))
        try:
            read = [project.results.read(each.digest) for each in (base, ours, theirs)]
            trees = [Tree.decode(data) for data in read if data is not None]
            if len(trees) < 3:
                return "not all three versions of the directory are in a store that can be reached from here"
            merged = merge_trees(*trees)
            if isinstance(merged, bytes):
                return f"both changed {merged.decode('utf-8', 'backslashreplace')} in it"
            digest = project.store.put([merged.encode()], durable=True)
        finally:
            project.close()
    except (MerklError, ValueError) as error:
        return f"the store cannot be used to merge the directory: {error}".partition("\n")[0]
    modified = max(ours.modified_ns, theirs.modified_ns)
    return replace(ours, digest=digest, size=merged.size, modified_ns=modified)


def merge_trees(base: Tree, ours: Tree, theirs: Tree) -> Tree | bytes:
    """The tree with the changes of both sides, or a path that both changed, each in its own way."""
    old, one, other = ({each.path: each for each in tree.entries} for tree in (base, ours, theirs))
    merged: dict[bytes, TreeEntry] = {}
    for path in sorted(old.keys() | one.keys() | other.keys()):
        before, mine, yours = old.get(path), one.get(path), other.get(path)
        if mine != yours and before not in (mine, yours):
            return path
        entry = yours if mine == before else mine
        if entry is not None:
            merged[path] = entry
    for path in list(merged):  # What one side adds to a directory that the other removed needs it still.
        above = path.rpartition(b"/")[0]
        while above and above not in merged:
            merged[above] = TreeEntry(above, "dir")
            above = above.rpartition(b"/")[0]
    tree = Tree(tuple(merged[path] for path in sorted(merged)))
    for path, entry in merged.items():
        above = path.rpartition(b"/")[0]
        if above and merged[above].kind != "dir":
            return above
        if entry.kind == "link" and leads_to(merged, path) is None:
            return path  # What it leads to is gone on the other side.
    return tree

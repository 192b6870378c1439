"""Whether a directory on the disk is what a tree says, and whether a tree may become one.

It decides by reading every byte, or by one digest of all stamps.  It writes nothing.

The invariant: a tree that is let through puts nothing outside its own directory.
"""

import os
from typing import Final

from blake3 import blake3

from merkl.digest import Digest
from merkl.errors import StoreCorrupt
from merkl.stamp import Stamp
from merkl.store.blobs import pack_stamp
from merkl.store.streams import hash_file
from merkl.tree import Tree, TreeEntry, leads_to

_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def tree_in(data: bytes, digest: Digest) -> Tree:
    """The tree that a blob encodes; whose record says that it does may have lied.

    Raises:
        StoreCorrupt: it encodes none.
    """
    try:
        return Tree.decode(data)
    except ValueError as error:
        raise StoreCorrupt(f"a blob, {digest.short}, should be a directory's and is not: {error}") from error


def refuse_escapes(tree: Tree, digest: Digest) -> None:
    """A tree may come from anywhere: no link in it may lead out of it, also not by way of another.

    Raises:
        StoreCorrupt: one does.
    """
    entries = {entry.path: entry for entry in tree.entries}
    for entry in tree.entries:
        if entry.kind == "link" and leads_to(entries, entry.path) is None:
            raise StoreCorrupt(
                f"a directory's blob, {digest.short}, has a link that leads out of it: {entry.path!r}"
            )


def tree_evidence(path: bytes, at_ns: int) -> tuple[bytes, bool]:
    """A digest of the stamps of all that a directory holds, and whether all are settled at ``at_ns``."""
    hasher = blake3()
    settled = True
    stack = [path]
    while stack:
        here = stack.pop()
        stamp = Stamp.of(os.lstat(here))
        settled = settled and stamp.settled(at_ns)
        hasher.update(b"%d\0%s%s" % (len(here) - len(path), here[len(path) :], pack_stamp(stamp)))
        if stamp.is_dir:
            stack += sorted((os.path.join(here, name) for name in os.listdir(here)), reverse=True)
    return hasher.digest(), settled


def has_tree(path: bytes, tree: Tree) -> bool:
    """Whether a directory is what ``tree`` says, with every byte read; modes counted as far as they are kept."""
    expected = {entry.path: entry for entry in tree.entries}
    stack = [path]
    while stack:
        here = stack.pop()
        if not Stamp.of(os.lstat(here)).is_dir:
            return False
        for name in os.listdir(here):
            inner = os.path.join(here, name)
            entry = expected.pop(inner[len(path) + 1 :], None)
            if entry is None or not _has_entry(inner, entry):
                return False
            if entry.kind == "dir":
                stack.append(inner)
    return not expected


def _has_entry(path: bytes, entry: TreeEntry) -> bool:
    stamp = Stamp.of(os.lstat(path))
    if entry.kind == "dir":
        return stamp.is_dir
    if entry.kind == "link":
        return os.path.islink(path) and os.readlink(path) == entry.link
    if not stamp.is_file or stamp.size != entry.size or stamp.executable != entry.executable:
        return False
    fd = os.open(path, _READ)
    try:
        return hash_file(fd)[0] == entry.digest
    finally:
        os.close(fd)

"""What a task made on its way into the store: large files one by one, small ones many in one transaction.

It decides what is small, and when a transaction is full.  It does not remove what it has read.

The invariant: after ``end`` everything that was taken is in the store, or where the shelter keeps what that refused.
"""

import os
from sys import intern
from typing import Any, Final

from merkl.digest import Digest
from merkl.engine.shelter import Shelter
from merkl.execute.workplace import Staged
from merkl.nodes import Artifact
from merkl.store.blobs import SMALL

_AT_ONCE: Final = 4_000_000  # Bytes of small files in one transaction.


class Taking:
    """Takes the files of one directory into ``shelter``."""

    def __init__(self, shelter: Shelter) -> None:
        self._shelter = shelter
        self._held: dict[Digest, bytes] = {}
        self._size = 0

    def take(self, path: bytes) -> Digest:
        """The digest of a file, which may be moved away."""
        if os.lstat(path).st_size > SMALL:
            return self._shelter.put_file(path, move=True)
        with open(path, "rb") as file:
            data = file.read()
        digest = Digest.of(data)
        if digest not in self._held:
            self._held[digest] = data
            self._size += len(data) + 200  # What a small one costs at least.
        if self._size > _AT_ONCE:
            self.end()
        return digest

    def end(self) -> None:
        """Store what is held."""
        if self._held:
            self._shelter.put_small(self._held)
        self._held, self._size = {}, 0


def taken(staged: Staged, root: bytes, shelter: Shelter, small: dict[Digest, bytes]) -> Artifact:
    """The artifact of one output, whose path may be relative to ``root``.

    A large one is stored, and so is a directory; the bytes of another are in ``small``.
    """
    serializer = intern(staged.serializer)  # It came through a pipe, and there are many of few kinds.
    if staged.data is not None:
        digest = Digest.of(staged.data)
        small[digest] = staged.data
        kind: Any = intern(staged.kind)
        return Artifact(kind, digest, len(staged.data), serializer=serializer, filename=staged.filename)
    assert staged.path is not None
    path = os.path.join(root, staged.path)
    if staged.kind == "dir":
        from merkl.workspace.trees import read_output_tree

        taking = Taking(shelter)
        tree = read_output_tree(path, taking.take, shown=staged.filename)
        taking.end()
        return Artifact(
            "dir", shelter.put_tree(tree), tree.size, serializer=serializer, filename=staged.filename
        )
    digest, size = put_file(path, shelter, small, staged.digest)
    return Artifact(staged.kind, digest, size, staged.executable, serializer, staged.filename)


def put_file(
    path: bytes, shelter: Shelter, small: dict[Digest, bytes], digest: Digest | None = None
) -> tuple[Digest, int]:
    """The digest and the size of a file, which may be moved away; the bytes of a small one are in ``small``."""
    size = os.stat(path).st_size
    if size <= SMALL:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
        digest = Digest.of(data)
        small[digest] = data
        return digest, len(data)
    return shelter.put_file(path, move=True, digest=digest), size

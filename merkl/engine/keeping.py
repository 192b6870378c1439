"""The user's files and directories brought into the store, each read once.

It decides which files need not be read: those whose digest the index knows and whose bytes the store has.  It does not
know why they are kept.

The invariant: after ``finish`` the store has every byte of what was asked for, and what was returned describes bytes
that it has, not what a file may have become meanwhile.
"""

import os
import stat
from collections.abc import Sequence
from typing import Final

from merkl.digest import Digest
from merkl.engine.project import Project
from merkl.errors import InputMissing
from merkl.nodes import Artifact
from merkl.stamp import Stamp
from merkl.store.blobs import SMALL
from merkl.tree import Tree
from merkl.workspace.paths import absolute
from merkl.workspace.trees import read_tree

_MOST_FILES: Final = (
    8192  # Of one transaction: of less, most goes into an index of digests, which has no order.
)
_MOST_BYTES: Final = 16 << 20


class Keeper:
    """Brings what is at paths of ``project`` into its store.  ``durable``: so that it outlives a loss of power."""

    def __init__(self, project: Project, *, durable: bool = False) -> None:
        self._project = project
        self._durable = durable
        self._prefix = os.fsencode(project.root.rstrip("/")) + b"/"
        self._batch: dict[Digest, bytes] = {}
        self._bytes = 0
        self._trees: dict[Digest, bytes] = {}
        self._new: dict[bytes, Digest] = {}  # Read already, by where it is; its directory is being looked at.
        self._known: dict[Digest, tuple[bytes, int]] = {}  # Not read: where it is, and how many bytes.

    def keep(self, path: str) -> tuple[Artifact, int]:
        """Bring in what is at a normalised path; what it is, and its modification time in ns.

        Raises:
            InputMissing: it is gone or cannot be read, changes meanwhile, or a directory holds what cannot be placed again.
            StoreError: there is no room.
        """
        where = os.fsencode(absolute(path, self._project.root))
        try:
            found = os.stat(where)
        except OSError:
            raise self._changed(where) from None
        if not stat.S_ISDIR(found.st_mode):
            digest, size = self._take(where, found)
            return Artifact("file", digest, size, Stamp.of(found).executable), found.st_mtime_ns
        tree = read_tree(where, self._take, "track", shown=path, ahead=self._read_ahead)
        self._refuse_sidecars(path, tree)
        encoded = tree.encode()
        digest = Digest.of(encoded)
        self._trees[digest] = encoded
        return Artifact("dir", digest, tree.size), found.st_mtime_ns

    def finish(self) -> None:
        """Store what is still missing.

        Raises:
            InputMissing, StoreError: as for ``keep``.
        """
        store = self._project.store
        missing = self._known.keys() - store.confirm(self._known)
        for digest in missing:
            where, _ = self._known[digest]
            try:
                found = os.stat(where)
            except OSError:
                raise self._changed(where) from None
            if self._read(where, found)[0] != digest:
                raise self._changed(where)
        self._write()
        if self._durable:
            for digest, (_, size) in self._known.items():
                if size > SMALL:
                    store.make_durable(digest)
        for digest in self._trees.keys() - (set() if self._durable else store.confirm(self._trees)):
            # Last: a durable transaction syncs all those before it too, with the small files.
            store.put([self._trees[digest]], durable=self._durable)

    def _refuse_sidecars(self, path: str, tree: Tree) -> None:
        inner = next((each for each in tree.entries if each.path.endswith(b".merkl")), None)
        if inner is not None:
            name = f"{path}/{os.fsdecode(inner.path)}"
            raise InputMissing(
                f"{path} cannot be tracked: in it there is {name}",
                hint=f"`merkl untrack {name.removesuffix('.merkl')}` first: a directory is tracked as a whole",
            )

    def _read_ahead(self, files: Sequence[tuple[bytes, os.stat_result]]) -> None:
        """Bring in those of some files that are small and new, many at once."""
        index = self._project.index
        small = [(self._name(where), where, found) for where, found in files if found.st_size <= SMALL]
        for read in index.read_many(small):
            for n, digest, data in read:
                self._new[small[n][1]] = digest
                self._batch[digest] = data
                self._bytes += len(data)
            self._write_if_much()

    def _take(self, where: bytes, found: os.stat_result) -> tuple[Digest, int]:
        digest = self._new.pop(where, None)
        if digest is not None:
            return digest, found.st_size
        known = self._project.index.known(self._name(where), found)
        if known is not None:
            self._known[known] = where, found.st_size
            return known, found.st_size
        return self._read(where, found)

    def _read(self, where: bytes, found: os.stat_result) -> tuple[Digest, int]:
        project, name = self._project, self._name(where)
        if found.st_size > SMALL:
            digest = project.index.stored(
                name, where, found, lambda: project.store.put_file(where, durable=self._durable)
            )
            return digest, found.st_size
        digest, data = project.index.read(name, where, found)
        if len(data) > SMALL:  # It has grown.
            digest = project.store.put_file(where, durable=self._durable)
            return digest, project.store.size(digest) or 0
        self._batch[digest] = data
        self._bytes += len(data)
        self._write_if_much()
        return digest, len(data)

    def _write_if_much(self) -> None:
        if len(self._batch) >= _MOST_FILES or self._bytes >= _MOST_BYTES:
            self._write()

    def _write(self) -> None:
        if self._batch:
            self._project.store.publish([], self._batch)
            self._project.index.flush()
        self._batch, self._bytes = {}, 0

    def _name(self, where: bytes) -> bytes:
        return where[len(self._prefix) :] if where.startswith(self._prefix) else where

    def _changed(self, where: bytes) -> InputMissing:
        name = os.fsdecode(self._name(where))
        return InputMissing(
            f"{name} changed while it was being stored", hint="try again when its writer is done"
        )

"""The project on a machine that runs errands: its files as far as errands name them, at their paths in a directory.

It decides what is there: what was declared, the texts of modules, and for what finds its inputs itself the files that its
sender let it have.  It knows no errand.

The invariant: before a node runs, each of its sources has the very bytes that its key was made from.
"""

import os
import pickle
import socket
from collections.abc import Sequence
from typing import BinaryIO

from merkl.cluster.errand import there
from merkl.digest import Digest
from merkl.engine.project import Project
from merkl.errors import InputMissing, MerklError, StoreCorrupt, TaskFailed
from merkl.nodes import Artifact, Node, Source
from merkl.store.removal import remove_tree
from merkl.tree import Tree
from merkl.workspace.copying import copy_into


class Mirror:
    """The directory of ``project``, which stands for ``root`` of the sender."""

    def __init__(self, project: Project, root: str) -> None:
        self._project = project
        self._sender_root = root
        self._files: set[Digest] = set()  # Directories of files that are in place.
        self._texts: dict[Digest, str] = {}

    def sources(self, node: Node) -> tuple[Source, ...]:
        """Put the sources of a node in place; the same with the stamps that they have here.

        Raises:
            TaskFailed: one lies outside the project, and is something else here.
            StoreCorrupt: its bytes are not in the store.
        """
        return tuple(map(self._source, node.sources))

    def _source(self, source: Source) -> Source:
        try:
            found = self._project.index.source(source.path, source.kind)
        except InputMissing:
            found = None
        if found is not None and _is_same(found, source):
            return found
        if source.path.startswith("/"):
            what = "is not there" if found is None else "is something else"
            raise TaskFailed(
                f"{source.path} lies outside the project, and {what} on {socket.gethostname()}",
                hint="put it into the project, or run the task here: target='local'",
            )
        self._put(source)
        found = self._project.index.source(source.path, source.kind)
        if not _is_same(found, source):
            raise StoreCorrupt(f"{source.path} could not be put in place as it was", hint="build again")
        return found

    def _put(self, source: Source) -> None:
        where = os.path.join(self._project.root, source.path)
        if source.kind == "file":
            self._file(where, source.digest, source.executable)
            return
        remove_tree(where)
        self._fill(where, self._tree(source.digest))

    def _tree(self, digest: Digest) -> Tree:
        with self._reader(digest) as file:
            tree = Tree.decode(file.read())
        self._project.shelter.bring([Artifact("dir", digest, tree.size)])
        return tree

    def _reader(self, digest: Digest) -> BinaryIO:
        return self._project.shelter.reader(digest)

    def _fill(self, where: str, tree: Tree) -> None:
        tree.check()
        os.makedirs(where, exist_ok=True)
        for entry in tree.entries:  # Sorted, so a directory comes before what is in it.
            path = os.path.join(where, os.fsdecode(entry.path))
            if entry.kind == "dir":
                os.makedirs(path, exist_ok=True)
            elif entry.kind == "link" and entry.digest is None:
                if not os.path.lexists(path):
                    os.symlink(entry.link, path)
            elif entry.digest is not None:
                self._file(path, entry.digest, entry.executable)

    def _file(self, where: str, digest: Digest, executable: bool) -> None:
        os.makedirs(os.path.dirname(where), exist_ok=True)
        new = f"{where}.{os.getpid()}.new"
        with self._reader(digest) as content, open(new, "wb") as file:
            copy_into(content, file.fileno())
            os.fchmod(file.fileno(), 0o755 if executable else 0o644)
        if os.path.isdir(where):
            remove_tree(where)
        os.replace(new, where)

    def files(self, digest: Digest | None) -> None:
        """Put the files in place that a node may discover."""
        if digest is not None and digest not in self._files:
            self._fill(self._project.root, self._tree(digest))
            self._files.add(digest)

    def texts(self, digest: Digest | None) -> str:
        """A file with the texts of the project's modules, under the paths of this machine, where they are in place as well."""
        if digest is None:
            return ""
        if digest not in self._texts:
            with self._reader(digest) as file:
                texts, modules = pickle.loads(file.read())
            here = {there(path, self._sender_root, self._project.root): text for path, text in texts.items()}
            for path, text in here.items():
                if path.startswith(os.path.join(self._project.root, "")):
                    _write(path, text.encode("utf-8", "surrogateescape"))
            folder = os.path.join(self._project.config.state, "run")
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, f"sent-{digest.hex()[:16]}")
            _write(path, pickle.dumps((here, modules)))
            self._texts[digest] = path
        return self._texts[digest]

    def directory(self, path: str) -> None:
        """Make a directory that a command runs in."""
        if path and not path.startswith("/"):
            os.makedirs(os.path.join(self._project.root, path), exist_ok=True)


def _is_same(one: Source, other: Source) -> bool:
    return (one.kind, one.digest, one.executable) == (other.kind, other.digest, other.executable)


def _write(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.replace(path + ".new", path)


def shown_here(error: MerklError, roots: Sequence[tuple[str, str]]) -> MerklError:
    """An error with the paths of the machine that it is shown on: ``roots`` are pairs of there and here."""
    for old, new in roots:
        error.headline = error.headline.replace(old, new)
        for name, value in error.details.items():
            if isinstance(value, str):
                error.details[name] = value.replace(old, new)
    return error

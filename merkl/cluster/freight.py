"""What errands need in the shared store: sources of the project, texts of its modules, results that were made here.

It decides what is sent, and once.  ``Gathering`` is asked by the building thread, ``Sending`` by the one that sends.

The invariant: what is sent has the digest that it is sent under, whatever is edited meanwhile.
"""

import contextlib
import fnmatch
import io
import os
import pickle
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Final, cast

from blake3 import blake3

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.engine.attempt import Attempt
from merkl.engine.project import Project
from merkl.errors import ConfigError, InputChanged, InputMissing
from merkl.execute.workplace import Workplace
from merkl.nodes import Artifact, Node, Source
from merkl.python.send import texts_of
from merkl.store.blobs import lost
from merkl.store.remote.objects import REFRESH_S
from merkl.store.remote.packs import LARGEST
from merkl.store.remote.remote import Remote
from merkl.tree import Tree, TreeEntry
from merkl.workspace.ignore import MERKLIGNORE, Rules
from merkl.workspace.paths import GITIGNORE, absolute, reserved

_MOST_FILES: Final = 20_000
_SOURCES: Final = (
    ".h", ".hh", ".hpp", ".hxx", ".h++", ".inc", ".inl", ".ipp", ".tcc", ".def", ".c", ".cc", ".cpp", ".cxx", ".m",
    ".s", ".S", ".asm", ".proto", ".f", ".f90", ".tex", ".sty",
)  # fmt: skip
_MOST_BYTES: Final = 1 << 30  # Of a project's files that a task may discover.

Open = Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class Load:
    """One content and where it is read; ``open`` is None of what must be in the shared store already."""

    size: int
    open: Open | None


class Gathering:
    """What attempts need of one build, which places what it makes at the paths ``placed``.

    ``files`` are patterns of what a task may discover; without any, all but what git ignores, of which only sources: these
    may be somebody else's, while a file of passwords may lie beside them.
    """

    def __init__(self, project: Project, files: Sequence[str], placed: Collection[str]) -> None:
        self._placed = placed
        self._project = project
        self._patterns = tuple(files)
        self._files: tuple[Digest, dict[Digest, Load]] | None = None
        self._texts: tuple[int, Digest] = (-1, Digest(bytes(32)))
        self.made_there: set[Digest] = set()  # What came to be in the shared store in this build, whole.

    def of(self, attempt: Attempt) -> dict[Digest, Load]:
        """The sources and inputs of an attempt.

        Raises:
            InputMissing: a source is not there any more.
            StoreCorrupt: an input's bytes are gone.
        """
        loads: dict[Digest, Load] = {}
        for source in attempt.node.sources:
            if not source.path.startswith("/"):
                loads |= self._of_source(source, attempt.node)
        for artifact in attempt.inputs:
            if artifact.digest not in self.made_there:
                loads |= self._of_artifact(artifact)
        return loads

    def _of_source(self, source: Source, node: Node) -> dict[Digest, Load]:
        where = absolute(source.path, self._project.root)
        if source.kind == "file":
            return {source.digest: Load(source.stamp.size, _checked(where, source.digest, source.path, node))}
        tree = self._project.index.tree(source.path)
        if tree.digest != source.digest:
            raise InputChanged(source.path, node.name)
        return _of_tree(tree, where, source.path, node)

    def _of_artifact(self, artifact: Artifact) -> dict[Digest, Load]:
        self._project.shelter.alone(artifact)
        sizes: dict[Digest, int] = {artifact.digest: artifact.size}
        if artifact.kind == "dir":
            data = self._project.shelter.read(artifact.digest)
            if data is None:
                raise lost(artifact.digest)
            sizes = {artifact.digest: len(data)}
            entries = Tree.decode(data).entries
            sizes |= {each.digest: each.size for each in entries if each.kind == "file" and each.digest}
        store = self._project.store
        here = store.has(sizes)
        return {
            digest: Load(size, _from_store(store.reader, digest) if digest in here else None)
            for digest, size in sizes.items()
        }

    # ---- code ----------------------------------------------------------------------------------------------------

    def texts(self, place: Workplace, generation: int) -> tuple[Digest, dict[Digest, Load]]:
        """The texts of the project's modules, as they were counted."""
        if self._texts[0] == generation:
            return self._texts[1], {}
        data = pickle.dumps(texts_of(place), protocol=5)
        digest = Digest.of(data)
        self._texts = generation, digest
        return digest, {digest: _bytes(data)}

    # ---- what a task may find ------------------------------------------------------------------------------------

    def files(self) -> tuple[Digest, dict[Digest, Load]]:
        """The project's files as one directory, without what is ignored and what this build places.

        Raises:
            ConfigError: they are too many.
        """
        if self._files is None:
            self._files = self._all_files()
        return self._files

    def _all_files(self) -> tuple[Digest, dict[Digest, Load]]:
        entries: list[TreeEntry] = []
        loads: dict[Digest, Load] = {}
        folders: set[bytes] = set()
        total = 0
        for path in _walk(self._project.root, self._placed, everything=bool(self._patterns)):
            if self._patterns and not any(fnmatch.fnmatchcase(path, each) for each in self._patterns):
                continue
            with contextlib.suppress(InputMissing):  # It has just gone, or nobody may read it.
                source = self._project.index.source(path, "file")
                size = source.stamp.size
                total += size
                entries.append(
                    TreeEntry(os.fsencode(path), "file", source.digest, size, executable=source.executable)
                )
                folders |= set(_parents(os.fsencode(path)))
                where = os.path.join(self._project.root, path)
                loads[source.digest] = Load(size, _checked(where, source.digest, path, None))
            if len(entries) > _MOST_FILES or total > _MOST_BYTES:
                raise ConfigError(
                    "a task that finds its inputs itself would need too many files of the project on other machines",
                    hint="files: ['src/*', 'include/*'] below the executor in merkl.yaml says which it may find",
                )
        entries += [TreeEntry(folder, "dir") for folder in folders]
        tree = Tree(tuple(sorted(entries, key=lambda entry: entry.path)))
        data = tree.encode()
        return Digest.of(data), {**loads, Digest.of(data): _bytes(data)}


def _parents(path: bytes) -> Iterator[bytes]:
    while path := os.path.dirname(path):
        yield path


def _walk(root: str, placed: Collection[str], *, everything: bool) -> Iterator[str]:
    """The files of a project by their paths, without what belongs to version control, what ``.merklignore`` names, and
    ``placed``; what git ignores, or a directory around it, only if ``everything`` is asked for, or it is a source."""
    todo = [("", Rules((GITIGNORE, MERKLIGNORE)), True)]
    while todo:
        folder, rules, asked = todo.pop()
        where = os.path.join(root, folder)
        try:
            with os.scandir(where) as found:
                listing = {entry.name: entry for entry in found}
        except OSError:
            continue
        inside = rules.entering(folder, listing, where)
        for name in sorted(listing):
            path = f"{folder}/{name}" if folder else name
            entry = listing[name]
            directory = entry.is_dir(follow_symlinks=False)
            ignored = inside.ignored_by(path, directory)
            if reserved(os.fsencode(name)) or path in placed or ignored == MERKLIGNORE:
                continue
            if directory and not os.path.exists(os.path.join(where, name, "pyvenv.cfg")):
                todo.append((path, inside, asked and (everything or not ignored)))
            elif entry.is_file() and (everything or (asked and not ignored) or name.endswith(_SOURCES)):
                yield path


# ---- reading -------------------------------------------------------------------------------------------------------


def _bytes(data: bytes) -> Load:
    return Load(len(data), lambda: io.BytesIO(data))


def _from_store(read: Callable[[Digest], BinaryIO], digest: Digest) -> Open:
    return lambda: read(digest)


def _of_tree(tree: Tree, where: str, shown: str, node: Node) -> dict[Digest, Load]:
    loads = {}
    for entry in tree.entries:
        if entry.digest is not None and entry.kind == "file":
            path = os.fsdecode(entry.path)
            loads[entry.digest] = Load(
                entry.size, _checked(os.path.join(where, path), entry.digest, f"{shown}/{path}", node)
            )
    data = tree.encode()
    return {**loads, tree.digest: _bytes(data)}


def _checked(where: str, digest: Digest, shown: str, node: Node | None) -> Open:
    def opened() -> BinaryIO:
        try:
            file = open(where, "rb")
        except OSError as error:
            raise InputMissing(f"{shown} cannot be read: {error.strerror}", hint="build again") from None
        return cast(BinaryIO, _Checked(file, digest, shown, "merkl" if node is None else node.name))

    return opened


class _Checked:
    """A reader of a file that raises, instead of ending, if what it read is not what it should have been."""

    def __init__(self, file: BinaryIO, digest: Digest, shown: str, task: str) -> None:
        self._file = file
        self._digest = digest
        self._said = shown, task
        self._hasher = blake3()
        self.fileno, self.tell, self.close = file.fileno, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self._hasher.update(data)
        if (not data or size < 0) and self._hasher.digest() != self._digest:
            raise InputChanged(*self._said)
        return data

    def __enter__(self) -> "_Checked":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


# ---- sending -------------------------------------------------------------------------------------------------------


class Sending:
    """Sends what the shared store lacks; each content once."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._sent: set[Digest] = set()

    def send(self, loads: Mapping[Digest, Load]) -> None:
        """See that some contents are there.

        Raises:
            InputChanged: one was edited meanwhile.
            StoreCorrupt: one is neither there nor here.
            StoreError: the store cannot take it.
        """
        todo = {digest: load for digest, load in loads.items() if digest not in self._sent}
        if not todo:
            return
        small = {digest for digest, load in todo.items() if load.size <= LARGEST and load.open is not None}
        stored = self._remote.stored(todo, packed=small)
        limit = time.time() - REFRESH_S
        missing = [
            digest
            for digest, load in todo.items()
            if digest not in stored or (load.open is not None and stored[digest] < limit)
        ]
        for digest in missing:
            if todo[digest].open is None:
                raise lost(digest)
        self._remote.contents.send(((digest, todo[digest].size) for digest in missing), _reading(todo))
        self._sent |= todo.keys()

    def there(self, digests: Iterable[Digest]) -> None:
        """Hear that some contents are there."""
        self._sent.update(digests)


def _reading(loads: Mapping[Digest, Load]) -> Callable[[Digest], BinaryIO]:
    def read(digest: Digest) -> BinaryIO:
        opened = loads[digest].open
        assert opened is not None
        return opened()

    return read

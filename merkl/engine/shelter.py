"""The store as a build sees it: what the real one cannot take is kept beside it for as long as the project is open.

It decides which faults of the store a build may ignore: all that keep something from going in.  What keeps it from being
read at all is the store's to say.

The invariant: a record is filed only if everything that it names is in the real store.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

from merkl.digest import Digest, Key
from merkl.errors import SchemaTooNew, StoreCorrupt, StoreError
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.store.base import Record, RunLock, Store
from merkl.store.local import LocalStore
from merkl.store.removal import remove_tree
from merkl.tree import Tree

if TYPE_CHECKING:  # Few projects have some.
    from merkl.engine.owncaches import OwnCaches
    from merkl.store.layered import Layered


class Shelter:
    """What a build needs of ``store``; ``directory`` is where the rest goes, made when it is needed.

    ``caches`` are given what was filed.  ``passing`` are records by key that are filed nowhere.
    """

    def __init__(
        self,
        store: Store,
        directory: str,
        caches: "OwnCaches | None" = None,
        passing: Mapping[Key, Record] = MappingProxyType({}),
    ) -> None:
        self.store = store
        self.passing = passing
        self.caches = caches
        self.directory = directory
        self.notes: list[Note] = []
        self._own: LocalStore | None = None
        self._refused = False  # Since the last ``publish``.

    def own(self) -> LocalStore:
        """The store beside the real one.

        Raises:
            StoreError: there is no room for it either.
        """
        if self._own is None:
            self._own = LocalStore(self.directory)
        return self._own

    def sheltered(self, digest: Digest) -> bool:
        """Whether a blob is here because the real store could not take it, or another that goes with it."""
        return self._own is not None and bool(self._own.has([digest]))

    @property
    def holds_some(self) -> bool:
        """Whether anything is here that the real store could not take."""
        return self._own is not None

    def close(self) -> None:
        """Let go of what was kept.  Idempotent."""
        if self._own is not None:
            self._own.close()
            self._own = None
            remove_tree(self.directory)

    def _layered(self) -> "Layered | None":
        """The real store, if it lies over another one."""
        if isinstance(self.store, LocalStore):
            return None
        from merkl.store.layered import Layered

        return self.store if isinstance(self.store, Layered) else None

    def _refuse(self, error: StoreError) -> None:
        if isinstance(error, SchemaTooNew):
            raise error
        self._refused = True
        where = f" ({error.details['path']})" if "path" in error.details else ""
        note = Note(f"not cached: {error.headline}{where}", error.hint)
        if note not in self.notes:
            self.notes.append(note)

    # ---- records -------------------------------------------------------------------------------------------------

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """As the store's, and what interrupted tasks of this command returned."""
        found = self.store.by_key(keys)
        if self.passing:
            for key in keys:
                if key in self.passing and key not in found:
                    found[key] = self.passing[key]
        return found

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """As the store's."""
        return self.store.by_content_key(keys)

    def further(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """The records of the remote under content keys for which those of this machine did not do."""
        layered = self._layered()
        return {} if layered is None else layered.further(keys)

    def all_filed_here(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """The records of this machine under each of some content keys."""
        layered = self._layered()
        near = self.store if layered is None else layered.upper
        return near.by_content_key(keys)

    def publish(self, results: Sequence[tuple[Record, bool]], blobs: Mapping[Digest, bytes]) -> None:
        """As the store's; what cannot be filed is not, and its blobs are kept here."""
        refused, self._refused = self._refused, False
        try:
            self.store.publish([] if refused else results, blobs)
        except StoreError as error:
            self._refuse(error)
            self._refused = False
            self.own().publish([], blobs)
            return
        if self.caches is not None and not refused:
            for record, under_key in results:
                self.caches.keep(record, [record.key] if under_key else [], self.store)

    def alias(self, key: Key, record: Record) -> None:
        """As the store's, if it can."""
        try:
            self.store.alias(key, record)
            if self.caches is not None:
                self.caches.keep(record, [key], self.store)
        except StoreError as error:
            self._refuse(error)
            self._refused = False

    def try_lock(self, content_key: Key, task: str) -> RunLock | None:
        """As the store's."""
        return self.store.try_lock(content_key, task)

    def holder(self, content_key: Key) -> str:
        """As the store's."""
        return self.store.holder(content_key)

    # ---- blobs ---------------------------------------------------------------------------------------------------

    def put_file(self, path: str | bytes, *, move: bool = False, digest: Digest | None = None) -> Digest:
        """As the store's, or here."""
        try:
            return self.store.put_file(path, move=move, digest=digest)
        except StoreError as error:
            self._refuse(error)
            return self.own().put_file(path, move=move, digest=digest)

    def put_small(self, blobs: Mapping[Digest, bytes]) -> None:
        """Store many small contents at once, or keep them here."""
        try:
            self.store.publish([], blobs)
        except StoreError as error:
            self._refuse(error)
            self.own().publish([], blobs)

    def put_tree(self, tree: Tree) -> Digest:
        """Store a directory whose files are stored; one that is kept here has all its files here."""
        if not self._refused:
            try:
                return self.store.put([tree.encode()])
            except StoreError as error:
                self._refuse(error)
        own = self.own()
        leaves = {entry.digest for entry in tree.entries if entry.digest is not None}
        for leaf in leaves - own.has(leaves):
            with self.store.reader(leaf) as file:
                own.put(iter(lambda: file.read(1 << 20), b""))
        return own.put([tree.encode()])

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are in either."""
        asked = list(digests)
        return self.store.has(asked) | (self._own.has(asked) if self._own is not None else set())

    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]:
        """Those that are whole in either."""
        asked = list(artifacts)
        return self.store.present(asked) | (self._own.present(asked) if self._own is not None else set())

    def bring(self, artifacts: Iterable[Artifact]) -> None:
        """Fetch what of these is only in the remote: what opens the store of this machine itself finds it there."""
        if (layered := self._layered()) is not None:
            from merkl.store.bundle import Slice
            from merkl.store.remote.errors import RemoteError

            asked = list(artifacts)
            try:
                layered.bring(each for each in asked if not isinstance(each, Slice))
                for each in asked:
                    if isinstance(each, Slice):
                        layered.part(each.blob, each.offset, each.size, of=each.digest)
            except RemoteError:
                raise  # It is required.
            except StoreError as error:
                self._refuse(error)

    def reader(self, digest: Digest) -> BinaryIO:
        """A reader from either.

        Raises:
            StoreCorrupt: it is gone or damaged in both.
        """
        if self._own is not None and self._own.has([digest]):
            return self._own.reader(digest)
        return self.store.reader(digest)

    def read(self, digest: Digest) -> bytes | None:
        """All bytes of a small content from either, or None."""
        if self._own is not None and self._own.has([digest]):
            return self._own.read(digest)
        return self.store.read(digest)

    def small(self, digests: Iterable[Digest]) -> Mapping[Digest, bytes]:
        """The bytes of those that are short and in the store of this machine, if they can be had at once."""
        return self.store.small(digests) if isinstance(self.store, LocalStore) and self._own is None else {}

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None:
        """A part of a content from either."""
        if self._own is not None and self._own.has([digest]):
            return self._own.part(digest, start, size, of=of)
        return self.store.part(digest, start, size, of=of)

    def alone(self, artifact: Artifact) -> None:
        """See that an artifact has a content of its own, also one that lies in a bundle.

        Raises:
            StoreCorrupt: its bytes are gone or damaged.
        """
        if type(artifact) is Artifact:
            return
        from merkl.store.bundle import Slice, item_bytes

        if isinstance(artifact, Slice) and not self.has([artifact.digest]):
            self.put_small({artifact.digest: item_bytes(self, artifact)})

    def readable(self, artifact: Artifact) -> bool:
        """Whether all bytes of an artifact are here and undamaged; reads them."""
        from merkl.store.bundle import Slice, item_bytes

        try:
            if isinstance(artifact, Slice):
                return bool(item_bytes(self, artifact) or True)
            with self.reader(artifact.digest) as file:
                data = file.read() if artifact.kind == "dir" else b""
            for entry in Tree.decode(data).entries if artifact.kind == "dir" else ():
                if entry.digest is not None:
                    self.reader(entry.digest).close()
        except (StoreCorrupt, ValueError):
            return False
        return True

"""The caches that tasks bring along, as one place behind the store of this machine.

It decides which cache is asked for a node: the one of its task.  Contents, which are of no task, are looked for in all of
them, and then in the remote.

The invariant: what is here is only ever an addition: a record or a content that none of them has is made as if there were
no such caches.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

from merkl.digest import Digest, Key
from merkl.errors import StoreCorrupt
from merkl.events import Note
from merkl.nodes import Artifact, Node
from merkl.store.base import Record, Shared, Store
from merkl.store.cached import CacheStore
from merkl.store.caches import BaseCache
from merkl.store.combined import present
from merkl.store.streams import whole


class OwnCaches:
    """A ``Shared``: the caches of tasks, and behind them ``remote``."""

    def __init__(self, remote: Shared | None) -> None:
        self._remote = remote
        self._stores: dict[int, tuple[BaseCache, CacheStore]] = {}  # The cache is kept, for its id.
        self._of: dict[Key, CacheStore] = {}  # By keys and content keys.

    def heed(self, node: Node, key: Key) -> None:
        """Hear that a node is known by a key, or a content key."""
        own = getattr(node.call, "own", None)
        if own is not None and own.cache is not None and node.cache:
            self._of[key] = self._store(own.cache)

    def _store(self, cache: BaseCache) -> CacheStore:
        if id(cache) not in self._stores:
            self._stores[id(cache)] = cache, CacheStore(cache)
        return self._stores[id(cache)][1]

    def keep(self, record: Record, keys: Sequence[Key], store: Store) -> None:
        """Give the cache of a task what one of its nodes made, which is in ``store``."""
        own = self._of.get(record.key) or self._of.get(record.content_key)
        if own is not None:
            own.keep(record, keys, store)

    # ---- records -------------------------------------------------------------------------------------------------

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records filed under those keys, in the caches of their tasks or in the remote."""
        found: dict[Key, Record] = {}
        for own, asked in self._routed(keys):
            found.update(own.by_key(asked))
        rest = [key for key in keys if key not in found]
        below = self._remote.by_key(rest) if self._remote is not None and rest else {}
        return found | below

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """All records filed under those content keys, likewise."""
        found: dict[Key, list[Record]] = {}
        for own, asked in self._routed(keys):
            found.update(own.by_content_key(asked))
        below = self._remote.by_content_key(keys) if self._remote is not None else {}
        for key, records in below.items():
            found[key] = [*found.get(key, ()), *records]
        return {key: records for key, records in found.items() if records}

    def _routed(self, keys: Iterable[Key]) -> list[tuple[CacheStore, list[Key]]]:
        routes: dict[int, tuple[CacheStore, list[Key]]] = {}
        for key in keys:
            own = self._of.get(key)
            if own is not None:
                routes.setdefault(id(own), (own, []))[1].append(key)
        return list(routes.values())

    def file(self, record: Record, *, under_key: bool = True) -> Record:
        """Refused by nobody and needed by nobody: what is made is kept by ``keep``."""
        del under_key
        return record

    def alias(self, key: Key, record: Record) -> None:
        """Likewise."""

    def forget(self, keys: Iterable[Key]) -> int:
        """Remove records from the caches of their tasks; the remote is others' too."""
        return sum(own.forget(asked) for own, asked in self._routed(keys))

    # ---- contents ------------------------------------------------------------------------------------------------

    def _places(self) -> list[Shared]:
        own: list[Shared] = [store for _, store in self._stores.values()]
        return own if self._remote is None else [*own, self._remote]

    def put(self, chunks: Iterable[bytes]) -> Digest:
        """As ``file``: the digest is all that comes of it."""
        return Digest.of(b"".join(chunks))

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are in any of them, by name only."""
        rest, found = set(digests), set[Digest]()
        for place in self._places():
            found |= place.has(rest)
            rest -= found
            if not rest:
                break
        return found

    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]:
        """The digests of those that are here, by name only; a directory with all its files."""
        return present(self, artifacts)

    def size(self, digest: Digest) -> int | None:
        """How many bytes a content has, or None."""
        return next((size for place in self._places() if (size := place.size(digest)) is not None), None)

    def open(self, digest: Digest) -> BinaryIO | None:
        """A reader of the bytes, checked; None if they are nowhere.

        Raises:
            StoreCorrupt: all that was found of them is damaged.
        """
        damaged: StoreCorrupt | None = None
        for place in self._places():
            try:
                reader = place.open(digest)
            except StoreCorrupt as error:
                damaged = error
                continue
            if reader is not None:
                return reader
        if damaged is not None:
            raise damaged
        return None

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """The bytes as they come."""
        for place in self._places():
            if place.has([digest]):
                yield from place.pieces(digest)
                return

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None:
        """A part of a content."""
        found = (place.part(digest, start, size, of=of) for place in self._places())
        return next((data for data in found if data is not None), None)

    def many(self, digests: Iterable[Digest]) -> Iterator[Mapping[Digest, bytes]]:
        """Those that the remote gives together."""
        return iter(()) if self._remote is None else self._remote.many(digests)

    def fetch(self, digest: Digest) -> BinaryIO | None:
        """As ``open``, but a damaged content is a miss."""
        found = (place.fetch(digest) for place in self._places())
        return next((reader for reader in found if reader is not None), None)

    def read(self, digest: Digest) -> bytes | None:
        """All bytes at once, as ``fetch``."""
        return whole(self.fetch(digest))

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        return [note for place in self._places() for note in place.take_notes()]

    def close(self) -> None:
        """Let go of the remote."""
        for place in self._places():
            place.close()

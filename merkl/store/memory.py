"""A store that lives and dies with the process: for trying things out, and where no directory may be written.

It keeps the same contracts as the store in a directory, and knows no disk.
"""

import io
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

from merkl.digest import Digest, Key
from merkl.errors import InputMissing, StoreCorrupt, StoreError
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.store.base import Discovered, Record
from merkl.store.blobs import lost
from merkl.store.fileobjects import FileObjects
from merkl.store.records import leaves
from merkl.store.streams import pieces_of, whole


class MemoryStore(FileObjects):
    """A ``Store`` in memory.  Safe to share between threads; a forked child has a copy."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._names: dict[Key, Record] = {}
        self._records: dict[Key, list[Record]] = {}
        self._blobs: dict[Digest, bytes] = {}
        self._running: dict[Key, str] = {}
        self._notes: list[Note] = []

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records filed under those keys."""
        with self._lock:
            return {key: self._names[key] for key in keys if key in self._names}

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """All records filed under those content keys, oldest first."""
        with self._lock:
            return {key: list(self._records[key]) for key in keys if key in self._records}

    def file(self, record: Record, *, under_key: bool = True) -> Record:
        """File a record; the one that counts is returned."""
        with self._lock:
            known = self._records.setdefault(record.content_key, [])
            kept = next((r for r in known if _found(r.discovered) == _found(record.discovered)), None)
            if kept is None:
                known.append(record)
                kept = record
            elif kept.outputs != record.outputs and not self._is_whole(kept):
                known[known.index(kept)] = record
                self._names.update({key: record for key, named in self._names.items() if named is kept})
                kept = record
            if under_key:
                self._name(record.key, kept)
            return kept

    def alias(self, key: Key, record: Record) -> None:
        """File a record under one more key."""
        with self._lock:
            self._name(key, self.file(record, under_key=False))

    def forget(self, keys: Iterable[Key]) -> int:
        """Remove the records of those keys or content keys, with every other name they have."""
        with self._lock:
            gone: list[Record] = []
            for key in list(keys):
                gone += [named] if (named := self._names.get(key)) else []
                gone += self._records.get(key, [])
            ids = {id(record) for record in gone}
            self._names = {key: named for key, named in self._names.items() if id(named) not in ids}
            for content_key in {record.content_key for record in gone}:
                rest = [record for record in self._records[content_key] if id(record) not in ids]
                if rest:
                    self._records[content_key] = rest
                else:
                    del self._records[content_key]
            return len(ids)

    def publish(self, results: Sequence[tuple[Record, bool]], blobs: Mapping[Digest, bytes]) -> list[Record]:
        """Store blobs, then file records."""
        with self._lock:
            self._blobs.update(blobs)
            return [self.file(record, under_key=under_key) for record, under_key in results]

    def put(self, chunks: Iterable[bytes], *, durable: bool = False, digest: Digest | None = None) -> Digest:
        """Store the bytes.

        Raises:
            StoreError: they were to be durable.
        """
        if durable:
            raise StoreError("a store in memory keeps nothing that must last")
        data = b"".join(chunks)
        digest = Digest.of(data)
        with self._lock:
            self._blobs[digest] = data
        return digest

    def put_file(
        self, path: str | bytes, *, move: bool = False, digest: Digest | None = None, durable: bool = False
    ) -> Digest:
        """Store the bytes of a file; ``move`` removes it."""
        del digest  # Reading the file gives it.
        try:
            if not os.path.isfile(path):
                raise InputMissing(f"{os.fsdecode(path)} cannot be stored: it is not a regular file")
            with open(path, "rb") as file:
                stored = self.put([file.read()], durable=durable)
        except OSError as error:
            raise StoreError(f"{os.fsdecode(path)} cannot be stored: {error.strerror}") from error
        if move:
            os.unlink(path)
        return stored

    def make_durable(self, digest: Digest) -> bool:
        """Nothing here lasts."""
        del digest
        return False

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are here."""
        with self._lock:
            return {digest for digest in digests if digest in self._blobs}

    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]:
        """The digests of those that are here, a directory with all its files."""
        with self._lock:
            return {
                artifact.digest
                for artifact in artifacts
                if (data := self._blobs.get(artifact.digest)) is not None
                and (artifact.kind != "dir" or all(digest in self._blobs for digest in leaves(data)))
            }

    def open(self, digest: Digest) -> BinaryIO | None:
        """A reader of the bytes, or None.

        Raises:
            StoreCorrupt: what was published under that digest does not have it.
        """
        with self._lock:
            data = self._blobs.get(digest)
            if data is None:
                return None
            if Digest.of(data) != digest:
                del self._blobs[digest]
                raise StoreCorrupt(f"a damaged blob, {digest.short}, was found in the store and removed")
        return io.BytesIO(data)

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """The bytes as they come."""
        return pieces_of(self.open(digest))

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None:
        """A part of a content."""
        data = self.read(digest)
        part = None if data is None else data[start : start + size]
        return part if part is not None and Digest.of(part) == of else None

    def many(self, digests: Iterable[Digest]) -> Iterator[Mapping[Digest, bytes]]:
        """Nothing: each is as well got alone."""
        del digests
        return iter(())

    def fetch(self, digest: Digest) -> BinaryIO | None:
        """As ``open``, but a damaged blob is a miss, with a note."""
        try:
            return self.open(digest)
        except StoreCorrupt as error:
            with self._lock:
                self._notes.append(Note(error.headline, error.hint))
            return None

    def reader(self, digest: Digest) -> BinaryIO:
        """As ``open``, where the blob must be here.

        Raises:
            StoreCorrupt: it is gone or damaged.
        """
        found = self.open(digest)
        if found is None:
            raise lost(digest)
        return found

    def read(self, digest: Digest) -> bytes | None:
        """All bytes at once, as ``fetch``."""
        return whole(self.fetch(digest))

    def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has, or None."""
        with self._lock:
            data = self._blobs.get(digest)
        return None if data is None else len(data)

    def try_lock(self, content_key: Key, task: str) -> "_Running | None":
        """The lock to run that node, or None if another thread has it."""
        with self._lock:
            if content_key in self._running:
                return None
            self._running[content_key] = task
            return _Running(self, content_key)

    def holder(self, content_key: Key) -> str:
        """Who has the lock, for a message."""
        return f"{self._running.get(content_key, 'another thread')} in this process"

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        """Release the locks; records and blobs stay."""
        with self._lock:
            self._running.clear()

    def _name(self, key: Key, record: Record) -> None:
        first = self._names.get(key)
        if first is None or (first is not record and not self._is_whole(first)):
            self._names[key] = record

    def _is_whole(self, record: Record) -> bool:
        wanted = {artifact.digest for artifact in record.outputs.values()}
        return self.present(record.outputs.values()) == wanted


class _Running:
    """The lock of one node among the threads of this process."""

    __slots__ = ("_key", "_store")

    def __init__(self, store: MemoryStore, key: Key) -> None:
        self._store: MemoryStore | None = store
        self._key = key

    def release(self) -> None:
        """Give it up.  Idempotent."""
        store, self._store = self._store, None
        if store is not None:
            with store._lock:
                store._running.pop(self._key, None)


def _found(discovered: Discovered | None) -> object:
    if discovered is None:
        return None
    return sorted(discovered.files.items())

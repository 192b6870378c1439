"""A project's own cache as a store: records and contents in something that knows only bytes by name.

It decides how records become bytes, what is believed of what comes back, and what a fault of the cache means: it is not
asked any more, and the user is told once.

The invariant: whatever the cache answers, only bytes with the digest that was asked for, and records that were written for
the key, come out of it; and no fault of it gets further than a note.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import BinaryIO, Final, TypeVar, cast

from blake3 import blake3

from merkl.digest import Digest, Key
from merkl.errors import MerklError, StoreCorrupt
from merkl.events import Note
from merkl.store.base import Record, Store
from merkl.store.caches import About, BaseCache, is_small
from merkl.store.combined import Combined
from merkl.store.records import needs
from merkl.store.remote.codec import NotARecord, decode_record, encode_record
from merkl.store.streams import whole

_PIECE: Final = 1 << 20  # Bytes.
_IN_MEMORY: Final = 16 << 20  # Bytes of what is looked at before it is handed on.
T = TypeVar("T")


class Asked:
    """A cache behind one lock, until its first fault."""

    def __init__(self, cache: BaseCache) -> None:
        self.cache = cache
        self._lock = threading.RLock()
        self._notes: list[Note] = []
        self._told: set[str] = set()
        self.failed = False

    def ask(self, question: Callable[[], T], otherwise: T) -> T:
        """What the cache says, or ``otherwise`` once it has failed."""
        with self._lock:
            if self.failed:
                return otherwise
            try:
                return question()
            except Exception as error:  # noqa: BLE001 - it is anybody's code, and only a cache.
                self.failed = True
                what = (
                    error.headline
                    if isinstance(error, MerklError)
                    else f"{type(error).__name__}: {error}".rstrip(": ")
                )
                self.note(
                    f"going on without the cache {_name_of(self.cache)}: {what}", "its results are made again"
                )
                return otherwise

    def note(self, text: str, hint: str = "") -> None:
        """Keep something for the user, once."""
        with self._lock:
            if text not in self._told:
                self._told.add(text)
                self._notes.append(Note(text, hint))

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def bytes_of(self, name: str) -> bytes | None:
        """The bytes of that name, or None."""
        return self.ask(lambda: _bytes(self.cache.get(name)), None)


def _bytes(data: object) -> bytes | None:
    if data is not None and not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"its get returned {type(data).__name__}, and not bytes or None")
    return None if data is None else bytes(data)


def _name_of(cache: BaseCache) -> str:
    try:
        shown = repr(cache)
    except Exception:  # noqa: BLE001 - it is anybody's code, and only a name.
        return type(cache).__name__
    return type(cache).__name__ if " object at 0x" in shown else shown[:200]


class CacheRecords:
    """A ``MerkleStore`` in a cache.  ``whole`` says whether the contents of a record's outputs are there."""

    def __init__(self, asked: Asked, whole: Callable[[Record], bool]) -> None:
        self._asked = asked
        self._whole = whole
        self._gone: set[Key] = set()  # A cache that cannot forget may go on offering these.

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records filed under those keys."""
        found = {key: [one for one, under in self._at(key) if under] for key in keys}
        return {key: records[0] for key, records in found.items() if records}

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """All records filed under those content keys, oldest first."""
        found = {
            key: [one for one, under in self._at(key) if not under and one.content_key == key] for key in keys
        }
        return {key: records for key, records in found.items() if records}

    def _at(self, name: Key) -> list[tuple[Record, bool]]:
        """The records of that name, and whether it is as a key that they have it."""
        data = None if name in self._gone else self._asked.bytes_of(name.hex())
        lines = [] if data is None else data.splitlines(keepends=True)
        try:
            return [_read(b"".join(lines[at : at + 3]), name) for at in range(0, len(lines), 3)]
        except NotARecord as error:
            self._asked.note(
                f"a damaged record was found in the cache {_name_of(self._asked.cache)}: {error}"
            )
            self._remove(name)
            return []

    def _write(self, name: Key, records: Sequence[Record], filed: Key | None) -> bool:
        data = b"".join(encode_record(one, filed) for one in records)
        last = records[-1]
        self._gone.discard(name)
        about = About(
            "record", last.task, last.key.hex(), Digest.of(data).hex(), len(data), dict(last.metadata)
        )
        return self._asked.ask(lambda: self._asked.cache.add(name.hex(), data, about) is not False, False)

    def file(self, record: Record, *, under_key: bool = True) -> Record:
        """File a record; the one that counts is returned."""
        known = self.by_content_key([record.content_key]).get(record.content_key, [])
        first = next((one for one in known if one.discovered == record.discovered), None)
        kept = first
        if kept is None or (kept.outputs != record.outputs and not self._whole(kept)):
            self._write(record.content_key, [*(one for one in known if one is not first), record], None)
            kept = record
        if under_key:
            self._name(record.key, kept)
        return kept

    def alias(self, key: Key, record: Record) -> None:
        """File a record under one more key."""
        self._name(key, self.file(record, under_key=False))

    def _name(self, key: Key, record: Record) -> None:
        first = self.by_key([key]).get(key)
        if first is None or (first != record and not self._whole(first)):
            self._write(key, [record], key)

    def forget(self, keys: Iterable[Key]) -> int:
        """Remove the records under those keys or content keys; names that ``alias`` gave may stay."""
        gone: set[tuple[Key, object]] = set()
        for key in keys:
            for record in [*self.by_key([key]).values(), *self.by_content_key([key]).get(key, [])]:
                gone.add(
                    (record.content_key, record.discovered and frozenset(record.discovered.files.items()))
                )
                for name in (key, record.key, record.content_key):
                    self._remove(name)
        return len(gone)

    def _remove(self, name: Key) -> None:
        self._gone.add(name)
        self._asked.ask(lambda: self._asked.cache.remove(name.hex()), None)

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        return self._asked.take_notes()

    def close(self) -> None:
        """Nothing is open."""


def _read(data: bytes, name: Key) -> tuple[Record, bool]:
    under = f'"filed":"{name.hex()}"'.encode() in data
    return decode_record(data, name if under else None), under


class CacheContents:
    """A ``ContentStore`` in a cache."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._bad: set[Digest] = set()  # A cache that cannot forget may go on offering these.

    def put(self, chunks: Iterable[bytes]) -> Digest:
        """Store bytes, if the cache keeps them."""
        import tempfile  # To import it takes long, and most projects have no such cache.

        hasher = blake3()
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            for chunk in chunks:
                hasher.update(chunk)
                file.write(chunk)
            digest, size = Digest(hasher.digest()), file.tell()
            file.seek(0)
            self.keep(cast(BinaryIO, file), About("content", "", "", digest.hex(), size, {}))
        return digest

    def keep(self, file: BinaryIO, about: About) -> bool:
        """Give the cache what ``file`` holds, as ``about`` describes it; whether it kept that."""
        cache, name = self._asked.cache, about.digest
        self._bad.discard(Digest.parse(name))

        def add() -> bool:
            if is_small(about.size):
                return cache.add(name, file.read(), about) is not False
            return cache.add_fileobject(name, file, about) is not False

        return self._asked.ask(add, False)

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are here, by name only."""
        has = self._asked.cache.has
        return {d for d in digests if d not in self._bad and self._asked.ask(partial(has, d.hex()), False)}

    def size(self, digest: Digest) -> int | None:
        """How many bytes a content has, or None."""
        reader = self.fetch(digest)
        if reader is None:
            return None
        with reader:
            return reader.seek(0, 2)

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """The bytes as they come; they are checked when all have come.

        Raises:
            StoreCorrupt: they do not hash to ``digest``; the cache was told to forget them.
        """
        reader = self._asked.ask(lambda: self._asked.cache.get_fileobject(digest.hex()), None)
        if reader is None or digest in self._bad:
            return
        hasher, pieces = blake3(), 0
        try:
            while piece := self._asked.ask(lambda: _bytes(reader.read(_PIECE)), None):
                hasher.update(piece)
                pieces += 1
                yield piece
        finally:
            self._asked.ask(reader.close, None)
        if Digest(hasher.digest()) != digest:
            self._bad.add(digest)
            if not self._asked.failed:
                self._asked.ask(lambda: self._asked.cache.remove(digest.hex()), None)
            raise StoreCorrupt(
                f"what the cache {_name_of(self._asked.cache)} gave for {digest.short} does not have that digest",
                hint="it is made again",
            )
        if not pieces:
            yield b""

    def open(self, digest: Digest) -> BinaryIO | None:
        """A reader of the bytes, checked; None if they are not here.

        Raises:
            StoreCorrupt: they do not hash to ``digest``.
        """
        import tempfile

        file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)
        came = False
        try:
            for piece in self.pieces(digest):
                came = True
                file.write(piece)
        except BaseException:
            file.close()
            raise
        if not came:
            file.close()
            return None
        file.seek(0)
        return cast(BinaryIO, file)

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None:
        """A part of a content, which is read from the whole."""
        reader = self.fetch(digest)
        if reader is None:
            return None
        with reader:
            reader.seek(start)
            data = reader.read(size)
        return data if Digest.of(data) == of else None

    def many(self, digests: Iterable[Digest]) -> Iterator[Mapping[Digest, bytes]]:
        """Nothing: each is as well got alone."""
        del digests
        return iter(())

    def fetch(self, digest: Digest) -> BinaryIO | None:
        """As ``open``, but damaged bytes are a miss, with a note."""
        try:
            return self.open(digest)
        except StoreCorrupt as error:
            self._asked.note(error.headline, error.hint)
            return None

    def read(self, digest: Digest) -> bytes | None:
        """All bytes at once, as ``fetch``."""
        return whole(self.fetch(digest))

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        return self._asked.take_notes()

    def close(self) -> None:
        """Nothing is open."""


class CacheStore(Combined):
    """A ``Shared`` in a cache of a project."""

    def __init__(self, cache: BaseCache) -> None:
        records, contents = cache.records, cache.contents
        first = Asked(records)
        self.contents = CacheContents(first if contents is records else Asked(contents))
        super().__init__(merkle=CacheRecords(first, self.whole), content=self.contents)

    def keep(self, record: Record, keys: Sequence[Key], store: Store) -> None:
        """Take over from ``store`` what a node made, contents first; ``keys`` are those that its record answers.

        What the cache does not keep all of has no record in it.
        """
        if not all(self.has([each]) or self._sent(record, each, store) for each in needs(record, store.read)):
            return
        self.merkle.file(record, under_key=False)
        for key in keys:
            self.merkle.alias(key, record)

    def _sent(self, record: Record, digest: Digest, store: Store) -> bool:
        reader, size = store.fetch(digest), store.size(digest)
        if reader is None or size is None:
            return False
        about = About("content", record.task, record.key.hex(), digest.hex(), size, dict(record.metadata))
        with reader:
            return self.contents.keep(reader, about)

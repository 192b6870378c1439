"""Records in a place that several machines share, one object each.

    records/ab/<key>                          the record that answers a key, with that key in it
    made/ab/<content key>/<discovered>        by content key; the last part is the digest of what it discovered, or ``none``

It decides which of two records of one name stays: the first, unless what it promised is gone or it is damaged.

The invariant: a record is believed only under the very key that it says it answers.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from merkl.digest import Digest, Key
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.store.base import Discovered, Record
from merkl.store.remote.codec import LARGEST, NotARecord, decode_record, encode_record
from merkl.store.remote.objects import Objects
from merkl.store.rows import to_json
from merkl.store.together import Together

_NOTHING: Final = "none"

Whole = Callable[[Iterable[Artifact]], bool]  # Whether all contents of some outputs are there.


class RemoteRecords:
    """A ``MerkleStore`` of ``objects``.  ``whole`` says whether what a record promises is there."""

    def __init__(self, objects: Objects, whole: Whole) -> None:
        self._objects = objects
        self._whole = whole
        self._together = Together(objects.width)
        self._notes: list[Note] = []

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records filed under those keys."""
        asked = list(keys)
        found = self._together.map(lambda key: self._read(_name(key), key), asked)
        return {key: record for key, record in zip(asked, found, strict=True) if record}

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """All records filed under those content keys, oldest first."""
        asked = list(keys)
        found = zip(asked, self._together.map(self._made, asked), strict=True)
        return {key: records for key, records in found if records}

    def file(self, record: Record, *, under_key: bool = True) -> Record:
        """File a record whose contents are here; the one that counts is returned."""
        kept = self._keep(_made_name(record), record, None)
        if under_key:
            self._name_it(record.key, kept)
        return kept

    def file_many(self, results: Iterable[tuple[Record, Sequence[Key]]]) -> None:
        """File many records, several at once, each under the keys that it answers."""

        def file(result: tuple[Record, Sequence[Key]]) -> None:
            kept = self.file(result[0], under_key=False)
            for key in result[1]:
                self._name_it(key, kept)

        deque(self._together.map(file, results), maxlen=0)

    def alias(self, key: Key, record: Record) -> None:
        """File a record under one more key."""
        self._name_it(key, self.file(record, under_key=False))

    def forget(self, keys: Iterable[Key]) -> int:
        """Remove the records under those keys or content keys, with their own keys; aliases cannot be found, and stay."""
        gone: dict[str, Record] = {}
        names: set[str] = set()
        for key in keys:
            named = self._read(_name(key), key)
            names |= {_name(key)} if named is not None else set()
            for record in (*self._made(key), *([named] if named is not None else ())):
                gone[_made_name(record)] = record
        for made, record in gone.items():
            filed = self._read(_name(record.key), record.key)
            names |= {made, _name(record.key)} if filed is None or _made_name(filed) == made else {made}
        self._objects.remove(sorted(names))
        return len(gone)

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        """End the threads.  Idempotent."""
        self._together.close()

    def _name_it(self, key: Key, record: Record) -> None:
        self._keep(_name(key), record, key)

    def _keep(self, name: str, record: Record, filed: Key | None) -> Record:
        """Create an object, or read the one that was first."""
        data = encode_record(record, filed)
        if self._objects.create(name, data):
            return record
        first = self._read(name, filed)
        belongs = first is not None and (filed is not None or first.content_key == record.content_key)
        # What this one promises is there, so another that promises the same is whole as well.
        if first and belongs and (first.outputs == record.outputs or self._whole(first.outputs.values())):
            return first
        self._objects.put(name, data)
        return record

    def _made(self, key: Key) -> list[Record]:
        listed = sorted(self._objects.names(_folder(key)), key=lambda each: (each.modified, each.name))
        found = [self._read(each.name) for each in listed]
        return [record for record in found if record and record.content_key == key]

    def _read(self, name: str, filed: Key | None = None) -> Record | None:
        data = self._objects.get(name, 0, LARGEST + 1)
        if data is None:
            return None
        try:
            return decode_record(data, filed)
        except NotARecord as error:
            self._notes.append(
                Note(f"a record in the remote {self._objects.url} is not used: {error} ({name})", "")
            )
            return None


def _name(key: Key) -> str:
    text = key.hex()
    return f"records/{text[:2]}/{text}"


def _folder(content_key: Key) -> str:
    text = content_key.hex()
    return f"made/{text[:2]}/{text}"


def _made_name(record: Record) -> str:
    return f"{_folder(record.content_key)}/{_found(record.discovered)}"


def _found(discovered: Discovered | None) -> str:
    if discovered is None:
        return _NOTHING
    files = sorted((path, digest and digest.hex()) for path, digest in discovered.files.items())
    return Digest.of(to_json(files).encode()).hex()

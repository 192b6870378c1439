"""Records in one place and contents in another, as one store: any back end of the one kind with any of the other.

It decides when a record gives way: when what it promises is not in the place of the contents.  What the place of the
records knows of contents does not count.

The invariant: the first record of a key wins as long as all its contents are there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

from merkl.digest import Digest, Key
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.store.base import ContentStore, MerkleStore, Record
from merkl.store.fileobjects import FileObjects
from merkl.store.records import leaves


def present(contents: ContentStore, artifacts: Iterable[Artifact]) -> set[Digest]:
    """The digests of the artifacts whose contents are there, by name only; a directory with all its files."""
    asked = {artifact.digest: artifact for artifact in artifacts}
    here = contents.has(asked)
    trees = {digest: contents.read(digest) for digest in here if asked[digest].kind == "dir"}
    inside = {digest: set(leaves(data)) for digest, data in trees.items() if data is not None}
    known = contents.has({leaf for each in inside.values() for leaf in each}) if inside else set()
    whole = {digest for digest, inner in inside.items() if inner <= known}
    return {digest for digest in here if digest not in trees or digest in whole}


class Combined(FileObjects):
    """A ``Shared`` of any ``MerkleStore`` and any ``ContentStore``."""

    def __init__(self, *, merkle: MerkleStore, content: ContentStore) -> None:
        self.merkle = merkle
        self.content = content

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records filed under those keys."""
        return self.merkle.by_key(keys)

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """All records filed under those content keys, oldest first."""
        return self.merkle.by_content_key(keys)

    def file(self, record: Record, *, under_key: bool = True) -> Record:
        """File a record whose contents are here; the one that counts is returned."""
        known = self.merkle.by_content_key([record.content_key]).get(record.content_key, [])
        first = next((each for each in known if each.discovered == record.discovered), None)
        if first is None or not (first.outputs == record.outputs or self.whole(first)):
            kept = self.merkle.file(record, under_key=False)
        else:
            kept = first
        if under_key:
            self.alias(record.key, kept)
        return kept

    def alias(self, key: Key, record: Record) -> None:
        """File a record under one more key."""
        first = self.merkle.by_key([key]).get(key)
        if first is None or not self.whole(first):
            self.merkle.alias(key, record)

    def forget(self, keys: Iterable[Key]) -> int:
        """Remove the records under those keys or content keys."""
        return self.merkle.forget(keys)

    def whole(self, record: Record) -> bool:
        """Whether all that a record promises is here."""
        return self.present(record.outputs.values()) == {each.digest for each in record.outputs.values()}

    def put(self, chunks: Iterable[bytes]) -> Digest:
        """Store bytes as they come."""
        return self.content.put(chunks)

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are here, by name only."""
        return self.content.has(digests)

    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]:
        """The digests of those that are here, by name only; a directory with all its files."""
        return present(self.content, artifacts)

    def size(self, digest: Digest) -> int | None:
        """How many bytes a content has, or None."""
        return self.content.size(digest)

    def open(self, digest: Digest) -> BinaryIO | None:
        """A reader of the bytes, checked; None if they are not here."""
        return self.content.open(digest)

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """The bytes as they come."""
        return self.content.pieces(digest)

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None:
        """A part of a content."""
        return self.content.part(digest, start, size, of=of)

    def many(self, digests: Iterable[Digest]) -> Iterator[Mapping[Digest, bytes]]:
        """Those that are got more cheaply together."""
        return self.content.many(digests)

    def fetch(self, digest: Digest) -> BinaryIO | None:
        """As ``open``, but a damaged content is a miss, with a note."""
        return self.content.fetch(digest)

    def read(self, digest: Digest) -> bytes | None:
        """All bytes at once, as ``fetch``."""
        return self.content.read(digest)

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        return [*self.merkle.take_notes(), *self.content.take_notes()]

    def close(self) -> None:
        """Close both.  Idempotent."""
        self.merkle.close()
        self.content.close()

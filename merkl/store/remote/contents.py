"""Contents in a place that several machines share: large ones as objects of their own, small ones in packs.

    blobs/ab/<digest>      packs/<digest>, index/<digest>.<of the index>

It decides what is packed.  The invariant: bytes that are handed out have the digest they were asked for by.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Final

from blake3 import blake3

from merkl.digest import Digest
from merkl.errors import StoreCorrupt
from merkl.events import Note
from merkl.store.remote import packs
from merkl.store.remote.objects import Objects
from merkl.store.remote.packs import Packs
from merkl.store.together import Together

_CHUNK: Final = 4 << 20  # Bytes.
_SPOOL: Final = 16 << 20  # Bytes kept in memory before a temporary file is used.

Sent = Callable[[Digest, int], object]  # Told of each content that has arrived, and its size in bytes.


def blob_name(digest: Digest) -> str:
    """The name of the object that holds one content."""
    text = digest.hex()
    return f"blobs/{text[:2]}/{text}"


class RemoteContents:
    """A ``ContentStore`` of ``objects``.  ``cache`` is a file for what is known of packs, which may be lost."""

    def __init__(self, objects: Objects, cache: str | None = None) -> None:
        self.objects = objects
        self.packs = Packs(objects, cache)
        self._notes: list[Note] = []
        self._together = Together(objects.width)

    # ---- reading -------------------------------------------------------------------------------------------------

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are here, by name only."""
        asked = set(digests)
        packed = self.packs.find(asked)
        rest = sorted(asked - packed.keys())
        sizes = self._together.map(lambda digest: self.objects.size(blob_name(digest)), rest)
        return packed.keys() | {digest for digest, size in zip(rest, sizes, strict=True) if size is not None}

    def size(self, digest: Digest) -> int | None:
        """How many bytes a content has, or None."""
        at = self.packs.find([digest]).get(digest)
        return self.objects.size(blob_name(digest)) if at is None else at.length

    def open(self, digest: Digest) -> BinaryIO | None:
        """A reader of the bytes, or None if they are not here.

        Raises:
            StoreCorrupt: they do not hash to ``digest``.
        """
        spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL)
        found = False
        for piece in self.pieces(digest):
            found = True
            spool.write(piece)
        if not found:
            return None
        spool.seek(0)
        return spool  # type: ignore[return-value]  # It has all that a reader has.

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """The bytes as they come, at least one piece (which may be empty); nothing if they are not here.

        Raises:
            StoreCorrupt: at the end, if they do not hash to ``digest``.
        """
        at = self.packs.find([digest]).get(digest)
        if at is not None:
            data = self.objects.get(f"packs/{at.pack}", at.start, at.length)
            if data is not None and Digest.of(data) == digest:
                yield data
                return
            self.packs.forget(at.pack)
            if data is not None and self.objects.size(blob_name(digest)) is None:
                raise self._corrupt(digest)
        file = self.objects.open(blob_name(digest))
        if file is None:
            return
        hasher = blake3(max_threads=blake3.AUTO)
        with file:
            while piece := file.read(_CHUNK):
                hasher.update(piece)
                yield piece
        if hasher.digest() != digest:
            raise self._corrupt(digest)
        yield b""

    def fetch(self, digest: Digest) -> BinaryIO | None:
        """As ``open``, but a damaged content is a miss, with a note."""
        try:
            return self.open(digest)
        except StoreCorrupt as error:
            self._notes.append(Note(error.headline, error.hint))
            return None

    def read(self, digest: Digest) -> bytes | None:
        """All bytes at once, as ``fetch``."""
        reader = self.fetch(digest)
        if reader is None:
            return None
        with reader:
            return reader.read()

    # ---- writing -------------------------------------------------------------------------------------------------

    def put(self, chunks: Iterable[bytes]) -> Digest:
        """Store bytes as they come."""
        hasher = blake3()
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as spool:
            for chunk in chunks:
                hasher.update(chunk)
                spool.write(chunk)
            digest = Digest(hasher.digest())
            if not self.has([digest]):
                spool.seek(0)
                self.objects.put(blob_name(digest), spool)  # type: ignore[arg-type]
        return digest

    def send(
        self,
        contents: Iterable[tuple[Digest, int]],
        read: Callable[[Digest], BinaryIO],
        sent: Sent | None = None,
    ) -> None:
        """Store many contents, each given with its size and read by ``read``, which checks it; several at once.

        What is here already is left out before: ask ``has``.  ``sent`` is called in this thread, as they arrive.

        Raises:
            StoreError: what ``read`` raises, or the place cannot take more; the rest is not sent.
        """
        jobs = _jobs(contents)
        for done in self._together.map(lambda job: self._send(job, read), jobs):
            for digest, size in done:
                if sent is not None:
                    sent(digest, size)

    def _send(
        self, job: Sequence[tuple[Digest, int]], read: Callable[[Digest], BinaryIO]
    ) -> Sequence[tuple[Digest, int]]:
        if len(job) == 1:
            with read(job[0][0]) as file:
                self.objects.put(blob_name(job[0][0]), file)
            return job
        contents = []
        for digest, _ in job:
            with read(digest) as file:
                contents.append((digest, file.read()))
        self.packs.write(contents)
        return job

    # ---- the rest ------------------------------------------------------------------------------------------------

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        """Let go of threads and files.  Idempotent."""
        self._together.close()
        self.packs.close()
        self.objects.close()

    def _corrupt(self, digest: Digest) -> StoreCorrupt:
        return StoreCorrupt(
            f"a blob, {digest.short}, is damaged in the remote {self.objects.url}",
            hint="`merkl fsck --remote` finds and repairs what is damaged",
        )


def _jobs(contents: Iterable[tuple[Digest, int]]) -> Iterator[Sequence[tuple[Digest, int]]]:
    """What to send at once: one large content, or small ones that fill a pack."""
    batch: list[tuple[Digest, int]] = []
    room = packs.FULL
    for digest, size in contents:
        if size > packs.LARGEST:
            yield [(digest, size)]
            continue
        batch.append((digest, size))
        room -= size
        if room <= 0:
            yield batch
            batch, room = [], packs.FULL
    if batch:
        yield batch

"""Contents in a place that several machines share: large ones as objects of their own, small ones in packs.

    blobs/ab/<digest>      packs/<digest>, index/<digest>.<of the index>

It decides what is packed, and what becomes of an object that was found damaged: it is set aside, so that it is no longer
there and the next push stores it again.  Where the place may not be written, this machine remembers not to believe it.

The invariant: bytes that are handed out have the digest they were asked for by.
"""

import contextlib
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Final

from blake3 import blake3

from merkl.digest import Digest
from merkl.errors import StoreCorrupt, StoreError
from merkl.events import Note
from merkl.hashers import large_hasher
from merkl.store.faults import store_error
from merkl.store.remote import packs
from merkl.store.remote.errors import RemoteError
from merkl.store.remote.objects import Listed, Objects
from merkl.store.remote.packs import Packs
from merkl.store.remote.parts import Parts
from merkl.store.remote.squeezing import LONGEST, plain_pieces, size_of, squeeze_file
from merkl.store.remote.whereabouts import Packed
from merkl.store.streams import whole
from merkl.store.together import Together

_SENDING: Final = 8  # Packs or large contents on their way at once: each is some megabytes in memory.
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
        self._lock = threading.Lock()
        self._parts = Parts(self.fetch)
        self._together = Together(objects.width)
        self._sending = Together(min(objects.width, _SENDING))

    # ---- reading -------------------------------------------------------------------------------------------------

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are here, by name only."""
        asked = set(digests)
        packed = self.packs.find(asked).keys()
        return packed | self._alone(asked - packed).keys()

    def stored(
        self, digests: Iterable[Digest], *, packed: Collection[Digest] = frozenset()
    ) -> dict[Digest, float]:
        """Those that are here, by name only, and when each was stored last, by the place's clock.

        ``packed`` are looked for in packs only.
        """
        asked = set(digests)
        found = self.packs.find(asked)
        rest = asked - found.keys() - set(packed)
        alone = {digest: each.modified for digest, each in self._alone(rest).items()}
        return alone | {digest: self.packs.written(at.pack) for digest, at in found.items()}

    def _alone(self, digests: set[Digest]) -> dict[Digest, Listed]:
        """Those that are objects of their own."""
        asked = sorted(digests - self._doubted(digests))
        found = self._together.map(lambda digest: self.objects.look(blob_name(digest)), asked)
        return {digest: each for digest, each in zip(asked, found, strict=True) if each is not None}

    def size(self, digest: Digest) -> int | None:
        """How many bytes a content has, or None."""
        at = self.packs.find([digest]).get(digest)
        if at is not None:
            data = self.packs.read([(digest, at)]).get(digest)
            return None if data is None else len(data)
        name = blob_name(digest)
        if self._doubted([digest]) or (stored := self.objects.size(name)) is None:
            return None
        size = size_of(self.objects.get(name, 0, LONGEST) or b"")
        return stored if size is None else size

    def open(self, digest: Digest) -> BinaryIO | None:
        """A reader of the bytes, or None if they are not here.

        Raises:
            StoreCorrupt: they do not hash to ``digest``.
        """
        with contextlib.ExitStack() as stack:
            spool = stack.enter_context(_spool())
            found = False
            for piece in self.pieces(digest):
                found = True
                with _room():
                    spool.write(piece)
            if not found:
                return None
            spool.seek(0)
            stack.pop_all()
            return spool

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """The bytes as they come, at least one piece (which may be empty); nothing if they are not here.

        Raises:
            StoreCorrupt: at the end, if they do not hash to ``digest``.
        """
        while (at := self.packs.find([digest]).get(digest)) is not None:
            data = self.packs.read([(digest, at)]).get(digest)
            if data is not None:
                yield data
                return
        file = None if self._doubted([digest]) else self.objects.open(blob_name(digest))
        if file is None:
            return
        hasher = blake3()  # In one thread it is faster than they come, and costs least.
        with file, contextlib.suppress(StoreCorrupt):  # Whoever takes them may say so.
            for piece in self._plain(file):
                hasher.update(piece)
                yield piece
        if hasher.digest() != digest:
            self.set_aside(digest)
            raise StoreCorrupt(
                f"a blob, {digest.short}, is damaged in the remote {self.objects.url}, and not used",
                hint="`merkl push` of what it belongs to stores it again",
            )
        yield b""

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None:
        """A part of a content, read alone, unless it is squeezed."""
        at = self.packs.find([digest]).get(digest)
        if at is not None:
            return self._part_of_packed((digest, at), start, size, of)
        if not self._parts.has(digest):
            name = blob_name(digest)
            data = None if self._doubted([digest]) else self.objects.get(name, start, size)
            if data is None or Digest.of(data) == of:
                return data
        data = self._parts.part(digest, start, size)  # All is read: a damaged one is set aside.
        return data if data is not None and len(data) == size and Digest.of(data) == of else None

    def _part_of_packed(
        self, place: tuple[Digest, Packed], start: int, size: int, of: Digest
    ) -> bytes | None:
        digest, at = place
        if start + size <= at.length:
            data = self.objects.get(f"packs/{at.pack}", at.start + start, size)
            if data is not None and Digest.of(data) == of:
                return data
        data = self.packs.read([place]).get(digest, b"")[start : start + size]  # A damaged one is set aside.
        return data if Digest.of(data) == of and len(data) == size else None

    def set_aside(self, digest: Digest) -> bool:
        """Take a content that has an object of its own out of use, if it is damaged when read again; whether that was done.

        If the place may not be written, this machine does not believe it any more.
        """
        name = blob_name(digest)
        file = self.objects.open(name)
        if file is None:
            return False
        hasher = large_hasher()
        with file:
            for piece in self._plain(file):
                hasher.update(piece)
        if hasher.digest() == digest:
            return False
        try:
            self.objects.move(name, f"{packs.ASIDE}/{name}")
        except StoreError:
            self.packs.doubt(self._listed(name))
            return False
        return True

    def _doubted(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those whose objects are as they were when they were found damaged, and could not be set aside."""
        doubts = self.packs.doubts()
        names = {digest: blob_name(digest) for digest in digests} if doubts else {}
        return {
            digest
            for digest, name in names.items()
            if name in doubts
            and any((each.size, each.modified) == doubts[name] for each in self._listed(name))
        }

    def _listed(self, name: str) -> list[Listed]:
        return [each for each in self.objects.names(name.rpartition("/")[0]) if each.name == name]

    def _plain(self, file: BinaryIO) -> Iterator[bytes]:
        try:
            yield from plain_pieces(file)
        except OSError as error:
            raise RemoteError(
                f"the remote {self.objects.url} cannot be read: {error.strerror}", hint="is its disk sound?"
            ) from error

    def many(self, digests: Iterable[Digest]) -> Iterator[Mapping[Digest, bytes]]:
        """Those that are in packs, as they lie there."""
        places = self.packs.find(digests)
        return self._together.map(self.packs.read, packs.runs(places.items()))

    def fetch(self, digest: Digest) -> BinaryIO | None:
        """As ``open``, but a damaged content is a miss, with a note."""
        try:
            return self.open(digest)
        except StoreCorrupt as error:
            with self._lock:
                self._notes.append(Note(error.headline, error.hint))
            return None

    def read(self, digest: Digest) -> bytes | None:
        """All bytes at once, as ``fetch``."""
        return whole(self.fetch(digest))

    # ---- writing -------------------------------------------------------------------------------------------------

    def put(self, chunks: Iterable[bytes]) -> Digest:
        """Store bytes as they come."""
        hasher = blake3()
        with _spool() as spool:
            for chunk in chunks:
                hasher.update(chunk)
                with _room():
                    spool.write(chunk)
            digest = Digest(hasher.digest())
            if not self.has([digest]):
                size = spool.tell()
                spool.seek(0)
                self._put(digest, spool, size)
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
        for done in self._sending.map(lambda job: self._send(job, read), jobs):
            for digest, size in done:
                if sent is not None:
                    sent(digest, size)

    def _send(
        self, job: Sequence[tuple[Digest, int]], read: Callable[[Digest], BinaryIO]
    ) -> Sequence[tuple[Digest, int]]:
        if job[0][1] > packs.LARGEST:
            with read(job[0][0]) as file:
                self._put(job[0][0], file, job[0][1])
            return job
        contents = []
        for digest, _ in job:
            with read(digest) as file:
                contents.append((digest, file.read()))
        self.packs.write(contents)
        return job

    def _put(self, digest: Digest, file: BinaryIO, size: int) -> None:
        self.objects.put(blob_name(digest), squeeze_file(file, size) if self.objects.squeezes else file)

    # ---- the rest ------------------------------------------------------------------------------------------------

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        with self._lock:
            notes, self._notes = self._notes, []
        return [*notes, *self.packs.take_notes()]

    def close(self) -> None:
        """Let go of threads and files.  Idempotent."""
        self._parts.close()
        self._together.close()
        self._sending.close()
        self.packs.close()
        self.objects.close()


@contextlib.contextmanager
def _room() -> Iterator[None]:
    """Say of a disk that is full that it is the one for temporary files."""
    try:
        yield
    except OSError as error:
        raise store_error(error, tempfile.gettempdir()) from error


def _spool() -> BinaryIO:
    """A file in memory, and on disk once it is large."""
    return tempfile.SpooledTemporaryFile(max_size=_SPOOL)  # type: ignore[return-value]  # It has all that a reader has.


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

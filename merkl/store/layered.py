"""One store over another: what the upper lacks is looked for in the lower, and kept above.

It decides what of the lower is used, and when it is given up: after its first fault it is not asked again, and the user is
told once.  New results go to the upper alone.  What the upper answers costs the lower nothing.

The invariant: a record from below is filed above at once, but its bytes come only when somebody needs them; so what the
upper says of ``present`` may be more than it holds, never more than both do.
"""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Final, TypeVar

from merkl.digest import Digest, Key
from merkl.errors import SchemaTooNew, StoreCorrupt, StoreError
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.store.base import Record, RunLock, Shared, Store
from merkl.store.coming import Coming
from merkl.store.fileobjects import FileObjects
from merkl.store.records import leaves
from merkl.store.streams import pieces_of, whole
from merkl.store.together import Together

_WIDTH: Final = 8  # Contents fetched at once.
# Bytes at most of a content of which no record says how large it is: a log, a list of files.
_UNRECORDED: Final = 1 << 30
_FEW: Final = 16  # Parts of one content that are fetched one by one; then all of it comes.
T = TypeVar("T")


class Layered(FileObjects):
    """A ``Store``: ``upper``, and ``lower`` for what it lacks.

    With ``required`` a fault of the lower is an error.
    """

    def __init__(self, upper: Store, lower: Shared, *, required: bool = False) -> None:
        self.upper = upper
        self.lower = lower
        self._required = required
        self._given_up = False
        self._lock = threading.Lock()
        self._together = Together(_WIDTH)
        self._parts: Counter[Digest] = Counter()  # How many were asked for of a content that is only below.
        self._sizes: dict[Digest, int] = {}  # Of contents below, in bytes, as records and directories say.
        self._notes: list[Note] = []
        self.came: Callable[[int], object] = lambda _: None  # Told of bytes from below, in any thread.

    def _below(self, ask: Callable[[], T], otherwise: T) -> T:
        """What the lower store says, or ``otherwise`` once it has failed."""
        if self._given_up:
            return otherwise
        try:
            return ask()
        except StoreError as error:
            self._give_up(error)
            return otherwise

    def _give_up(self, error: StoreError) -> None:
        """Do not ask the lower store again; raises the error if it is required."""
        if self._required or isinstance(error, SchemaTooNew):
            raise error
        with self._lock:
            first, self._given_up = not self._given_up, True
        if first:
            error.told = True
            self._note(Note(f"going on without the remote: {error.headline}", error.hint))

    def _note(self, note: Note) -> None:
        with self._lock:
            self._notes.append(note)

    # ---- records -------------------------------------------------------------------------------------------------

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records filed under those keys, above or below."""
        found = self.upper.by_key(keys)
        missing = [key for key in keys if key not in found]
        nothing: dict[Key, Record] = {}
        below = self._below(lambda: self.lower.by_key(missing), nothing) if missing else nothing
        self._expect([*found.values(), *below.values()])
        return found | dict(zip(below, self._file_answers(below), strict=True))

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """All records filed under those content keys above; where there is none, those below."""
        found = self.upper.by_content_key(keys)
        self._expect(itertools.chain.from_iterable(found.values()))
        return found | self.further([key for key in keys if key not in found])

    def further(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """The records below under content keys for which those above, which discovered other inputs, did not do."""
        nothing: dict[Key, list[Record]] = {}
        below = self._below(lambda: self.lower.by_content_key(keys), nothing) if keys else nothing
        self._expect(itertools.chain.from_iterable(below.values()))
        return {key: [self._file(record) for record in records] for key, records in below.items() if records}

    def _expect(self, records: Iterable[Record]) -> None:
        """Remember how large contents are to be, also those of records that came earlier: no more is taken of them."""
        for record in records:
            self._expect_all(record.outputs.values())

    def _expect_all(self, artifacts: Iterable[Artifact]) -> None:
        self._sizes.update((each.digest, each.size) for each in artifacts if each.kind != "dir")

    def _file(self, record: Record) -> Record:
        try:
            return self.upper.file(record, under_key=False)
        except StoreError:  # It is full, or may only be read: the record can be used all the same.
            return record

    def _file_answers(self, answers: Mapping[Key, Record]) -> Sequence[Record]:
        """File records from below under the keys that they answer, which may be others than their own."""
        try:
            own = [(record, record.key == key) for key, record in answers.items()]
            kept = self.upper.publish(own, {})
            for (key, record), one in zip(answers.items(), kept, strict=True):
                if record.key != key:
                    self.upper.alias(key, one)
            return kept
        except StoreError:
            return list(answers.values())

    def file(self, record: Record, *, under_key: bool = True) -> Record:
        """As the upper's."""
        return self.upper.file(record, under_key=under_key)

    def publish(self, results: Sequence[tuple[Record, bool]], blobs: Mapping[Digest, bytes]) -> list[Record]:
        """As the upper's."""
        return self.upper.publish(results, blobs)

    def alias(self, key: Key, record: Record) -> None:
        """As the upper's."""
        self.upper.alias(key, record)

    def forget(self, keys: Iterable[Key]) -> int:
        """As the upper's: what others have is theirs, and may come back."""
        return self.upper.forget(keys)

    # ---- contents ------------------------------------------------------------------------------------------------

    def put(self, chunks: Iterable[bytes], *, durable: bool = False, digest: Digest | None = None) -> Digest:
        """As the upper's."""
        return self.upper.put(chunks, durable=durable, digest=digest)

    def put_file(
        self, path: str | bytes, *, move: bool = False, digest: Digest | None = None, durable: bool = False
    ) -> Digest:
        """As the upper's."""
        return self.upper.put_file(path, move=move, digest=digest, durable=durable)

    def make_durable(self, digest: Digest) -> bool:
        """As the upper's."""
        return self.upper.make_durable(digest)

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are above or below, by name only."""
        asked = set(digests)
        found = self.upper.has(asked)
        rest = asked - found
        nothing: set[Digest] = set()
        return found | self._below(lambda: self.lower.has(rest), nothing) if rest else found

    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]:
        """The digests of those that are above or below, by name only; a directory with all its files."""
        asked = {artifact.digest: artifact for artifact in artifacts}
        found = self.upper.present(asked.values())
        rest = [artifact for digest, artifact in asked.items() if digest not in found]
        if not rest:
            return found
        nothing: set[Digest] = set()
        found |= self._below(lambda: self.lower.present(rest), nothing)
        # Part of a directory may be here and the rest there.
        halves = [artifact for artifact in rest if artifact.kind == "dir" and artifact.digest not in found]
        for artifact in halves:
            tree = self.read(artifact.digest)
            inside = None if tree is None else set(leaves(tree))
            if inside is not None and self.has(inside) == inside:
                found.add(artifact.digest)
        return found

    def bring(self, artifacts: Iterable[Artifact], *, leave: Collection[Digest] = ()) -> int:
        """Fetch what of these is only below, several at once, directories with all their files; how many bytes came.

        What is nowhere, or damaged, is left out: reading it says so.  What is in ``leave`` is left to ``bring_through``.
        """
        asked = list(artifacts)
        self._expect_all(asked)
        fetched = self._bring({artifact.digest for artifact in asked}.difference(leave))
        trees = [self.upper.read(artifact.digest) for artifact in asked if artifact.kind == "dir"]
        inside = {leaf: size for tree in trees if tree is not None for leaf, size in leaves(tree).items()}
        self._sizes |= inside
        return fetched + self._bring(set(inside).difference(leave))

    def bring_through(self, digest: Digest, sink: Callable[[bytes], object]) -> int:
        """Fetch one content and give each of its pieces to ``sink`` as well; how many bytes came.

        0 if it could not be fetched whole and sound: then what ``sink`` has been given is worth nothing.
        """
        return self._fetch(digest, sink)

    def _bring(self, digests: set[Digest]) -> int:
        missing = digests - self.upper.has(digests)
        together = 0
        if len(missing) > 1:
            for blobs in self._many(missing):
                self.upper.publish([], blobs)
                missing -= blobs.keys()
                size = sum(map(len, blobs.values()))
                together += size
                self.came(size)
        return together + sum(self._together.map(self._fetch, sorted(missing)))

    def _many(self, digests: Iterable[Digest]) -> Iterator[Mapping[Digest, bytes]]:
        """What the lower store gives at once, as far as it can."""
        nothing: Iterator[Mapping[Digest, bytes]] = iter(())
        several = self._below(lambda: self.lower.many(digests), nothing)
        while (blobs := self._below(lambda: next(several, None), None)) is not None:
            yield blobs

    def _fetch(self, digest: Digest, sink: Callable[[bytes], object] | None = None) -> int:
        """Bring one content; how many bytes came."""
        if self._given_up:
            return 0
        coming = Coming(digest, self.lower.pieces(digest), self.came, self._sizes.get(digest, _UNRECORDED))
        try:
            first = next(coming, None)
            if first is not None:
                pieces = itertools.chain([first], coming)
                self.upper.put(pieces if sink is None else _given_to(sink, pieces), digest=digest)
        except StoreError as error:
            if coming.failure is not error:
                raise  # The upper could not take it.
            if isinstance(error, StoreCorrupt):
                self._note(Note(error.headline, error.hint))
            else:
                self._give_up(error)
            return 0
        return coming.bytes

    def open(self, digest: Digest) -> BinaryIO | None:
        """A reader of the bytes, fetched first if need be; None if they are nowhere.

        Raises:
            StoreCorrupt: they were here and damaged, and are not below.
        """
        try:
            reader = self.upper.open(digest)
        except StoreCorrupt as error:
            if not self._fetch(digest):
                raise
            self._note(Note(error.headline, "it was fetched again"))
            return self.upper.open(digest)
        if reader is None and self._fetch_any(digest):
            reader = self.upper.open(digest)
        return reader

    def _fetch_any(self, digest: Digest) -> bool:
        self._fetch(digest)
        return bool(self.upper.has([digest]))

    def fetch(self, digest: Digest) -> BinaryIO | None:
        """As ``open``, but a damaged blob is a miss, with a note."""
        try:
            return self.open(digest)
        except StoreCorrupt as error:
            self._note(Note(error.headline, error.hint))
            return None

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """The bytes as they come, fetched first if need be."""
        return pieces_of(self.open(digest))

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None:
        """A part of a content; one that is only below is kept above by itself."""
        data = self.upper.part(digest, start, size, of=of)
        if data is None:
            data = self.upper.read(of) if self.upper.has([of]) else None
        if data is not None:
            return data
        self._parts[digest] += 1
        if self._parts[digest] > _FEW and self._fetch_any(digest):
            return self.upper.part(digest, start, size, of=of)
        data = self._below(lambda: self.lower.part(digest, start, size, of=of), None)
        if data is not None:
            self.came(len(data))
            self.upper.publish([], {of: data})
        return data

    def many(self, digests: Iterable[Digest]) -> Iterator[Mapping[Digest, bytes]]:
        """Those that are only below and come together from there; they are kept above."""
        for blobs in self._many(set(digests) - self.upper.has(digests)):
            self.upper.publish([], blobs)
            yield blobs

    def read(self, digest: Digest) -> bytes | None:
        """All bytes at once, as ``fetch``."""
        return whole(self.fetch(digest))

    def reader(self, digest: Digest) -> BinaryIO:
        """As ``open``, where the blob must be above or below.

        Raises:
            StoreCorrupt: it is gone or damaged.
        """
        reader = self.open(digest)
        if reader is None and self._given_up:
            what = f"a blob, {digest.short}, is not here, and the remote is not asked any more"
            error = StoreCorrupt(what, hint="what needs it is made again")
            error.told = True  # When it was given up.
            raise error
        return self.upper.reader(digest) if reader is None else reader

    def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has, or None if it is nowhere."""
        size = self.upper.size(digest)
        return self._below(lambda: self.lower.size(digest), None) if size is None else size

    # ---- the rest ------------------------------------------------------------------------------------------------

    def try_lock(self, content_key: Key, task: str) -> RunLock | None:
        """As the upper's."""
        return self.upper.try_lock(content_key, task)

    def holder(self, content_key: Key) -> str:
        """As the upper's."""
        return self.upper.holder(content_key)

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call, here, above and below."""
        with self._lock:
            notes, self._notes = self._notes, []
        return [*notes, *self.upper.take_notes(), *self.lower.take_notes()]

    def close(self) -> None:
        """Close both."""
        self._together.close()
        self.upper.close()
        self.lower.close()


def _given_to(sink: Callable[[bytes], object], pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        sink(piece)
        yield piece

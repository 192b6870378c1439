"""One store over another: what the upper lacks is looked for in the lower, and kept above.

It decides what of the lower is used, and when it is given up: after its first fault it is not asked again, and the user is
told once.  New results go to the upper alone.

The invariant: a record from below is filed above at once, but its bytes come only when somebody needs them; so what the
upper says of ``present`` may be more than it holds, never more than both do.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import BinaryIO, Final, TypeVar

from merkl.digest import Digest, Key
from merkl.errors import SchemaTooNew, StoreCorrupt, StoreError
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.store.base import Record, RunLock, Shared, Store
from merkl.store.records import leaves
from merkl.store.together import Together

_CHUNK: Final = 4 << 20  # Bytes.
_WIDTH: Final = 8  # Contents fetched at once.
T = TypeVar("T")


class Layered:
    """A ``Store``: ``upper``, and ``lower`` for what it lacks.

    ``accepts`` says of a record from below whether it may be used.  With ``required`` a fault of the lower is an error.
    """

    def __init__(
        self,
        upper: Store,
        lower: Shared,
        *,
        accepts: Callable[[Record], bool] = lambda _: True,
        required: bool = False,
    ) -> None:
        self.upper = upper
        self.lower = lower
        self._accepts = accepts
        self._required = required
        self._given_up = False
        self._together = Together(_WIDTH)
        self._notes: list[Note] = []

    def _below(self, ask: Callable[[], T], otherwise: T) -> T:
        """What the lower store says, or ``otherwise`` once it has failed."""
        if self._given_up:
            return otherwise
        try:
            return ask()
        except StoreError as error:
            if self._required or isinstance(error, SchemaTooNew):
                raise
            self._given_up = True
            self._notes.append(Note(f"going on without the remote: {error.headline}", error.hint))
            return otherwise

    # ---- records -------------------------------------------------------------------------------------------------

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records filed under those keys, above or below."""
        found = self.upper.by_key(keys)
        missing = [key for key in keys if key not in found]
        nothing: dict[Key, Record] = {}
        below = self._below(lambda: self.lower.by_key(missing), nothing) if missing else nothing
        for key, record in below.items():
            if self._accepts(record):
                found[key] = self._file(record)
        return found

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """All records filed under those content keys, those above first."""
        found = self.upper.by_content_key(keys)
        # What has discovered inputs may have records on both sides that differ in them.
        asked = [key for key in keys if key not in found or found[key][0].discovered is not None]
        nothing: dict[Key, list[Record]] = {}
        below = self._below(lambda: self.lower.by_content_key(asked), nothing) if asked else nothing
        for key, records in below.items():
            known = found.setdefault(key, [])
            for record in records:
                if self._accepts(record) and all(record.discovered != each.discovered for each in known):
                    known.append(self._file(record, under_key=False))
            if not known:
                del found[key]
        return found

    def _file(self, record: Record, *, under_key: bool = True) -> Record:
        try:
            return self.upper.file(record, under_key=under_key)
        except StoreError:  # It is full, or may only be read: the record can be used all the same.
            return record

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

    def put(self, chunks: Iterable[bytes], *, durable: bool = False) -> Digest:
        """As the upper's."""
        return self.upper.put(chunks, durable=durable)

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

    def bring(self, artifacts: Iterable[Artifact]) -> int:
        """Fetch what of these is only below, several at once, directories with all their files; how many bytes came.

        What is nowhere, or damaged, is left out: reading it says so.
        """
        asked = list(artifacts)
        fetched = self._bring({artifact.digest for artifact in asked})
        trees = [self.upper.read(artifact.digest) for artifact in asked if artifact.kind == "dir"]
        return fetched + self._bring({leaf for tree in trees if tree is not None for leaf in leaves(tree)})

    def _bring(self, digests: set[Digest]) -> int:
        missing = sorted(digests - self.upper.has(digests))
        return sum(self._together.map(self._fetch, missing))

    def _fetch(self, digest: Digest) -> int:
        """Bring one content; how many bytes came."""
        reader = self._below(lambda: self.lower.fetch(digest), None)
        if reader is None:
            return 0
        with reader:
            if self.upper.put(iter(lambda: reader.read(_CHUNK), b"")) != digest:
                return 0  # Changed between checking and copying: not there under the name that was asked for.
        return self.upper.size(digest) or 0

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
            self._notes.append(Note(error.headline, "it was fetched again"))
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
            self._notes.append(Note(error.headline, error.hint))
            return None

    def read(self, digest: Digest) -> bytes | None:
        """All bytes at once, as ``fetch``."""
        reader = self.fetch(digest)
        if reader is None:
            return None
        with reader:
            return reader.read()

    def reader(self, digest: Digest) -> BinaryIO:
        """As ``open``, where the blob must be above or below.

        Raises:
            StoreCorrupt: it is gone or damaged.
        """
        reader = self.open(digest)
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
        notes, self._notes = self._notes, []
        return [*notes, *self.upper.take_notes(), *self.lower.take_notes()]

    def close(self) -> None:
        """Close both."""
        self._together.close()
        self.upper.close()
        self.lower.close()

"""The contracts of a store: records by key, contents by digest, and the order of writing.

It decides nothing about where bytes go.

The invariant every implementation keeps: blobs are stored before the record that names them, so a crash leaks space
but a record never promises bytes that were not written; and the first record of a key wins.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final, Protocol

from merkl.dataclass import dataclass, field
from merkl.digest import Digest, Key
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.trust.signer import Origin

_NOTHING: Final[Mapping[str, Any]] = {}  # One for all: there may be as many records as tasks.


@dataclass(frozen=True, slots=True)
class Discovered:
    """A set of inputs that a node found while it ran, and what each was.

    ``files`` maps a path (relative to the project, else absolute) to the digest of its bytes, or None for a path at
    which there was nothing, and where something would have been found first.
    """

    files: Mapping[str, Digest | None]


@dataclass(frozen=True, slots=True)
class Record:
    """What happened when a node ran.

    ``outputs`` are in the order of ``Node.outputs``, by name; ``inputs`` are the digests of its direct dependencies in the order of
    ``Node.deps``; ``started_ns`` is since the epoch; ``log`` is the blob of what it printed, None if nothing.
    ``arguments`` and ``dependencies`` are JSON values, kept so that they can be queried; ``metadata`` likewise.
    ``origin`` says where it came from that was not made here; it is no part of what happened, and two may differ in it.
    """

    key: Key
    content_key: Key
    task: str
    outputs: Mapping[str, Artifact]
    inputs: Sequence[Digest]
    seconds: float
    started_ns: int
    log: Digest | None = None
    exit_code: int = 0
    discovered: Discovered | None = None
    arguments: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    dependencies: Sequence[Any] = ()
    metadata: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    builder: str = ""
    origin: Origin | None = field(default=None, compare=False)

    @property
    def merkle_hash(self) -> str:
        """The key it was made for, in hexadecimal: ``Future.hash``."""
        return self.key.hex()

    @property
    def holds_pickles(self) -> bool:
        """Whether what it made cannot all be read without loading a pickle, which runs what that says."""
        return any("pickle" in artifact.serializer for artifact in self.outputs.values())

    @property
    def runs_code(self) -> bool:
        """Whether to use it may run what somebody wrote down: a pickle, or the calls that a pipeline made."""
        return self.holds_pickles or any(
            artifact.serializer.startswith("pipeline/") for artifact in self.outputs.values()
        )

    @property
    def arguments_hash(self) -> str:
        """The digest of the arguments as they are recorded: equal ones have equal hashes."""
        return _hash_of(dict(self.arguments))

    @property
    def dependencies_hash(self) -> str:
        """The digest of the dependencies, and of what each of them really was."""
        return _hash_of([list(self.dependencies), [digest.hex() for digest in self.inputs]])


def _hash_of(value: object) -> str:
    import json

    return Digest.of(json.dumps(value, sort_keys=True, default=repr, separators=(",", ":")).encode()).hex()


class MerkleStore(Protocol):
    """Records by key and by content key.  Safe to share between threads and between processes.

    No method raises merely because something is not there.
    """

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records filed under those keys, in one query; a key without one is left out."""

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """All records filed under those content keys, oldest first: more than one only with discovered inputs."""

    def file(self, record: Record, *, under_key: bool = True) -> Record:
        """File ``record`` under its content key and, unless ``under_key`` is False, under its key.

        The first record wins: if there is one already (for the same set of discovered inputs), that one is kept,
        filed under the key too, and returned.
        """

    def alias(self, key: Key, record: Record) -> None:
        """File an existing record under one more key (early cutoff).  The first record of a key wins."""

    def forget(self, keys: Iterable[Key]) -> int:
        """Remove the records filed under those keys or content keys, with every other name they have; how many went.

        A remote cannot ask for the names of a record: there, those that ``alias`` gave stay.
        """

    def take_notes(self) -> list[Note]:
        """What the user should know that was noticed since the last call: each thing once."""

    def close(self) -> None:
        """Write down what is pending and let go of files and connections.  Idempotent."""


class ContentStore(Protocol):
    """Bytes by digest.  Safe to share between threads and between processes.

    No method raises merely because something is not there.
    """

    def put(self, chunks: Iterable[bytes]) -> Digest:
        """Store the bytes and return their digest.  Idempotent; never half done.

        Raises:
            StoreFull: there is no room.
        """

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are here, by name only: their bytes are checked when they are read."""

    def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has, or None if it is not here."""

    def open(self, digest: Digest) -> BinaryIO | None:
        """Return a reader of the bytes, or None if they are not here.

        All bytes have been checked before it is returned, and it can seek: a part is read by seeking to it.

        Raises:
            StoreCorrupt: the bytes do not hash to ``digest``; they have been set aside.
        """

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """The bytes as they come, at least one piece (which may be empty); nothing if they are not here.

        They may be checked only when all have come: whoever takes them keeps nothing before.
        Whoever finds that there are too many may throw a ``StoreCorrupt`` into the generator, which then looks at what it has.

        Raises:
            StoreCorrupt: they do not hash to ``digest``, at the latest instead of ending.
        """

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None:
        """``size`` bytes of a content from ``start`` on, whose own digest is ``of``; None if they are not here.

        Only they are read, as far as that is possible.  If they have another digest, the whole is looked at and set aside.
        """

    def many(self, digests: Iterable[Digest]) -> Iterator[Mapping[Digest, bytes]]:
        """Those of some contents that are got more cheaply together, checked, a few megabytes at a time.

        What is missing or damaged is left out, and so is what is as well got alone.
        """

    def fetch(self, digest: Digest) -> BinaryIO | None:
        """As ``open``, but a damaged blob is a miss, with a note."""

    def read(self, digest: Digest) -> bytes | None:
        """All bytes at once, as ``fetch``; for what is known to be small."""

    def take_notes(self) -> list[Note]:
        """What the user should know that was noticed since the last call: each thing once."""

    def close(self) -> None:
        """Write down what is pending and let go of files and connections.  Idempotent."""


class Shared(MerkleStore, ContentStore, Protocol):
    """Records and contents where others may be at work too, such as a remote: what a store can be laid over."""

    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]:
        """The digests of those that are here, by name only; a directory with all its files."""


class RunLock(Protocol):
    """The right to run one node, held until ``release`` or the end of the process."""

    def release(self) -> None:
        """Give it up.  Idempotent."""


class Store(MerkleStore, ContentStore, Protocol):
    """Both kinds in one, as an engine uses them.  A reader of blobs must be closed before the store is."""

    def publish(self, results: Sequence[tuple[Record, bool]], blobs: Mapping[Digest, bytes]) -> list[Record]:
        """Store small blobs, then file the records of many finished nodes, all or nothing.

        Each record comes with whether it is filed under its key; the records that count are returned, as from
        ``file``.  The digests of ``blobs`` are taken on trust until they are read.
        """

    def put(self, chunks: Iterable[bytes], *, durable: bool = False, digest: Digest | None = None) -> Digest:
        """As for any contents; ``durable`` outlives a loss of power.

        ``digest``, if the chunks check themselves and raise instead of ending, is taken on trust until the first read.
        """

    def put_file(
        self, path: str | bytes, *, move: bool = False, digest: Digest | None = None, durable: bool = False
    ) -> Digest:
        """Store the bytes of a file, which ``move`` takes away: renamed if it can be, else cloned or copied.

        ``digest``, if the caller knows it, is taken on trust until the first read.  The file stays whole until its
        bytes are here.  ``durable`` outlives a loss of power.

        Raises:
            InputMissing: it is not there, or is no regular file.
            StoreError: it cannot be read or stored, or changed meanwhile.
        """

    def make_durable(self, digest: Digest) -> bool:
        """Let a blob that is here outlive a loss of power; False if it is not here."""

    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]:
        """The digests of those that are here, by name only; a directory with all its files."""

    def reader(self, digest: Digest) -> BinaryIO:
        """As ``open``, where the blob must be here.

        Raises:
            StoreCorrupt: it is gone or damaged.
        """

    def try_lock(self, content_key: Key, task: str) -> RunLock | None:
        """The lock to run that node, or None if somebody has it, in this process or another.  Never waits."""

    def holder(self, content_key: Key) -> str:
        """Who has the lock, for a message."""

    def close(self) -> None:
        """Write down what is pending and let go of files and locks.  Idempotent; the next use opens them again."""

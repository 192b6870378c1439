"""The store in a directory of this machine: SQLite and files.

It joins the parts that know records, blobs and locks; it decides only what is one transaction.  Of its directory:

    store-N.db          records, names, small blobs; only the newest N counts
    blobs/ab/<digest>   large blobs
    incoming/           blobs being written, each locked by its writer
    quarantine/         what did not have its digest        trash/      what gc removes
    locks               the run locks                       holders/    who holds them, for messages
    users/              links to the state of projects that use it from elsewhere

The invariant: blobs are stored before the record that names them, and what a read returns is what was stored or
nothing.  Only a store that cannot be used at all raises.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Final

from merkl.digest import Digest, Key
from merkl.errors import StoreError
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.sqlite import sqlite3
from merkl.store import records
from merkl.store.answers import Answer, keep_answer, long_answer, short_answer
from merkl.store.base import Record
from merkl.store.blobs import Blobs
from merkl.store.database import Database
from merkl.store.faults import store_error
from merkl.store.fileobjects import FileObjects
from merkl.store.intake import Intake, store_many
from merkl.store.leftovers import sweep_incoming
from merkl.store.locks import RunLock as RunLock
from merkl.store.locks import RunLocks
from merkl.store.readahead import ReadAhead
from merkl.store.schema import numbers_of
from merkl.store.streams import pieces_of

_RECENT_S: Final = 600  # A use within so many seconds is not noted again.


class LocalStore(FileObjects):
    """A ``Store`` in ``directory``, which is made if it is not there.

    ``accepts`` says whether a record may be used that came from elsewhere; one that may not is as if it were not here.

    Raises:
        StoreError: the directory cannot be made or read.
        SchemaTooNew: on first use, if a newer merkl wrote it.
    """

    def __init__(self, directory: str | bytes, *, accepts: Callable[[Record], bool] = lambda _: True) -> None:
        self._accepts = accepts
        self.directory = os.path.abspath(os.fsdecode(directory))
        try:
            # Not for others to write, whatever the umask; the directories above it are as that says.
            os.makedirs(self.directory, mode=0o755, exist_ok=True)
        except OSError as error:
            raise store_error(error, self.directory) from error
        self._mutex = threading.Lock()
        self._notes: list[Note] = []
        self._told: set[str] = set()
        self._views: dict[tuple[bytes, bytes], tuple[Digest, bytes]] = {}
        self.database = Database(self.directory, self.note)
        self._ahead = ReadAhead(self.database)
        self.blobs = Blobs(self.directory, self.database, self.note)
        self._intake = Intake(self.blobs)
        self._locks = RunLocks(self.directory)

    # Records.

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records filed under those keys."""
        found, old, bad = self.database.read(lambda connection: records.by_key(connection, keys))
        if not self._are_used(old, found):
            found, _, bad = self.database.read(lambda connection: records.by_key(connection, keys))
        self._remove_bad(bad)
        for key in [key for key, record in found.items() if not self._counts(record)]:
            del found[key]
        return found

    def _counts(self, record: Record) -> bool:
        return record.origin is None or self._accepts(record)

    def removals(self) -> str:
        """What is another text after each removal of records: as long as it is the same, what was filed is still there."""
        return self.database.read(records.removals)

    def database_files(self) -> tuple[str, str]:
        """The files that each transaction changes; the second one may not be there."""
        return self.database.path, f"{self.database.path}-wal"

    def answer(self, key: Key) -> Answer | None:
        """What is filed under a key, if that is one small value; None also if only a longer look can tell."""
        row = self._ahead.row(numbers_of(key))
        if row is not None and (found := short_answer(row, key)) is not None:
            return found
        return self.database.read(lambda connection: long_answer(connection, key))

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """All records filed under those content keys, oldest first."""
        found, old, bad = self.database.read(lambda connection: records.by_content_key(connection, keys))
        if not self._are_used(old, {}):
            found, _, bad = self.database.read(lambda connection: records.by_content_key(connection, keys))
        self._remove_bad(bad)
        if all(self._counts(record) for several in found.values() for record in several):
            return found
        counting = {key: list(filter(self._counts, several)) for key, several in found.items()}
        return {key: several for key, several in counting.items() if several}

    def file(self, record: Record, *, under_key: bool = True) -> Record:
        """File a record whose blobs are here; the one that counts is returned."""
        return self.publish([(record, under_key)], {})[0]

    def publish(self, results: Sequence[tuple[Record, bool]], blobs: Mapping[Digest, bytes]) -> list[Record]:
        """Store small blobs, then file records, in one transaction."""
        now = int(time.time())

        def transaction(connection: sqlite3.Connection) -> list[Record]:
            store_many(connection, blobs, now)
            return records.file_records(connection, results, blobs, now, self.blobs.read_file, self._counts)

        return self.database.write(transaction)

    def alias(self, key: Key, record: Record) -> None:
        """File a record under one more key; if it was removed meanwhile, it is filed again."""
        now = int(time.time())

        def transaction(connection: sqlite3.Connection) -> None:
            large = self.blobs.read_file
            kept, seal = records.file_record(connection, record, False, now, large, self._counts)
            records.add_name(connection, key, kept, seal, now, large, self._counts)

        self.database.write(transaction)

    def forget(self, keys: Iterable[Key]) -> int:
        """Remove the records of those keys or content keys, with every other name they have."""
        asked = list(keys)
        return self.database.write(lambda connection: records.forget(connection, asked))

    # Contents.

    def put(self, chunks: Iterable[bytes], *, durable: bool = False, digest: Digest | None = None) -> Digest:
        """Store bytes as they come, hashing them while they are written, if nobody else does."""
        return self._intake.put(chunks, durable, digest)

    def put_file(
        self, path: str | bytes, *, move: bool = False, digest: Digest | None = None, durable: bool = False
    ) -> Digest:
        """Store the bytes of a file; ``move`` takes it away once they are here."""
        return self._intake.put_file(os.fsencode(path), move, digest, durable)

    def make_durable(self, digest: Digest) -> bool:
        """Let a blob that is here outlive a loss of power."""
        return self._intake.make_durable(digest)

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are here, by name only."""
        return self.blobs.has(digests)

    def confirm(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are here, by name only; gc leaves them for an hour, as if they had just been stored."""
        asked = list(digests)
        now = int(time.time())
        update = "UPDATE blob SET used_at = ? WHERE digest = ? AND used_at < ?"
        rows = [(now, digest, now - _RECENT_S) for digest in asked]
        self.database.write(lambda connection: connection.executemany(update, rows))
        return self.blobs.rows_of(self.blobs.has(asked))

    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]:
        """The digests of those that are here, by name only; a directory with all its files."""
        asked = {artifact.digest: artifact for artifact in artifacts}
        here = self.blobs.has(asked)
        inside: dict[Digest, Iterable[Digest]] = {}
        for digest in [digest for digest in here if asked[digest].kind == "dir"]:
            tree = self.blobs.read(digest)
            if tree is None:
                here.remove(digest)  # It was damaged, and has just been set aside.
            else:
                inside[digest] = records.leaves(tree)
        known = self.blobs.has({leaf for leaves in inside.values() for leaf in leaves})
        return {digest for digest in here if known.issuperset(inside.get(digest, ()))}

    def open(self, digest: Digest) -> BinaryIO | None:
        """A reader of the bytes, checked; None if they are not here.

        Raises:
            StoreCorrupt: they do not have that digest, and have been set aside.
        """
        return self.blobs.open(digest)

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """The bytes as they come."""
        return pieces_of(self.open(digest))

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None:
        """A part of a content."""
        return self.blobs.part(digest, start, size, of)

    def many(self, digests: Iterable[Digest]) -> Iterator[Mapping[Digest, bytes]]:
        """Nothing: each is as well got alone."""
        del digests
        return iter(())

    def fetch(self, digest: Digest) -> BinaryIO | None:
        """As ``open``, but a damaged blob is a miss, with a note."""
        return self.blobs.fetch(digest)

    def reader(self, digest: Digest) -> BinaryIO:
        """As ``open``, where the blob must be here.

        Raises:
            StoreCorrupt: it is gone or damaged.
        """
        return self.blobs.reader(digest)

    def read(self, digest: Digest) -> bytes | None:
        """All bytes at once, as ``fetch``."""
        return self.blobs.read(digest)

    def small(self, digests: Iterable[Digest]) -> Mapping[Digest, bytes]:
        """The bytes of those that are short and undamaged, at once; others may be here too."""
        return self.blobs.small(digests)

    def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has, or None if it is not here."""
        return self.blobs.size(digest)

    # The rest.

    def enter_user(self, directory: str) -> None:
        """Note that a project whose state is in ``directory`` uses this store, so that its gc spares what others keep here."""
        folder = os.path.join(self.directory, "users")
        entry = os.path.join(folder, Digest.of(os.fsencode(directory)).hex()[:32])
        if not os.path.lexists(entry):
            try:
                os.makedirs(folder, exist_ok=True)
                os.symlink(directory, entry)
            except OSError:
                pass  # It may only be read, or somebody else has just done so.

    def users(self) -> list[str]:
        """The directories that were entered; their projects may be gone."""
        try:
            with os.scandir(os.path.join(self.directory, "users")) as entries:
                return [os.readlink(entry.path) for entry in entries if entry.is_symlink()]
        except OSError:
            return []

    def try_lock(self, content_key: Key, task: str) -> RunLock | None:
        """The lock to run that node, or None if somebody has it."""
        return self._locks.try_lock(content_key, task)

    def holder(self, content_key: Key) -> str:
        """Who has the lock, for a message."""
        return self._locks.holder(content_key)

    def note(self, note: Note) -> None:
        """Keep something for the user, once."""
        with self._mutex:
            if note.text not in self._told:
                self._told.add(note.text)
                self._notes.append(note)

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call, each thing once."""
        with self._mutex:
            notes, self._notes = self._notes, []
        return notes

    def remember_view(self, directory: bytes, path: bytes, digest: Digest, evidence: bytes) -> None:
        """Note that a view was believed, for the next flush."""
        with self._mutex:
            self._views[directory, path] = (digest, evidence)

    def flush(self) -> None:
        """Write down which views are believed.

        The end of a build is soon enough: what is not written is found out again.
        """
        with self._mutex:
            views, self._views = self._views, {}
        if not views:
            return

        def transaction(connection: sqlite3.Connection) -> None:
            rows = [(*name, *belief) for name, belief in views.items()]
            connection.executemany("INSERT OR REPLACE INTO view VALUES (?, ?, ?, ?)", rows)

        try:
            self.database.write(transaction)
        except StoreError:
            pass  # The store may not be written, or is full; a read must not fail for it.

    def sweep(self) -> None:
        """Remove what killed processes left: half-written blobs, and notes of locks that ended with them."""
        sweep_incoming(self.directory)
        self._locks.sweep()

    def close(self) -> None:
        """Let go of files and locks; the next use opens them again."""
        self.flush()
        self._locks.close()
        self.database.close()

    def _are_used(self, old: Mapping[bytes, Sequence[Key]], found: Mapping[Key, Record]) -> bool:
        """Note at once that records are used, so that gc leaves them and their blobs; False if it has just removed some."""
        if not old:
            return True
        now = int(time.time())

        def transaction(connection: sqlite3.Connection) -> bool:
            update = "UPDATE record SET used_at = ? WHERE seal = ?"
            done = connection.executemany(update, [(now, seal) for seal in old])
            if done.rowcount != len(old):
                return False
            for key in (key for keys in old.values() for key in keys):
                keep_answer(connection, key, found[key], now)
            return True

        try:
            return self.database.write(transaction)
        except StoreError:
            return True  # The store may not be written, or is full; a read must not fail for it.

    def _remove_bad(self, bad: list[bytes]) -> None:
        if bad:
            self.note(
                Note("a damaged record was found in the store and removed", "`merkl fsck` checks the rest")
            )
            try:
                self.database.write(lambda connection: records.remove(connection, bad))
            except StoreError:
                pass  # It is not believed the next time either.

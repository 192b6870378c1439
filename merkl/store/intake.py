"""How bytes come into the store: as a stream, as a file, or many small ones in the transaction of their records.

It decides whether contents go into the database or into a file, and when a known blob is confirmed.

The invariant: a blob is complete before it has its name, and it gets its name, or its use is noted, in a transaction;
gc removes blobs in one, so it never removes what has just been confirmed.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from merkl.digest import Digest
from merkl.errors import InputMissing, StoreError
from merkl.filesystem import clone
from merkl.hashers import large_hasher
from merkl.sqlite import sqlite3
from merkl.stamp import Stamp
from merkl.store.blobs import SMALL, Blobs, pack_stamp
from merkl.store.faults import store_error
from merkl.store.streams import Growing, hash_file, sink_for

_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_NEW: Final = "INSERT OR IGNORE INTO blob (digest, size, used_at, bytes) VALUES (?, ?, ?, ?)"
_UPSERT: Final = (
    "INSERT INTO blob (digest, size, used_at, bytes) VALUES (?, ?, ?, ?) ON CONFLICT (digest) "
    "DO UPDATE SET size = excluded.size, used_at = excluded.used_at, stamp = NULL, bytes = excluded.bytes"
)


def store_small(connection: sqlite3.Connection, digest: Digest, data: bytes, now: int) -> None:
    """Store contents in the database, in the caller's transaction; a damaged copy that is there is healed."""
    name = bytes(digest)  # SQLite's module takes long over what is not quite bytes.
    row = name, len(data), now, data
    if connection.execute(_NEW, row).rowcount:
        return
    confirm = "UPDATE blob SET used_at = ? WHERE digest = ? AND bytes = ?"
    if not connection.execute(confirm, (now, name, data)).rowcount:
        connection.execute(_UPSERT, row)


def store_many(connection: sqlite3.Connection, blobs: Mapping[Digest, bytes], now: int) -> None:
    """As ``store_small`` of each, and faster where none of them is here."""
    rows = [(bytes(digest), len(data), now, data) for digest, data in blobs.items()]
    if not rows or connection.executemany(_NEW, rows).rowcount == len(rows):
        return
    for digest, data in blobs.items():
        store_small(connection, digest, data, now)


class Intake:
    """Storing in the directory of ``blobs``."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def put(self, chunks: Iterable[bytes], durable: bool, known: Digest | None) -> Digest:
        """Store bytes as they come; those of a ``known`` digest are large ones that check themselves.

        Little more than ``SMALL`` bytes and one chunk are held in memory.
        """
        held: list[bytes] = []
        size = 0
        rest = iter(chunks)
        for chunk in rest:
            held.append(chunk)
            size += len(chunk)
            if size > SMALL:
                break
        data = b"".join(held)
        if size <= SMALL:
            return self.put_bytes(data, durable)
        with self._draft() as draft:
            hasher = large_hasher()
            growing = Growing(draft.fd)
            for chunk in itertools.chain([data], rest):
                if known is None:
                    hasher.update(chunk)
                with draft.explained():
                    growing.write(chunk)
            with draft.explained():
                growing.finish()
            digest = Digest(hasher.digest()) if known is None else known
            self._name(digest, draft.path, draft.fd, durable)
        return digest

    def put_bytes(self, data: bytes, durable: bool) -> Digest:
        """Store bytes in the database, however many."""
        digest = Digest.of(data)
        now = int(time.time())
        self._blobs.database.write(
            lambda connection: store_small(connection, digest, data, now), durable=durable
        )
        return digest

    def put_file(self, path: bytes, move: bool, digest: Digest | None, durable: bool) -> Digest:
        """Store the bytes of a file; see ``LocalStore.put_file``."""
        try:
            fd = os.open(path, _OPEN)
        except OSError as error:
            raise _unreadable(error, path) from error
        try:
            stamp = Stamp.of(os.fstat(fd))
            if not stamp.is_file:
                raise InputMissing(f"{os.fsdecode(path)} cannot be stored: it is not a regular file")
            stored = self._from(fd, path, stamp, move, digest, durable)
            if move:
                _unlink(path)  # Gone already if it was renamed.
            return stored
        finally:
            os.close(fd)

    def _from(
        self, fd: int, path: bytes, stamp: Stamp, move: bool, digest: Digest | None, durable: bool
    ) -> Digest:
        if stamp.size <= SMALL:
            data = _read(fd, SMALL + 1)
            if len(data) <= SMALL:
                return self.put_bytes(data, durable)
        # A second name of the same file could be written through.
        if move and os.fstat(fd).st_nlink == 1 and not os.path.islink(path):
            taken = self._take(fd, path, stamp, digest, durable)
            if taken is not None:
                return taken
        with self._draft() as draft:
            try:
                if clone(fd, draft.fd):
                    copied, _ = hash_file(draft.fd)
                else:
                    copied, _ = hash_file(fd, draft.sink_for(fd))
            except OSError as error:
                raise _unreadable(error, path) from error
            self._name(copied, draft.path, draft.fd, durable)
        return copied

    def _take(
        self, fd: int, path: bytes, stamp: Stamp, digest: Digest | None, durable: bool
    ) -> Digest | None:
        """Rename the file into the store; None if it lies in another file system."""
        if os.fstat(fd).st_dev != os.stat(self._blobs.directory).st_dev:
            return None
        if digest is None:
            digest, _ = hash_file(fd)
            if Stamp.of(os.fstat(fd)) != stamp:
                raise StoreError(f"{os.fsdecode(path)} changed while it was being stored")
        try:
            self._name(digest, os.fsdecode(path), fd, durable)
        except StoreError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EXDEV:
                return None  # One file system, mounted twice.
            raise
        return digest

    def _name(self, digest: Digest, path: str, fd: int, durable: bool) -> None:
        """Rename a complete file to the name of its digest, unless a good one has it; note its use."""
        final = self._blobs.path(digest)
        now = int(time.time())

        def name(connection: sqlite3.Connection) -> None:
            if not self._is_good(connection, digest, final):
                _rename(path, final)
                connection.execute(_UPSERT, (digest, os.fstat(fd).st_size, now, None))
            connection.execute("UPDATE blob SET used_at = ? WHERE digest = ?", (now, digest))

        try:
            if durable:
                os.fsync(fd)
            try:
                self._blobs.database.write(name, durable=durable)
            except (OSError, StoreError):
                _undo(path, final, fd)
                raise
            if os.fstat(fd).st_mode & 0o7777 != 0o444:
                os.fchmod(fd, 0o444)
            if durable:
                _sync_directories(final)
        except OSError as error:
            raise store_error(error, final) from error

    def _is_good(self, connection: sqlite3.Connection, digest: Digest, final: str) -> bool:
        row = connection.execute("SELECT stamp, bytes FROM blob WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            return False
        if row[1] is not None:
            return isinstance(row[1], bytes) and Digest.of(row[1]) == digest
        try:
            return bool(row[0] == pack_stamp(Stamp.of(os.lstat(final))))
        except OSError:
            return False

    def make_durable(self, digest: Digest) -> bool:
        """Bring a blob that is here to the disk itself; False if it is not here."""
        path = self._blobs.path(digest)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            pass
        else:
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            _sync_directories(path)
        now = int(time.time())
        confirm = "UPDATE blob SET used_at = ? WHERE digest = ?"
        rows: int = self._blobs.database.write(
            lambda connection: connection.execute(confirm, (now, digest)).rowcount, durable=True
        )
        return rows > 0

    def _draft(self) -> "_Draft":
        return _Draft(os.path.join(self._blobs.directory, "incoming"))


class _Draft:
    """A file that is being written, removed at the end of the block unless it was renamed.

    It is locked meanwhile, so that one whose writer was killed can be told from it.
    """

    __slots__ = ("fd", "path")

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, os.urandom(16).hex())

    def __enter__(self) -> "_Draft":
        try:
            while True:
                self.fd = self._made()
                try:
                    fcntl.flock(self.fd, fcntl.LOCK_EX)
                except OSError:  # A file system without locks.
                    self.__exit__()
                    raise
                if os.fstat(self.fd).st_nlink:
                    return self
                os.close(self.fd)  # Somebody took it for a dead writer's before it was locked.
        except OSError as error:
            raise store_error(error, self.path) from error

    def _made(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            return os.open(self.path, flags, 0o600)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Say of what goes wrong that it is the store's."""
        try:
            yield
        except OSError as error:
            raise store_error(error, self.path) from error

    def sink_for(self, source: int) -> Callable[[memoryview], object]:
        """What takes the pieces of another file, from its start."""
        write = sink_for(source, self.fd)

        def guarded(piece: memoryview) -> None:
            with self.explained():
                write(piece)

        return guarded

    def __exit__(self, *_: object) -> None:
        _unlink(self.path)
        os.close(self.fd)


def _read(fd: int, most: int) -> bytes:
    parts: list[bytes] = []
    while most > 0 and (part := os.read(fd, most)):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _rename(path: str, final: str) -> None:
    try:
        os.rename(path, final)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(final), exist_ok=True)
        try:
            os.rename(path, final)
        except FileNotFoundError:
            if not os.path.exists(final):  # It is there if the transaction is being run a second time.
                raise


def _undo(path: str, final: str, fd: int) -> None:
    """Give a file its old name back: the transaction in which it got its digest's failed, so the store does not have it.

    Not if it is another's: whose transaction came after ours put a good one there.
    """
    try:
        if not os.path.lexists(path) and os.lstat(final).st_ino == os.fstat(fd).st_ino:
            os.rename(final, path)
    except OSError:
        pass


def _sync_directories(path: str) -> None:
    for directory in (os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
        fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _unlink(path: str | bytes) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _unreadable(error: OSError, path: bytes) -> StoreError | InputMissing:
    shown = os.fsdecode(path)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
        return InputMissing(f"{shown} cannot be stored: {error.strerror}")
    return StoreError(f"{shown} cannot be stored: {error.strerror}")

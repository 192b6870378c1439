"""Blobs as they lie in the store: found, believed, handed out, set aside.

Contents up to ``SMALL`` bytes are in the database, larger ones in files named by their digest.  It decides when bytes
are believed.  It knows no records, and stores nothing: that is ``intake``.

The invariant: what is handed out has the digest it was asked for by.  Small contents are hashed at every read; a file
is hashed unless its stamp is the settled one that was noted when it was last hashed.  Bytes that do not fit are moved
to ``quarantine/`` and are a miss from then on.
"""

import errno
import io
import os
import struct
import time
from collections.abc import Callable, Iterable
from typing import BinaryIO, Final

from merkl.digest import Digest
from merkl.errors import StoreCorrupt, StoreError
from merkl.events import Note
from merkl.sqlite import sqlite3
from merkl.stamp import Stamp
from merkl.store.database import Database
from merkl.store.faults import store_error
from merkl.store.streams import FileClock, hash_file, whole, write_all

SMALL: Final = 100_000  # Bytes.
_STAMP: Final = struct.Struct("<qqqQQ")
_CHUNK: Final = 500
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def pack_stamp(stamp: Stamp) -> bytes:
    """A stamp as bytes to keep."""
    inode = stamp.inode & 0xFFFF_FFFF_FFFF_FFFF
    return _STAMP.pack(stamp.size, stamp.mtime_ns, stamp.ctime_ns, inode, stamp.mode)


class Blobs:
    """The contents in one store's directory.  ``note`` is told what the user should know."""

    def __init__(self, directory: str, database: Database, note: Callable[[Note], None]) -> None:
        self.directory = directory
        self.database = database
        self._note = note
        self._clock = FileClock(directory)

    def path(self, digest: Digest) -> str:
        """Where a large blob lies."""
        text = digest.hex()
        return f"{self.directory}/blobs/{text[:2]}/{text}"

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are here, by name only."""
        asked = list(digests)
        small: set[bytes] = set()

        def query(connection: sqlite3.Connection) -> None:
            for start in range(0, len(asked), _CHUNK):
                chunk = [bytes(digest) for digest in asked[start : start + _CHUNK]]
                marks = ",".join("?" * len(chunk))
                select = f"SELECT digest FROM blob WHERE bytes IS NOT NULL AND digest IN ({marks})"
                small.update(digest for (digest,) in connection.execute(select, chunk))

        self.database.read(query)
        return {digest for digest in asked if digest in small or os.path.exists(self.path(digest))}

    def small(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        """The bytes of those that lie in the database, in one query; what is damaged is left out, for who asks for it alone."""
        asked = {bytes(digest): digest for digest in digests}

        def query(connection: sqlite3.Connection) -> dict[Digest, bytes]:
            found: dict[Digest, bytes] = {}
            names = list(asked)
            for start in range(0, len(names), _CHUNK):
                chunk = names[start : start + _CHUNK]
                select = f"SELECT digest, bytes FROM blob WHERE digest IN ({','.join('?' * len(chunk))})"
                for name, data in connection.execute(select, chunk):
                    if type(data) is bytes and name in asked and Digest.of(data) == name:
                        found[asked[name]] = data
            return found

        return self.database.read(query)

    def rows_of(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that have a row: a file without one is what a killed gc forgot, or one whose database was lost."""
        asked = list(digests)

        def query(connection: sqlite3.Connection) -> set[Digest]:
            found: set[Digest] = set()
            for start in range(0, len(asked), _CHUNK):
                chunk = asked[start : start + _CHUNK]
                select = f"SELECT digest FROM blob WHERE digest IN ({','.join('?' * len(chunk))})"
                found.update(Digest(digest) for (digest,) in connection.execute(select, chunk))
            return found

        return self.database.read(query)

    def open(self, digest: Digest) -> BinaryIO | None:
        """A reader of the bytes, or None if they are not here.

        Raises:
            StoreCorrupt: the bytes do not hash to ``digest``; they have been set aside.
        """
        row = self._row(digest)
        if row is None or row[0] is None:
            found = self._open_file(digest, row and row[1])
            if found is None and row is not None:
                self._forget_absent(digest)
            return found
        data = row[0]
        if isinstance(data, bytes) and Digest.of(data) == digest:
            return io.BytesIO(data)
        raise self._set_aside_small(digest, data)

    def fetch(self, digest: Digest) -> BinaryIO | None:
        """As ``open``, but a damaged blob is a miss, of which the user is told once."""
        try:
            return self.open(digest)
        except StoreCorrupt as error:
            self._note(Note(error.headline, error.hint))
            return None

    def reader(self, digest: Digest) -> BinaryIO:
        """As ``open``, where the blob must be here.

        Raises:
            StoreCorrupt: it is gone or damaged.
        """
        found = self.open(digest)
        if found is None:
            raise lost(digest)
        return found

    def read(self, digest: Digest) -> bytes | None:
        """All bytes of a blob at once, as ``fetch``."""
        return whole(self.fetch(digest))

    def part(self, digest: Digest, start: int, size: int, of: Digest) -> bytes | None:
        """``size`` bytes from ``start`` on, if they have the digest ``of``; else the whole is hashed, and bad bytes go."""
        try:
            fd = os.open(self.path(digest), _READ)
        except OSError:
            whole = self.read(digest)  # A small one, or none.
            data = b"" if whole is None else whole[start : start + size]
            return data if whole is not None and Digest.of(data) == of else None
        try:
            data = os.pread(fd, size, start)
        except OSError:
            data = b""
        finally:
            os.close(fd)
        if Digest.of(data) == of:
            return data
        self.verify(digest)
        return None

    def read_file(self, digest: Digest) -> bytes | None:
        """The bytes of a blob's file as they are: without the database, so that it works in a transaction."""
        try:
            with open(self.path(digest), "rb") as file:
                data = file.read()
        except OSError:
            return None
        return data if Digest.of(data) == digest else None

    def size(self, digest: Digest) -> int | None:
        """How many bytes it has, or None if it is not here."""
        row = self._row(digest)
        if row is not None and row[0] is not None:
            return len(row[0])
        try:
            return os.stat(self.path(digest)).st_size
        except OSError:
            return None

    def stamp_of(self, digest: Digest) -> bytes | None:
        """The settled stamp under which the file was last believed, if any."""
        row = self._row(digest)
        return None if row is None else row[1]

    def verify(self, digest: Digest) -> int | None:
        """Hash a blob whatever its stamp says: its size, -1 if it is not here, None if it was bad and is set aside."""
        row = self._row(digest)
        try:
            reader = self.open(digest) if row and row[0] is not None else self._open_file(digest, None)
        except StoreCorrupt:
            return None
        if reader is None:
            if row is not None:
                self._forget_absent(digest)
            return -1
        with reader:
            return reader.seek(0, os.SEEK_END)

    def _forget_absent(self, digest: Digest) -> None:
        def forget(connection: sqlite3.Connection) -> None:
            if not os.path.lexists(self.path(digest)):  # Else it has just been stored.
                connection.execute("DELETE FROM blob WHERE digest = ? AND bytes IS NULL", (digest,))

        try:
            self.database.write(forget)
        except StoreError:
            pass  # It is a miss with its row as without.

    def _row(self, digest: Digest) -> tuple[bytes | None, bytes | None] | None:
        query = "SELECT bytes, stamp FROM blob WHERE digest = ?"
        found: tuple[bytes | None, bytes | None] | None = self.database.read(
            lambda connection: connection.execute(query, (digest,)).fetchone()
        )
        return found

    def _open_file(self, digest: Digest, stamp: bytes | None) -> BinaryIO | None:
        path = self.path(digest)
        try:
            fd = os.open(path, _READ)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if os.path.islink(path) or error.errno == errno.EIO:
                raise self.set_aside(digest) from error
            raise store_error(error, path) from error
        try:
            if not self._believes(fd, digest, stamp):
                raise self.set_aside(digest, fd)
        except BaseException:
            os.close(fd)
            raise
        return os.fdopen(fd, "rb")

    def _believes(self, fd: int, digest: Digest, known: bytes | None) -> bool:
        """Whether the file has the bytes of ``digest``: by its stamp if that is the one known, else by hashing it."""
        if known is not None and pack_stamp(Stamp.of(os.fstat(fd))) == known:
            return True
        fits, settled = check_file(fd, digest, self._clock)
        if fits:
            self._remember(digest, os.fstat(fd).st_size, settled)
        return fits

    def _remember(self, digest: Digest, size: int, stamp: bytes | None) -> None:
        """Note a settled stamp; make a row for a file that has none, as after the loss of the database."""
        row = (digest, size, int(time.time()), stamp)
        insert = (
            "INSERT INTO blob (digest, size, used_at, stamp) VALUES (?, ?, ?, ?) ON CONFLICT (digest) "
            "DO UPDATE SET size = excluded.size, stamp = excluded.stamp"
        )
        try:
            self.database.write(lambda connection: connection.execute(insert, row))
        except StoreError:
            pass  # It is hashed again next time.

    def set_aside(self, digest: Digest, fd: int | None = None) -> StoreCorrupt:
        """Move the file of a blob to ``quarantine/``; the error to raise.

        With ``fd`` only if it is still that file: another process may have put a good one in its place.
        """
        path = self.path(digest)
        aside = self._aside(digest)

        def move(connection: sqlite3.Connection) -> None:
            try:
                if fd is not None and os.lstat(path).st_ino != os.fstat(fd).st_ino:
                    return
                connection.execute("DELETE FROM blob WHERE digest = ?", (digest,))
                os.rename(path, aside)
            except FileNotFoundError:
                pass

        return self._quarantine(digest, move, aside)

    def _set_aside_small(self, digest: Digest, data: object) -> StoreCorrupt:
        aside = self._aside(digest)

        def move(connection: sqlite3.Connection) -> None:
            removed = connection.execute("DELETE FROM blob WHERE digest = ? AND bytes IS ?", (digest, data))
            if removed.rowcount and isinstance(data, bytes):
                fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    write_all(fd, data)
                finally:
                    os.close(fd)

        return self._quarantine(digest, move, aside)

    def _quarantine(
        self, digest: Digest, move: Callable[[sqlite3.Connection], None], aside: str
    ) -> StoreCorrupt:
        where = f"set aside as {aside}"
        try:
            os.makedirs(os.path.dirname(aside), exist_ok=True)
            self.database.write(move)
        except (OSError, StoreError) as error:
            where = f"left where it is ({error})"
        return StoreCorrupt(
            f"a damaged blob, {digest.short}, was found in the store and {where}",
            hint="what needs it is made again; `merkl fsck` checks the rest of the store",
        )

    def _aside(self, digest: Digest) -> str:
        return f"{self.directory}/quarantine/{digest.hex()}-{os.urandom(4).hex()}"


def lost(digest: Digest) -> StoreCorrupt:
    """The error for a blob that a record promised and that is not here."""
    return StoreCorrupt(f"a blob, {digest.short}, is gone from the store", hint="what needs it is made again")


def check_file(fd: int, digest: Digest, clock: FileClock) -> tuple[bool, bytes | None]:
    """Hash a file: whether it has that digest, and its stamp if it is settled, so that it may be believed by it later.

    A file that cannot be read does not have it.
    """
    at_ns = clock.now_ns()  # Before the stamp: a write after the hashing must then show in it.
    before = Stamp.of(os.fstat(fd))
    try:
        actual, _ = hash_file(fd)
    except OSError:
        return False, None
    unmoved = Stamp.of(os.fstat(fd)) == before
    return actual == digest, pack_stamp(before) if unmoved and before.settled(at_ns) else None

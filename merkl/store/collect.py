"""gc: what may be removed from a store, and removing it beside builds that go on.

It decides which records are old or large enough to go, and which blobs nothing needs.  It does not know what a project
wants to keep: the caller gives it roots.

The invariant: a blob is removed only in a transaction that sees that no record and no root names it and that it was
neither stored nor confirmed for ``grace_s`` seconds; whoever stores it later, or has done so since the choice, wins.
Files go to ``trash/`` by renaming first, so what is removed is gone at once and a killed gc leaves only trash.
"""

import os
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from merkl.digest import Digest, Key
from merkl.errors import StoreError
from merkl.store import records
from merkl.store.base import Record
from merkl.store.builds import listed_digests
from merkl.store.leftovers import orphan_files, stray_files
from merkl.store.local import LocalStore
from merkl.store.removal import remove_tree
from merkl.store.rows import SELECT, record_of

GRACE_S: Final = 3600.0
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Keep:
    """What must stay, and what may go.

    Records filed under ``keys`` stay, with their blobs, as do the blobs ``digests`` (and what they hold, for a
    directory's).  Records not used for ``older_than_days`` go; of the rest, until blobs take ``max_size`` bytes, those
    that were not used for longest and take least time to make again per byte.  None: no record goes for that reason.
    """

    keys: frozenset[Key] = frozenset()
    digests: frozenset[Digest] = frozenset()
    older_than_days: float | None = None
    max_size: int | None = None
    grace_s: float = GRACE_S


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or would be: how many records, blobs and views; ``freed`` bytes; ``left`` bytes of blobs."""

    records: int
    blobs: int
    freed: int
    left: int
    views: int = 0


@dataclass(slots=True)
class _Candidate:
    """A record, as gc sees it: ``blobs`` are all that it needs."""

    seal: bytes
    used_at: int
    seconds: float
    blobs: frozenset[Digest]
    pinned: bool


@dataclass(slots=True)
class _Choice:
    """What is to go, chosen from the store as it was when its newest record was ``last``."""

    records: list[_Candidate] = field(default_factory=list)
    blobs: dict[Digest, int] = field(default_factory=dict)
    last: int = 0
    total: int = 0


def collect(
    store: LocalStore, keep: Keep = Keep(), *, state_dirs: Iterable[str] = (), dry_run: bool = False
) -> Collected:
    """Remove what ``keep`` does not keep; with ``dry_run`` only say what that is.

    ``state_dirs`` are those of the projects whose views may go with their blobs; what their live builds read stays.
    """
    dirs = [os.path.abspath(directory) for directory in state_dirs]
    listed = frozenset(digest for directory in dirs for digest in listed_digests(directory))
    chosen = _choose(store, keep, listed)
    freed = sum(chosen.blobs.values())
    if dry_run:
        return Collected(len(chosen.records), len(chosen.blobs), freed, chosen.total - freed)
    removed, gone = _remove(store, keep, chosen)
    _tidy(store, keep.grace_s)
    views = sum(_remove_views(os.path.join(directory, "view"), gone) for directory in dirs)
    freed = sum(chosen.blobs[digest] for digest in gone)
    return Collected(removed, len(gone), freed, chosen.total - freed, views)


def _choose(store: LocalStore, keep: Keep, listed: frozenset[Digest]) -> _Choice:
    candidates, last = _candidates(store, keep)
    sizes, used = _blobs(store)
    rooted = set(keep.digests | listed)
    for digest in keep.digests | listed:
        rooted.update(records.leaves(store.read(digest) or b""))
    now = time.time()
    going: list[_Candidate] = []
    if keep.older_than_days is not None:
        limit = now - keep.older_than_days * _DAY_S
        going = [each for each in candidates if not each.pinned and each.used_at < limit]
    if keep.max_size is not None:
        gone = {id(each) for each in going}
        staying = [each for each in candidates if id(each) not in gone]
        going += _largest(staying, sizes, rooted, keep.max_size, now)
    gone = {id(each) for each in going}
    needed = rooted.union(*(each.blobs for each in candidates if id(each) not in gone))
    limit = now - keep.grace_s
    blobs = {digest: size for digest, size in sizes.items() if digest not in needed and used[digest] <= limit}
    return _Choice(going, blobs, last, sum(sizes.values()))


def _candidates(store: LocalStore, keep: Keep) -> tuple[list[_Candidate], int]:
    """All records, and the number of the newest; one that is damaged needs nothing."""

    def query(connection: sqlite3.Connection) -> tuple[list[tuple[bytes, int, Record]], set[bytes], int]:
        wanted: frozenset[bytes] = keep.keys
        rows = [
            (row[0], row[1], record)
            for row in connection.execute(f"SELECT {SELECT} FROM record")
            if (record := record_of(row))
        ]
        pinned = {seal for key, seal in connection.execute("SELECT key, record FROM name") if key in wanted}
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM record").fetchone()
        return rows, pinned, last

    rows, pinned, last = store.database.read(query)
    return [
        _Candidate(
            seal,
            used_at,
            record.seconds,
            frozenset(records.needs(record, store.read)),
            seal in pinned or record.key in keep.keys,
        )
        for seal, used_at, record in rows
    ], last


def _blobs(store: LocalStore) -> tuple[dict[Digest, int], dict[Digest, int]]:
    """Size in bytes and last use of every blob; a file without a row was last used when it was last changed."""
    query = (
        "SELECT digest, CAST(size AS INTEGER), CAST(used_at AS INTEGER) FROM blob "
        "WHERE typeof(digest) = 'blob' AND length(digest) = 32"
    )
    rows = store.database.read(lambda connection: connection.execute(query).fetchall())
    sizes = {Digest(digest): size for digest, size, _ in rows}
    used = {Digest(digest): used_at for digest, _, used_at in rows}
    for digest, found in orphan_files(store.directory, sizes):
        sizes[digest] = found.st_size
        used[digest] = int(found.st_ctime)
    return sizes, used


def _largest(
    staying: list[_Candidate], sizes: dict[Digest, int], rooted: set[Digest], most: int, now: float
) -> list[_Candidate]:
    """The records to remove so that at most ``most`` bytes of blobs stay: long unused and cheap to make again first."""
    users: dict[Digest, int] = {}
    for each in staying:
        for digest in each.blobs:
            users[digest] = users.get(digest, 0) + 1
    total = sum(sizes.get(digest, 0) for digest in users.keys() | rooted)

    def worth(each: _Candidate) -> float:
        size = sum(sizes.get(digest, 0) for digest in each.blobs)
        return (each.seconds + 0.001) / (size + 1) / (max(now - each.used_at, 0) + 60)

    going: list[_Candidate] = []
    for each in sorted((each for each in staying if not each.pinned), key=worth):
        if total <= most:
            break
        going.append(each)
        for digest in each.blobs:
            users[digest] -= 1
            if not users[digest] and digest not in rooted:
                total -= sizes.get(digest, 0)
    return going


def _remove(store: LocalStore, keep: Keep, chosen: _Choice) -> tuple[int, list[Digest]]:
    """Remove what was chosen and is still not wanted; how many records, and which blobs."""
    trash = os.path.join(store.directory, "trash")
    try:
        os.makedirs(trash, exist_ok=True)
    except OSError as error:
        raise StoreError(f"nothing can be removed from the store: {error.strerror}", path=trash) from error
    limit = int(time.time() - keep.grace_s)

    def transaction(connection: sqlite3.Connection) -> tuple[int, list[Digest]]:
        used = "SELECT 1 FROM record WHERE seal = ? AND used_at = ?"
        seals = [
            each.seal
            for each in chosen.records
            if connection.execute(used, (each.seal, each.used_at)).fetchone()
        ]
        saved = {digest for each in chosen.records if each.seal not in set(seals) for digest in each.blobs}
        newer = f"SELECT {SELECT} FROM record WHERE id > ?"
        for row in connection.execute(newer, (chosen.last,)).fetchall():
            record = record_of(row)
            if record is not None:
                saved |= records.needs(record, _reader(store, connection))
        removed = records.remove(connection, seals)
        gone: list[Digest] = []
        for digest in chosen.blobs.keys() - saved:
            row = connection.execute(
                "SELECT used_at, bytes IS NULL FROM blob WHERE digest = ?", (digest,)
            ).fetchone()
            if row is not None and row[0] > limit:
                continue
            connection.execute("DELETE FROM blob WHERE digest = ?", (digest,))
            if row is None or row[1]:
                _to_trash(store.blobs.path(digest), trash)
            gone.append(digest)
        connection.executemany("DELETE FROM view WHERE digest = ?", [(digest,) for digest in gone])
        return removed, gone

    return store.database.write(transaction)


def _reader(store: LocalStore, connection: sqlite3.Connection) -> records.ReadTree:
    """How to read a directory's blob inside a transaction."""

    def read(digest: Digest) -> bytes | None:
        row = connection.execute("SELECT bytes FROM blob WHERE digest = ?", (digest,)).fetchone()
        return row[0] if row and row[0] is not None else store.blobs.read_file(digest)

    return read


def _to_trash(path: str, trash: str) -> None:
    try:
        os.rename(path, os.path.join(trash, os.urandom(16).hex()))
    except FileNotFoundError:
        pass


def _tidy(store: LocalStore, grace_s: float) -> None:
    """Empty the trash, remove what killed writers left, and give room in the database back to the file system."""
    trash = os.path.join(store.directory, "trash")
    for name in os.listdir(trash):
        remove_tree(os.path.join(trash, name))
    for path in stray_files(store.directory, grace_s):
        remove_tree(path)
    store.database.vacuum()


def _remove_views(directory: str, gone: Iterable[Digest]) -> int:
    removed = 0
    for digest in gone:
        for suffix in ("", ".x"):
            path = os.path.join(directory, digest.hex() + suffix)
            if os.path.lexists(path):
                removed += remove_tree(path)
    return removed

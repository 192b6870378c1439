"""What may go from a store: chosen from the store as it is at one moment, before anything is removed.

It decides which records are old or large enough to go, and which blobs nothing needs then.  It does not know what a
project wants to keep: the caller gives it roots.  It removes nothing.

The invariant: what a root names, or a record that stays, is never chosen; nor is a record that was used, or a blob that
was stored or confirmed, within the last ``grace_s`` seconds.
"""

import os
import time
from collections.abc import Iterable, Mapping
from typing import Final

from merkl.dataclass import dataclass, field
from merkl.digest import Digest, Key
from merkl.sqlite import sqlite3
from merkl.store import records
from merkl.store.base import Record
from merkl.store.leftovers import orphan_files
from merkl.store.local import LocalStore
from merkl.store.rows import SELECT, record_of
from merkl.tree import MAGIC

GRACE_S: Final = 3600.0
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Keep:
    """What must stay, and what may go.

    Records filed under ``keys`` stay, with those that they were made from and their blobs, as do the blobs ``digests``,
    and ``trees`` with what they hold.  Records not used for ``older_than_days`` go; of the rest, until blobs take
    ``max_size`` bytes, those that were not used for longest and take least time to make again per byte.  None: no record
    goes for that reason.  A blob that no record names goes once it was not used for ``loose_s`` seconds.
    """

    keys: frozenset[Key] = frozenset()
    digests: frozenset[Digest] = frozenset()
    trees: frozenset[Digest] = frozenset()
    older_than_days: float | None = None
    max_size: int | None = None
    grace_s: float = GRACE_S
    loose_s: float = float("-inf")  # But ``grace_s`` at least.


@dataclass(frozen=True, slots=True)
class Filed:
    """The records of a store at one moment, and their last uses, by seal; the seals by the keys that they are filed under.

    ``last`` is the number of the newest record.
    """

    records: Mapping[bytes, Record]
    used: Mapping[bytes, int]
    names: Mapping[bytes, bytes]
    last: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record, as gc sees it: ``blobs`` are all that it needs."""

    seal: bytes
    used_at: int
    seconds: float
    blobs: frozenset[Digest]
    pinned: bool


@dataclass(slots=True)
class Choice:
    """What is to go, chosen from the store as it was when its newest record was ``last``; ``blobs`` with their sizes."""

    records: list[Candidate] = field(default_factory=list)
    blobs: dict[Digest, int] = field(default_factory=dict)
    last: int = 0
    total: int = 0  # Bytes of all blobs.


def choose(store: LocalStore, keep: Keep, listed: frozenset[Digest]) -> Choice:
    """What is to go; ``listed`` are the blobs that live builds read."""
    filed = filed_in(store)
    candidates = candidates_of(store, filed, keep)
    sizes, used = blobs_of(store)
    roots = rooted(store, keep, listed)
    now = time.time()
    going: list[Candidate] = []
    free = [each for each in candidates if not each.pinned and each.used_at <= now - keep.grace_s]
    if keep.older_than_days is not None:
        limit = now - keep.older_than_days * DAY_S
        going = [each for each in free if each.used_at < limit]
    if keep.max_size is not None:
        gone = {each.seal for each in going}
        staying = [each for each in candidates if each.seal not in gone]
        free = [each for each in free if each.seal not in gone]
        going += _largest(staying, free, sizes, roots, keep.max_size, now)
    gone = {each.seal for each in going}
    needed = roots.union(*(each.blobs for each in candidates if each.seal not in gone))
    freed = frozenset[Digest]().union(*(each.blobs for each in going))
    limit, loose_limit = now - keep.grace_s, now - max(keep.grace_s, keep.loose_s)
    blobs = {
        digest: size
        for digest, size in sizes.items()
        if digest not in needed and used[digest] <= (limit if digest in freed else loose_limit)
    }
    return Choice(going, blobs, filed.last, sum(sizes.values()))


def rooted(store: LocalStore, keep: Keep, listed: frozenset[Digest]) -> set[Digest]:
    """The blobs that stay whatever records say."""
    found = set(keep.digests | keep.trees | listed)
    for digest in keep.trees | listed:
        found.update(_leaves(store, digest))
    return found


def readers(store: LocalStore) -> list[str]:
    """Directories of projects that use the store: where they have views of its blobs, and what they entered in ``users/``."""
    query = "SELECT DISTINCT directory FROM view"
    rows = store.database.read(lambda connection: connection.execute(query).fetchall())
    return [
        *(os.fsdecode(directory) for (directory,) in rows if isinstance(directory, bytes)),
        *store.users(),
    ]


def _leaves(store: LocalStore, digest: Digest) -> Iterable[Digest]:
    """What a directory's blob names; nothing if it is a file's, which may be too large to be read at once."""
    reader = store.fetch(digest)
    if reader is None:
        return []
    with reader:
        head = reader.read(len(MAGIC))
        return records.leaves(head + reader.read()) if head == MAGIC else []


def filed_in(store: LocalStore) -> Filed:
    """All records as they are now; one that is damaged is not among them."""

    def query(connection: sqlite3.Connection) -> Filed:
        found = connection.execute(f"SELECT {SELECT} FROM record")
        rows = {row[0]: (row[1], record) for row in found if (record := record_of(row))}
        names: dict[bytes, bytes] = dict(connection.execute("SELECT key, record FROM name").fetchall())
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM record").fetchone()
        return Filed(
            {seal: record for seal, (_, record) in rows.items()},
            {seal: used_at for seal, (used_at, _) in rows.items()},
            names,
            last,
        )

    return store.database.read(query)


def candidates_of(store: LocalStore, filed: Filed, keep: Keep) -> list[Candidate]:
    """Those records, with what they need."""
    pinned = pinned_by(filed.records, filed.names, keep.keys)
    return [
        Candidate(
            seal,
            filed.used[seal],
            record.seconds,
            frozenset(records.needs(record, store.read)),
            seal in pinned,
        )
        for seal, record in filed.records.items()
    ]


def pinned_by(
    known: Mapping[bytes, Record], names: Mapping[bytes, bytes], keys: frozenset[Key]
) -> set[bytes]:
    """The seals of the records under ``keys``, and of all from which those were made."""
    own: dict[bytes, list[bytes]] = {}
    for seal, record in known.items():
        own.setdefault(record.key, []).append(seal)
    todo: list[bytes] = list(keys)
    asked = set(todo)
    pinned: set[bytes] = set()
    while todo:
        key = todo.pop()
        for seal in {*own.get(key, ()), names.get(key, b"")} & known.keys() - pinned:
            pinned.add(seal)
            more = made_from(known[seal]) - asked
            asked |= more
            todo += more
    return pinned


def made_from(record: Record) -> set[bytes]:
    """The keys of the nodes that a record's node depends on, as it says."""
    found: set[bytes] = set()
    for each in record.dependencies:
        try:
            found.add(Key.parse(each["node"]))
        except (KeyError, TypeError, ValueError):
            continue  # A file.
    return found


def blobs_of(store: LocalStore) -> tuple[dict[Digest, int], dict[Digest, int]]:
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
    staying: list[Candidate],
    free: list[Candidate],
    sizes: dict[Digest, int],
    rooted: set[Digest],
    most: int,
    now: float,
) -> list[Candidate]:
    """What of ``free`` is to go so that at most ``most`` bytes of blobs stay: long unused and cheap to make again first."""
    users: dict[Digest, int] = {}
    for each in staying:
        for digest in each.blobs:
            users[digest] = users.get(digest, 0) + 1
    total = sum(sizes.get(digest, 0) for digest in users.keys() | rooted)

    def worth(each: Candidate) -> float:
        size = sum(sizes.get(digest, 0) for digest in each.blobs)
        return (each.seconds + 0.001) / (size + 1) / (max(now - each.used_at, 0) + 60)

    going: list[Candidate] = []
    for each in sorted(free, key=worth):
        if total <= most:
            break
        going.append(each)
        for digest in each.blobs:
            users[digest] -= 1
            if not users[digest] and digest not in rooted:
                total -= sizes.get(digest, 0)
    return going

"""fsck: every byte of a store read and compared with its name.

It decides what is wrong, fetches again what another store still has and, if asked, removes what is of no use.  It prints
nothing.

The invariant: no good blob is ever removed, and no record whose blobs are good, here or there.
"""

from collections.abc import Callable

from merkl.dataclass import dataclass, field
from merkl.digest import Digest, Key
from merkl.errors import StoreCorrupt, StoreError
from merkl.sqlite import sqlite3
from merkl.store import records
from merkl.store.answers import drop_unfit
from merkl.store.base import Record, Shared
from merkl.store.faults import Damaged
from merkl.store.leftovers import blob_files, stray_files
from merkl.store.local import LocalStore
from merkl.store.removal import remove_tree
from merkl.store.rows import SELECT, record_of

Progress = Callable[[int, int], object]  # Blobs done, blobs in all.


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A record that promises blobs which are nowhere."""

    task: str
    key: Key
    content_key: Key
    missing: tuple[Digest, ...]


@dataclass(slots=True)
class Findings:
    """What fsck found.

    ``bad`` blobs did not have their digest and are in quarantine; those ``fetched`` of them came again from the remote.
    ``orphans`` are good blobs that no record names: tracked data, saved edits, and what gc removes in time.  ``stray`` files
    are leftovers; ``bad_records`` could not be believed and were removed.  ``elsewhere`` counts the records whose blobs are
    only in the remote, which is nothing wrong; ``unasked`` is why the remote could not be asked.
    """

    blobs: int = 0
    bytes: int = 0
    bad: list[Digest] = field(default_factory=list)
    fetched: list[Digest] = field(default_factory=list)
    bad_records: int = 0
    incomplete: list[Incomplete] = field(default_factory=list)
    orphans: list[Digest] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    database_damaged: bool = False
    elsewhere: int = 0
    unasked: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong; orphans and leftovers are nothing wrong."""
        return not (self.bad or self.bad_records or self.incomplete or self.database_damaged)


def check(
    store: LocalStore,
    *,
    repair: bool = False,
    progress: Progress | None = None,
    remote: Shared | None = None,
) -> Findings:
    """Read everything.  Bad blobs are set aside in any case, and come again from ``remote`` if that has them; ``repair``
    also removes leftovers and incomplete records.

    Safe beside builds: what they are writing is no leftover.
    """
    findings = Findings()
    _check_database(store, findings)
    _check_blobs(store, findings, progress)
    if remote is not None:
        _fetch_again(store, remote, findings)
    _check_records(store, findings)
    if remote is not None:
        _look_elsewhere(remote, findings)
    findings.stray = stray_files(store.directory, 60.0)
    if repair:
        if not findings.unasked:  # Else nobody knows that their blobs are nowhere.
            store.forget([each.content_key for each in findings.incomplete])
        for path in findings.stray:
            remove_tree(path)
    return findings


def _fetch_again(store: LocalStore, remote: Shared, findings: Findings) -> None:
    """Store what was set aside again, as the remote has it."""
    try:
        for digest in sorted(remote.has(findings.bad)):
            try:
                if store.put(remote.pieces(digest)) == digest:
                    findings.fetched.append(digest)
            except StoreCorrupt:
                continue  # It is damaged there too, which the remote has noted.
    except StoreError as error:
        findings.unasked = error.headline


def _look_elsewhere(remote: Shared, findings: Findings) -> None:
    """Leave out the records whose missing blobs the remote has."""
    if findings.unasked or not findings.incomplete:
        return
    try:
        there = remote.has({digest for each in findings.incomplete for digest in each.missing})
    except StoreError as error:
        findings.unasked = error.headline
        return
    nowhere = [each for each in findings.incomplete if not there.issuperset(each.missing)]
    findings.elsewhere = len(findings.incomplete) - len(nowhere)
    findings.incomplete = nowhere


def _check_database(store: LocalStore, findings: Findings) -> None:
    def query(connection: sqlite3.Connection) -> None:
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != b"ok":
            findings.database_damaged = True
            raise Damaged(verdict.decode(errors="replace"))

    store.database.read(query)


def _check_blobs(store: LocalStore, findings: Findings, progress: Progress | None) -> None:
    digests = _all_blobs(store)
    for done, digest in enumerate(sorted(digests)):
        size = store.blobs.verify(digest)
        if size is None:
            findings.bad.append(digest)
        elif size >= 0:
            findings.blobs += 1
            findings.bytes += size
        if progress is not None:
            progress(done + 1, len(digests))


def _check_records(store: LocalStore, findings: Findings) -> None:
    def query(connection: sqlite3.Connection) -> tuple[list[Record], list[bytes]]:
        good: list[Record] = []
        bad: list[bytes] = []
        for row in connection.execute(f"SELECT {SELECT} FROM record"):
            record = record_of(row)
            if record is None:
                bad.append(row[0])
            else:
                good.append(record)
        return good, bad

    def tidy(connection: sqlite3.Connection) -> None:
        records.remove(connection, bad)
        drop_unfit(connection)

    good, bad = store.database.read(query)
    findings.bad_records = len(bad)
    try:
        store.database.write(tidy)
    except StoreError:
        pass  # They are not believed anyway.
    needed: set[Digest] = set()
    here = store.has(_all_blobs(store))
    for record in good:
        needs = records.needs(record, store.read)
        needed.update(needs)
        if missing := tuple(digest for digest in needs if digest not in here):
            findings.incomplete.append(Incomplete(record.task, record.key, record.content_key, missing))
    findings.orphans = sorted(here - needed)


def _all_blobs(store: LocalStore) -> set[Digest]:
    query = "SELECT digest FROM blob WHERE typeof(digest) = 'blob' AND length(digest) = 32"
    rows = store.database.read(lambda connection: connection.execute(query).fetchall())
    return {Digest(digest) for (digest,) in rows} | {digest for digest, _ in blob_files(store.directory)}

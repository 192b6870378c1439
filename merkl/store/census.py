"""What is in a store, counted: by task, by when it was last used, and what lies beside the results.

It decides to which task bytes count: to each that needs them, and once to the whole.  It changes nothing.

The invariant: ``bytes`` of the whole counts every blob once, whoever needs it.
"""

import os
import time
from collections.abc import Iterable
from typing import Final

from merkl.dataclass import dataclass, field
from merkl.digest import Digest
from merkl.sqlite import sqlite3
from merkl.store import records
from merkl.store.base import Record
from merkl.store.choice import DAY_S
from merkl.store.leftovers import aside_files, blob_files
from merkl.store.local import LocalStore
from merkl.store.rows import SELECT, record_of

AGES: Final = (1, 7, 30, 90)  # Days; what was used longer ago comes last.


@dataclass(slots=True)
class Share:
    """How many results and distinct blobs, their bytes, and the seconds that the results took to make."""

    records: int = 0
    blobs: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Census:
    """What a store holds.

    ``tasks`` is by name, largest first; ``ages`` in the order of ``AGES``, by when a result was last used, with the older ones
    last, each blob counting once, with the latest result that needs it.  ``unnamed`` is what no result needs; ``aside`` what
    was set aside as damaged; ``elsewhere`` how many blobs that results need are not here.
    """

    whole: Share = field(default_factory=Share)
    tasks: dict[str, Share] = field(default_factory=dict)
    ages: list[Share] = field(default_factory=lambda: [Share() for _ in range(len(AGES) + 1)])
    unnamed: Share = field(default_factory=Share)
    aside: Share = field(default_factory=Share)
    elsewhere: int = 0


def count(store: LocalStore) -> Census:
    """Count what is there now."""
    census = Census()
    sizes = _sizes(store)
    now = time.time()
    by_task: dict[str, set[Digest]] = {}
    youngest: dict[Digest, int] = {}
    for used_at, record in _records(store):
        needs = records.needs(record, store.read)
        age = next((n for n, days in enumerate(AGES) if now - used_at < days * DAY_S), len(AGES))
        for share in (census.whole, census.tasks.setdefault(record.task, Share()), census.ages[age]):
            share.records += 1
            share.seconds += record.seconds
        by_task.setdefault(record.task, set()).update(needs)
        for digest in needs:
            youngest[digest] = min(age, youngest.get(digest, age))
    for task, digests in by_task.items():
        _add(census.tasks[task], sizes, digests)
    for digest, age in youngest.items():
        _add(census.ages[age], sizes, (digest,))
    _add(census.whole, sizes, sizes)
    _add(census.unnamed, sizes, sizes.keys() - youngest.keys())
    census.elsewhere = len(youngest.keys() - sizes.keys())
    for path in aside_files(store.directory, 0.0):
        census.aside.blobs += 1
        census.aside.bytes += _size(path)
    census.tasks = dict(sorted(census.tasks.items(), key=lambda item: (-item[1].bytes, item[0])))
    return census


def _add(share: Share, sizes: dict[Digest, int], digests: Iterable[Digest]) -> None:
    here = [sizes[digest] for digest in digests if digest in sizes]
    share.blobs += len(here)
    share.bytes += sum(here)


def _records(store: LocalStore) -> list[tuple[int, Record]]:
    def query(connection: sqlite3.Connection) -> list[tuple[int, Record]]:
        rows = ((row[1], record_of(row)) for row in connection.execute(f"SELECT {SELECT} FROM record"))
        return [(used_at, record) for used_at, record in rows if record is not None]

    return store.database.read(query)


def _sizes(store: LocalStore) -> dict[Digest, int]:
    """The size in bytes of every blob that is here, in the database or as a file."""
    query = "SELECT digest, CAST(size AS INTEGER) FROM blob WHERE bytes IS NOT NULL AND length(digest) = 32"
    rows = store.database.read(lambda connection: connection.execute(query).fetchall())
    sizes = {Digest(digest): size for digest, size in rows}
    return sizes | {digest: _size(entry.path) for digest, entry in blob_files(store.directory)}


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0  # It has just gone.

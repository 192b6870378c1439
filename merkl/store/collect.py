"""gc: removing from a store what was chosen to go, beside builds that go on.

It decides when something chosen may really go.  What is chosen is ``choice``.

The invariant: a blob is forgotten only in a transaction that sees that no new record names it and that it was neither
stored nor confirmed for ``grace_s`` seconds; whoever stores it later, or has done so since the choice, wins.  Its file
goes after that, in a transaction that sees that nobody has stored it again, and by renaming to ``trash/``.  So a gc that
is killed leaves trash and files without a row, for the next one, and never a record without its blobs.
"""

import os
import time
from collections.abc import Iterable, Sequence
from typing import Final

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.errors import StoreError
from merkl.sqlite import sqlite3
from merkl.store import records
from merkl.store.builds import listed_digests
from merkl.store.choice import DAY_S, GRACE_S, Choice, Keep, choose
from merkl.store.leftovers import aside_files, stray_files
from merkl.store.local import LocalStore
from merkl.store.removal import remove_tree
from merkl.store.rows import SELECT, record_of

ASIDE_DAYS: Final = 30.0  # For so long somebody may want to look at what was damaged.
_FILES: Final = 500  # Renamed in one transaction, so that nobody waits for long.
_NO_ROOTS: Final = Keep()


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or would be: how many records, blobs and views; ``freed`` bytes; ``left`` bytes of blobs.

    ``aside`` is how many files went that had been set aside as damaged long ago; their bytes are no blobs'.
    """

    records: int
    blobs: int
    freed: int
    left: int
    views: int = 0
    aside: int = 0


def collect(
    store: LocalStore, keep: Keep = _NO_ROOTS, *, state_dirs: Iterable[str] = (), dry_run: bool = False
) -> Collected:
    """Remove what ``keep`` does not keep; with ``dry_run`` only say what that is.

    ``state_dirs`` are those of the projects whose views may go with their blobs; what their live builds read stays.
    """
    dirs = [os.path.abspath(directory) for directory in state_dirs]
    listed = frozenset(digest for directory in dirs for digest in listed_digests(directory))
    chosen = choose(store, keep, listed)
    aside = aside_files(store.directory, ASIDE_DAYS * DAY_S)
    if dry_run:
        freed = sum(chosen.blobs.values())
        left = chosen.total - freed
        return Collected(len(chosen.records), len(chosen.blobs), freed, left, aside=len(aside))
    return remove_chosen(store, keep, chosen, dirs, aside)


def remove_chosen(
    store: LocalStore, keep: Keep, chosen: Choice, dirs: Sequence[str], aside: Sequence[str] = ()
) -> Collected:
    """Remove what was chosen and is still not wanted; ``aside`` are files beside the blobs that go too.

    Raises:
        StoreError: nothing can be removed from the store.
    """
    trash = os.path.join(store.directory, "trash")
    try:
        os.makedirs(trash, exist_ok=True)
    except OSError as error:
        raise StoreError(f"nothing can be removed from the store: {error.strerror}", path=trash) from error
    removed, gone = _forget(store, keep, chosen)
    _move_files(store, gone, trash)
    removed_aside = sum(map(remove_tree, aside))
    # Strays of the last hour may have a writer: who keeps no blob for its youth has asked for no more than those.
    _tidy(store, keep.grace_s if keep.grace_s >= 0 else GRACE_S)
    views = sum(_remove_views(os.path.join(directory, "view"), gone) for directory in dirs)
    freed = sum(chosen.blobs[digest] for digest in gone)
    return Collected(removed, len(gone), freed, chosen.total - freed, views, removed_aside)


def _forget(store: LocalStore, keep: Keep, chosen: Choice) -> tuple[int, list[Digest]]:
    """Remove the rows of what is still not wanted; how many records, and which blobs."""
    limit = int(time.time() - keep.grace_s)

    def transaction(connection: sqlite3.Connection) -> tuple[int, list[Digest]]:
        used = "SELECT 1 FROM record WHERE seal = ? AND used_at = ?"
        seals: set[bytes] = set()
        saved: set[Digest] = set()
        for each in chosen.records:
            if connection.execute(used, (each.seal, each.used_at)).fetchone():
                seals.add(each.seal)
            else:
                saved |= each.blobs
        newer = f"SELECT {SELECT} FROM record WHERE id > ?"
        for row in connection.execute(newer, (chosen.last,)).fetchall():
            record = record_of(row)
            if record is not None:
                saved |= records.needs(record, _reader(store, connection))
        removed = records.remove(connection, seals)
        gone: list[Digest] = []
        for digest in chosen.blobs.keys() - saved:
            row = connection.execute("SELECT used_at FROM blob WHERE digest = ?", (digest,)).fetchone()
            if row is None or row[0] <= limit:
                connection.execute("DELETE FROM blob WHERE digest = ?", (digest,))
                gone.append(digest)
        connection.execute("DELETE FROM view WHERE digest NOT IN (SELECT digest FROM blob)")
        return removed, gone

    return store.database.write(transaction)


def _reader(store: LocalStore, connection: sqlite3.Connection) -> records.ReadTree:
    """How to read a directory's blob inside a transaction."""

    def read(digest: Digest) -> bytes | None:
        row = connection.execute("SELECT bytes FROM blob WHERE digest = ?", (digest,)).fetchone()
        return row[0] if row and row[0] is not None else store.blobs.read_file(digest)

    return read


def _move_files(store: LocalStore, gone: Sequence[Digest], trash: str) -> None:
    """Take the files of forgotten blobs away, unless somebody has stored them again."""
    files = [digest for digest in gone if os.path.lexists(store.blobs.path(digest))]

    def move(connection: sqlite3.Connection, some: Sequence[Digest]) -> None:
        for digest in some:
            if connection.execute("SELECT 1 FROM blob WHERE digest = ?", (digest,)).fetchone() is None:
                _to_trash(store.blobs.path(digest), trash)

    for start in range(0, len(files), _FILES):
        some = files[start : start + _FILES]
        store.database.write(lambda connection, some=some: move(connection, some))  # type: ignore[misc]


def _to_trash(path: str, trash: str) -> None:
    try:
        os.rename(path, os.path.join(trash, os.urandom(16).hex()))
    except FileNotFoundError:
        pass


def _tidy(store: LocalStore, grace_s: float) -> None:
    """Empty the trash, remove what killed processes left, and give room in the database back to the file system."""
    for path in stray_files(store.directory, grace_s):  # All that is in the trash is stray.
        remove_tree(path)
    store.sweep()
    store.database.vacuum()


def _remove_views(directory: str, gone: Iterable[Digest]) -> int:
    removed = 0
    for digest in gone:
        for suffix in ("", ".x"):
            path = os.path.join(directory, digest.hex() + suffix)
            if os.path.lexists(path):
                removed += remove_tree(path)
    return removed

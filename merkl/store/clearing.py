"""Removing from a store what belongs to some nodes, with its bytes, and nothing that anything else needs.

It decides which records go: those of the nodes that are named; and of those that these were made from, what no other
record was made from.  Which nodes others stand for is told to it.

The invariant: a record of a key in ``kept``, or from which one that stays was made, is never removed, unless it is named
itself; and a blob only if no record that stays, no root and no live build needs it.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from merkl.digest import Digest, Key
from merkl.store.base import Record
from merkl.store.builds import listed_digests
from merkl.store.choice import Choice, Keep, blobs_of, candidates_in, made_from, pinned_by, rooted
from merkl.store.collect import Collected, remove_chosen
from merkl.store.local import LocalStore
from merkl.store.rows import SELECT, record_of


@dataclass(frozen=True, slots=True)
class Meant:
    """Whose results are to go.

    ``named`` are keys and content keys of what was named, ``behind`` those of what it was made from.  ``kept`` are the
    keys of what others stand for; the blobs ``digests``, and ``trees`` with what they hold, stay.
    """

    named: frozenset[Key]
    behind: frozenset[Key] = frozenset()
    kept: frozenset[Key] = frozenset()
    digests: frozenset[Digest] = frozenset()
    trees: frozenset[Digest] = frozenset()


@dataclass(frozen=True, slots=True)
class Cleared:
    """What went, or would: the keys of its records, and how much that was; ``stayed`` is how many others need."""

    keys: frozenset[Key]
    removed: Collected
    stayed: int = 0


def clear(
    store: LocalStore,
    meant: Meant,
    *,
    state_dirs: Iterable[str] = (),
    grace_s: float = 0.0,
    dry_run: bool = False,
) -> Cleared:
    """Remove what belongs to the nodes that are meant; with ``dry_run`` only say what that is.

    ``state_dirs`` are as for ``collect``; blobs that were stored or confirmed within ``grace_s`` seconds stay.
    """
    rows, names = _records(store)
    going, stayed = _going(rows, names, meant)
    keep = Keep(digests=meant.digests, trees=meant.trees, grace_s=grace_s)
    chosen = _chosen(store, keep, going, [digest for each in state_dirs for digest in listed_digests(each)])
    gone = frozenset(key for key, seal in names.items() if seal in going)
    keys = frozenset(Key(key) for key in gone) | {rows[seal].key for seal in going}
    if dry_run:
        freed = sum(chosen.blobs.values())
        collected = Collected(len(chosen.records), len(chosen.blobs), freed, chosen.total - freed)
    else:
        collected = remove_chosen(store, keep, chosen, list(state_dirs))
    return Cleared(keys, collected, stayed)


def _records(store: LocalStore) -> tuple[dict[bytes, Record], dict[bytes, bytes]]:
    """All records by seal, and the seals by the keys that they are filed under."""

    def query(connection: sqlite3.Connection) -> tuple[dict[bytes, Record], dict[bytes, bytes]]:
        found = connection.execute(f"SELECT {SELECT} FROM record")
        rows = {row[0]: record for row in found if (record := record_of(row))}
        return rows, dict(connection.execute("SELECT key, record FROM name").fetchall())

    return store.database.read(query)


def _going(rows: dict[bytes, Record], names: dict[bytes, bytes], meant: Meant) -> tuple[set[bytes], int]:
    """The seals of the records that go, and how many stay since others need them."""

    def of(keys: frozenset[Key]) -> set[bytes]:
        filed = {names[key] for key in keys if key in names}
        return {seal for seal in filed if seal in rows} | {
            seal for seal, record in rows.items() if record.key in keys or record.content_key in keys
        }

    others = of(meant.kept)
    named, behind = of(meant.named) - others, of(meant.behind) - others
    everything = list(rows.items())
    outside = [record.key for seal, record in everything if seal not in named | behind]
    needed = pinned_by(everything, names, frozenset({*meant.kept, *outside}))
    for seal in of(meant.named) & others:  # Nor what these were made from.
        needed |= pinned_by(everything, names, frozenset(Key(key) for key in made_from(rows[seal])))
    staying = (behind - named) & needed
    return named | (behind - staying), len(staying | (of(meant.named | meant.behind) & others))


def _chosen(store: LocalStore, keep: Keep, going: set[bytes], listed: list[Digest]) -> Choice:
    everything, last = candidates_in(store, keep)
    sizes, _ = blobs_of(store)
    needed = rooted(store, keep, frozenset(listed)).union(
        *(each.blobs for each in everything if each.seal not in going)
    )
    gone = [each for each in everything if each.seal in going]
    freed = frozenset[Digest]().union(*(each.blobs for each in gone)) - needed
    return Choice(
        gone, {digest: sizes[digest] for digest in freed if digest in sizes}, last, sum(sizes.values())
    )

"""Removing from a store what belongs to some nodes, with its bytes, and nothing that anything else needs.

It decides which records go: those of the nodes that are named; and of those that these were made from, what no other
record was made from.  Which nodes others stand for is told to it.

The invariant: a record of a key in ``kept``, or from which one that stays was made, is never removed, unless it is named
itself; and a blob only if no record that stays, no root and no live build needs it.
"""

from collections.abc import Iterable

from merkl.dataclass import dataclass
from merkl.digest import Digest, Key
from merkl.store.builds import listed_digests
from merkl.store.choice import (
    Choice,
    Filed,
    Keep,
    blobs_of,
    candidates_of,
    filed_in,
    made_from,
    pinned_by,
    rooted,
)
from merkl.store.collect import Collected, remove_chosen
from merkl.store.local import LocalStore


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
    filed = filed_in(store)
    going, stayed = _going(filed, meant)
    keep = Keep(digests=meant.digests, trees=meant.trees, grace_s=grace_s)
    listed = frozenset(digest for each in state_dirs for digest in listed_digests(each))
    chosen = _chosen(store, keep, filed, going, listed)
    gone = frozenset(key for key, seal in filed.names.items() if seal in going)
    keys = frozenset(Key(key) for key in gone) | {filed.records[seal].key for seal in going}
    if dry_run:
        freed = sum(chosen.blobs.values())
        collected = Collected(len(chosen.records), len(chosen.blobs), freed, chosen.total - freed)
    else:
        collected = remove_chosen(store, keep, chosen, list(state_dirs))
    return Cleared(keys, collected, stayed)


def _going(filed: Filed, meant: Meant) -> tuple[set[bytes], int]:
    """The seals of the records that go, and how many stay since others need them."""
    rows, names = filed.records, filed.names

    def of(keys: frozenset[Key]) -> set[bytes]:
        named = {names[key] for key in keys if key in names}
        return {seal for seal in named if seal in rows} | {
            seal for seal, record in rows.items() if record.key in keys or record.content_key in keys
        }

    others = of(meant.kept)
    named, behind = of(meant.named) - others, of(meant.behind) - others
    outside = [record.key for seal, record in rows.items() if seal not in named | behind]
    needed = pinned_by(rows, names, frozenset({*meant.kept, *outside}))
    for seal in of(meant.named) & others:  # Nor what these were made from.
        needed |= pinned_by(rows, names, frozenset(Key(key) for key in made_from(rows[seal])))
    staying = (behind - named) & needed
    return named | (behind - staying), len(staying | (of(meant.named | meant.behind) & others))


def _chosen(
    store: LocalStore, keep: Keep, filed: Filed, going: set[bytes], listed: frozenset[Digest]
) -> Choice:
    everything = candidates_of(store, filed, keep)
    sizes, _ = blobs_of(store)
    needed = rooted(store, keep, listed).union(*(each.blobs for each in everything if each.seal not in going))
    gone = [each for each in everything if each.seal in going]
    freed = frozenset[Digest]().union(*(each.blobs for each in gone)) - needed
    blobs = {digest: sizes[digest] for digest in freed if digest in sizes}
    return Choice(gone, blobs, filed.last, sum(sizes.values()))

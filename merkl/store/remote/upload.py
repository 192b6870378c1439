"""Results on their way to the remote: what is missing there, contents first, then the records that name them.

It decides what a result needs.  It knows no build.

The invariant: a record is filed only when all that it names has arrived.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import BinaryIO

from merkl.dataclass import dataclass
from merkl.digest import Digest, Key
from merkl.store.base import Record, Store
from merkl.store.blobs import lost
from merkl.store.records import needs
from merkl.store.remote.contents import Sent, blob_name
from merkl.store.remote.going import keep_from_going
from merkl.store.remote.objects import REFRESH_S
from merkl.store.remote.packs import LARGEST
from merkl.store.remote.remote import Remote


@dataclass(frozen=True, slots=True)
class Result:
    """A record, and the keys that it answers; none for a node whose inputs are discovered."""

    record: Record
    keys: Sequence[Key]


def upload(
    results: Sequence[Result],
    store: Store,
    remote: Remote,
    *,
    contents: Sequence[Digest] = (),
    read: Callable[[Digest], BinaryIO] | None = None,
    sent: Sent | None = None,
) -> None:
    """Send results from ``store``, whose contents ``read`` reads, and further ``contents``.  May be broken off anywhere, and
    begun again.

    What somebody else has signed is theirs to send: it is left out.

    Raises:
        StoreCorrupt: a content is neither there nor here, or damaged here.
        StoreError: the remote cannot take it.
    """

    def tree(digest: Digest) -> bytes | None:
        here = store.read(digest)
        return remote.read(digest) if here is None else here

    results = [result for result in results if remote.records.is_ours(result.record)]
    sizes: dict[Digest, int | None] = dict.fromkeys(contents)
    for result in results:
        sizes |= dict.fromkeys(needs(result.record, tree))
        sizes |= {each.digest: each.size for each in result.record.outputs.values() if each.kind != "dir"}

    def send(digests: Iterable[Digest]) -> None:
        known = ((digest, _size(store, digest)) for digest in sorted(digests))
        remote.contents.send(known, read or store.reader, sent)

    there = relied_on(remote, store, sizes)
    send(sizes.keys() - there.relied)
    keep_old(remote, there.old, send)
    remote.file_many((result.record, result.keys) for result in results)


@dataclass(frozen=True, slots=True)
class There:
    """What of some contents is in the remote: those that are ``relied`` on, and the ``old`` ones, to be sent again."""

    relied: frozenset[Digest]
    old: frozenset[Digest]


def relied_on(remote: Remote, store: Store, sizes: Mapping[Digest, int | None]) -> There:
    """What of these is in the remote; with their sizes in bytes, if these are known.

    What was stored long ago, and is here too, is to be sent again: gc may have found just now that nobody needs it.
    """
    here = store.has(sizes)
    known = ((digest, store.size(digest) if sizes[digest] is None else sizes[digest]) for digest in here)
    # One that is small was sent in a pack, if it was sent: to ask for each by itself would take longer than to send it.
    packed = {digest for digest, size in known if size is not None and size <= LARGEST}
    stored = remote.stored(sizes, packed=packed)
    limit = time.time() - REFRESH_S
    old = frozenset(digest for digest, when in stored.items() if when < limit and digest in here)
    return There(frozenset(stored.keys() - old), old)


def keep_old(remote: Remote, old: Collection[Digest], send: Callable[[Collection[Digest]], object]) -> None:
    """See that old contents, which have just been sent again, outlive a gc that is about to remove them.

    Raises:
        RemoteError: they go away again and again.
    """
    if not old:
        return
    contents = remote.contents

    def lost() -> set[Digest]:
        contents.packs.refresh()
        return set(old) - contents.has(old)

    packed = contents.packs.find(old)
    names = {blob_name(digest) for digest in old} | {f"packs/{at.pack}" for at in packed.values()}
    keep_from_going(remote.objects, names, lost, send)


def _size(store: Store, digest: Digest) -> int:
    size = store.size(digest)
    if size is None:
        raise lost(digest)
    return size

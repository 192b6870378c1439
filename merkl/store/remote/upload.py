"""Results on their way to the remote: what is missing there, contents first, then the records that name them.

It decides what a result needs.  It knows no build.

The invariant: a record is filed only when all that it names has arrived.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from merkl.digest import Digest, Key
from merkl.store.base import Record, Store
from merkl.store.blobs import lost
from merkl.store.records import needs
from merkl.store.remote.contents import Sent
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
    read: Callable[[Digest], BinaryIO] | None = None,
    sent: Sent | None = None,
) -> None:
    """Send results from ``store``, whose contents ``read`` reads.  May be broken off anywhere, and begun again.

    Raises:
        StoreCorrupt: a content is neither there nor here, or damaged here.
        StoreError: the remote cannot take it.
    """

    def tree(digest: Digest) -> bytes | None:
        here = store.read(digest)
        return remote.read(digest) if here is None else here

    digests = {digest for result in results for digest in needs(result.record, tree)}
    missing = sorted(digests - remote.has(digests))
    remote.contents.send(((digest, _size(store, digest)) for digest in missing), read or store.reader, sent)
    remote.records.file_many((result.record, result.keys) for result in results)


def _size(store: Store, digest: Digest) -> int:
    size = store.size(digest)
    if size is None:
        raise lost(digest)
    return size

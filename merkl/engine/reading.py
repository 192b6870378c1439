"""Readers of results: what ``future.open`` gets from a build.

It decides which results can be read as a file.  It loads nothing into memory.
"""

import io
from typing import Any, BinaryIO, Protocol

from merkl.digest import Digest
from merkl.errors import FutureAccessError
from merkl.nodes import Artifact, Future
from merkl.store.bundle import ReadsParts, Slice, item_bytes


class Readers(ReadsParts, Protocol):
    """What is asked of a store here."""

    def reader(self, digest: Digest) -> BinaryIO: ...


class Reading(Future[Any]):
    """A Future that is evaluated to be read: its value is a reader of its bytes."""

    __slots__ = ()


def reader_of(store: Readers, future: Future[Any], artifact: Artifact) -> BinaryIO:
    """A reader of the bytes of a file, or of a value that is bytes or text.

    Raises:
        FutureAccessError: it is neither.
        StoreCorrupt: its bytes are gone or damaged.
    """
    if artifact.kind == "dir" or (artifact.kind == "value" and artifact.serializer not in ("bytes", "text")):
        what = "a directory" if artifact.kind == "dir" else f"a value, kept as {artifact.serializer}"
        raise FutureAccessError(
            f"{future!r} is {what}, and open() reads files, bytes and text", hint="use .eval()"
        )
    if isinstance(artifact, Slice):
        return io.BytesIO(item_bytes(store, artifact))
    return store.reader(artifact.digest)

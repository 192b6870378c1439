"""The stores that are open in this process for calls to read their arguments from.

It decides nothing.  It is apart from what runs calls, so that a build that has none can lend its store.

The invariant: a store is used only in the process that opened it.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Final, Protocol

from merkl.digest import Digest


class Contents(Protocol):
    """What is asked of a store for one value."""

    def has(self, digests: Iterable[Digest]) -> set[Digest]: ...
    def read(self, digest: Digest) -> bytes | None: ...
    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None: ...
    def reader(self, digest: Digest) -> BinaryIO: ...


class Values(Contents, Protocol):
    """What is asked of a store for many."""

    def small(self, digests: Iterable[Digest]) -> Mapping[Digest, bytes]: ...


OPEN: Final[dict[tuple[int, str], Values]] = {}  # By process and directory.


@contextlib.contextmanager
def lending(directory: str, store: Values) -> Iterator[None]:
    """Let calls that run in this process use a store that is open already."""
    here = (os.getpid(), directory)
    OPEN[here] = store
    try:
        yield
    finally:
        OPEN.pop(here, None)

"""Many small files read and hashed, by this process and by others that help.

It decides how files are divided into shares.  What was read before, and what is done with a file that is not read here, is
not its business.

The invariant: what is said of a file is of bytes that were read while it had the stat that was given.
"""

import marshal
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from merkl import gauge
from merkl.workspace.forks import SHARES, shared
from merkl.workspace.hashing import Small, hash_small

_FILES: Final = 128  # Of a share,
_FEW: Final = 32  # and of files that may be larger.
_BYTES: Final = 1 << 20

Item = TypeVar("Item")
Note = TypeVar("Note")
Found = tuple[str | bytes, os.stat_result]


def hash_many(
    files: Sequence[Found], seed: int, note: Callable[[int, Small], Note], *, keep: bool = False
) -> Iterator[tuple[int, list[Note | None]]]:
    """As ``hash_small``, as shares are done: the number of the first file of each, and what ``note`` makes of what was read.

    That is something marshal knows; to make it is part of the work.
    """
    sizes = [found.st_size for _, found in files]
    bounds = _bounds(sizes)
    gauge.expect(sum(sizes))

    def work(n: int) -> bytes:
        read = hash_small(files[bounds[n] : bounds[n + 1]], seed, keep=keep)
        return marshal.dumps(
            [None if each is None else note(at, each) for at, each in enumerate(read, bounds[n])]
        )

    for n, answer in shared(len(bounds) - 1, work):
        gauge.came(sum(sizes[bounds[n] : bounds[n + 1]]))
        yield bounds[n], marshal.loads(answer)


def each_of(items: Sequence[Item], read: Callable[[Item], Note | None]) -> Iterator[list[Note]]:
    """What ``read`` makes of each item, as shares are done, without those that it makes nothing of; marshal knows it."""
    size = max(_FEW, -(-len(items) // SHARES))

    def work(n: int) -> bytes:
        return marshal.dumps(
            [note for item in items[n * size : (n + 1) * size] if (note := read(item)) is not None]
        )

    for _, answer in shared(-(-len(items) // size), work):
        yield marshal.loads(answer)


def _bounds(sizes: Sequence[int]) -> list[int]:
    """Where shares begin, and the end of the last."""
    most = max(_FILES, -(-4 * len(sizes) // SHARES))
    most_bytes = max(_BYTES, -(-4 * sum(sizes) // SHARES))
    bounds, size = [0], 0
    for n, each in enumerate(sizes):
        if n > bounds[-1] and (n - bounds[-1] >= most or size + each > most_bytes):
            bounds.append(n)
            size = 0
        size += each
    return [*bounds, len(sizes)] if sizes else bounds

"""The files of a directory on their way into the store: large ones one by one, small ones many in one transaction.

It decides when a transaction is full.  It does not remove what it has read.

The invariant: after ``end`` everything that was taken is in the store, or where the shelter keeps what that refused.
"""

import os
from typing import Final

from merkl.digest import Digest
from merkl.engine.shelter import Shelter

SMALL: Final = 100_000  # Bytes; what the store keeps inside its database.
_AT_ONCE: Final = 4_000_000  # Bytes of small files in one transaction.


class Taking:
    """Takes the files of one directory into ``shelter``."""

    def __init__(self, shelter: Shelter) -> None:
        self._shelter = shelter
        self._held: dict[Digest, bytes] = {}
        self._size = 0

    def take(self, path: bytes) -> Digest:
        """The digest of a file, which may be moved away."""
        if os.lstat(path).st_size > SMALL:
            return self._shelter.put_file(path, move=True)
        with open(path, "rb") as file:
            data = file.read()
        digest = Digest.of(data)
        if digest not in self._held:
            self._held[digest] = data
            self._size += len(data) + 200  # What a small one costs at least.
        if self._size > _AT_ONCE:
            self.end()
        return digest

    def end(self) -> None:
        """Store what is held."""
        if self._held:
            self._shelter.put_small(self._held)
        self._held, self._size = {}, 0

"""File objects into a store and out of it: what every store offers besides bytes and records.

It decides only how a file is cut into pieces.  Nothing is in memory as a whole.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Final, Protocol

from merkl.digest import Digest, Key
from merkl.store.base import Record

_PIECE: Final = 1 << 20  # Bytes.


class _Keeps(Protocol):
    def put(self, chunks: Iterable[bytes]) -> Digest: ...
    def open(self, digest: Digest) -> BinaryIO | None: ...
    def by_key(self, keys: Sequence[Key]) -> Mapping[Key, Record]: ...


class FileObjects:
    """The two methods, for any store that has ``put``, ``open`` and ``by_key``."""

    def add_fileobject(self: _Keeps, file: BinaryIO) -> Digest:
        """Store what is left to read of a binary file, a megabyte at a time, and return its digest."""
        return self.put(_pieces(file))

    def get_fileobject(self: _Keeps, name: Digest | Key, output: str = "") -> BinaryIO | None:
        """A reader of the content with that digest, or of an output of the result with that key; None if it is not here.

        A directory is read as its list of files.

        Raises:
            StoreCorrupt: the bytes do not hash to their digest; they have been set aside.
        """
        if isinstance(name, Digest):
            return self.open(name)
        record = self.by_key([name]).get(name)
        if record is None or output not in record.outputs:
            return None
        return self.open(record.outputs[output].digest)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece

"""A result on its way out of a call: in memory while it is small, in a file from then on.

It decides only when the file is made.  It knows no forms.

The invariant: everything that was written is in one place, the memory or the file.
"""

import os
from typing import BinaryIO


class Spill:
    """Takes what is written; the first byte beyond ``most`` brings about the file ``path``.  A context manager."""

    __slots__ = ("_file", "_most", "_parts", "path", "size")

    def __init__(self, path: bytes, most: int) -> None:
        self.path = path
        self.size = 0
        self._most = most
        self._parts: list[bytes] = []
        self._file: BinaryIO | None = None

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take some more."""
        size = memoryview(data).nbytes
        self.size += size
        if self._file is None and self.size <= self._most:
            self._parts.append(bytes(data))
            return size
        if self._file is None:
            self._file = open(os.fsdecode(self.path), "wb")
            self._file.writelines(self._parts)
            self._parts = []
        self._file.write(data)
        return size

    def small(self) -> bytes | None:
        """All of it, or None if it is in the file."""
        return b"".join(self._parts) if self._file is None else None

    def __enter__(self) -> "Spill":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

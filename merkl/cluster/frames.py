"""Messages between a Dask worker and its child that runs errands: pickles with their length before them, on two pipes.

It decides how a message ends.  The invariant: a message is written whole, whoever else writes.
"""

import os
import pickle
import struct
import threading
from typing import Any, Final

_LENGTH: Final = struct.Struct(">Q")
_CHUNK: Final = 1 << 20  # Bytes.


class Frames:
    """Reads from one descriptor, in one thread, and writes to another, in any."""

    def __init__(self, given: int, taken: int) -> None:
        self._given = given
        self._taken = taken
        self._lock = threading.Lock()

    def read(self) -> tuple[Any, ...] | None:
        """The next message; None once nobody can send one any more."""
        head = self._bytes(_LENGTH.size)
        data = None if head is None else self._bytes(_LENGTH.unpack(head)[0])
        if data is None:
            return None
        message: tuple[Any, ...] = pickle.loads(data)
        return message

    def _bytes(self, size: int) -> bytes | None:
        pieces: list[bytes] = []
        while size:
            try:
                piece = os.read(self._given, min(size, _CHUNK))
            except OSError:
                return None
            if not piece:
                return None
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def write(self, message: tuple[Any, ...]) -> bool:
        """Send a message; whether there is still somebody to read it."""
        data = pickle.dumps(message, protocol=5)
        left = memoryview(_LENGTH.pack(len(data)) + data)
        with self._lock:
            try:
                while left:
                    left = left[os.write(self._taken, left) :]
            except OSError:
                return False
        return True

    def close(self) -> None:
        """Close what is written to: who reads it is told that there is no more."""
        with self._lock:
            if self._taken >= 0:
                os.close(self._taken)
                self._taken = -1

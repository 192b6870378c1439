"""Whether a database has changed, seen without asking SQLite.

With each transaction SQLite writes a header anew in the memory that all processes share which have the database open: the
wal-index (https://www.sqlite.org/walformat.html, section 2).  It compares that with what it saw last to know whether the
pages that it keeps still hold; so may others.  It decides nothing, and knows no tables.

The invariant: the file of the wal-index is let go only when this process has no connection to its database, since to close
a file takes away all locks that the process has on it, SQLite's too.
"""

import mmap
import os
import sys
import threading
from typing import Final, TypeAlias

HEADER: Final = 96  # Bytes: it is written twice.
_HALF: Final = 48
_VERSION: Final = (3_007_000).to_bytes(4, sys.byteorder)  # What a header begins with.

Identity: TypeAlias = tuple[int, int]
"""Which file a database is."""

guard: Final = threading.RLock()  # Of all that follows; also while the process is forked.
_held: dict[Identity, int] = {}  # How many connections this process has.
_files: dict[Identity, int] = {}
_mapped: dict[Identity, mmap.mmap] = {}


def hold(path: str) -> Identity | None:
    """Hear that the database at ``path`` is about to be opened; None if it is not there."""
    try:
        identity = _identity(path)
    except OSError:
        return None
    with guard:
        _held[identity] = _held.get(identity, 0) + 1
    return identity


def let_go(identity: Identity) -> None:
    """Hear that a connection to it has been closed; after the last one nobody can tell any more whether it has changed."""
    with guard:
        _held[identity] -= 1
        if not _held[identity]:
            del _held[identity]
            if (mapped := _mapped.pop(identity, None)) is not None:
                mapped.close()
            if (file := _files.pop(identity, None)) is not None:
                os.close(file)


def header_of(identity: Identity, path: str) -> mmap.mmap | None:
    """The header of the database, of which this thread has read something already; None if it has none here.

    It is the same as it was exactly as long as the database is.  When the last connection of this process is closed, a look
    at it raises ``ValueError``.
    """
    with guard:
        if identity not in _files and identity in _held:
            _open(identity, os.path.realpath(path))  # Where SQLite looks for it.
        return _mapped.get(identity)


def _open(identity: Identity, path: str) -> None:
    try:
        file = _files[identity] = os.open(path + "-shm", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        if _identity(path) == identity:  # Else it is of another database, which took the place of this one.
            _mapped[identity] = mmap.mmap(file, HEADER, mmap.MAP_SHARED, mmap.PROT_READ)
    except (OSError, ValueError):
        pass  # It is not there, or may not be read.


def is_whole(header: bytes) -> bool:
    """Whether a header is of the known kind, and not being written."""
    return header[:4] == _VERSION and header[:_HALF] == header[_HALF:]


def _identity(path: str) -> Identity:
    status = os.stat(path)
    return status.st_dev, status.st_ino

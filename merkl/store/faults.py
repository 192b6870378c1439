"""What the operating system and SQLite say when the disk does not do as asked, put into merkl's errors.

It decides which failure means "full", "may not be written", "damaged" or plainly "broken".  It repairs nothing.

The invariant: no ``OSError`` and no ``sqlite3.Error`` that a disk can cause leaves the store as such.
"""

import errno
import os
from typing import Final

from merkl.errors import StoreError, StoreFull
from merkl.room import FULL, used_up
from merkl.sqlite import sqlite3

# Itself, the wal, its index, a journal, and the directory while it syncs that.
_FILES_OF_A_DATABASE: Final = 5
_FORBIDDEN: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
GC_HINT: Final = "`merkl gc` removes what nothing needs any more"
_ELSEWHERE: Final = "see whether its disk is sound; MERKL_STORE=DIR uses another store meanwhile"


class Damaged(Exception):
    """The database cannot be what merkl wrote.  Handled inside the store: it is set aside and started anew."""


def store_error(error: OSError, path: str | bytes) -> StoreError:
    """The error to raise for ``error``, which happened at ``path`` in the store."""
    if error.errno in FULL:
        return _full(path)
    shown = os.fsdecode(path)
    if error.errno in _FORBIDDEN:
        return read_only(path)
    return StoreError(f"the store cannot be used: {error.strerror or error}", path=shown, hint=_ELSEWHERE)


def read_only(path: str | bytes) -> StoreError:
    """The error for a store that may be read but not written."""
    return StoreError(
        "the store may not be written by this user",
        path=os.fsdecode(path),
        hint="change its permissions, or set `store:` in merkl.yaml or MERKL_STORE to another directory",
    )


def database_error(error: sqlite3.Error, path: str | bytes) -> StoreError | Damaged | None:
    """The error to raise for what SQLite said, or None if it is a bug of ours, to be seen as it is."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return _full(path)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return read_only(path)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if used_up(path) != "":
            return _full(path)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if (full := _out_of_descriptors()) is not None:
            return StoreError(
                f"the store's database cannot be used: {full.strerror}",
                path=os.fsdecode(path),
                hint="`ulimit -n 1024` allows more",
            )
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_NOMEM:
            return StoreError(
                f"the store's database cannot be used: {error}", path=os.fsdecode(path), hint=_ELSEWHERE
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return StoreError(
                "the store's database stayed locked by another process",
                path=os.fsdecode(path),
                hint="is a process that uses it suspended?",
            )
        case sqlite3.SQLITE_INTERRUPT | sqlite3.SQLITE_MISUSE | sqlite3.SQLITE_RANGE:
            return None
    # The statements are constant, so what remains (no such table, a broken constraint) is the file's fault.
    return Damaged(str(error))


def _out_of_descriptors() -> OSError | None:
    """Why a database may not have been opened that SQLite does not tell: too few descriptors are left for its files."""
    opened: list[int] = []
    try:
        while len(opened) < _FILES_OF_A_DATABASE:
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error if error.errno in (errno.EMFILE, errno.ENFILE) else None
    finally:
        for fd in opened:
            os.close(fd)
    return None


def is_busy(error: sqlite3.Error) -> bool:
    """Whether trying again may help."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


def _full(path: str | bytes) -> StoreFull:
    what = used_up(path) or "no room left"
    return StoreFull(f"the store cannot take more: {what}", path=os.fsdecode(path), hint=GC_HINT)

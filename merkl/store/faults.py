"""What the operating system and SQLite say when the disk does not do as asked, put into merkl's errors.

It decides which failure means "full", "may not be written", "damaged" or plainly "broken".  It repairs nothing.

The invariant: no ``OSError`` and no ``sqlite3.Error`` that a disk can cause leaves the store as such.
"""

import errno
import os
import sqlite3
from typing import Final

from merkl.errors import StoreError, StoreFull

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
GC_HINT: Final = "`merkl gc` removes what nothing needs any more"


class Damaged(Exception):
    """The database cannot be what merkl wrote.  Handled inside the store: it is set aside and started anew."""


def store_error(error: OSError, path: str | bytes) -> StoreError:
    """The error to raise for ``error``, which happened at ``path`` in the store."""
    if error.errno in _FULL:
        return _full(path)
    shown = os.fsdecode(path)
    if error.errno in _FORBIDDEN:
        return read_only(path)
    return StoreError(f"the store cannot be used: {error.strerror or error}", path=shown)


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
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if _room(path) != "":
            return _full(path)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_NOMEM:
            return StoreError(f"the store's database cannot be used: {error}", path=os.fsdecode(path))
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


def is_busy(error: sqlite3.Error) -> bool:
    """Whether trying again may help."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


def _full(path: str | bytes) -> StoreFull:
    what = _room(path) or "no room left"
    return StoreFull(f"the store cannot take more: {what}", path=os.fsdecode(path), hint=GC_HINT)


def _room(path: str | bytes) -> str:
    """What is used up where ``path`` is, or is to be; empty if there is room."""
    where = os.fsencode(path)
    while True:
        try:
            free = os.statvfs(where)
        except (FileNotFoundError, NotADirectoryError):
            parent = os.path.dirname(where)
            if parent == where:
                return ""
            where = parent or b"."
            continue
        except OSError:
            return ""
        # Some file systems have no fixed number of inodes and say 0 of 0.
        if free.f_files and not free.f_favail:
            return "no free inodes (too many files), whatever the free bytes"
        return "" if free.f_bavail else "disk full"

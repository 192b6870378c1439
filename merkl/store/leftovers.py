"""What lies in a store's directory and is named by nothing in its database.

It decides what was left by a process that was killed.  It removes only what nobody is writing any more; the rest it names.
"""

import fcntl
import os
import time
from collections.abc import Container, Iterator

from merkl.digest import Digest


def blob_files(directory: str) -> Iterator[tuple[Digest, os.DirEntry[str]]]:
    """Every file that is named like a large blob, in no order."""
    for folder in _scan(os.path.join(directory, "blobs")):
        if not folder.is_dir(follow_symlinks=False):
            continue
        for entry in _scan(folder.path):
            try:
                digest = Digest.parse(entry.name)
            except ValueError:
                continue
            if entry.name[:2] == folder.name:
                yield digest, entry


def orphan_files(directory: str, known: Container[Digest]) -> Iterator[tuple[Digest, os.stat_result]]:
    """The files of blobs that are not among ``known``."""
    for digest, entry in blob_files(directory):
        if digest not in known:
            try:
                yield digest, entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


def stray_files(directory: str, older_than_s: float) -> list[str]:
    """Half-written files whose writers are gone, trash, and files in ``blobs`` that no blob is named like."""
    limit = time.time() - older_than_s
    strays = [
        entry.path for entry in _scan(os.path.join(directory, "incoming")) if not _is_locked(entry.path)
    ]
    strays += [entry.path for entry in _scan(directory) if entry.name.startswith("new-")]
    named = {entry.path for _, entry in blob_files(directory)}
    for folder in _scan(os.path.join(directory, "blobs")):
        if not folder.is_dir(follow_symlinks=False):
            strays.append(folder.path)
            continue
        strays += [entry.path for entry in _scan(folder.path) if entry.path not in named]
    old = [path for path in strays if _changed(path) <= limit]
    return old + [entry.path for entry in _scan(os.path.join(directory, "trash"))]


def aside_files(directory: str, older_than_s: float) -> list[str]:
    """What was set aside as damaged so many seconds ago: contents in quarantine, and whole databases."""
    limit = time.time() - older_than_s
    found = [entry.path for entry in _scan(os.path.join(directory, "quarantine"))]
    found += [entry.path for entry in _scan(directory) if ".db.damaged-" in entry.name]
    return [path for path in found if _changed(path) <= limit]


def sweep_incoming(directory: str) -> None:
    """Remove the half-written files whose writers are gone: each is locked by its own."""
    for entry in _scan(os.path.join(directory, "incoming")):
        try:
            fd = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(entry.path)
        except OSError:
            pass  # It is being written; or it has just been given its name.
        finally:
            os.close(fd)


def _scan(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _changed(path: str) -> float:
    try:
        return os.lstat(path).st_ctime
    except OSError:
        return float("inf")


def _is_locked(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)

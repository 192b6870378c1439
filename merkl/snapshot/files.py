"""Wrappers of ``os.stat`` and its kin, which raise no audit event.

They decide nothing: each does what the original does, and has the recording note what was found.
"""

import _thread
import contextlib
import os
import posix
import sys
from collections.abc import Callable
from typing import Any, Final

from merkl.snapshot.answer import full_stamp, kind_stamp
from merkl.snapshot.asker import IN_SITES, OURS, STDLIB, asks_for_times, by_user, is_import
from merkl.snapshot.recording import IN_STATE, MACHINE, Packed, Recording, active, packed

WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Where the import system looks hundreds of times, and what of it does so.
_LIBRARIES: Final = (STDLIB[0], *IN_SITES, OURS)
_IMPORTER: Final = "<frozen importlib._bootstrap_external>"
original_stat: Final = posix.stat
_lstat: Final = posix.lstat
_access: Final = posix.access
_readlink: Final = posix.readlink
_open: Final = posix.open
_write: Final = posix.write
told: Final[set[int]] = set()  # Threads whose next event of a file that is opened says nothing new.


def _see(path: Any, dir_fd: int | None, follow: bool, found: os.stat_result | int) -> None:
    recording = active()
    if recording is None or isinstance(path, int) or not path:
        return
    where = path if type(path) is str and path[:1] == "/" else whole_path(path, dir_fd)
    if where is None:
        if dir_fd is not None:
            recording.spoil("a path below an open directory was looked at")
        return
    if isinstance(found, int):
        stamp: Packed = found
    elif found.st_mode & 0o170000 == 0o040000 and not asks_for_times():
        stamp = kind_stamp(found)
    else:
        stamp = packed(full_stamp(found))
        if found.st_mode & 0o170000 == 0o040000:
            recording.timed.add(where)
    looked = recording.files if follow else recording.links
    (recording.by_source if recording.for_source else recording.by_others).add(where)
    if looked.setdefault(where, stamp) != stamp:
        recording.look(where, stamp, looked)
    elif where.startswith(MACHINE):
        from_machine(recording, where)
    if where not in recording.kept and (
        (where.startswith(IN_SITES) and not is_import())
        or (IN_STATE in where and (recording.for_source or by_user()))
    ):
        recording.kept.add(where)
    if len(recording.files) > recording.room:
        recording.pack()


def whole_path(path: Any, dir_fd: int | None) -> str | None:
    """The absolute path that was meant, not tidied; None if it is none."""
    try:
        text = os.fsdecode(path)
        if text[:1] == "/":
            return text
        base = os.getcwd() if dir_fd is None else _readlink(f"/proc/self/fd/{dir_fd}")
    except (OSError, TypeError, ValueError):
        return None
    return f"{base}/{text}" if text else base


def from_machine(recording: Recording, where: str) -> None:
    """The system tells what changes all the time: for merkl's own questions that is known."""
    if by_user():
        recording.spoil(f"{where} was read")


def stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
    """As ``os.stat``."""
    if type(path) is str and path.startswith(_LIBRARIES) and sys._getframe(1).f_code.co_filename == _IMPORTER:
        return original_stat(path)  # What is imported from there is known in another way.
    try:
        found = original_stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    except OSError as error:
        _see(path, dir_fd, follow_symlinks, error.errno or 0)
        raise
    _see(path, dir_fd, follow_symlinks, found)
    return found


def lstat(path: Any, *, dir_fd: int | None = None) -> os.stat_result:
    """As ``os.lstat``."""
    try:
        found = _lstat(path, dir_fd=dir_fd)
    except OSError as error:
        _see(path, dir_fd, False, error.errno or 0)
        raise
    _see(path, dir_fd, False, found)
    return found


def access(
    path: Any,
    mode: int,
    *,
    dir_fd: int | None = None,
    effective_ids: bool = False,
    follow_symlinks: bool = True,
) -> bool:
    """As ``os.access``."""
    with contextlib.suppress(OSError):
        stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    return _access(path, mode, dir_fd=dir_fd, effective_ids=effective_ids, follow_symlinks=follow_symlinks)


def readlink(path: Any, *, dir_fd: int | None = None) -> Any:
    """As ``os.readlink``."""
    with contextlib.suppress(OSError):
        lstat(path, dir_fd=dir_fd)
    return _readlink(path, dir_fd=dir_fd)


def open_file(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """As ``os.open``; its audit event does not say from which directory a path starts."""
    recording = active()
    if dir_fd is None or recording is None:
        return _open(path, flags, mode, dir_fd=dir_fd)
    if flags & WRITING:
        written(recording, whole_path(path, dir_fd), "was opened for writing")
    else:
        with contextlib.suppress(OSError):
            stat(path, dir_fd=dir_fd)
    told.add(_thread.get_ident())
    try:
        return _open(path, flags, mode, dir_fd=dir_fd)
    finally:
        told.discard(_thread.get_ident())


def written(recording: Recording, where: str | None, what: str) -> None:
    """A file was changed: by the user's code, or by merkl, which is told apart by where it is."""
    if is_import():
        return  # What is compiled is kept.
    if where is None or by_user():
        recording.spoil(f"{where or 'a file'} {what}")
    else:
        recording.changed.add(where)


def write(fd: int, data: Any, /) -> int:
    """As ``os.write``."""
    recording = active()
    if recording is not None and (fd in (1, 2) or os.isatty(fd)):
        if fd == 2 or by_user():
            recording.said = True
        else:
            recording.out.append(bytes(data).decode(errors="surrogateescape"))
    return _write(fd, data)


WRAPPED: Final[dict[str, tuple[Callable[..., Any], Callable[..., Any]]]] = {
    "stat": (stat, original_stat),
    "lstat": (lstat, _lstat),
    "access": (access, _access),
    "readlink": (readlink, _readlink),
    "open": (open_file, _open),
    "write": (write, _write),
}
for _name, (_wrapper, _) in WRAPPED.items():
    # Whoever takes hold of one is to find it, and to pickle it, where the original is.
    _wrapper.__module__, _wrapper.__name__, _wrapper.__qualname__ = "posix", _name, _name

"""What a file system is, and what it can do that not every one can.

It decides which ones are shared over a network: there SQLite must not keep its log in shared memory, which is on one
machine only.  It knows neither the store nor the project.

The invariant: where the system does not tell, a file system is an ordinary local one that cannot clone.
"""

import contextlib
import errno
import fcntl
import functools
import os
import re
import signal
import struct
import sys
from collections.abc import Iterator
from typing import Final

from merkl.dataclass import dataclass

VARIABLE: Final = "MERKL_FILE_SYSTEM"  # A kind that is believed instead of what the system says.
_MOUNTS: Final = "/proc/self/mountinfo"  # proc_pid_mountinfo(5)
_NETWORK: Final = frozenset(
    """
    9p acfs afpfs afs beegfs ceph cephfs cifs coda davfs gfs gfs2 glusterfs gpfs lustre mfs ncpfs ncp nfs nfs3 nfs4 nfsd
    ocfs2 orangefs prl_fs pvfs2 smb smb2 smb3 smbfs vboxsf virtiofs vmhgfs webdav wekafs
    """.split()
)
_LOCAL_FUSE: Final = frozenset(
    "bindfs ciopfs cryfs encfs exfat fuse-overlayfs gocryptfs lxcfs mergerfs ntfs ntfs-3g securefs unionfs".split()
)
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# What a file system says that cannot sync a directory.
_NO_SYNC: Final = (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
_FICLONE: Final = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_MNT_LOCAL: Final = 0x1000  # macOS, sys/mount.h


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a directory lies on.  ``kind`` is the system's name for it, such as ``ext4`` or ``nfs4``; empty if unknown."""

    kind: str
    network: bool


def file_system_of(path: str) -> FileSystem:
    """The file system of a file or directory, or of where it is going to be."""
    stated = os.environ.get(VARIABLE)
    return FileSystem(stated, is_network(stated)) if stated else _asked(os.path.realpath(path))


def is_network(kind: str) -> bool:
    """Whether a kind of file system is, or may be, on another machine."""
    name = kind.lower()
    if name.startswith("fuse."):  # Most of those have a server somewhere: sshfs, s3fs, rclone.
        return name.removeprefix("fuse.") not in _LOCAL_FUSE
    return name in _NETWORK


@functools.lru_cache(maxsize=64)
def _asked(path: str) -> FileSystem:
    if sys.platform == "darwin":
        return _of_macos(path)
    try:
        with open(_MOUNTS, "rb") as file:
            kind = _kind_at(os.fsencode(path), file.read())
    except OSError:
        kind = ""
    return FileSystem(kind, is_network(kind))


def _kind_at(path: bytes, mounts: bytes) -> str:
    """The kind of what is mounted deepest above ``path``; of several at one place, the last."""
    kind, deepest = b"", -1
    for line in mounts.splitlines():
        fields, _, rest = line.partition(b" - ")
        where = fields.split(b" ")[4:5]
        if not where or not rest:
            continue
        point = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), where[0])
        if (path == point or path.startswith(point.rstrip(b"/") + b"/")) and len(point) >= deepest:
            kind, deepest = rest.split(b" ")[0], len(point)
    return os.fsdecode(kind)


def _of_macos(path: str) -> FileSystem:
    import ctypes

    buffer = ctypes.create_string_buffer(4096)  # struct statfs has 2168 bytes.
    libc = ctypes.CDLL(None)
    statfs = getattr(libc, "statfs$INODE64", None) or libc.statfs
    where = path
    while statfs(os.fsencode(where), buffer) != 0:
        if where == os.path.dirname(where):
            return FileSystem("", False)
        where = os.path.dirname(where)
    return _read_macos(buffer.raw)


def _read_macos(statfs: bytes) -> FileSystem:
    """From a struct statfs with 64-bit inodes: f_flags is at 64, f_fstypename at 72."""
    (flags,) = struct.unpack_from("=I", statfs, 64)
    return FileSystem(statfs[72:88].split(b"\0")[0].decode("ascii", "replace"), not flags & _MNT_LOCAL)


def clone(source: int, target: int) -> bool:
    """Let the empty file ``target`` share the blocks of ``source`` until one is written to; whether that could be had.

    Raises:
        OSError: the disk is full or broken.
    """
    if sys.platform != "linux":  # macOS clones to a new name only, not to a file that is open.
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        return False
    return True


def reserve(fd: int, start: int, length: int) -> bool:
    """Give an open file room from a place on, and that size; whether it could be had.  Its bytes there are zeros.

    ``posix_fallocate`` would write them where the file system cannot.
    """
    import ctypes

    libc = ctypes.CDLL(None)
    call = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    return call is not None and call(fd, 0, ctypes.c_int64(start), ctypes.c_int64(length)) == 0


def sync_directory(directory: str | int) -> None:
    """Let the names in a directory, given by its path or open, outlive a loss of power, where it can be synced.

    Raises:
        OSError: the disk is full or broken.
    """
    fd = os.open(directory, _DIRECTORY) if isinstance(directory, str) else directory
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        if fd is not directory:
            os.close(fd)


@contextlib.contextmanager
def alone(fd: int) -> Iterator[None]:
    """Hold the lock of an open file or directory, which may take a while, and close it at the end.

    Where there are no locks, nobody is kept out.
    """
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def being_written(path: str | bytes) -> bool:
    """Whether some process has the file open for writing, itself or by another name, as far as the system tells.

    Linux tells of the user's own files: it gives no read lease on one that is open for writing.
    """
    if sys.platform != "linux":
        return False
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # Ignored; SIGIO would end this process.
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(fd)
    return False

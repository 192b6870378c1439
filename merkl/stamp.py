"""Cheap evidence that a file is unchanged: what one ``stat`` says of it.

It decides nothing about contents.  A stamp is trusted only once it is *settled*: when its ctime is so
far behind the file system's own clock that a later write must have got another ctime.
"""

import os
import stat
from typing import Final

from merkl.dataclass import dataclass

SETTLED_NS: Final = 20_000_000  # Coarser than any kernel's tick.
SETTLED_COARSE_NS: Final = 2_000_000_000  # Where stamps have whole seconds (FAT, old NFS).
_SLOW_WRITE_NS: Final = 100  # For each byte, where the writer must wait for a processor or for the disk.
_WRITE_NS: Final = 10  # For each byte of a long write, besides what it waits.
_WAIT_NS: Final = 5_000_000_000

_modes: Final[dict[int, int]] = {}  # There are 65,536 at most.


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such file."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size in bytes, times in ns since the epoch, inode number, and mode with the file's type."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Stamp":
        """The stamp in a stat result."""
        mtime, ctime = found.st_mtime_ns, found.st_ctime_ns
        # There may be many: what two have in common is one object.
        mode = _modes.setdefault(found.st_mode, found.st_mode)
        return cls(found.st_size, mtime, mtime if mtime == ctime else ctime, found.st_ino, mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def executable(self) -> bool:
        """Whether the owner may execute it: the only permission bit merkl keeps."""
        return bool(self.mode & 0o100)

    def settled(self, at_ns: int) -> bool:
        """Whether a write after ``at_ns``, read from the file system's own clock, must show in the stamp."""
        # ctime, because a user can set mtime.
        coarse = self.ctime_ns % 1_000_000_000 == 0
        return at_ns - self.ctime_ns > (SETTLED_COARSE_NS if coarse else SETTLED_NS)


def longest_write_ns(size: int) -> int:
    """For how long one write call of so many bytes may go on changing a file, which it stamps when it begins."""
    return min(size * _SLOW_WRITE_NS, size * _WRITE_NS + _WAIT_NS)


def read_stamp(path: str | bytes, *, follow: bool = True) -> Stamp | Absent:
    """Stat ``path``; ``Absent`` also when a parent is missing or is a file.

    Raises:
        OSError: any other failure, such as a loop of links or no permission.
    """
    try:
        return Stamp.of(os.stat(path, follow_symlinks=follow))
    except (FileNotFoundError, NotADirectoryError):
        return Absent()

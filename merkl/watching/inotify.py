"""News from Linux: inotify(7), of exactly the directories that are asked for.

watchdog would do, but for three things: it drops the kernel's word that its queue overflowed, holds each rename back for
half a second, and listens either to a whole tree, with ``.merkl`` in it, or takes an instance and two threads a directory.

It decides what an event means for a path.  Where the system allows no more watches, the rest is left to whoever looks.

The invariant: a directory is listened to by the number that the kernel gave for what is at its path now; one that was
renamed or removed is forgotten, with all below it, and so is new to the next ``watch``.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Set
from typing import Final

from merkl.events import Note
from merkl.watching.news import POLL_S, Heard

_EVENT: Final = struct.Struct("iIII")  # wd, mask, cookie, len: inotify(7)
_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLYDIR: Final = 0x01000000
_NAMES: Final = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_MASK: Final = _MODIFY | _ATTRIB | _CLOSE_WRITE | _NAMES | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_BUFFER: Final = 1 << 18  # bytes


class Inotify:
    """A ``Source``.

    Raises:
        OSError: the system has no inotify, or allows no more instances of it.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._add, self._remove = libc.inotify_add_watch, libc.inotify_rm_watch
            fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except AttributeError:
            raise OSError(errno.ENOSYS, "no inotify") from None
        if fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.notes: list[Note] = []
        self._fd: int = fd
        self._numbers: dict[str, int] = {}
        self._paths: dict[int, set[str]] = {}  # By number: links give one directory several paths.
        self._deaf: set[str] = set()  # Directories that the system allows no watch of.
        self._absent: set[str] = set()
        self._told = False

    def fileno(self) -> int:
        """See ``Source``."""
        return self._fd

    @property
    def look_every(self) -> float | None:
        """See ``Source``."""
        return POLL_S if self._deaf else None

    def watch(self, directories: Set[str]) -> set[str]:
        """See ``Source``."""
        for gone in (self._numbers.keys() | self._absent | self._deaf) - directories:
            self._forget(gone)
        new = {path for path in directories if path not in self._numbers}
        fresh = new - self._absent - self._deaf
        for path in sorted(new):  # Those above come first, so that one that appears meanwhile is heard of.
            before = path in self._absent or path in self._deaf
            self._listen(path)
            if before and path in self._numbers:
                fresh.add(path)
        if self._deaf and not self._told:
            self._told = True
            self._tell_of_limit()
        return fresh

    def again(self, directory: str) -> None:
        """See ``Source``."""
        inside = directory.rstrip("/") + "/"
        known = self._numbers.keys() | self._absent | self._deaf
        for path in [each for each in known if each == directory or each.startswith(inside)]:
            self._forget(path)

    def hear(self) -> Heard:
        """See ``Source``."""
        heard = Heard()
        while True:
            try:
                data = os.read(self._fd, _BUFFER)
            except BlockingIOError:
                return heard
            at = 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                self._take(number, mask, data[at : at + length].rstrip(b"\0"), heard)
                at += length

    def close(self) -> None:
        """See ``Source``."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _take(self, number: int, mask: int, name: bytes, heard: Heard) -> None:
        if mask & _OVERFLOW:
            heard.missed = True
            return
        directories = self._paths.get(number, set())
        if mask & _IGNORED:  # The kernel has let go of it: it was removed, or its file system was.
            for directory in directories:
                self._numbers.pop(directory, None)
                heard.moved.add(directory)
            self._paths.pop(number, None)
            return
        if mask & (_DELETE_SELF | _MOVE_SELF):
            heard.moved.update(directories)
        for directory in directories:
            path = directory if not name else f"{directory.rstrip('/')}/{os.fsdecode(name)}"
            heard.paths.add(path)
            if mask & _NAMES:
                heard.listed.add(directory)
                if path in self._numbers or path in self._absent or path in self._deaf:
                    heard.moved.add(path)

    def _listen(self, path: str) -> None:
        number = self._add(self._fd, os.fsencode(path), _MASK)
        self._absent.discard(path)
        self._deaf.discard(path)
        if number >= 0:
            self._numbers[path] = number
            self._paths.setdefault(number, set()).add(path)
            return
        reason = ctypes.get_errno()
        (self._absent if reason in (errno.ENOENT, errno.ENOTDIR) else self._deaf).add(path)

    def _forget(self, path: str) -> None:
        self._absent.discard(path)
        self._deaf.discard(path)
        number = self._numbers.pop(path, None)
        if number is None:
            return
        paths = self._paths.get(number, set())
        paths.discard(path)
        if not paths:
            self._paths.pop(number, None)
            self._remove(self._fd, number)

    def _tell_of_limit(self) -> None:
        count = len(self._deaf)
        what = "1 directory gives" if count == 1 else f"{count} directories give"
        self.notes.append(
            Note(
                f"{what} no news, because the system allows no more watches: merkl looks there every second",
                "sysctl fs.inotify.max_user_watches says how many there may be; root can raise it",
            )
        )

"""Directories that a worker makes once for its brief calls, which use them one after another.

It decides when those of a call that has ended serve the next.  It knows neither the calls nor what they make.

The invariant: a call begins with empty directories and an empty log.  One that leaves anything in them, raises, or may have
left somebody who could still write there, keeps them, under the name under which it had them.
"""

import contextlib
import fcntl
import os
from typing import Final, NamedTuple

from merkl.execute.call import new_file
from merkl.execute.company import Company, company, left_nobody

_LOG: Final = b"/log"
_TMP: Final = b"/tmp"
_PRIVATE: Final = 64  # Out of the way of calls, as the other descriptors of a worker.
# Nanoseconds: when a directory is said to have changed last, until something is made in it.  A time that nobody else would
# give it, such as who unpacks an archive there.
_UNTOUCHED: Final = (0, int.from_bytes(os.urandom(7), "big"))


class Scratch(NamedTuple):  # No dataclass: to import that takes a new worker as long as all else of ours.
    """The directories of one attempt, relative to that in which it runs: ``stage``, and ``run`` with its log and its ``tmp``."""

    stage: bytes
    run: bytes


class Own:
    """Those of one worker, whose current directory is that of its calls."""

    __slots__ = ("_changed", "_cwd", "_log", "_met", "_mode", "_place", "_tells")

    def __init__(self) -> None:
        self._place: Scratch | None = None
        self._cwd = b""
        self._log = -1
        self._met: Company | None = None  # Whom the call has found.
        self._changed: dict[bytes, int] = {}  # By directory, when it is said to have changed last.
        self._mode = 0
        self._tells = False  # Whether that is another time as soon as something is made in one.

    def enter(self, cwd: bytes, stage: bytes, log: bytes) -> int:
        """The log, open, of a call whose directories are here, or are to be made where it has its ``stage`` and its ``log``.

        Raises:
            OSError: they cannot be made.
        """
        place = self._place
        if place is None or self._cwd != cwd:
            self._remove()
            run = log.removeprefix(cwd).removesuffix(_LOG).lstrip(b"/")
            place = self._make(cwd, Scratch(stage, run))
        self._met = company()
        _in_use[:] = [place]
        return self._log

    def _make(self, cwd: bytes, place: Scratch) -> Scratch:
        make(cwd, place)
        below = cwd + b"/"
        run = below + place.run
        untouched = _set_back(run)
        self._log = _private(new_file(run + _LOG))
        status = os.stat(run)
        self._mode, self._tells = status.st_mode, status.st_mtime_ns != untouched
        self._changed = {folder: _set_back(folder) for folder in (below + place.stage, run + _TMP)}
        self._cwd, self._place = cwd, place
        return place

    def leave(self, *, well: bool) -> bool:
        """Hear that the call has ended, and all that it printed is written; whether it left nothing."""
        _in_use.clear()
        if well and self._is_empty() and self._met is not None and left_nobody(self._met):
            return True
        self._forget()
        return False

    def _is_empty(self) -> bool:
        try:
            for folder, changed in self._changed.items():
                status = os.stat(folder)
                if status.st_mode != self._mode:
                    return False
                if self._tells and status.st_mtime_ns == changed:
                    continue
                if os.listdir(folder):
                    return False
                self._changed[folder] = _set_back(folder)
            return os.fstat(self._log).st_size == 0
        except OSError:
            return False

    def _forget(self) -> None:
        if self._log >= 0:
            os.close(self._log)
        self._log, self._place, self._met, self._changed = -1, None, None, {}

    def _remove(self) -> None:
        place = self._place
        self._forget()
        if place is not None:
            remove(self._cwd, place)


_in_use: list[Scratch] = []


def in_use() -> Scratch | None:
    """The directories of the call that runs, if its worker has made them."""
    return _in_use[0] if _in_use else None


def make(cwd: bytes, place: Scratch) -> None:
    """Make the directories of a call, unless they are there.

    Raises:
        OSError: they cannot be made.
    """
    below = cwd + b"/"
    for folder in (place.stage, place.run, place.run + _TMP):
        with contextlib.suppress(FileExistsError):
            os.mkdir(below + folder)


def remove(cwd: bytes, place: Scratch) -> None:
    """Remove empty ones, as far as they are there; what is in them stays."""
    below = cwd + b"/"
    for remove_it, path in (
        (os.unlink, place.run + _LOG),
        (os.rmdir, place.run + _TMP),
        (os.rmdir, place.run),
        (os.rmdir, place.stage),
    ):
        with contextlib.suppress(OSError):
            remove_it(below + path)


def _private(fd: int) -> int:
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _PRIVATE)
    except OSError:  # A low limit on open files.
        return fd
    os.close(fd)
    return moved


def _set_back(folder: bytes) -> int:
    """Let a directory seem not to have changed for long; what it says of that then, or -1 if it cannot be told so."""
    try:
        os.utime(folder, ns=_UNTOUCHED)
    except OSError:
        return -1
    return os.stat(folder).st_mtime_ns

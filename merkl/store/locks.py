"""Run locks: one process at a time runs the node with a given content key.

It decides who may run, and can say who does.  It never waits.

The invariant: a lock is the kernel's, a byte of the empty file ``locks`` at a place that the content key gives.  It
ends with its process, however that ends, and nothing written beside it decides anything.
"""

import atexit
import errno
import fcntl
import functools
import json
import os
import struct
import sys
import threading
import time
import weakref
from typing import Final

from merkl.digest import Key

_FLOCK: Final = "@hhqqi"  # struct flock of 64-bit Linux.
_SLOT: Final = 512  # Bytes of one note of a holder.
# The struct is Linux's, whatever else has a command of that name.
_SET: Final = getattr(fcntl, "F_OFD_SETLK", None) if sys.platform == "linux" else None


def place_of(content_key: Key) -> int:
    """The byte that stands for a content key: its first 62 bits, so that it is a file offset everywhere."""
    return int.from_bytes(content_key[:8], "big") >> 2


class RunLock:
    """The right to run one node, until ``release``."""

    __slots__ = ("_locks", "place", "slot")

    def __init__(self, locks: "RunLocks | None", place: int, slot: int = -1) -> None:
        self._locks = locks
        self.place = place
        self.slot = slot

    def release(self) -> None:
        """Give it up.  Idempotent."""
        locks, self._locks = self._locks, None
        if locks is not None:
            locks._release(self)

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class RunLocks:
    """The run locks of the store in ``directory``.  Safe to share between threads; a forked child holds none."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._mutex = threading.Lock()
        self._fd = -1
        self._notes = -1
        self._notes_path = ""
        self._held: dict[int, RunLock] = {}
        self._slots: list[int] = []  # Free ones, below ``_next``.
        self._next = 0
        _all.add(self)

    def try_lock(self, content_key: Key, task: str) -> RunLock | None:
        """The lock, or None if somebody has it, here or in another process.

        Where the store may not be written, or the file system has no locks, nothing can be shared: everyone gets one.
        """
        place = place_of(content_key)
        with self._mutex:
            if place in self._held:
                return None
            try:
                if self._fd < 0:
                    self._fd = _open(os.path.join(self._directory, "locks"))
                if not _set(self._fd, place, fcntl.F_WRLCK):
                    return None
            except OSError:
                return RunLock(None, place)
            lock = RunLock(self, place, self._slot())
            self._held[place] = lock
            self._note(lock, task)
            return lock

    def holder(self, content_key: Key) -> str:
        """Who has the lock, for a message; a guess if it changes hands just now."""
        place = place_of(content_key)
        newest: dict[str, object] = {}
        latest = 0
        for path in self._note_files():
            for note in _read_notes(path):
                since = note.get("since")
                if note.get("place") == place and isinstance(since, int) and since > latest:
                    newest, latest = note, since
        if not newest:
            return "another build"
        clock = time.strftime("%H:%M:%S", time.gmtime(latest // 10**9))
        return f"{newest['task']} in process {newest['pid']} on {newest['host']}, since {clock} UTC"

    def close(self) -> None:
        """Release every lock."""
        with self._mutex:
            for place in self._held:
                _set(self._fd, place, fcntl.F_UNLCK)
            if self._notes >= 0:
                _unlink(self._notes_path)
            self._forget()

    def sweep(self) -> None:
        """Remove the notes of processes that have ended."""
        self._note_files()

    def _release(self, lock: RunLock) -> None:
        with self._mutex:
            if self._held.get(lock.place) is not lock:
                return  # Closed meanwhile, or carried through a fork.
            del self._held[lock.place]
            self._slots.append(lock.slot)
            _set(self._fd, lock.place, fcntl.F_UNLCK)

    def _forget(self) -> None:
        """Close both files; the kernel's locks go with the last descriptor of what they were taken through."""
        # A lock of the process would go with any descriptor that is closed, also that of another store.
        for fd in (self._fd if _SET is not None else -1, self._notes):
            if fd >= 0:
                os.close(fd)
        self._fd = self._notes = -1
        self._held.clear()
        self._slots.clear()
        self._next = 0

    def _slot(self) -> int:
        if self._slots:
            return self._slots.pop()
        self._next += 1
        return self._next - 1

    def _note(self, lock: RunLock, task: str) -> None:
        """Write down who holds a lock: one slot for each held at a time, in a file of this process."""
        # By hand: it is written for every task, and ``json.dumps`` of the whole would cost as much as all the rest.
        text = f'{{"place": {lock.place}, "since": {time.time_ns()}, {_who(os.getpid())}, "task": {_shown(task)}}}'
        data = text.encode()[: _SLOT - 1]
        try:
            if self._notes < 0:
                self._notes = self._open_notes()
            os.pwrite(self._notes, data.ljust(_SLOT - 1) + b"\n", lock.slot * _SLOT)
        except OSError:
            pass  # Only for a message.

    def _open_notes(self) -> int:
        directory = os.path.join(self._directory, "holders")
        os.makedirs(directory, exist_ok=True)
        while True:
            path = os.path.join(directory, f"{os.getpid()}-{os.urandom(4).hex()}")
            fd = _open(path)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
            except OSError:  # A file system without locks.
                os.close(fd)
                _unlink(path)
                raise
            if os.fstat(fd).st_nlink:
                self._notes_path = path
                return fd
            os.close(fd)  # Somebody took it for a dead process's before it was locked.

    def _note_files(self) -> list[str]:
        """The notes of processes that live; those of others are removed."""
        directory = os.path.join(self._directory, "holders")
        try:
            names = os.listdir(directory)
        except OSError:
            return []
        return [path for name in names if _is_live(path := os.path.join(directory, name))]


def _is_live(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _unlink(path)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)


@functools.lru_cache(maxsize=1000)
def _shown(task: str) -> str:
    return json.dumps(task[:60])


@functools.lru_cache(maxsize=1)
def _who(pid: int) -> str:
    """This process, as part of a JSON object."""
    return f'"pid": {pid}, "host": {json.dumps(os.uname().nodename)}'


def _read_notes(path: str) -> list[dict[str, object]]:
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    notes = []
    for line in lines:
        try:
            note = json.loads(line)
        except ValueError:
            continue  # Cut short, or being written.
        if isinstance(note, dict):
            notes.append(note)
    return notes


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # Gone already, or not ours to remove; it decides nothing.


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _set(fd: int, place: int, kind: int) -> bool:
    """Take or give up one byte; False if another has it.

    On Linux the lock belongs to the open file, so two stores in one process exclude each other.  Elsewhere it belongs
    to the process, and a set of its own does that part.
    """
    try:
        if _SET is None:
            return _set_in_process(fd, place, kind)
        fcntl.fcntl(fd, _SET, struct.pack(_FLOCK, kind, os.SEEK_SET, place, 1, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


_taken: set[tuple[int, int, int]] = set()  # Device and inode of the file, and place.


def _set_in_process(fd: int, place: int, kind: int) -> bool:
    found = os.fstat(fd)
    name = (found.st_dev, found.st_ino, place)
    if kind == fcntl.F_UNLCK:
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, place)
        _taken.discard(name)
        return True
    if name in _taken:
        return False
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    _taken.add(name)
    return True


# A forked child shares the open file, and would keep its parent's locks alive.

_all: "weakref.WeakSet[RunLocks]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for locks in list(_all):
        locks._mutex = threading.Lock()
        locks._forget()
    _taken.clear()


def _close_all() -> None:
    """Take back the notes of a process that was interrupted before it had closed its stores."""
    for locks in list(_all):
        locks.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_all)

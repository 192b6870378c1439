"""The names of what is being placed, and what a killed process left under such names.

It decides whose a half-placed file is.  Its name ends in a tag of the process that makes it, and ``.merkl/drafts/TAG``,
which that process holds locked, lists the directories it places in.  It does not know what is placed.

The invariant: a directory is listed before anything half placed is in it, and only what has the tag of a process that
has ended is removed.
"""

import fcntl
import os
import stat
import threading
from typing import Final

from merkl.config import STATE_DIR
from merkl.errors import PlacementError
from merkl.workspace.paths import tag_of, temporary_name
from merkl.workspace.reach import DIRECTORY, NothingThere, parent_of

_FOLDER: Final = "drafts"  # In the project's state directory.
_FILE: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class _Places:
    """The directories of one project that this process places in."""

    __slots__ = ("_fd", "_listed", "_path", "left", "tag")

    def __init__(self, folder: str) -> None:
        while True:
            self.tag = os.urandom(4).hex().encode()
            self._path = os.path.join(folder, self.tag.decode())
            try:
                self._fd = os.open(self._path, _FILE | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
            except FileExistsError:
                continue
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
            except OSError:  # A file system without locks.
                self.end()
                raise
            if os.fstat(self._fd).st_nlink:
                break
            os.close(self._fd)  # Somebody swept it before it was locked.
        self._listed: set[bytes] = set()
        self.left = False  # Something half placed could not be removed: the list stays, for the next sweep.

    def enter(self, directory: bytes) -> None:
        """List a directory."""
        if directory not in self._listed:
            os.write(self._fd, b"\0./" + directory + b"\0")  # NUL first, lest the last was cut short.
            self._listed.add(directory)

    def end(self) -> None:
        """Nothing is half placed any more, unless it was left."""
        if not self.left:
            _unlink(self._path)
        os.close(self._fd)

    def let_go(self) -> None:
        """Leave the list to the process this one was forked from."""
        os.close(self._fd)


_places: dict[str, _Places] = {}  # By the project's root.
_mutex = threading.Lock()


def draft_name(root: str, path: str, name: bytes) -> bytes:
    """A fresh name, beside ``name``, for what is to be placed at ``path`` of the project at ``root``.

    Where nothing can be listed, as in a directory that is no project, what is left of a killed process stays.
    """
    with _mutex:
        try:
            places = _places.get(root)
            if places is None:
                places = _places[root] = _Places(_folder_of(root))
            places.enter(os.path.dirname(os.fsencode(path)))
        except OSError:
            return temporary_name(name)
        return temporary_name(name, places.tag)


def discard_draft(root: str, directory: int, name: bytes) -> None:
    """Remove what was half placed, or what had to give way, if it is there; what cannot be removed now is swept later."""
    try:
        remove_at(directory, name)
    except FileNotFoundError:
        pass
    except OSError:
        with _mutex:
            if root in _places:
                _places[root].left = True


def end_drafts(root: str) -> None:
    """This process places nothing more in the project, for now.  Idempotent."""
    with _mutex:
        places = _places.pop(root, None)
        if places is not None:
            places.end()


def sweep_drafts(root: str) -> int:
    """Remove what killed processes have left half placed in the project; how many things."""
    folder = os.path.join(root, STATE_DIR, _FOLDER)
    try:
        tags = os.listdir(folder)
    except OSError:
        return 0
    return sum(_sweep(root, folder, tag) for tag in tags)


def remove_at(directory: int, name: bytes) -> None:
    """Remove a file, a link (not what it leads to) or a directory with all it holds."""
    try:
        os.unlink(name, dir_fd=directory)
        return
    except IsADirectoryError:
        pass
    except PermissionError:  # What macOS says of a directory.
        if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise
    fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    try:
        mode = os.fstat(fd).st_mode
        if not mode & 0o200:
            os.fchmod(fd, stat.S_IMODE(mode) | 0o700)
        for inner in os.listdir(fd):
            remove_at(fd, os.fsencode(inner))
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory)


def _folder_of(root: str) -> str:
    """Where the lists are; made if there is a state directory to make it in."""
    folder = os.path.join(root, STATE_DIR, _FOLDER)
    try:
        os.mkdir(folder)
    except FileExistsError:
        pass
    return folder


def _sweep(root: str, folder: str, tag: str) -> int:
    """Sweep up after one process, unless it lives."""
    path = os.path.join(folder, tag)
    try:
        fd = os.open(path, _FILE)
    except OSError:
        return 0
    removed = 0
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for directory in _listed_in(fd):
            removed += _sweep_directory(root, directory, os.fsencode(tag))
        _unlink(path)
    except OSError:
        pass  # It lives; or it cannot be swept now, and its list stays for the next.
    finally:
        os.close(fd)
    return removed


def _listed_in(fd: int) -> list[bytes]:
    """The directories of a list; of one that was cut short in the writing, another that has nothing of that tag."""
    with open(fd, "rb", closefd=False) as file:
        data = file.read()
    return [entry[2:] for entry in data.split(b"\0") if entry.startswith(b"./")]


def _sweep_directory(root: str, directory: bytes, tag: bytes) -> int:
    removed = 0
    try:
        with parent_of(root, os.fsdecode(os.path.join(directory, b"x")), create=False) as (fd, _):
            for name in map(os.fsencode, os.listdir(fd)):
                if tag_of(name) == tag:
                    remove_at(fd, name)
                    removed += 1
    except (NothingThere, PlacementError):
        pass  # Gone, or replaced by a link that leads elsewhere.
    return removed


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _after_fork_in_child() -> None:
    global _mutex
    _mutex = threading.Lock()
    while _places:
        _places.popitem()[1].let_go()


os.register_at_fork(after_in_child=_after_fork_in_child)

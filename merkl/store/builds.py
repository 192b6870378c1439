"""Which builds of a project are alive, and what dead ones left behind.

A build holds a kernel's lock on a file of its own, ``builds/<id>`` in the project's state directory; the file lists
the blobs it reads through views.  It decides who is alive by that lock alone: a process id may be another's by now.

The invariant: what is in ``stage``, ``run`` or ``view/.new`` is named ``<id>-…`` after its build, which is listed before
it makes one; so what is of no live build is nobody's.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from merkl.digest import Digest
from merkl.store.faults import store_error
from merkl.store.removal import remove_tree

_KEPT_IN: Final = ("stage", "run", "view/.new")
_OF_NO_BUILD: Final = "none"  # In the place of an id: the name of a draft that is made outside a build.
_LONG_S: Final = 3600.0  # Nobody takes that long over one of those.


class BuildLease:
    """A build that is alive until ``close`` or the end of its process; ``id`` is eight hexadecimal digits."""

    __slots__ = ("_fd", "_listed", "_path", "id")

    def __init__(self, build_id: str, path: str, fd: int) -> None:
        self.id = build_id
        self._path = path
        self._fd = fd
        self._listed: set[Digest] = set()

    def lists(self, digest: Digest) -> None:
        """Let gc know that this build reads a blob's view."""
        if digest not in self._listed and self._fd >= 0:
            self._listed.add(digest)
            try:
                os.write(self._fd, digest)
            except OSError:
                pass  # The disk is full: gc, which is about to be run, also goes by when a blob was last used.

    def lists_only(self, digests: Iterable[Digest]) -> None:
        """Let gc know that of all it has listed the build reads these still."""
        self._listed = set(digests)
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            with contextlib.suppress(OSError):  # As above.
                os.write(self._fd, b"".join(self._listed))

    def close(self) -> None:
        """The build has ended.  Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            _unlink(self._path)
            os.close(fd)

    def __enter__(self) -> "BuildLease":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def register_build(state_dir: str) -> BuildLease:
    """Make a new build known in the project's state directory.

    Raises:
        StoreError: nothing may be written there.
    """
    directory = os.path.join(state_dir, "builds")
    try:
        os.makedirs(directory, exist_ok=True)
        while True:
            build_id = os.urandom(4).hex()
            path = os.path.join(directory, build_id)
            # Locked before it has its name, so that it is never seen unlocked.
            draft = os.path.join(directory, f".{build_id}")
            fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.link(draft, path)
                return BuildLease(build_id, path, fd)
            except (FileExistsError, FileNotFoundError, BlockingIOError):
                os.close(fd)  # Its name is taken, or somebody swept it before it was locked.
            finally:
                _unlink(draft)
    except OSError as error:
        raise store_error(error, directory) from error


def draft_of(lease: BuildLease | None) -> str:
    """A fresh name for something that a build makes for a moment in ``view/.new``."""
    return f"{_OF_NO_BUILD if lease is None else lease.id}-{os.urandom(12).hex()}"


def live_builds(state_dir: str) -> set[str]:
    """The ids of the builds that are alive; files of others are removed."""
    directory = os.path.join(state_dir, "builds")
    try:
        names = os.listdir(directory)
    except OSError:
        return set()
    live = {name for name in names if _is_live(os.path.join(directory, name))}
    return {name for name in live if not name.startswith(".")}


def listed_digests(state_dir: str) -> set[Digest]:
    """The blobs whose views the live builds read."""
    listed: set[Digest] = set()
    for name in live_builds(state_dir):
        try:
            with open(os.path.join(state_dir, "builds", name), "rb") as file:
                data = file.read()
        except OSError:
            continue
        listed.update(Digest(data[at : at + 32]) for at in range(0, len(data) - 31, 32))
    return listed


def sweep_stale(
    state_dir: str, *, keep: Callable[[], Collection[str]] = frozenset, older_than_s: float = 0.0
) -> int:
    """Remove staging and run directories, and half-made views, of builds that are no longer alive; how many.

    ``keep`` gives the names of directories that somebody may still want to look at, and is asked if there are any; so may be
    those changed less than ``older_than_s`` seconds ago.
    """
    found: list[tuple[str, str]] = []
    for folder in _KEPT_IN:
        try:
            found += [(folder, name) for name in os.listdir(os.path.join(state_dir, folder))]
        except OSError:
            continue
    # After the listing: a build that was not alive then has made none of these.
    live = live_builds(state_dir)
    left = [(folder, name) for folder, name in found if name.partition("-")[0] not in live]
    kept = keep() if left else ()
    removed = 0
    for folder, name in left:
        path = os.path.join(state_dir, folder, name)
        owner = name.partition("-")[0]
        least = max(older_than_s, _LONG_S) if owner == _OF_NO_BUILD else older_than_s
        if name in kept or _age_s(path) < least:
            continue
        removed += remove_tree(path)
    return removed


def _age_s(path: str) -> float:
    try:
        return time.time() - os.lstat(path).st_mtime
    except OSError:
        return 0.0


def _is_live(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _unlink(path)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass

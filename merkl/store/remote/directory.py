"""Objects as files of a directory that several machines mount.

It decides how a file appears under its name at once, whatever the file system: written aside, synced, then linked or
renamed.  The contents of a share may be the only copy that is left, so they outlive a loss of power.

Whatever the umask, what is made gets the permissions of the directory itself: a team's share stays the team's.

The invariant: below the directory nothing is written but ``incoming/`` and the objects' own names, and a file that has
such a name is whole.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final, TypeVar

from merkl.errors import StoreError, StoreFull
from merkl.filesystem import clone, sync_directory
from merkl.room import FULL, used_up
from merkl.store.remote.errors import RemoteError
from merkl.store.remote.objects import Listed
from merkl.store.streams import write_all

T = TypeVar("T")

INCOMING: Final = "incoming"
_STALE_S: Final = 7 * 86_400  # A writer that is slower than this has died.
_TRIES: Final = 5
_CHUNK: Final = 4 << 20  # Bytes.
_NO_MODES: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class DirectoryObjects:
    """Objects in ``directory``, which must be there: a share that is not mounted must not become a local directory."""

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)
        self.url = self.directory
        self.width = 8  # A share answers each in a network's round trip.
        self.squeezes = False  # Files that share their blocks cost nothing, and parts are read alone.
        self._mode: int | None = None

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes | None:
        """The bytes of an object, or a part of them."""
        file = self.open(name)
        if file is None:
            return None
        with file:
            try:
                file.seek(start)
                return file.read(-1 if length is None else length)
            except OSError as error:
                raise self._failed(error, name) from error

    def open(self, name: str) -> BinaryIO | None:
        """A reader of an object's bytes, or None."""
        path = self._path(name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            self._absent()
            return None
        except OSError as error:
            raise self._failed(error, name) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        return open(fd, "rb")

    def put(self, name: str, data: "bytes | BinaryIO") -> None:
        """Store an object, instead of one that is there."""
        path = self._path(name)
        draft = self._write(name, data)
        try:
            self._into_folder(lambda: os.rename(draft, path), path)
            sync_directory(os.path.dirname(path))
        except OSError as error:
            _unlink(draft)
            raise self._failed(error, name) from error

    def create(self, name: str, data: bytes) -> bool:
        """Store an object unless there is one of that name."""
        path = self._path(name)
        if os.path.lexists(path):
            return False
        draft = self._write(name, data)
        try:
            self._into_folder(lambda: os.link(draft, path), path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise self._failed(error, name) from error
            return self._create_locked(draft, path, name)
        finally:
            _unlink(draft)
        return True

    def _into_folder(self, act: Callable[[], T], path: str) -> T:
        """Do something at ``path``.  Its directory may be another's, just put in the place of ours while both were empty."""
        for _ in range(_TRIES):
            try:
                return act()
            except FileNotFoundError:
                self._make_folder(os.path.dirname(path))
        return act()

    def _create_locked(self, draft: str, path: str, name: str) -> bool:
        """As a link would, where the file system has none: one writer at a time looks and renames."""
        try:
            fd = os.open(os.path.join(self.directory, INCOMING, "lock"), os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX)
                if os.path.lexists(path):
                    return False
                os.rename(draft, path)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._failed(error, name) from error
        return True

    def size(self, name: str) -> int | None:
        """How many bytes an object has, or None."""
        found = self.look(name)
        return None if found is None else found.size

    def look(self, name: str) -> Listed | None:
        """What a listing says of one object, or None."""
        try:
            found = os.stat(self._path(name))
        except (FileNotFoundError, NotADirectoryError):
            self._absent()
            return None
        except OSError as error:
            raise self._failed(error, name) from error
        return Listed(name, found.st_size, found.st_mtime) if stat.S_ISREG(found.st_mode) else None

    def names(self, prefix: str) -> Iterator[Listed]:
        """All objects below ``prefix/``."""
        stack = [prefix]
        while stack:
            folder = stack.pop()
            try:
                with os.scandir(self._path(folder)) as found:
                    entries = list(found)
            except (FileNotFoundError, NotADirectoryError):
                self._absent()
                continue
            except OSError as error:
                raise self._failed(error, folder) from error
            for entry in entries:
                name = f"{folder}/{entry.name}"
                try:
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(name)
                    elif entry.is_file(follow_symlinks=False):
                        known = entry.stat(follow_symlinks=False)
                        yield Listed(name, known.st_size, known.st_mtime)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise self._failed(error, name) from error

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects."""
        for name in names:
            try:
                os.unlink(self._path(name))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise self._failed(error, name) from error

    def move(self, name: str, to: str) -> None:
        """Give an object another name."""
        path = self._path(to)
        try:
            self._make_folder(os.path.dirname(path))
            if os.path.lexists(self._path(name)):
                os.rename(self._path(name), path)
        except OSError as error:
            if os.path.lexists(self._path(name)):  # Else somebody else was first.
                raise self._failed(error, to) from error
            self._absent()

    def sweep(self) -> None:
        """Remove what writers that died left in ``incoming/``, as far as one may."""
        limit = time.time() - _STALE_S
        for each in self.names(INCOMING):
            if each.modified < limit and each.name != f"{INCOMING}/lock":
                _unlink(self._path(each.name))

    def close(self) -> None:
        """Nothing is held."""

    # ---- writing -------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def _write(self, name: str, data: "bytes | BinaryIO") -> str:
        """A draft with these bytes, synced, beside where it shall be; the directory of ``name`` is there afterwards."""
        draft = self._path(f"{INCOMING}/{os.urandom(16).hex()}")
        try:
            self._make_folder(self._path(INCOMING))
            self._make_folder(os.path.dirname(self._path(name)))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = self._into_folder(lambda: os.open(draft, flags, 0o600), draft)
            try:
                self._fill(fd, data)
                _give_mode(fd, self._share_mode() & 0o444)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            _unlink(draft)
            raise self._failed(error, name) from error
        except BaseException:  # What is stored cannot be read, or is not wanted any more.
            _unlink(draft)
            raise
        return draft

    def _fill(self, fd: int, data: "bytes | BinaryIO") -> None:
        if isinstance(data, bytes):
            write_all(fd, data)
            return
        try:
            whole = data.tell() == 0 and clone(data.fileno(), fd)
        except (OSError, AttributeError):  # Not a file of the system.
            whole = False
        while not whole and (piece := data.read(_CHUNK)):
            write_all(fd, piece)

    def _share_mode(self) -> int:
        """The permissions of the share itself."""
        if self._mode is None:
            self._mode = os.stat(self.directory).st_mode & 0o7777
        return self._mode

    def _make_folder(self, path: str) -> None:
        """See that a directory is there.  Another writer may put an empty one in the place of ours: so try again."""
        for _ in range(_TRIES):
            if os.path.isdir(path):
                return
            if path == self.directory or not os.path.isdir(self.directory):
                break
            self._make_folder(os.path.dirname(path))
            with contextlib.suppress(FileNotFoundError):
                self._add_folder(path)
        if not os.path.isdir(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.directory)

    def _add_folder(self, path: str) -> None:
        # It appears with its permissions: somebody else may be about to write there.
        beside = self.directory if path == self._path(INCOMING) else self._path(INCOMING)
        draft = os.path.join(beside, f"{INCOMING}-{os.urandom(16).hex()}")
        os.mkdir(draft)
        try:
            _give_mode(draft, self._share_mode())
            os.rename(draft, path)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(draft)
            if not os.path.isdir(path):
                raise

    def _absent(self) -> None:
        """Nothing is there; an error if that is because the share itself is not."""
        if not os.path.isdir(self.directory):
            raise RemoteError(
                f"the remote {self.directory} is not there",
                hint="is the disk mounted? For a new remote, make the directory",
            )

    def _failed(self, error: OSError, name: str) -> StoreError:
        if not os.path.isdir(self.directory):
            self._absent()
        path = self._path(name)
        if error.errno in FULL:
            left = used_up(self.directory) or "no room left"
            return StoreFull(
                f"the remote {self.directory} cannot take more: {left}", hint="make room there", path=path
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = f"may this user? In a team, `chmod -R g+rwXs {self.directory}` lets its group"
        else:
            hint = "is its disk sound? MERKL_REMOTE=DIR names another remote"
        return RemoteError(
            f"the remote {self.directory} cannot be used: {error.strerror}", hint=hint, path=path
        )


def _give_mode(file: "int | str", mode: int) -> None:
    try:
        os.chmod(file, mode)
    except OSError as error:
        if error.errno not in _NO_MODES:  # Of a file system that knows no permissions.
            raise


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass

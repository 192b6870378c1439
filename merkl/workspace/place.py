"""Putting a file or a directory at a path of the project, and taking it away.

It decides what may take the place of what.  It does not know whose bytes lie at a path: the caller has made sure that
they may be replaced; nor the way there, which is ``merkl.workspace.reach``'s.

The invariant: at the path there is the old thing or the new one, complete; whatever fails, and nothing half made stays.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from merkl.digest import Digest
from merkl.errors import MerklError, PlacementError, WorkspaceError
from merkl.filesystem import sync_directory
from merkl.room import FULL, NO_INODES, used_up
from merkl.stamp import Stamp
from merkl.tree import Tree
from merkl.workspace.drafts import discard_draft, draft_name, remove_at
from merkl.workspace.exchange import exchange
from merkl.workspace.missing import what_is
from merkl.workspace.paths import absolute, placeable, reserved
from merkl.workspace.reach import DIRECTORY, NothingThere, parent_of

if TYPE_CHECKING:
    from merkl.workspace.copying import Content

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def place_file(
    root: str,
    path: str,
    content: "Content | bytes | int",
    *,
    executable: bool = False,
    mtime_ns: int | None = None,
    replace: bool = False,
    last_look: Callable[[], None] | None = None,
) -> Stamp:
    """Put a file at ``path``, a normalised path in the project at ``root``; the stamp it has there.

    Missing directories are made.  What ``umask`` leaves of 0666 is its mode, with the right to execute if asked for.  A
    file or link at the path is replaced, an empty directory too; a full one only with ``replace``, with all it holds.
    ``last_look`` is called when all is ready: if it raises, what is at the path stays.

    Raises:
        PlacementError: the path is not one that merkl may write, or something else is there.
        WorkspaceError: the system refused; what was at the path is still there.
    """
    placeable(path)
    return put_file(
        root,
        path,
        content,
        executable=executable,
        mtime_ns=mtime_ns,
        replace=replace,
        last_look=last_look,
    )


def put_file(
    root: str,
    path: str,
    content: "Content | bytes | int",
    *,
    executable: bool = False,
    mtime_ns: int | None = None,
    replace: bool = False,
    durable: bool = False,
    last_look: Callable[[], None] | None = None,
) -> Stamp:
    """As ``place_file``, for merkl's own files too, such as sidecars; ``durable`` survives a loss of power."""
    with explained(root, path), parent_of(root, path, create=True) as (directory, name):
        way = _make_way(directory, name, path, stat.S_IFREG, replace)
        temporary = draft_name(root, path, name)
        fd = os.open(temporary, _CREATE, 0o666, dir_fd=directory)
        try:
            from merkl.workspace.copying import copy_into, make_executable

            copy_into(content, fd)
            if executable:
                make_executable(fd)
            if mtime_ns is not None:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            if durable:
                os.fsync(fd)
            if last_look is not None:
                last_look()
            _swap_in(directory, temporary, name, way)
            if durable:
                sync_directory(directory)
            return Stamp.of(os.fstat(fd))
        except OSError as error:
            _look_for_room(error, directory)
            raise
        finally:
            os.close(fd)
            discard_draft(root, directory, temporary)


def move_file(
    root: str, path: str, source: bytes, *, executable: bool = False, replace: bool = False
) -> Stamp | None:
    """As ``place_file``, by renaming the file at ``source``, which is merkl's own; None if it must be copied instead.

    Raises:
        PlacementError, WorkspaceError: as for ``place_file``.
    """
    placeable(path)
    with explained(root, path), parent_of(root, path, create=True) as (directory, name):
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            # One with another name could be written to through that.
            if (
                not stat.S_ISREG(found.st_mode)
                or found.st_nlink != 1
                or found.st_dev != os.fstat(directory).st_dev
            ):
                return None
            if _make_way(directory, name, path, stat.S_IFREG, replace) != "rename":
                return None
            os.fchmod(fd, (0o777 if executable else 0o666) & ~_umask())
            try:
                os.rename(source, name, dst_dir_fd=directory)
            except OSError as error:
                if error.errno == errno.EXDEV:
                    return None  # One file system, mounted twice.
                raise
            return Stamp.of(os.fstat(fd))
        finally:
            os.close(fd)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def place_tree(
    root: str,
    path: str,
    tree: Tree,
    open_blob: "Callable[[Digest], Content]",
    *,
    mtime_ns: int | None = None,
    replace: bool = False,
    own: bool = False,
    last_look: Callable[[], None] | None = None,
) -> Stamp:
    """Put a directory at ``path``: built beside it, then renamed; its stamp.  ``own`` as for ``restore_tree``.

    An empty directory at the path is replaced, and a full one, or a file, only with ``replace``.  ``last_look`` as for
    ``place_file``.

    Raises:
        PlacementError: as for ``place_file``, or ``tree`` holds what could lead out of it.
        WorkspaceError: the system refused; what was at the path is still there.
    """
    placeable(path)
    with explained(root, path), parent_of(root, path, create=True) as (directory, name):
        way = _make_way(directory, name, path, stat.S_IFDIR, replace)
        temporary = draft_name(root, path, name)
        os.mkdir(temporary, dir_fd=directory)
        try:
            fd = os.open(temporary, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            try:
                from merkl.workspace.trees import restore_tree

                restore_tree(tree, fd, open_blob, path, own=own)
                if mtime_ns is not None:
                    os.utime(fd, ns=(mtime_ns, mtime_ns))
                if last_look is not None:
                    last_look()
                _swap_in(directory, temporary, name, way)
                return Stamp.of(os.fstat(fd))
            finally:
                os.close(fd)
        except OSError as error:
            _look_for_room(error, directory)
            raise
        finally:
            discard_draft(root, directory, temporary)


def place_link(root: str, path: str, text: bytes, *, replace: bool = False) -> None:
    """Put a symbolic link at ``path``, a link of the user's that comes back: where it leads is not looked at.

    Raises:
        PlacementError, WorkspaceError: as for ``place_tree``.
    """
    placeable(path)
    with explained(root, path), parent_of(root, path, create=True) as (directory, name):
        way = _make_way(directory, name, path, stat.S_IFLNK, replace)
        temporary = draft_name(root, path, name)
        try:
            os.symlink(text, temporary, dir_fd=directory)
            _swap_in(directory, temporary, name, way)
        finally:
            discard_draft(root, directory, temporary)


def link_at(root: str, path: str) -> str:
    """Where the symbolic link at ``path`` leads, as it says; empty if there is none."""
    try:
        return os.readlink(absolute(path, root))
    except OSError:
        return ""


def remove_placed(root: str, path: str) -> bool:
    """Remove the file or directory at ``path``; whether there was one.

    Directories above it, below the project's own, that hold nothing any more go too: nobody can tell who made them, and
    nothing is lost with them.

    Raises:
        PlacementError: the path is not one that merkl may write.
        WorkspaceError: the system refused.
    """
    placeable(path)
    try:
        with explained(root, path, "remove"), parent_of(root, path, create=False) as (directory, name):
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                _names(directory, name, path)
            remove_at(directory, name)
    except NothingThere:
        return False
    above = os.path.dirname(path)
    while above:
        try:
            with parent_of(root, above, create=False) as (directory, name):
                os.rmdir(name, dir_fd=directory)
        except (OSError, MerklError, NothingThere):
            break
        above = os.path.dirname(above)
    return True


_Way: TypeAlias = Literal["rename", "empty", "exchange"]


def _make_way(directory: int, name: bytes, shown: str, wanted: int, replace: bool) -> _Way:
    """See what is at ``name``, and by which move the new thing can take its place."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return "rename"
    kind = stat.S_IFMT(found.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR):
        raise PlacementError(f"cannot write {shown}: {what_is(kind)} is there", hint="move it away")
    if kind != stat.S_IFDIR and wanted == stat.S_IFREG:
        return "rename"
    if kind == stat.S_IFDIR and not _names(directory, name, shown):
        return "rename" if wanted == stat.S_IFDIR else "empty"
    if replace:
        return "exchange"
    there = "a directory that merkl did not make" if kind == stat.S_IFDIR else what_is(kind)
    raise PlacementError(
        f"cannot place {what_is(wanted)} at {shown}: {there} is there",
        hint="move it away, or choose another path",
    )


def _names(directory: int, name: bytes, shown: str) -> list[str]:
    """What is in a directory that is to go: nothing of version control may be."""
    fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    try:
        names = os.listdir(fd)
    finally:
        os.close(fd)
    kept = [each for each in names if reserved(os.fsencode(each))]
    if kept:
        raise PlacementError(
            f"cannot replace or remove the directory {shown}: it holds {kept[0]}",
            hint="move it away, or choose another path",
        )
    return names


def _swap_in(directory: int, temporary: bytes, name: bytes, way: _Way) -> None:
    if way == "exchange":
        exchange(directory, temporary, name)  # What was there has the temporary name now, and is discarded.
        return
    if way == "empty":
        os.rmdir(name, dir_fd=directory)
    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


_HINTS: Final = {
    errno.ENOSPC: "make room on its file system",
    errno.EDQUOT: "your quota is used up: make room",
    errno.EROFS: "its file system can only be read",
    errno.EACCES: "see who may write to its directory",
    errno.EPERM: "see who may write to its directory",
}
_NO_INODES: Final = "no free inodes are left"
_NAMES_REFUSED: Final = (
    errno.ENAMETOOLONG,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EILSEQ,
    errno.EINVAL,
)


@contextlib.contextmanager
def explained(root: str, path: str, verb: str = "write") -> Iterator[None]:
    """Turn what the system refuses into an error that names the path."""
    try:
        yield
    except OSError as error:
        _look_for_room(error, f"{root}/{path}")
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, "")
        if reason == _NO_INODES:
            hint = "remove some files from its file system (`df -i`)"
        headline = f"cannot {verb} {path}: {reason[:1].lower()}{reason[1:]}"
        if error.errno in _NAMES_REFUSED:
            raise PlacementError(headline, hint="choose another path") from error
        raise WorkspaceError(headline, hint=hint) from error


def _look_for_room(error: OSError, where: int | str) -> None:
    """Say in an error which room was used up; to be asked before what is half made goes, and its room with it."""
    if error.errno in FULL and used_up(where) == NO_INODES:
        error.strerror = _NO_INODES

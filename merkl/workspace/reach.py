"""The way to a path of the project, one directory at a time.

It decides where merkl's hand may reach.  It does not know what is done there.

The invariant: every step goes through a descriptor of the directory before it, and a symbolic link on the way is
followed by us, one name at a time, only while it stays in the project; so a link can lead neither outside nor into what
belongs to version control or to merkl, even if it is put there meanwhile.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Final

from merkl.errors import PlacementError
from merkl.tree import MOST_LINKS
from merkl.workspace.paths import reserved

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class NothingThere(Exception):
    """A directory on the way, or the thing itself, does not exist."""


@contextlib.contextmanager
def parent_of(root: str, path: str, *, create: bool) -> Iterator[tuple[int, bytes]]:
    """A descriptor of the directory that holds ``path``, and the last name."""
    above, _, name = os.fsencode(path).rpartition(b"/")
    try:
        directory = _enter(os.fsencode(root), above, create, path)
    except FileNotFoundError:
        if create:
            raise
        raise NothingThere from None
    try:
        yield directory, name
    except FileNotFoundError:
        if create:
            raise
        raise NothingThere from None
    finally:
        os.close(directory)


def _enter(root: bytes, path: bytes, create: bool, shown: str) -> int:
    """Open the directory at ``path``, below ``root``, link by link; made if it is not there and ``create`` is set."""
    above = [os.open(root, DIRECTORY)]
    todo = path.split(b"/")[::-1]
    followed = 0
    try:
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if len(above) == 1:
                    raise _leads_out(shown)
                os.close(above.pop())
                continue
            if reserved(name):
                problem = f"it leads into {os.fsdecode(name)}, which belongs to version control or to merkl"
                raise PlacementError(f"cannot write {shown}: {problem}", hint="choose another directory")
            try:
                above.append(_step(above[-1], name, create))
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                link = _link_at(above[-1], name, shown)
                followed += 1
                if followed > MOST_LINKS:
                    raise PlacementError(f"cannot write {shown}: its links lead in a circle") from None
                if link.startswith(b"/"):
                    link = _below(root, link, shown)
                    while len(above) > 1:
                        os.close(above.pop())
                todo += link.split(b"/")[::-1]
        return above.pop()
    finally:
        for fd in above:
            os.close(fd)


def _step(directory: int, name: bytes, create: bool) -> int:
    try:
        return os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        if not create:
            raise
    try:
        os.mkdir(name, dir_fd=directory)
    except FileExistsError:  # Another build made it just now.
        pass
    return os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)


def _link_at(directory: int, name: bytes, shown: str) -> bytes:
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        raise PlacementError(
            f"cannot write {shown}: {os.fsdecode(name)} is a file, and a directory is needed",
            hint="move it away, or choose another path",
        ) from None


def _below(root: bytes, link: bytes, shown: str) -> bytes:
    """An absolute link as a path relative to the project."""
    link = os.path.normpath(link) if b".." not in link.split(b"/") else link
    for top in (root, os.path.realpath(root)):
        if link == top or link.startswith(top.rstrip(b"/") + b"/"):
            return link[len(top) :].lstrip(b"/")
    raise _leads_out(shown)


def _leads_out(shown: str) -> PlacementError:
    return PlacementError(
        f"cannot write {shown}: a symbolic link on the way leads out of the project",
        hint="replace the link by a directory, or choose another path",
    )

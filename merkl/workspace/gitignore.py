"""Keeping data out of git: the lines of ``.gitignore`` for what has a sidecar.

It decides which ``.gitignore`` gets a line, and how a name is spelt there: the nearest that exists from the data's
directory up to the root of the project or of the repository, else a new one beside the data; one anchored line for
each path.  It does not know why a path is to be ignored, and asks git nothing.

The invariant: only whole lines are added, at the end, or taken away, and every other byte stays; a sidecar is never named.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Final

from merkl.errors import WorkspaceError
from merkl.filesystem import alone
from merkl.pattern import pattern
from merkl.workspace.paths import GITIGNORE, absolute
from merkl.workspace.place import put_file
from merkl.workspace.reach import DIRECTORY

_SPECIAL: Final = b"\\*?["
_WHOLE_LINES: Final = pattern(rb"[^\n]*\n|[^\n]+")  # A carriage return alone ends none.
_UNSPELLABLE: Final = b"[[:cntrl:]]"  # A line cannot hold its own end.


def repository_of(directory: str) -> str | None:
    """The top of the git work tree that an absolute directory is in, or None."""
    while True:
        if os.path.lexists(os.path.join(directory, ".git")):
            return directory
        above = os.path.dirname(directory)
        if above == directory:
            return None
        directory = above


def add_ignored(root: str, paths: Iterable[str]) -> dict[str, list[str]]:
    """Let git ignore what is at some normalised paths of the project at ``root``.

    Returns those that were not named yet, by the path of the ``.gitignore`` that names them now: nothing outside a
    repository.  Idempotent.

    Raises:
        WorkspaceError: a ``.gitignore`` is no ordinary file, or cannot be read or written.
    """
    files: dict[str, list[str]] = {}
    found: dict[str, str | None] = {}
    for path in paths:
        directory = os.path.dirname(path)
        if directory not in found:
            found[directory] = _nearest(root, directory)
        file = found[directory]
        if file is not None:
            files.setdefault(file, []).append(path)
    added = {}
    for file, inside in files.items():
        new = _add_lines(root, file, inside)
        if new:
            added[file] = new
    return added


def _add_lines(root: str, file: str, paths: list[str]) -> list[str]:
    """Add the lines of ``paths`` to one ``.gitignore``; those paths that had none."""
    if _without(paths, _lines(_read(root, file)), file) == []:
        return []
    with _alone(root):
        data = _read(root, file)
        new = _without(paths, _lines(data), file)
        if new:
            end = b"\r\n" if b"\r\n" in data else b"\n"
            gap = end if data and not data.endswith(b"\n") else b""
            put_file(root, file, data + gap + b"".join(_line(file, path) + end for path in new))
        return new


def _without(paths: list[str], lines: set[bytes], file: str) -> list[str]:
    """Those of ``paths`` that have no line."""
    return [path for path in paths if _line(file, path) not in lines]


def remove_ignored(root: str, paths: Iterable[str]) -> dict[str, list[str]]:
    """Take away the lines that ``add_ignored`` makes; which paths had one, by the path of the ``.gitignore``.

    A ``.gitignore`` that has nothing else is removed.

    Raises:
        WorkspaceError: as for ``add_ignored``.
    """
    files: dict[str, list[str]] = {}
    for path in paths:
        for directory in _upward(root, os.path.dirname(path)):
            file = os.path.join(directory, GITIGNORE)
            if os.path.lexists(absolute(file, root)):
                files.setdefault(file, []).append(path)
    removed = {}
    for file, inside in files.items():
        with _alone(root):
            data = _read(root, file)
            lines = _lines(data)
            gone = {_line(file, path): path for path in inside if _line(file, path) in lines}
            if gone:
                removed[file] = list(gone.values())
                whole = _WHOLE_LINES.findall(data)
                left = b"".join(each for each in whole if _content(each) not in gone)
                if left:
                    put_file(root, file, left)
                else:
                    os.unlink(absolute(file, root))
    return removed


def _nearest(root: str, directory: str) -> str | None:
    """The ``.gitignore`` for what lies in ``directory``; None if that is in no repository."""
    if repository_of(os.path.realpath(absolute(directory or ".", root))) is None:
        return None
    for each in _upward(root, directory):
        file = os.path.join(each, GITIGNORE)
        if os.path.lexists(absolute(file, root)):
            return file
    return os.path.join(directory, GITIGNORE)


def _upward(root: str, directory: str) -> Iterator[str]:
    """The directories whose rules count for ``directory``, inside the project: up to its root, or the repository's."""
    while True:
        yield directory
        if not directory or os.path.lexists(os.path.join(absolute(directory, root), ".git")):
            return
        directory = os.path.dirname(directory)


def _line(file: str, path: str) -> bytes:
    """The line that names ``path`` alone, in the ``.gitignore`` at ``file``: anchored, so that no ``!`` or ``#`` leads it."""
    above = os.path.dirname(file)
    name = os.fsencode(path[len(above) + 1 :] if above else path)
    spelt = b"/" + b"".join(b"\\" + bytes((byte,)) if byte in _SPECIAL else bytes((byte,)) for byte in name)
    kept = spelt.rstrip(b" ")
    spelt = kept + b"\\ " * (len(spelt) - len(kept))
    return spelt.replace(b"\n", _UNSPELLABLE).replace(b"\r", _UNSPELLABLE)


def _lines(data: bytes) -> set[bytes]:
    return {_content(line) for line in _WHOLE_LINES.findall(data)}


def _content(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _read(root: str, file: str) -> bytes:
    try:
        fd = os.open(absolute(file, root), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as opened:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise WorkspaceError(f"{file} is no ordinary file", hint="git would not read it: remove it")
            return opened.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        if os.path.islink(absolute(file, root)):
            hint = "git does not read such a one: replace it by a file"
            raise WorkspaceError(f"{file} is a symbolic link", hint=hint) from None
        raise WorkspaceError(f"{file} cannot be read: {error.strerror}", hint="see who may read it") from None


def _alone(root: str) -> AbstractContextManager[None]:
    """Be the only merkl that changes a ``.gitignore`` of the project, where the file system has locks."""
    return alone(os.open(root, DIRECTORY))

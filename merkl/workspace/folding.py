"""Names that are two to merkl and one to some file systems: ``A`` and ``a``, and the two ways to write an ``é``.

It decides which names may be meant; whether they are one, the file system itself is asked.

The invariant: where a file system tells two names apart, they are never taken for one.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator

from merkl.workspace.paths import temporary_name
from merkl.workspace.reach import DIRECTORY


def folded(path: str) -> str:
    """What paths have in common that a file system may take for one."""
    if path.isascii():
        return path.lower()
    import unicodedata  # Few names need it.

    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def twins(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of different paths that fold to one."""
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(folded(path), path)
        if other != path:
            yield other, path


def one_path(root: str, one: str, other: str) -> bool:
    """Whether two paths below ``root`` that fold to one are one to the file system there."""
    above = os.path.commonpath([one, other])
    while above and not os.path.isdir(os.path.join(root, above)):
        above = os.path.dirname(above)
    try:
        directory = os.open(os.path.join(root, above), DIRECTORY)
    except OSError:
        return False
    try:
        return one_below(directory, one, other)
    finally:
        os.close(directory)


def one_below(directory: int, one: str, other: str) -> bool:
    """The same below an open directory, in which something is made and removed again."""
    pairs = zip(os.fsencode(one).split(b"/"), os.fsencode(other).split(b"/"), strict=False)
    return all(mine == theirs or same_name(directory, mine, theirs) for mine, theirs in pairs)


def same_name(directory: int, one: bytes, other: bytes) -> bool:
    """Whether a file called ``one`` is also found as ``other`` in what is made in a directory; False if nothing can be."""
    place = temporary_name(b"names")
    try:
        os.mkdir(place, dir_fd=directory)
    except OSError:
        return False
    try:
        inner = os.open(place, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        try:
            os.close(os.open(one, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=inner))
            with contextlib.suppress(FileNotFoundError):
                os.stat(other, dir_fd=inner, follow_symlinks=False)
                return True
            return False
        finally:
            with contextlib.suppress(OSError):
                os.unlink(one, dir_fd=inner)
            os.close(inner)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(place, dir_fd=directory)

"""What a directory, or the files of one directory that have sidecars, were when all their stamps were last the same.

It decides when a hundred thousand files need not be looked up one by one: when one digest over the names and stamps of
all of them is what it was.  It knows no contents: what was found of them then is the caller's, as bytes.

The invariant: a glance is kept only if every stamp in it was settled before the contents were read, and still the same
afterwards; so that while it is the same, so are the contents.
"""

import marshal
import operator
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from blake3 import blake3

from merkl.dataclass import dataclass
from merkl.stamp import longest_write_ns
from merkl.workspace.database import Database

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STAMP: Final = operator.attrgetter("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_mode")
_CTIME: Final = operator.itemgetter(2)
_SIZE: Final = operator.itemgetter(0)
_FORMAT: Final = 2  # Of marshal: in later ones equal lists may be written differently.
_SETTLED_NS: Final = 4_000_000_000  # Whole-second stamps, and a file system with a clock of its own.
_NAMES: Final = 1000  # Of one directory that are looked at together.
_SHARES: Final = 256

Stamps = Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Glance:
    """One look at many stamps: their digest with all names, and whether all were settled at the time given."""

    digest: bytes
    settled: bool


def glance_at_tree(where: str, clock_ns: int) -> Glance:
    """Look at everything in the directory ``where``, links not followed.

    Raises:
        OSError: some of it cannot be listed.
    """
    parts = _parts(where)
    count = min(len(parts), _SHARES)

    def look(n: int) -> bytes:
        looks = [
            _look(where, *part, clock_ns)
            for part in parts[n * len(parts) // count : (n + 1) * len(parts) // count]
        ]
        return bytes([all(settled for settled, _ in looks)]) + b"".join(digest for _, digest in looks)

    found = {0: look(0)} if count == 1 else dict(_shared(count, look))
    hasher = blake3(b"".join(found[n][1:] for n in range(count)))
    return Glance(hasher.digest(), all(each[0] for each in found.values()))


def _shared(count: int, look: Callable[[int], bytes]) -> Iterable[tuple[int, bytes]]:
    from merkl.workspace.forks import shared  # Few have so many.

    return shared(count, look)


def _parts(where: str) -> list[tuple[str, list[str] | None]]:
    """What a look at a directory can be divided into: some names of one directory, or all of one and what is in it.

    It depends on nothing but the names.
    """
    parts: list[tuple[str, list[str] | None]] = []
    listed = [""]
    while listed and len(parts) + len(listed) < _SHARES // 4:
        above, listed = listed, []
        for inside in above:
            names, directories = _names(os.path.join(where, inside) if inside else where)
            parts += [(inside, names[at : at + _NAMES]) for at in range(0, len(names) or 1, _NAMES)]
            listed += [os.path.join(inside, name) for name in directories]
    return parts + [(inside, None) for inside in listed]


def _names(directory: str) -> tuple[list[str], list[str]]:
    """The names in a directory, and those of them that are directories; sorted."""
    with os.scandir(directory) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    return [name for name, _ in found], [name for name, is_dir in found if is_dir]


def _look(where: str, inside: str, names: list[str] | None, clock_ns: int) -> tuple[bool, bytes]:
    """A part of a look at the directory ``where``: whether all was settled, and the digest."""
    hasher = blake3()
    settled = True
    todo = [inside]
    while todo:
        inside = todo.pop()
        try:
            found, stamps = _listed(os.path.join(where, inside) if inside else where, names)
        except FileNotFoundError:  # It was listed a moment ago: no two such looks are the same.
            return False, os.urandom(32)
        settled = settled and _settled(stamps, clock_ns)
        _add(hasher, inside, found, stamps)
        if names is None:
            modes = ((name, stamp[4]) for name, stamp in zip(found, stamps, strict=True))
            todo += [os.path.join(inside, name) for name, mode in modes if stat.S_ISDIR(mode)]
    return settled, hasher.digest()


def _listed(directory: str, names: list[str] | None) -> tuple[list[str], Stamps]:
    """Some names in a directory, or all, sorted, and their stamps."""
    fd = os.open(directory, _OPEN)
    try:
        names = sorted(os.listdir(fd)) if names is None else names
        # Relative to the descriptor the kernel walks no path.
        return names, [_STAMP(os.stat(name, dir_fd=fd, follow_symlinks=False)) for name in names]
    finally:
        os.close(fd)


def glance_at_files(directory: str, names: Iterable[str], clock_ns: int) -> Glance | None:
    """Look at some files of a directory; links are followed.  None if one is not there, or is no file."""
    stamps: list[tuple[int, ...]] = []
    asked = list(names)
    try:
        fd = os.open(directory, _OPEN)
    except OSError:
        return None
    try:
        stamps = [_STAMP(os.stat(name, dir_fd=fd)) for name in asked]
    except OSError:
        return None
    finally:
        os.close(fd)
    if not all(stat.S_ISREG(stamp[4]) for stamp in stamps):
        return None
    hasher = blake3()
    _add(hasher, "", asked, stamps)
    return Glance(hasher.digest(), _settled(stamps, clock_ns))


def _add(hasher: "blake3", inside: str, names: list[str], stamps: Stamps) -> None:
    for part in (inside, names, stamps):
        data = marshal.dumps([os.fsencode(part)] if isinstance(part, str) else _encoded(part), _FORMAT)
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)


def _encoded(part: Any) -> Any:
    # A name that is no text cannot be marshalled as one.
    return os.fsencode("\0".join(part)) if part and isinstance(part[0], str) else part


def _settled(stamps: Stamps, clock_ns: int) -> bool:
    if not stamps:
        return True
    largest = min(max(map(_SIZE, stamps)), 1 << 31)
    latest = max(map(_CTIME, stamps))
    return bool(clock_ns - latest > _SETTLED_NS + longest_write_ns(largest))


class Glances:
    """The glances that one ``index.db`` keeps, by name: each with what was found then.  Lasting after ``flush``."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    def found(self, name: bytes, glance: Glance) -> bytes | None:
        """What was found when the glance of that name was the same; None if it was another."""
        rows = self._database.rows("SELECT value FROM glance WHERE path = ?", (name,))
        value = rows[0][0] if rows else b""
        if not isinstance(value, bytes) or value[:32] != glance.digest:
            return None
        body, check = value[32:-16], value[-16:]
        return body if blake3(name + value[:-16]).digest()[:16] == check else None

    def keep(self, name: bytes, before: Glance, after: Glance, found: bytes) -> None:
        """Keep what was found between two glances, if they are the same and it may be believed later."""
        if before.settled and before.digest == after.digest:
            value = before.digest + found
            value += blake3(name + value).digest()[:16]
            self._database.write("INSERT OR REPLACE INTO glance VALUES (?, ?)", (name, value))

"""How a snapshot is written, or written once more, and when a stamp says enough to be in one.

It decides nothing of what was looked at; a small build, which goes by a snapshot, needs no more than this.

The invariant: a snapshot is written whole or not at all.
"""

import contextlib
import marshal
import os
from collections.abc import Mapping
from typing import Any, Final

from merkl.snapshot.answer import DIRECTORY, STATE, Changed, Looked, Stamp, checksum, name_of
from merkl.snapshot.layout import with_stamps, with_trees
from merkl.snapshot.names import Asked
from merkl.stamp import longest_write_ns

TICK_NS: Final = 20_000_000  # A file system's clock moves in steps that are shorter than that.
_ELSEWHERE_NS: Final = 2_000_000_000  # Another file system may have another clock.
_MOST: Final = 64  # Snapshots kept in a project.
_NEW: Final = ".new"

Names = tuple[bytes, Asked | None]
"""What the names in a directory were, and what was asked of them, as in ``names``."""


def rewrite(
    changed: Changed,
    stamps: Mapping[str, Stamp],
    trees: Mapping[str, tuple[list[Looked], list[Looked]]],
    summary: tuple[str, str],
    graph: bytes,
) -> None:
    """Write down a snapshot once more, with other ``stamps`` of some of its files.

    ``trees`` are directories with all that is to stand there of them: files, and the same without following links.
    """
    request, made, variables, everything, _, _, files, links, _ = changed.kept
    files = with_stamps(files, stamps)
    if trees:
        files = with_trees(files, {path: tree[0] for path, tree in trees.items()})
        links = with_trees(links, {path: tree[1] for path, tree in trees.items()})
    write(changed.root, (request, made, variables, everything, *summary, files, links, graph))


def write(root: str, kept: tuple[Any, ...]) -> None:
    """Write down a snapshot: the request first, the checksum of the graph last."""
    data = marshal.dumps(kept, 4)
    write_file(os.path.join(root, STATE, DIRECTORY), name_of(kept[0]), checksum(data) + data)


def settled(stamp: Stamp, since: int, device: int) -> bool:
    """Whether a write after ``since`` must have changed it."""
    if isinstance(stamp, int) or len(stamp) == 3:
        return True
    _, _, where, size, _, changed = stamp
    coarse = where != device or changed % 1_000_000_000 == 0  # Or the clock has whole seconds.
    return changed < since - longest_write_ns(size) - (_ELSEWHERE_NS if coarse else 0)


def write_file(directory: str, name: str, data: bytes, most: int = _MOST, *, private: bool = False) -> None:
    """Write a file whole or not at all, and remove the oldest of its directory if there are more than so many.

    What is called ``NAME.SOMETHING`` comes and goes with ``NAME``, and the newer of them counts.
    Nobody else can read one that is ``private``.
    """
    temporary = os.path.join(directory, f"{name}.{os.getpid()}{_NEW}")
    try:
        os.makedirs(directory, exist_ok=True)
        try:
            with open(temporary, "wb", opener=_open_private if private else None) as file:
                file.write(data)
            os.replace(temporary, os.path.join(directory, name))
        except BaseException:  # Of Ctrl-C too nothing is left.
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _prune(directory, most)
    except OSError:
        return  # It is there to save time; a full disk is told by what needs the disk.


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _prune(directory: str, most: int) -> None:
    with os.scandir(directory) as entries:
        times = {entry.name: entry.stat().st_mtime for entry in entries}
    newest: dict[str, float] = {}
    for name, time_s in times.items():
        first = name.partition(".")[0]
        newest[first] = max(time_s, newest.get(first, time_s))
    old = set(sorted(newest, key=lambda first: (newest[first], first))[:-most])
    for name in times:
        unfinished = name.endswith(_NEW) and not _lives(name.split(".")[-2])
        if unfinished or name.partition(".")[0] in old:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(directory, name))


def _lives(pid: str) -> bool:
    """Whether a process is there; one of another machine, which writes at this moment, only writes in vain."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:
        return True
    return True

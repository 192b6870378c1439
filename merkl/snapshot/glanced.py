"""What was seen at a glance, many files together: each is looked at once more, for its stamp.

It decides what of a directory is looked at: all that is in it, links not followed, or the files that were named, links followed.

The invariant: what was changed since the recording began is told, so that what is written down is what was seen.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from stat import S_ISDIR
from typing import Final

from merkl.snapshot.answer import Group, Stamp, full_stamp
from merkl.snapshot.files import original_stat
from merkl.snapshot.layout import groups_of
from merkl.snapshot.recording import Recording

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
Named = list[tuple[bytes, Stamp]]


class Unsettled(Exception):
    """Something may have been changed after it was seen; its text is the path."""


def glanced(
    recording: Recording, name: Callable[[str], str], settled: Callable[[Stamp], bool]
) -> tuple[list[Group], list[Group]]:
    """The files that were seen so, laid out: by following links, and without.

    ``name`` is how a path is written down, and ``settled`` whether a stamp is older than the recording.

    Raises:
        Unsettled: one is not.
        OSError: one is gone.
    """
    followed = settled_groups(_files(recording.glanced.items()), name, settled)
    return followed, settled_groups(_trees(recording.trees), name, settled)


def settled_groups(
    found: Iterable[tuple[str, Named]], name: Callable[[str], str], settled: Callable[[Stamp], bool]
) -> list[Group]:
    """Files by their directories, laid out as for ``glanced``.

    Raises:
        Unsettled: one is not settled.
    """
    groups: list[Group] = []
    for directory, named in found:
        if named and not settled(_latest(named)):
            for each, stamp in named:
                if not settled(stamp):
                    raise Unsettled(os.path.join(directory, os.fsdecode(each)))
        groups += groups_of(os.fsencode(name(os.path.join(directory, ""))), named)
    return groups


def _latest(named: Named) -> Stamp:
    """A stamp that is settled only if all are: with the latest change, and the largest size of any."""
    _, _, devices, sizes, _, changed = zip(
        *(stamp for _, stamp in named if isinstance(stamp, tuple)), strict=True
    )
    # In whole seconds, which a clock must be taken to have that is not exact.
    return (
        0,
        0,
        min(devices) if len(set(devices)) == 1 else -1,
        max(sizes),
        0,
        -(-max(changed) // 10**9) * 10**9,
    )


def _files(looked: Iterable[tuple[str, Iterable[str]]]) -> Iterator[tuple[str, Named]]:
    for directory, names in looked:
        yield directory, _stamps(directory, map(os.fsencode, names), follow=True)


def _trees(tops: Iterable[str]) -> Iterator[tuple[str, Named]]:
    todo = sorted(tops)
    while todo:
        directory = todo.pop()
        named = _stamps(directory, sorted(os.listdir(os.fsencode(directory))), follow=False)
        yield directory, named
        todo += [os.path.join(directory, os.fsdecode(name)) for name, stamp in named if _is_dir(stamp)]


def _is_dir(stamp: Stamp) -> bool:
    return isinstance(stamp, tuple) and S_ISDIR(stamp[0])


def _stamps(directory: str, names: Iterable[bytes], *, follow: bool) -> Named:
    fd = os.open(directory, _OPEN)
    try:
        return [(name, full_stamp(original_stat(name, dir_fd=fd, follow_symlinks=follow))) for name in names]
    finally:
        os.close(fd)

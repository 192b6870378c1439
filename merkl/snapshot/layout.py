"""How the files of a snapshot are laid out, so that comparing them takes little more than one stat for each.

It decides what goes into a group: files of one directory that have full stamps.  It knows no disk.

The invariant: what is laid out and read again is the same paths with the same stamps.
"""

import marshal
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

from merkl.snapshot.answer import Group, Laid, Looked, Stamp

_MOST: Final = 500  # In a group, so that several processes can share what is in one directory.


def laid_out(files: Iterable[Looked]) -> Laid:
    """Files with their stamps as they are written down, neighbours together."""
    directories: dict[bytes, list[tuple[bytes, Stamp]]] = {}
    others: list[Looked] = []
    for path, stamp in files:
        before, slash, name = os.fsencode(path).rpartition(b"/")
        if name and isinstance(stamp, tuple) and len(stamp) == 6:
            directories.setdefault(before + slash, []).append((name, stamp))
        else:
            others.append((path, stamp))
    return [group for each in directories.items() for group in groups_of(*each)], others


def groups_of(directory: bytes, named: list[tuple[bytes, Stamp]]) -> list[Group]:
    """Files of one directory, which ends with a slash, with their full stamps."""
    return [_group(directory, named[at : at + _MOST]) for at in range(0, len(named), _MOST)]


def _group(directory: bytes, named: list[tuple[bytes, Stamp]]) -> Group:
    names = b"\0".join([name for name, _ in named])
    return directory, names, marshal.dumps([stamp for _, stamp in named], 2), len(named)


def looked_at(laid: Laid) -> Iterator[Looked]:
    """The files again, with their stamps."""
    groups, others = laid
    for group in groups:
        yield from _of_group(group)
    yield from others


def _of_group(group: Group) -> Iterator[Looked]:
    for name, stamp in _named(group):
        yield os.fsdecode(group[0] + name), stamp


def _named(group: Group) -> Iterator[tuple[bytes, Stamp]]:
    return zip(group[1].split(b"\0"), marshal.loads(group[2]), strict=True)


def with_trees(laid: Laid, trees: Mapping[str, Iterable[Looked]]) -> Laid:
    """The same files, but those of some directories, and these themselves."""
    inside = tuple(f"{path}/" for path in trees)
    kept = [each for each in looked_at(laid) if each[0] not in trees and not each[0].startswith(inside)]
    return laid_out([*kept, *chain.from_iterable(trees.values())])


def with_stamps(laid: Laid, stamps: Mapping[str, Stamp]) -> Laid:
    """The same files, some of them with other ``stamps``; groups that have none of those are as they were."""
    wanted: dict[bytes, dict[bytes, str]] = {}
    for path in stamps:
        before, slash, name = os.fsencode(path).rpartition(b"/")
        wanted.setdefault(before + slash, {})[name] = path
    groups: list[Group] = []
    moved: list[Looked] = []
    for group in laid[0]:
        named = wanted.get(group[0], {})
        here = named and named.keys() & set(group[1].split(b"\0"))
        if not here:
            groups.append(group)
            continue
        rest = [(name, stamp) for name, stamp in _named(group) if name not in here]
        moved += [(named[name], stamps[named[name]]) for name in here]
        if rest:
            groups.append(_group(group[0], rest))
    fresh, others = laid_out([*moved, *((path, stamps.get(path, stamp)) for path, stamp in laid[1])])
    return _joined(groups, fresh), others


def _joined(groups: list[Group], fresh: list[Group]) -> list[Group]:
    """Groups with those that came anew; these go into others of the same directory if there is room."""
    joined = [*groups]
    for group in fresh:
        at = next(
            (at for at, each in enumerate(joined) if each[0] == group[0] and each[3] + group[3] <= _MOST), -1
        )
        if at < 0:
            joined.append(group)
        else:
            joined[at] = _group(group[0], [*_named(joined[at]), *_named(group)])
    return joined

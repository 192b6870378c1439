"""Writing down what was looked at.

It decides whether that is enough to go by the next time: nothing may have been seen that a write since then could have
left looking the same.

The invariant: a snapshot is written whole or not at all.
"""

import contextlib
import marshal
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from merkl.snapshot.answer import (
    ANSWERED,
    DIRECTORY,
    STATE,
    Changed,
    Looked,
    Stamp,
    checksum,
    directory_of,
    full_stamp,
    name_of,
    sum_of,
    sum_of_all,
)
from merkl.snapshot.asker import SITES
from merkl.snapshot.layout import laid_out, with_stamps, with_trees
from merkl.snapshot.recording import Packed, Recording, own, unpacked
from merkl.stamp import longest_write_ns

TICK_NS: Final = 20_000_000  # A file system's clock moves in steps that are shorter than that.
_ELSEWHERE_NS: Final = 2_000_000_000  # Another file system may have another clock.
_STORES: Final = frozenset("blobs incoming trash quarantine users holders locks opening.lock".split())
_MOST: Final = 64  # Snapshots kept in a project.

KeepGraph = Callable[[set[str], dict[str, bytes], set[str]], bytes]
"""Given the inputs of which nothing but the bytes was asked for, the directories of which nothing but the names was, with
what these are, and the directories of which somebody else asked for anything: the checksum of the graph that was kept, or
nothing."""


def keep(
    recording: Recording,
    *,
    root: str,
    store: str,
    clock_ns: int,
    summary: tuple[str, str],
    only_ask: bool,
    keep_graph: KeepGraph = lambda *_: b"",
) -> str:
    """Write the snapshot of a request that had nothing to do, or ``only_ask``; empty, or why there can be none.

    ``summary`` is what was said, before and after the seconds; ``clock_ns`` the time by the clock of the file system that
    ``root`` is on.  ``keep_graph`` writes what was built.
    """
    since = clock_ns - int((time.monotonic() - recording.began) * 1e9) - TICK_NS
    if recording.said:
        recording.spoil("something was printed")
    arguments = recording.request[-1]
    if own(f"{root}/"):
        recording.spoil("the project is in a directory of Python's, merkl's or the machine's")
    if directory_of(arguments) == "" and arguments and arguments[0] not in ANSWERED:
        recording.spoil("the command does not begin with its name, or with -C DIR")
    listings: dict[str, bytes] = {}
    if not recording.spoiled:
        listings = _complete(recording)
    if recording.spoiled:
        return recording.spoiled
    files = _sorted(recording.files, root, store, recording.kept)
    links = _sorted(recording.links, root, store, set())
    device = os.stat(root).st_dev
    if placed := _placed(recording.changed, root, store):
        return f"{placed} was changed"
    for path, stamp in (*files, *links):
        if not settled(stamp, since, device):
            return f"{path} was changed just now"
    if only_ask:
        return ""
    request = recording.request
    before = {name: sum_of(recording.environment.get(name)) for name in recording.variables}
    everything = sum_of_all(recording.environment) if recording.all_variables else None
    mere = {_path(path, root) for path in recording.by_source - recording.by_others}
    others = (
        {os.path.dirname(path) for path in recording.by_others} | recording.listed_by_others | recording.timed
    )
    graph = keep_graph(
        mere,
        {_path(path, root): names for path, names in listings.items()},
        {_path(path, root) for path in others},
    )
    _write(
        root, (request, time.time(), before, everything, *summary, laid_out(files), laid_out(links), graph)
    )
    return ""


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
    _write(changed.root, (request, made, variables, everything, *summary, files, links, graph))


def _write(root: str, kept: tuple[Any, ...]) -> None:
    """Write down a snapshot: the request first, the checksum of the graph last."""
    data = marshal.dumps(kept, 4)
    write_file(os.path.join(root, STATE, DIRECTORY), name_of(kept[0]), checksum(data) + data)


def _path(path: str, root: str) -> str:
    """A path as it stands in a snapshot: of what is in the project, relative to it."""
    inside = root.rstrip("/") + "/"
    return path[len(inside) :] if path.startswith(inside) and path != inside else path


def names_in(directory: str) -> bytes:
    """A checksum of the names in a directory, and of what kind each is.

    Raises:
        OSError: it cannot be listed.
    """
    with os.scandir(directory) as found:
        return _sum_of_names(list(found))


def _sum_of_names(entries: list[os.DirEntry[str]]) -> bytes:
    names = sorted(
        (os.fsencode(entry.name), entry.is_symlink(), entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False))
        for entry in entries
    )  # fmt: skip
    return checksum(marshal.dumps(names, 2))


def _complete(recording: Recording) -> dict[str, bytes]:
    """What is looked at on behalf of all that is not recorded one by one.

    The checksums of directories of which only names were asked for.
    """
    listings: dict[str, bytes] = {}
    for directory, closely in recording.listed.items():
        with contextlib.suppress(OSError), os.scandir(directory) as found:
            entries = list(found)
            if not closely and directory not in recording.timed:
                listings[directory] = _sum_of_names(entries)
            for entry in entries:
                if closely:
                    recording.by_others.add(entry.path)
                    recording.look(entry.path, _stamp(entry.path, False), recording.links)
                if closely or entry.is_symlink():  # Whether it is a directory is seen at its end.
                    recording.look(entry.path, _stamp(entry.path, True), recording.files)
    for site in SITES:
        recording.files[site] = _stamp(site, True)
    ours = os.path.dirname(os.path.dirname(__file__))
    if os.path.dirname(ours) not in SITES:  # A checkout, whose version is the same after an edit.
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "merkl" and (path := getattr(module, "__file__", None)):
                recording.files[path] = _stamp(path, True)
                recording.kept.add(path)
    return listings


def _stamp(path: str, follow: bool) -> Stamp:
    try:
        return full_stamp(os.stat(path, follow_symlinks=follow))
    except OSError as error:
        return error.errno or 0


def _placed(changed: Iterable[str], root: str, store: str) -> str:
    """One of the files of the project that merkl has changed, such as an output that it placed; or empty."""
    tops = {f"{top.rstrip('/')}/" for top in (root, os.path.realpath(root))}
    stores = {f"{top.rstrip('/')}/" for top in (store, os.path.realpath(store))}
    for path in sorted(changed):
        inside = any(path.startswith(top) for top in tops)
        if inside and not own(f"{path}/") and not any(_of_store(path, top) for top in stores):
            return path
    return ""


def _of_store(path: str, stored: str) -> bool:
    """Whether a path is a store's own; other things may be beside those."""
    first = path[len(stored) :].partition("/")[0]
    return (
        path.startswith(stored) and (first in _STORES or first.startswith("store-"))
    ) or f"{path}/" == stored


def _sorted(looked: dict[str, Packed], root: str, store: str, kept: set[str]) -> list[Looked]:
    """Paths in the project relative to it, in an order in which neighbours come together; of merkl's and Python's own files
    only those in ``kept``."""
    state, stored = f"{root.rstrip('/')}/{STATE}", store.rstrip("/") + "/"
    found: list[Looked] = []
    for path in sorted(looked):
        stamp = unpacked(looked[path])
        if (_of_store(path, stored) or own(path)) and path not in kept:
            continue
        if path == state and not isinstance(stamp, int):
            continue  # It is there, or there would be no snapshot.
        found.append((_path(path, root), stamp))
    return found


def settled(stamp: Stamp, since: int, device: int) -> bool:
    """Whether a write after ``since`` must have changed it."""
    if isinstance(stamp, int) or len(stamp) == 3:
        return True
    _, _, where, size, _, changed = stamp
    coarse = where != device or changed % 1_000_000_000 == 0  # Or the clock has whole seconds.
    return changed < since - longest_write_ns(size) - (_ELSEWHERE_NS if coarse else 0)


def write_file(directory: str, name: str, data: bytes, most: int = _MOST, *, private: bool = False) -> None:
    """Write a file whole or not at all, and remove the oldest of its directory if there are more than so many.

    Nobody else can read one that is ``private``.
    """
    temporary = os.path.join(directory, f"{name}.{os.getpid()}.new")
    try:
        os.makedirs(directory, exist_ok=True)
        try:
            with open(temporary, "wb", opener=_open_private if private else None) as file:
                file.write(data)
            os.replace(temporary, os.path.join(directory, name))
        except OSError:
            os.unlink(temporary)
            raise
        _prune(directory, most)
    except OSError:
        return  # It is there to save time; a full disk is told by what needs the disk.


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _prune(directory: str, most: int) -> None:
    with os.scandir(directory) as entries:
        aged = sorted((entry.stat().st_mtime, entry.path) for entry in entries)
    for _, path in aged[:-most]:
        with contextlib.suppress(OSError):
            os.unlink(path)

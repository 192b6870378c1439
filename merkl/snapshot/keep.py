"""Writing down what was looked at.

It decides whether that is enough to go by the next time: nothing may have been seen that a write since then could have
left looking the same.

The invariant: what is written down is what was seen, and nothing of that may have changed unseen.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Final

from merkl.dataclass import dataclass
from merkl.snapshot.answer import (
    ANSWERED,
    STATE,
    UNSURE,
    Group,
    Laid,
    Looked,
    Stamp,
    directory_of,
    full_stamp,
    kind_stamp,
    sum_of,
    sum_of_all,
)
from merkl.snapshot.asker import SITES
from merkl.snapshot.glanced import Named, Unsettled, glanced, settled_groups
from merkl.snapshot.layout import laid_out
from merkl.snapshot.names import asked_of, entries_in, entries_of, sum_of_names
from merkl.snapshot.piles import Several
from merkl.snapshot.recording import Packed, Recording, own, unpacked
from merkl.snapshot.writing import TICK_NS, Names, settled, write

_STORES: Final = frozenset("blobs incoming trash quarantine users holders locks opening.lock".split())

KeepGraph = Callable[[set[str], dict[str, Names], set[str]], bytes]
"""Given the inputs of which nothing but the bytes was asked for, the directories of which nothing but the names was, with
what these are, and the directories of which somebody else asked for anything: the checksum of the graph that was kept, or
nothing."""


class Looks:
    """What a request has looked at, complete; of a build that runs or places anything, all that it looked at before.

    ``root`` is the project's, ``clock_ns`` the time by the clock of its file system.  ``why`` says why it is no use, or is empty.
    """

    def __init__(self, recording: Recording, *, root: str, store: str, clock_ns: int) -> None:
        self.recording: Final = recording
        self.root: Final = root
        self.store: Final = store
        self.since: Final = clock_ns - int((time.monotonic() - recording.began) * 1e9) - TICK_NS
        self.listings: dict[str, Names] = {}
        arguments = recording.request[-1]
        if recording.said:
            recording.spoil("something was printed")
        if own(f"{root}/"):
            recording.spoil("the project is in a directory of Python's, merkl's or the machine's")
        if directory_of(arguments) == "" and arguments and arguments[0] not in ANSWERED:
            recording.spoil("the command does not begin with its name, or with -C DIR")
        if not recording.spoiled:
            self.listings = _complete(recording)
            self._see_index()
        if not recording.spoiled and (placed := _placed(recording.changed, root, store)):
            recording.spoil(f"{placed} was changed")

    def _see_index(self) -> None:
        """Without the index that a build has written, ``status`` and ``gc`` would not know what is placed: it is found out anew."""
        path = os.path.join(self.root, STATE, "index.db")
        if path not in self.recording.kept:
            with contextlib.suppress(OSError):  # Nothing was ever built here, only listed.
                self.recording.files[path] = kind_stamp(os.stat(path))
                self.recording.kept.add(path)

    @property
    def why(self) -> str:
        """Why there can be no snapshot, or empty."""
        return self.recording.spoiled


@dataclass(frozen=True, slots=True)
class Left:
    """What a build that ran or placed something has left, by paths as they stand in a snapshot.

    ``stamps`` are those of what it placed, and of what is ``found`` by its tasks and was not looked at before; ``placed`` is
    all that it places, of which ``trees`` are directories.
    """

    stamps: Mapping[str, Stamp]
    placed: Set[str]
    found: Set[str]
    trees: Set[str]


def keep(
    looks: Looks,
    *,
    summary: tuple[str, str],
    only_ask: bool,
    unsure: Set[str] = frozenset(),
    left: Left | None = None,
    keep_graph: KeepGraph | None = None,
) -> str:
    """Write the snapshot of a request that had nothing to do, or has it now, or ``only_ask``; empty, or why there can be none.

    ``summary`` is what is said the next time, before and after the seconds.  ``keep_graph`` writes what was built: then of
    inputs of which only the bytes count, and of what is in ``unsure``, it is enough that the next build looks once more.
    """
    recording, root = looks.recording, looks.root
    if keep_graph is not None:
        recording.unpack()
    elif recording.piles is not None:
        recording.pack()  # What was looked at again since.
    if looks.why:
        return looks.why
    files, links, mere = _seen(looks, left)
    fresh = _fresh(looks, files) - (left.placed if left is not None else set())
    again = (
        mere | unsure | {_path(path, root) for path in looks.listings} if keep_graph is not None else set()
    )
    if changed := sorted((fresh - again) | _fresh(looks, links)):
        return f"{changed[0]} was changed just now"
    try:
        apart = _apart(looks)
    except Unsettled as error:
        return f"{error} was changed just now"
    except Several as error:
        return f"{error} changed meanwhile"
    except OSError as error:
        return f"{error.filename} cannot be looked at again"
    if only_ask:
        return ""
    files.update(dict.fromkeys(fresh, UNSURE))
    graph = b"" if keep_graph is None else _graph(looks, keep_graph, mere)
    if (fresh or left is not None) and not graph:
        return "what was built cannot be kept"
    laid = [
        (groups + seen, others)
        for seen, (groups, others) in zip(apart, map(_laid_out, (files, links)), strict=True)
    ]
    write(root, (recording.request, time.time(), *_variables(recording), *summary, *laid, graph))
    return ""


def _variables(recording: Recording) -> tuple[dict[bytes, bytes | None], bytes | None]:
    """Those that were asked for, each with what is kept of its value; and what is kept of all, if all were."""
    asked = {name: sum_of(recording.environment.get(name)) for name in recording.variables}
    return asked, sum_of_all(recording.environment) if recording.all_variables else None


def _seen(looks: Looks, left: Left | None) -> tuple[dict[str, Stamp], dict[str, Stamp], set[str]]:
    """What is to be compared the next time, by following links and without; and of what nothing but the bytes mattered."""
    recording, root = looks.recording, looks.root
    files = dict(_sorted(recording.files, root, looks.store, recording.kept))
    links = dict(_sorted(recording.links, root, looks.store, set()))
    mere = {_path(path, root) for path in recording.by_source - recording.by_others}
    if left is None:
        return files, links, mere
    files, links = _as_left(files, left), _as_left(links, left)
    before = left.found & files.keys()  # What the Merklfile, or the plan, saw of these counts.
    files.update((path, stamp) for path, stamp in left.stamps.items() if path not in before)
    mere |= {path for path in left.found if _whole(path, root) not in recording.by_others}
    return files, links, mere - left.placed


def _fresh(looks: Looks, files: Mapping[str, Stamp]) -> set[str]:
    """What may have been changed after it was seen."""
    device = os.stat(looks.root).st_dev
    return {path for path, stamp in files.items() if not settled(stamp, looks.since, device)}


def _apart(looks: Looks) -> tuple[list[Group], list[Group]]:
    """What was packed, or seen at a glance: by following links, and without.

    Raises:
        Unsettled: some of that may have been changed since.
        Several: something was several things.
        OSError: it is gone.
    """
    root, device = looks.root, os.stat(looks.root).st_dev

    def name(path: str) -> str:
        return "" if path == f"{root.rstrip('/')}/" else _path(path, root)

    def is_settled(stamp: Stamp) -> bool:
        return settled(stamp, looks.since, device)

    followed, links = glanced(looks.recording, name, is_settled)
    return followed + settled_groups(_packed(looks), name, is_settled), links


def _packed(looks: Looks) -> Iterator[tuple[str, Named]]:
    """What was packed, by directory; it is gone then."""
    recording, stored = looks.recording, looks.store.rstrip("/") + "/"
    if recording.piles is None:
        return
    for directory, files in recording.piles.take():
        yield (
            directory,
            [
                (name, stamp)
                for name, stamp, _ in files
                if not directory.startswith(stored) or not _of_store(directory + os.fsdecode(name), stored)
            ],
        )


def _laid_out(files: dict[str, Stamp]) -> Laid:
    return laid_out(sorted(files.items()))


def _as_left(looked: dict[str, Stamp], left: Left) -> dict[str, Stamp]:
    """What was looked at, but what a build places, which was something else when that was looked at."""
    inside = tuple(f"{path}/" for path in left.trees)
    return {
        path: stamp
        for path, stamp in looked.items()
        if path not in left.placed and not path.startswith(inside)
    }


def _graph(looks: Looks, keep_graph: KeepGraph, mere: set[str]) -> bytes:
    recording, root = looks.recording, looks.root
    others = (
        {os.path.dirname(path) for path in recording.by_others} | recording.listed_by_others | recording.timed
    )
    listings = {_path(path, root): names for path, names in looks.listings.items()}
    return keep_graph(mere, listings, {_path(path, root) for path in others})


def _path(path: str, root: str) -> str:
    """A path as it stands in a snapshot: of what is in the project, relative to it."""
    inside = root.rstrip("/") + "/"
    return path[len(inside) :] if path.startswith(inside) and path != inside else path


def _whole(path: str, root: str) -> str:
    """The opposite of ``_path``."""
    return os.path.join(root, path)


def _complete(recording: Recording) -> dict[str, Names]:
    """What is looked at on behalf of all that is not recorded one by one.

    Of the directories of which only names were asked for, what these were.
    """
    listings: dict[str, Names] = {}
    for directory, closely in recording.listed.items():
        asked = asked_of(recording, directory)
        try:
            every = recording.entries[directory] if asked is not None else [entries_of(directory)]
        except OSError:
            continue
        names = {sum_of_names(listed, asked) for listed in every}
        if len(names) > 1:
            recording.spoil(f"what is in {directory} changed meanwhile")
        # What is there now may be something else than what was listed.
        same = asked is not None or unpacked(recording.files.get(directory, 0)) == _stamp(directory, True)
        if same and not closely and directory not in recording.timed:
            listings[directory] = min(names), asked
        for entry, is_link, _, _ in entries_in(every[0]):
            if closely or is_link:  # Whether it is a directory is seen at its end.
                inside = os.path.join(directory, os.fsdecode(entry))
                recording.look(inside, _stamp(inside, True), recording.files)
                if closely:
                    recording.by_others.add(inside)
                    recording.look(inside, _stamp(inside, False), recording.links)
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

"""What was looked at.

It decides which files count, and holds the one recording that goes on in this process.
"""

import os
import posix
import struct
import sys
import time
from collections.abc import Callable, Iterator
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any, Final

from merkl.snapshot.answer import STATE, Stamp, full_stamp
from merkl.snapshot.asker import IN_SITES, OURS, STDLIB

if TYPE_CHECKING:
    from merkl.snapshot.piles import Piles

MACHINE: Final = ("/proc/", "/sys/")
# What merkl and Python read of themselves; packages count by the directory that holds their metadata.
_OWN: Final = (STDLIB[0], *IN_SITES, OURS, *MACHINE)
IN_STATE: Final = f"/{STATE}/"
# What Python and C libraries ask for without a word: how text is read, what a time is called, how sets are ordered.
UNASKED: Final = (
    b"LANG", b"LANGUAGE", b"LC_ALL", b"LC_CTYPE", b"LC_COLLATE", b"LC_NUMERIC", b"LC_TIME", b"TZ", b"PYTHONHASHSEED",
    b"PYTHONIOENCODING", b"PYTHONPATH", b"PYTHONSTARTUP",
)  # fmt: skip


# A file's stamp as bytes: as a tuple it would take three times the memory, and there may be as many as outputs.
_FULL: Final = struct.Struct("=IQQQqq")
Packed = bytes | Stamp
_MANY: Final = 65_536  # After so many more files they are packed further, by directory.


def packed(stamp: Packed) -> Packed:
    """A stamp as it is kept."""
    return _FULL.pack(*stamp) if isinstance(stamp, tuple) and len(stamp) == 6 else stamp


def unpacked(stamp: Packed) -> Stamp:
    """The opposite of ``packed``."""
    return _FULL.unpack(stamp) if isinstance(stamp, bytes) else stamp


class Recording:
    """What was looked at.  Paths are absolute; ``spoiled`` says why there can be no snapshot, or is empty."""

    def __init__(self, request: tuple[Any, ...]) -> None:
        self.request = request  # As it is before anything is run, since that may change ``sys.path``.
        self.began = time.monotonic()
        self.files: dict[str, Packed] = {}  # By following links.
        self.links: dict[str, Packed] = {}  # Without.
        self.piles: Piles | None = None  # Of very many files most of those in ``files``.
        self.room = _MANY  # So many files may be there before they are packed.
        self.kept: set[str] = set()  # Those of merkl's own files that count.
        # Directories; whether their entries may have been asked for more than names.
        self.listed: dict[str, bool] = {}
        self.listed_freely: set[str] = set()  # Of those, where nobody said which names matter.
        # What was in the others each time they were listed, if that was not the same, as ``names.entries_of``,
        self.entries: dict[str, list[bytes]] = {}
        self.modules: dict[str, set[str]] = {}  # which modules were looked for there,
        self.parts: dict[
            str, set[tuple[str, bool]]
        ] = {}  # and with which parts of patterns names were compared.
        self.for_source = (
            False  # While merkl looks at an input that was named: its bytes, and nothing else, enter a key.
        )
        self.by_source: set[str] = set()  # What was looked at so.
        self.by_others: set[str] = set()  # What was looked at in another way, perhaps besides.
        self.listed_by_others: set[str] = set()  # Directories, likewise.
        self.timed: set[str] = set()  # Directories whose times somebody may have seen.
        # Whether many files may be seen together, and none of their stamps recorded: they are looked at once more at the end.
        self.at_a_glance = False
        self.glanced: dict[str, list[str]] = {}  # Such files, by their directory.
        self.trees: set[str] = set()  # Directories of which all was seen so.
        self.changed: set[str] = set()  # What merkl itself wrote, renamed or removed.
        self.variables: set[bytes] = set(UNASKED)
        self.all_variables = False
        self.environment = dict(posix.environ)
        self.out: list[str] = []  # What was written to stdout.
        self.paused = False  # While what is done is answered for in another way.
        self.said = False  # Whether something was written to stderr.
        self.spoiled = ""
        self.when_put_aside: Callable[[], None] | None = None  # Somebody wants it though something runs.
        self.no_graph = ""  # Why what was built cannot be known without running the Merklfile, or empty.

    def spoil(self, why: str) -> None:
        """There can be no snapshot; the first reason is kept."""
        self.spoiled = self.spoiled or why

    def keep_no_graph(self, why: str) -> None:
        """Running the Merklfile comes to more than nodes; the first reason is kept."""
        self.no_graph = self.no_graph or why

    def pack(self) -> None:
        """Let files that are neither merkl's own nor directories be packed by directory, to save memory."""
        self.room = sys.maxsize  # While files are looked at for that.
        from merkl.snapshot.piles import Piles

        if self.piles is None:
            self.piles = Piles(_FULL)
        self.piles.add(self._plain())
        self.room = len(self.files) + _MANY

    def _plain(self) -> Iterator[tuple[str, bytes, int]]:
        """Files that stand for nothing else, with how they were looked at; they are no longer here."""
        from merkl.snapshot.piles import OTHER, SOURCE

        ours: dict[str, bool] = {}
        for path, stamp in list(self.files.items()):  # Other threads look at files too.
            if not isinstance(stamp, bytes) or S_ISDIR(_FULL.unpack(stamp)[0]) or path in self.kept:
                continue
            directory = path[: path.rfind("/") + 1]
            ours_too = ours.get(directory)
            if ours_too is None:
                ours_too = ours[directory] = own(directory) or any(
                    each.startswith(directory) for each in _OWN
                )
            if ours_too or directory == path:
                continue
            del self.files[path]
            how = 0
            for bit, paths in ((SOURCE, self.by_source), (OTHER, self.by_others)):
                if path in paths:
                    how |= bit
                    paths.discard(path)
            yield path, stamp, how

    def unpack(self) -> None:
        """Let all be in ``files`` again; spoilt if one had several stamps."""
        from merkl.snapshot.piles import OTHER, SOURCE, Several

        if self.piles is None:
            return
        try:
            for directory, files in self.piles.take():
                for name, stamp, how in files:
                    path = directory + os.fsdecode(name)
                    self.look(path, stamp, self.files)
                    if how & SOURCE:
                        self.by_source.add(path)
                    if how & OTHER:
                        self.by_others.add(path)
        except Several as error:
            self.spoil(f"{error} changed meanwhile")
        self.piles = None

    def paths(self) -> Iterator[str]:
        """All paths that were looked at, some perhaps several times."""
        yield from self.files
        yield from self.links
        if self.piles is not None:
            yield from self.piles.paths()

    def keep_below(self, directory: str) -> None:
        """Let all files count that were looked at below a directory, which ends with a slash, though they may be a store's."""
        if not own(directory):  # Else none of them was packed.
            self.unpack()
        self.kept.update(path for path in self.files if path.startswith(directory))

    def forget(self) -> None:
        """Let go of what was looked at, which takes memory."""
        self.piles = None
        for found in (
            self.files, self.links, self.listed, self.listed_freely, self.entries, self.modules, self.parts, self.by_source,
            self.by_others, self.listed_by_others, self.timed, self.glanced, self.trees,
        ):  # fmt: skip
            found.clear()

    def glance_at_tree(self, directory: str) -> None:
        """All that is in a directory was seen."""
        self.trees.add(directory)
        self.look(directory, full_stamp(os.stat(directory)), self.files)

    def is_other(self, path: str) -> bool:
        """Whether a file is not what was seen of it, or none was."""
        try:
            return self.files.get(path) != packed(full_stamp(os.stat(path)))
        except OSError:
            return True

    def look(self, path: str, found: Packed, looked: dict[str, Packed]) -> None:
        """Remember what was found at a path; once something else than before, it cannot be said what decided."""
        known = looked.setdefault(path, packed(found))
        before, stamp = unpacked(known), unpacked(found)
        if before == stamp:
            return
        if isinstance(before, tuple) and isinstance(stamp, tuple) and len(before) != len(stamp):
            longer = max(before, stamp, key=len)  # Of a directory, once its kind and once what is in it.
            if longer[:3] == min(before, stamp, key=len):
                looked[path] = packed(longer)
                return
        if not own(path):
            self.spoil(f"{path} changed meanwhile")


def own(path: str) -> bool:
    """Whether a file is merkl's, Python's or the machine's, so that what is in it is known in another way."""
    return path.startswith(_OWN) or IN_STATE in path or is_device(path)


def is_device(path: str) -> bool:
    return path.startswith("/dev/") and not path.startswith("/dev/shm/")  # There files are files.


_active: list[Recording] = []


def active() -> Recording | None:
    """The recording that is going on, unless it is paused."""
    return _active[0] if _active and not _active[0].paused else None


def begin(recording: Recording) -> None:
    """Let this one go on from now on."""
    _active[:] = [recording]


def end() -> bool:
    """Let none go on; whether one did."""
    if not _active:
        return False
    _active.pop().paused = True  # For who still holds a part of it.
    return True

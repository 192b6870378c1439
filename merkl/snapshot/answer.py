"""The fast answer: nothing to do, if all that decided so is as it was.

It decides whether what was recorded still holds.  It knows nothing of builds, and imports nothing that Python has not
imported when it starts, since that would cost more than all it does.

The invariant: any doubt, and any error, is no answer.
"""

import marshal
import os
import sys
import time
from _operator import attrgetter  # What ``operator`` takes it from, without a file to read.

TYPE_CHECKING = False  # ``typing`` would take longer to import than all that is done here.
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Meanwhile = Callable[[str, tuple[Any, ...]], object]

FORMAT = 5
DIRECTORY = "snapshots"  # In a project's ``.merkl``.
STATE = ".merkl"
DAY_S = 86_400  # A store notes once a day what is in use; an answer given for longer would let it go.
ANSWERED = ("build", "list", "status")  # Commands.
UNSURE = -1  # In place of a stamp: what is there has to be looked at once more.
_MOST = 1_000  # After more changes than that everything is found out anew.
_SPLIT = 4_000  # With more files than that, other processes look at some of them.
_PROCESSES = 4  # At most.
_SHARES = 1_000  # What is looked at is handed out in so many shares; their numbers, by two bytes each, fit into any pipe.

Stamp = tuple[int, ...] | int
Looked = tuple[str, Stamp]
Group = tuple[bytes, bytes, bytes, int]
"""Files with full stamps: what their paths begin with, up to the last slash; their names; their stamps; how many there are.

Names have a zero byte between them.  The stamps are a list as ``marshal`` writes it, to be compared without being read.
"""
Laid = tuple[list[Group], list[Looked]]
"""Files as a snapshot has them: those in groups, and one by one those whose stamp is no full one."""


def request_of(arguments: "Sequence[str]", version: str) -> "tuple[Any, ...]":
    """Everything but files and variables that the meaning of a command line depends on."""
    options = tuple(map(str, sys.warnoptions)), tuple(map(str, sys._xoptions.items()))
    return (
        FORMAT, version, sys.version, sys.executable, tuple(map(int, sys.flags)), *options, tuple(map(str, sys.path)),
        tuple(os.uname()), os.geteuid(), os.getegid(), os.getcwd(), _terminals(), tuple(arguments),
    )  # fmt: skip


def name_of(request: "tuple[Any, ...]") -> str:
    """The file name of a request's snapshot."""
    return checksum(marshal.dumps(request, 2)).hex()


def checksum(data: "bytes | memoryview") -> bytes:
    """Eight bytes for some: of a snapshot to tell damage, of a request to name it, of a variable to see whether it changed.

    CPython's own, for which nothing has to be imported.
    """
    import _imp

    found: bytes = _imp.source_hash(0x6D65726B6C, data)
    return found


def _terminals() -> tuple[bool, ...]:
    return tuple(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


_full = attrgetter("st_mode", "st_ino", "st_dev", "st_size", "st_mtime_ns", "st_ctime_ns")


def full_stamp(found: os.stat_result) -> Stamp:
    """What a file's stat must still be for its bytes to be the same: of a directory, the names in it."""
    stamp: Stamp = _full(found)
    return stamp


def kind_stamp(found: os.stat_result) -> Stamp:
    """Which directory is there, whatever is in it."""
    return found.st_mode, found.st_ino, found.st_dev


class Changed:
    """A snapshot of which only some files are not as they were: ``paths`` and, looked at without following them, ``links``.

    They are as they stand there.  ``kept`` is all that is in it.  ``graph`` is the checksum of what was built, which is kept
    beside it.  ``ready`` is what was got ready meanwhile.
    """

    __slots__ = ("graph", "kept", "links", "paths", "ready", "root")

    def __init__(
        self, root: str, kept: "tuple[Any, ...]", paths: list[str], links: list[str], ready: object = None
    ) -> None:
        self.root = root
        self.kept = kept
        self.paths = paths
        self.links = links
        self.ready = ready
        self.graph: bytes = kept[-1]


def answer(
    arguments: "Sequence[str]", version: str, meanwhile: "Meanwhile | None" = None
) -> "int | Changed | None":
    """The exit code of ``merkl ARGUMENTS…``, which has been answered; or None if it must be found out.

    Or what has changed, if that is not much and may be all that has to be looked at.  ``meanwhile`` gets ready for that, for a
    project and what is kept of it: it is called at most once, when something has changed and other processes are still looking
    for more.

    Raises:
        OSError: the answer cannot be written, to a full disk or since nobody reads.
    """
    began = time.monotonic()
    if arguments and arguments[0] not in ANSWERED and arguments[0][:1] != "-":
        return None
    try:
        found = _compared(arguments, version, meanwhile)
    except Exception:  # noqa: BLE001  # Whatever it is, the long way tells it better.
        return None
    if found is None or found.paths or found.links:
        return found
    before, after = found.kept[4:6]
    return _say(f"{before}{time.monotonic() - began:.1f}s{after}" if after else before)


def _say(text: str) -> int | None:
    if sys.stdout is not None and text:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except ValueError:  # An encoding that lacks a letter.
            return None  # The long way knows what to do with that.
    return 0


def _compared(arguments: "Sequence[str]", version: str, meanwhile: "Meanwhile | None") -> Changed | None:
    request = request_of(arguments, version)
    start = os.getcwd()
    root, data = _find(os.path.join(start, directory_of(arguments)), name_of(request))
    body = memoryview(data)[8:]
    if not data or checksum(body) != data[:8]:
        return None
    kept = marshal.loads(body)
    known, made, variables, everything, _, _, files, links, graph = kept
    if (
        known != request
        or not made <= time.time() < made + DAY_S
        or not _same_environment(variables, everything)
    ):
        return None
    if _build_begun(root):
        return None  # It was killed, and what it left is to be removed; or it is going on.
    ready: list[object] = []

    def get_ready() -> None:
        if meanwhile is not None:
            ready.append(meanwhile(root, kept))

    changed = _changed(root, files, links, _MOST if graph else 0, get_ready if meanwhile else None)
    return None if changed is None else Changed(root, kept, *changed, *ready)


def _build_begun(root: str) -> bool:
    try:
        return bool(os.listdir(f"{root}/{STATE}/builds"))
    except FileNotFoundError:
        return False  # Nothing was ever built here, only listed.


def directory_of(arguments: "Sequence[str]") -> str:
    """What ``-C`` says, where it is the first word; a project found in another way is not answered for."""
    return arguments[1] if len(arguments) > 1 and arguments[0] in ("-C", "--directory") else ""


def _find(directory: str, name: str) -> tuple[str, bytes]:
    """The project at or above a directory that has the snapshot ``name``, and its bytes."""
    while True:
        try:
            with open(f"{directory}/{STATE}/{DIRECTORY}/{name}", "rb") as file:
                return directory, file.read()
        except FileNotFoundError:
            above = os.path.dirname(directory.rstrip("/"))
            if not above or above == directory:
                return "", b""
            directory = above


def sum_of(value: bytes | None) -> bytes | None:
    """What is kept of a variable's value, which may be a secret; None if it is not set."""
    return None if value is None else checksum(value)


def sum_of_all(environment: "Mapping[bytes, bytes]") -> bytes:
    """What is kept of all variables."""
    return checksum(marshal.dumps(sorted(environment.items()), 2))


def _same_environment(variables: dict[bytes, bytes | None], everything: bytes | None) -> bool:
    import posix

    found = posix.environ
    if everything is not None and everything != sum_of_all(found):
        return False
    return all(sum_of(found.get(name)) == value for name, value in variables.items())


def _changed(
    root: str, files: Laid, links: Laid, most: int, meanwhile: "Callable[[], None] | None"
) -> tuple[list[str], list[str]] | None:
    """The files and the links that are not as they were; None if there are more than ``most``."""
    groups: list[tuple[bool, Group]] = [(True, group) for group in files[0]]
    groups += [(False, group) for group in links[0]]
    start = os.getcwd()
    changed: list[tuple[bool, str]] = []
    helpers: list[tuple[int, int]] = []
    wanted = _wanted(sum([group[3] for _, group in groups]))
    shares = _Shares(groups, wanted > 0)
    try:
        for _ in range(wanted):
            helpers.append(_helper(root, shares, most))
        os.chdir(root)
        changed += [(True, path) for path, stamp in files[1] if _is_other(os.stat, path, stamp)]
        changed += [(False, path) for path, stamp in links[1] if _is_other(os.lstat, path, stamp)]
        if helpers and most and meanwhile is not None and _finds_any(root, shares, changed, most):
            os.chdir(start)
            meanwhile()
        _compare(root, shares, changed, most)
        shares.close()
        for reading, _ in helpers:
            with open(reading, "rb", closefd=False) as file:
                changed += marshal.load(file)
    finally:
        os.chdir(start)
        shares.close()
        for reading, child in helpers:  # Nobody else is to come across them.
            os.close(reading)
            os.waitpid(child, 0)
    if len(changed) > most:
        return None
    return [path for followed, path in changed if followed], [
        path for followed, path in changed if not followed
    ]


class _Shares:
    """What nobody has begun to look at, for one process or for several; of each group, whether links are followed."""

    def __init__(self, groups: list[tuple[bool, Group]], several: bool) -> None:
        self._groups = groups
        self._size = len(groups) // _SHARES + 1
        self._left = range(0 if several else -(-len(groups) // self._size))
        self._pipe: int | None = None
        self._news = (-1, -1)
        self._has_told = False
        if several:
            count = -(-len(groups) // self._size)
            self._pipe, writing = os.pipe()
            os.write(writing, b"".join([number.to_bytes(2) for number in range(count)]))
            os.close(writing)
            self._news = os.pipe()
            os.set_blocking(self._news[0], False)

    def take(self) -> list[tuple[bool, Group]]:
        """One of them; nothing if there is none."""
        if self._pipe is not None:
            data = os.read(self._pipe, 2)
            number = int.from_bytes(data) if data else -1
        elif self._left:
            number, self._left = self._left[0], self._left[1:]
        else:
            number = -1
        return [] if number < 0 else self._groups[number * self._size : (number + 1) * self._size]

    def tell(self) -> None:
        """Say that something has changed."""
        if self._pipe is not None and not self._has_told:
            self._has_told = True
            os.write(self._news[1], b"!")

    def told(self) -> bool:
        """Whether somebody has said so."""
        if self._pipe is None:
            return False
        try:
            return bool(os.read(self._news[0], 1))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Let nobody take another."""
        self._left = range(0)
        if self._pipe is not None:
            os.read(self._pipe, 2 * _SHARES)
            for fd in (self._pipe, *self._news):
                os.close(fd)
            self._pipe = None


def _wanted(total: int) -> int:
    """How many processes are to help with so many files."""
    import _thread

    if _thread._count():
        return 0  # A thread is not in the child, but what it holds is.
    return max(0, min(total // _SPLIT, _PROCESSES - 1, processors() - 1))


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _helper(root: str, shares: _Shares, most: int) -> tuple[int, int]:
    """Where a process that helps tells what it found, and its id."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            changed: list[tuple[bool, str]] = []
            _compare(root, shares, changed, most)
            with open(writing, "wb") as file:
                marshal.dump(changed, file)
        finally:
            os._exit(0)
    os.close(writing)
    return reading, child


def _finds_any(root: str, shares: _Shares, changed: list[tuple[bool, str]], most: int) -> bool:
    """Whether it is known that something has changed; if so, some shares may be left."""
    found = bool(changed) or shares.told()
    while not found and _compare_next(root, shares, changed):
        found = bool(changed) or shares.told()
    return (found or shares.told()) and len(changed) <= most


def _compare(root: str, shares: _Shares, changed: list[tuple[bool, str]], most: int) -> None:
    """Add what is not as it was to ``changed``, until that is more than ``most``."""
    while len(changed) <= most and _compare_next(root, shares, changed):
        if changed:
            shares.tell()
    if len(changed) > most:
        shares.close()  # For all of us.


def _compare_next(root: str, shares: _Shares, changed: list[tuple[bool, str]]) -> bool:
    """Do so with a share; whether there was one."""
    top, share = os.fsencode(root), shares.take()
    for followed, (before, names, stamps, _) in share:
        look = os.stat if followed else os.lstat
        found = _differing(look, os.path.join(top, before), names.split(b"\0"), stamps)
        changed += [(followed, os.fsdecode(before + name)) for name in found]
    return bool(share)


def _differing(
    look: "Callable[[bytes], os.stat_result]", directory: bytes, names: list[bytes], stamps: bytes
) -> list[bytes]:
    """Those of the files in a directory whose stamps are other ones."""
    try:
        os.chdir(directory)
    except OSError:
        return names
    try:
        if marshal.dumps(list(map(_full, map(look, names))), 2) == stamps:
            return []
    except OSError:
        pass  # One of them is gone.
    return [
        name for name, stamp in zip(names, marshal.loads(stamps), strict=True) if _is_other(look, name, stamp)
    ]


def _is_other(look: "Callable[[Any], os.stat_result]", path: str | bytes, stamp: Stamp) -> bool:
    try:
        found = look(path)
    except OSError as error:
        return error.errno != stamp
    return stamp not in (full_stamp(found), kind_stamp(found))

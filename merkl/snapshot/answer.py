"""The fast answer: nothing to do, if all that decided so is as it was.

It decides whether what was recorded still holds.  It knows nothing of builds, and imports nothing that Python has not
imported when it starts, since that would cost more than all it does.

The invariant: any doubt, and any error, is no answer.
"""

import marshal
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

FORMAT = 3
DIRECTORY = "snapshots"  # In a project's ``.merkl``.
STATE = ".merkl"
DAY_S = 86_400  # A store notes once a day what is in use; an answer given for longer would let it go.
ANSWERED = ("build", "list")  # Commands.
UNSURE = -1  # In place of a stamp: what is there has to be looked at once more.
_MOST = 1_000  # After more changes than that everything is found out anew.
_FEW = 10  # Paths that a second process tells of: so many fit into a pipe.
_SPLIT = 6_000  # With more files than that, a second process looks at half of them.

Stamp = tuple[int, ...] | int
Looked = tuple[str, Stamp]


def request_of(arguments: Sequence[str], version: str) -> tuple[Any, ...]:
    """Everything but files and variables that the meaning of a command line depends on."""
    options = tuple(map(str, sys.warnoptions)), tuple(map(str, sys._xoptions.items()))
    return (
        FORMAT, version, sys.version, sys.executable, tuple(map(int, sys.flags)), *options, tuple(map(str, sys.path)),
        tuple(os.uname()), os.geteuid(), os.getegid(), os.getcwd(), _terminals(), tuple(arguments),
    )  # fmt: skip


def name_of(request: tuple[Any, ...]) -> str:
    """The file name of a request's snapshot."""
    return checksum(marshal.dumps(request, 2)).hex()


def checksum(data: bytes) -> bytes:
    """Eight bytes for some: of a snapshot to tell damage, of a request to name it, of a variable to see whether it changed.

    CPython's own, for which nothing has to be imported.
    """
    import _imp

    found: bytes = _imp.source_hash(0x6D65726B6C, data)
    return found


def _terminals() -> tuple[bool, ...]:
    return tuple(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def full_stamp(found: os.stat_result) -> Stamp:
    """What a file's stat must still be for its bytes to be the same: of a directory, the names in it."""
    return (
        found.st_mode, found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns, found.st_ctime_ns,
    )  # fmt: skip


def kind_stamp(found: os.stat_result) -> Stamp:
    """Which directory is there, whatever is in it."""
    return found.st_mode, found.st_ino, found.st_dev


class Changed:
    """A snapshot of which only some files are not as they were: ``paths``, as they stand there.

    ``kept`` is all that is in it.  ``graph`` is the checksum of what was built, which is kept beside it.
    """

    __slots__ = ("graph", "kept", "paths", "root")

    def __init__(self, root: str, kept: tuple[Any, ...], paths: list[str]) -> None:
        self.root = root
        self.kept = kept
        self.paths = paths
        self.graph: bytes = kept[-1]


def answer(arguments: Sequence[str], version: str) -> "int | Changed | None":
    """The exit code of ``merkl ARGUMENTS…``, which has been answered; or None if it must be found out.

    Or what has changed, if that is not much and may be all that has to be looked at.
    """
    began = time.monotonic()
    if arguments and arguments[0] not in ANSWERED and arguments[0][:1] != "-":
        return None
    try:
        found = _compared(arguments, version)
    except Exception:  # noqa: BLE001  # Whatever it is, the long way tells it better.
        return None
    if found is None or found.paths:
        return found
    before, after = found.kept[4:6]
    return _say(f"{before}{time.monotonic() - began:.1f}s{after}" if after else before)


def _say(text: str) -> int | None:
    if sys.stdout is not None and text:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (OSError, ValueError):  # A full disk, nobody who reads, an encoding that lacks a letter.
            return None  # The long way knows what to do with that.
    return 0


def _compared(arguments: Sequence[str], version: str) -> Changed | None:
    request = request_of(arguments, version)
    start = os.getcwd()
    root, data = _find(os.path.join(start, directory_of(arguments)), name_of(request))
    if not data or checksum(data[8:]) != data[:8]:
        return None
    kept = marshal.loads(data[8:])
    known, made, variables, everything, _, _, files, links, graph = kept
    if (
        known != request
        or not made <= time.time() < made + DAY_S
        or not _same_environment(variables, everything)
    ):
        return None
    os.chdir(root)
    try:
        changed = _changed(files, _MOST if graph else 0)
        if changed is None or not all(map(_same_link, links)):
            return None
        return Changed(root, kept, changed)
    finally:
        os.chdir(start)


def directory_of(arguments: Sequence[str]) -> str:
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


def sum_of_all(environment: Mapping[bytes, bytes]) -> bytes:
    """What is kept of all variables."""
    return checksum(marshal.dumps(sorted(environment.items()), 2))


def _same_environment(variables: dict[bytes, bytes | None], everything: bytes | None) -> bool:
    import posix

    found = posix.environ
    if everything is not None and everything != sum_of_all(found):
        return False
    return all(sum_of(found.get(name)) == value for name, value in variables.items())


def _changed(files: list[Looked], most: int) -> list[str] | None:
    """The files that are not as they were; None if there are more than ``most``."""
    if len(files) < _SPLIT or (os.cpu_count() or 1) < 2:
        return _changed_of(files, most)
    half = len(files) // 2
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, marshal.dumps(_changed_of(files[half:], most and _FEW)))
        finally:
            os._exit(0)
    try:
        os.close(writing)
        mine = _changed_of(files[:half], most)
        others = marshal.loads(os.read(reading, 1 << 16))
    finally:  # Nobody else is to come across it.
        os.close(reading)
        os.waitpid(child, 0)
    if others is None and most:
        others = _changed_of(files[half:], most)
    return None if mine is None or others is None or len(mine) + len(others) > most else mine + others


def _changed_of(files: list[Looked], most: int) -> list[str] | None:
    look = os.stat
    changed: list[str] = []
    for path, stamp in files:
        try:
            found = look(path)
        except OSError as error:
            if error.errno == stamp:
                continue
        else:
            if full_stamp(found) == stamp or kind_stamp(found) == stamp:
                continue
        if len(changed) == most:
            return None
        changed.append(path)
    return changed


def _same_link(looked: Looked) -> bool:
    path, stamp = looked
    try:
        found = os.lstat(path)
    except OSError as error:
        return error.errno == stamp
    return stamp in (full_stamp(found), kind_stamp(found))

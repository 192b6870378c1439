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

FORMAT = 2
DIRECTORY = "snapshots"  # In a project's ``.merkl``.
STATE = ".merkl"
DAY_S = 86_400  # A store notes once a day what is in use; an answer given for longer would let it go.
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
    """Eight bytes that tell damage; CPython's own, for which nothing has to be imported."""
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


def answer(arguments: Sequence[str], version: str) -> int | None:
    """The exit code of ``merkl ARGUMENTS…``, which has been answered; or None if it must be found out."""
    began = time.monotonic()
    if arguments and arguments[0] != "build" and arguments[0][:1] != "-":
        return None
    try:
        lines = _lines(arguments, version)
    except Exception:  # noqa: BLE001  # Whatever it is, the long way tells it better.
        return None
    if lines is None:
        return None
    before, after = lines
    return _say(f"{before}{time.monotonic() - began:.1f}s{after}" if after else before)


def _say(text: str) -> int | None:
    if sys.stdout is not None and text:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (OSError, ValueError):  # A full disk, nobody who reads, an encoding that lacks a letter.
            return None  # The long way knows what to do with that.
    return 0


def _lines(arguments: Sequence[str], version: str) -> tuple[str, str] | None:
    request = request_of(arguments, version)
    start = os.getcwd()
    root, data = _find(os.path.join(start, directory_of(arguments)), name_of(request))
    if not data or checksum(data[8:]) != data[:8]:
        return None
    known, made, variables, everything, before, after, files, links = marshal.loads(data[8:])
    if (
        known != request
        or not made <= time.time() < made + DAY_S
        or not _same_environment(variables, everything)
    ):
        return None
    os.chdir(root)
    try:
        return (before, after) if _unchanged(files) and all(map(_same_link, links)) else None
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


def _unchanged(files: list[Looked]) -> bool:
    half = len(files) // 2
    if len(files) < _SPLIT or (os.cpu_count() or 1) < 2:
        return _all_same(files)
    child = os.fork()
    if child == 0:
        same = False
        try:
            same = _all_same(files[half:])
        finally:
            os._exit(0 if same else 1)
    try:
        same = _all_same(files[:half])
    finally:  # Nobody else is to come across it.
        ended = os.waitpid(child, 0)[1]
    return same and ended == 0


def _all_same(files: list[Looked]) -> bool:
    look = os.stat
    for path, stamp in files:
        try:
            found = look(path)
        except OSError as error:
            if error.errno != stamp:
                return False
            continue
        if full_stamp(found) != stamp and kind_stamp(found) != stamp:
            return False
    return True


def _same_link(looked: Looked) -> bool:
    path, stamp = looked
    try:
        found = os.lstat(path)
    except OSError as error:
        return error.errno == stamp
    return stamp in (full_stamp(found), kind_stamp(found))

"""Events that Python raises: files opened, directories listed or changed, processes, sockets, libraries, databases.

It decides after which of them no snapshot may be made.
"""

import _thread
import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from merkl.pattern import pattern
from merkl.snapshot.answer import STATE, Stamp, full_stamp
from merkl.snapshot.asker import IN_SITES, OURS, STDLIB, by_user, is_import
from merkl.snapshot.files import WRITING, from_machine, original_stat, stat, told, whole_path, written
from merkl.snapshot.names import entries_of
from merkl.snapshot.recording import IN_STATE, MACHINE, Recording, active, is_device, own, packed

_GLOBS: Final = f"{OURS}workspace/listing.py"  # Which says what it compares names with.
_EFFECTS: Final = {
    **dict.fromkeys(
        (
            "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn", "os.startfile",
            "subprocess.Popen",
        ),
        "started a process",
    ),
    **dict.fromkeys(("os.kill", "os.killpg", "signal.pthread_kill"), "sent a signal"),
    **dict.fromkeys(
        ("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostname"),
        "used the network",
    ),
    **dict.fromkeys(("ctypes.dlopen",), "loaded a library"),
    **dict.fromkeys(("sqlite3.connect",), "opened a database"),
    **dict.fromkeys(("os.getxattr", "os.listxattr"), "read extended attributes"),
}  # fmt: skip


# Which arguments of an event are a path that changes, and the directory that it starts from.
_CHANGES: Final[dict[str, tuple[tuple[int, int | None], ...]]] = {
    "os.mkdir": ((0, 2),), "os.rename": ((0, 2), (1, 3)), "os.remove": ((0, 1),), "os.rmdir": ((0, 1),), "os.link": ((1, 3),),
    "os.symlink": ((1, 2),), "os.truncate": ((0, None),), "os.chmod": ((0, 2),), "os.chown": ((0, 3),), "os.utime": ((0, 3),),
    "os.setxattr": ((0, None),), "os.removexattr": ((0, None),),
}  # fmt: skip


def hook(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook.  What it raised would reach whoever does what is recorded."""
    handle = _HANDLERS.get(event)
    if handle is not None and (recording := active()) is not None:
        try:
            handle(recording, event, args)
        except Exception as error:  # noqa: BLE001
            recording.spoil(f"{event} could not be recorded: {error!r}")


def _opened(recording: Recording, _event: str, args: tuple[Any, ...]) -> None:
    path, _, flags = args
    if isinstance(path, int) or path is None or _thread.get_ident() in told:
        return
    where = whole_path(path, None)
    if where is None:
        return
    if where.startswith(MACHINE) or (is_device(where) and where != os.devnull):
        from_machine(recording, where)
    elif own(where) and (
        is_import() if where.startswith(IN_SITES) else not (IN_STATE in where and by_user())
    ):
        return
    elif isinstance(flags, int) and flags & WRITING:
        written(recording, where, "was opened for writing")
    else:
        with contextlib.suppress(OSError):
            stat(where)


def _listing(recording: Recording, event: str, args: tuple[Any, ...]) -> None:
    if _thread.get_ident() in told:
        return
    path = args[0] if args[0] is not None else "."
    where = whole_path(path, None) if not isinstance(path, int) else whole_path("", path)
    if where is None:
        recording.spoil("an open directory was listed")
        return
    if own(f"{where}/"):
        if where.startswith(MACHINE):
            from_machine(recording, where)
        elif IN_STATE in f"{where}/" and by_user():
            recording.spoil(f"{where} was listed")
        return
    try:
        found: Stamp = full_stamp(original_stat(where))
    except OSError as error:
        found = error.errno or 0
    if not recording.for_source:
        recording.listed_by_others.add(where)
    known = recording.entries.get(where)
    if not recording.for_source and (is_import() or sys._getframe(2).f_code.co_filename == _GLOBS):
        _note_entries(recording, where)
    else:
        recording.listed_freely.add(where)
    if (
        known is None or where in recording.listed_freely
    ):  # Else it is seen in the end whether what matters was the same.
        recording.look(where, found, recording.files)
    closely = event == "os.scandir" and not sys._getframe(2).f_code.co_filename.startswith((*STDLIB, OURS))
    recording.listed[where] = recording.listed.get(where, False) or closely


def _note_entries(recording: Recording, directory: str) -> None:
    """Which names matter is told while these are compared, or modules looked for."""
    told.add(_thread.get_ident())
    try:
        entries = entries_of(directory)
        before = recording.entries.setdefault(directory, [])
        if entries not in before:
            before.append(entries)
    except OSError:
        recording.listed_freely.add(directory)
    finally:
        told.discard(_thread.get_ident())


def _effect(recording: Recording, event: str, args: tuple[Any, ...]) -> None:
    if event == "sqlite3.connect" and not by_user():
        _see_database(recording, args[0])
    elif by_user() or event in ("subprocess.Popen", "os.fork", "os.exec", "os.posix_spawn", "os.system"):
        recording.spoil(f"code of the Merklfile {_EFFECTS[event]}")


def _change(recording: Recording, event: str, args: tuple[Any, ...]) -> None:
    for at, below in _CHANGES[event]:
        path, directory = args[at], -1 if below is None else args[below]
        if isinstance(path, int):
            where = whole_path("", path)
        else:
            where = whole_path(path, None if directory == -1 else directory)
        written(recording, where, "was changed")


_QUOTED: Final = pattern(rb"%([0-9A-Fa-f]{2})")  # ``urllib.parse`` is slow to load.


def _see_database(recording: Recording, path: Any) -> None:
    """A store answers from its database; one that is as it was says what it said."""
    text = os.fsdecode(path)
    if text.startswith("file:"):
        quoted = os.fsencode(text[len("file:") :].partition("?")[0])
        text = os.fsdecode(_QUOTED.sub(lambda found: bytes.fromhex(found[1].decode()), quoted))
    where = whole_path(text, None)
    if where is None or (os.path.basename(os.path.dirname(where)) == STATE and not recording.at_a_glance):
        return  # To a build the index is memory, and decides nothing.
    for name in (where, f"{where}-wal"):
        try:
            found: Stamp = full_stamp(original_stat(name))
        except OSError as error:
            found = error.errno or 0
        recording.files.setdefault(name, packed(found))
        recording.kept.add(name)


def _lasting(recording: Recording, _event: str, _args: tuple[Any, ...]) -> None:
    if by_user():
        recording.keep_no_graph("the Merklfile changed its environment")


_HANDLERS: Final[dict[str, Callable[[Recording, str, tuple[Any, ...]], None]]] = {
    "open": _opened,
    "os.listdir": _listing,
    "os.scandir": _listing,
    **dict.fromkeys(_EFFECTS, _effect),
    **dict.fromkeys(("os.putenv", "os.unsetenv"), _lasting),
    **dict.fromkeys(_CHANGES, _change),
}

"""What this process looks at while it finds out that there is nothing to do.

It decides what counts as having been looked at, and after what no snapshot may be made.  Three recorders are on from the
start of a command until it ends: an audit hook (files opened, directories listed, processes, sockets, libraries,
databases), a mapping behind ``os.environ``, and wrappers of ``os.stat`` and its kin, which raise no audit event.

The clock, randomness, the user's id, the number of processors, and what an extension in C reads by itself are not seen.

The invariant: what cannot be recorded spoils the recording, so that there is no snapshot.
"""

import contextlib
import os
import posix
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

from merkl.snapshot.answer import STATE, Stamp, full_stamp, kind_stamp

_HERE: Final = os.path.dirname(__file__) + os.sep
_OURS: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep
_STDLIB: Final = (os.path.dirname(os.__file__) + os.sep, "<frozen ")
SITES: Final = tuple(path for path in sys.path if path.endswith(("/site-packages", "/dist-packages")))
_IN_SITES: Final = tuple(f"{site}/" for site in SITES)
# What merkl and Python read of themselves; packages count by the directory that holds their metadata.
_OWN: Final = (_STDLIB[0], *_IN_SITES, _OURS)
_MACHINE: Final = ("/proc/", "/sys/")
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Questions about a directory whose answer does not depend on what is in it.
_KIND_ONLY: Final = frozenset(
    "isdir isfile exists islink lexists realpath _joinrealpath ismount samefile is_dir is_file is_symlink is_mount resolve "
    "_path_stat _path_isdir _path_isfile _path_is_mode_type makedirs".split()
)
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
    **dict.fromkeys(
        (
            "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
            "os.utime", "os.chflags", "os.setxattr", "os.removexattr",
        ),
        "changed files",
    ),
    **dict.fromkeys(("os.getxattr", "os.listxattr"), "read extended attributes"),
}  # fmt: skip


class Recording:
    """What was looked at.  Paths are absolute; ``spoiled`` says why there can be no snapshot, or is empty."""

    def __init__(self, request: tuple[Any, ...]) -> None:
        self.request = request  # As it is before anything is run, since that may change ``sys.path``.
        self.began = time.monotonic()
        self.files: dict[str, Stamp] = {}  # By following links.
        self.links: dict[str, Stamp] = {}  # Without.
        self.kept: set[str] = set()  # Those of merkl's own files that count.
        self.listed: dict[
            str, bool
        ] = {}  # Directories; whether their entries may have been asked for more than names.
        self.variables: set[bytes] = set()
        self.all_variables = False
        self.environment = dict(posix.environ)
        self.out: list[str] = []  # What was written to stdout.
        self.said = False  # Whether something was written to stderr.
        self.spoiled = ""

    def spoil(self, why: str) -> None:
        """There can be no snapshot; the first reason is kept."""
        self.spoiled = self.spoiled or why

    def look(self, path: str, stamp: Stamp, looked: dict[str, Stamp]) -> None:
        """Remember what was found at a path; once something else than before, it cannot be said what decided."""
        before = looked.setdefault(path, stamp)
        if before == stamp:
            return
        if isinstance(before, tuple) and isinstance(stamp, tuple) and len(before) != len(stamp):
            longer = max(before, stamp, key=len)  # Of a directory, once its kind and once what is in it.
            if longer[:3] == min(before, stamp, key=len):
                looked[path] = longer
                return
        if not own(path):
            self.spoil(f"{path} changed meanwhile")


def own(path: str) -> bool:
    """Whether a file is merkl's, Python's or the machine's, so that what is in it is known in another way."""
    if path.startswith("/dev/") and not path.startswith("/dev/shm/"):  # There files are files.
        return True
    return path.startswith((*_OWN, *_MACHINE)) or f"/{STATE}/" in path


_active: Recording | None = None
_hooked = False


def active() -> Recording | None:
    """The recording that is going on."""
    return _active


def start(request: tuple[Any, ...]) -> Recording:
    """Record from now on what decides the answer to a request."""
    global _active, _hooked
    recording = _active = Recording(request)
    _patch(True)
    if not _hooked:
        _hooked = True
        sys.addaudithook(_hook)
    return recording


def stop() -> None:
    """Record no more."""
    global _active
    if _active is not None:
        _active = None
        _patch(False)


@contextlib.contextmanager
def vouching(program: str) -> Iterator[None]:
    """Run the code inside, which starts ``program``, a path, to learn its version.

    A program's answer comes from its own bytes.  That of a script comes from anything.
    """
    global _active
    recording = _active
    if recording is None:
        yield
        return
    try:
        with open(program, "rb") as file:
            script = file.read(2) == b"#!"
    except OSError:
        script = True
    if script:
        recording.spoil(f"{program} is a script, which was asked for its version")
    _active = None
    try:
        yield
    finally:
        _active = recording


# ---- files -------------------------------------------------------------------------------------------------------------

_stat: Final = posix.stat
_lstat: Final = posix.lstat
_access: Final = posix.access
_readlink: Final = posix.readlink
_open: Final = posix.open


def _see(path: Any, dir_fd: int | None, follow: bool, found: os.stat_result | int) -> None:
    recording = _active
    if recording is None or isinstance(path, int):
        return
    where = path if type(path) is str and path[:1] == "/" else _whole(path, dir_fd)
    if where is None:
        return
    if isinstance(found, int):
        stamp: Stamp = found
    elif found.st_mode & 0o170000 == 0o040000 and not _asks_for_times():
        stamp = kind_stamp(found)
    else:
        stamp = full_stamp(found)
    looked = recording.files if follow else recording.links
    if looked.setdefault(where, stamp) != stamp:
        recording.look(where, stamp, looked)
    elif where.startswith(_MACHINE):
        _from_machine(recording, where)


def _whole(path: Any, dir_fd: int | None) -> str | None:
    """The absolute path that was meant, not tidied; None if it is none."""
    try:
        text = os.fsdecode(path)
        if text[:1] == "/":
            return text
        base = os.getcwd() if dir_fd is None else _readlink(f"/proc/self/fd/{dir_fd}")
    except (OSError, TypeError, ValueError):
        return None
    return f"{base}/{text}" if text else base


def _from_machine(recording: Recording, where: str) -> None:
    if _by_user():
        recording.spoil(f"{where} was read")


def _asks_for_times() -> bool:
    """Whether a directory's stat was asked for in a way that may show its times, or only for its kind."""
    frame: FrameType | None = sys._getframe(3)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_STDLIB):
            return not code.co_filename.startswith(_OURS)
        if code.co_name in _KIND_ONLY:
            return False
        frame = frame.f_back
    return True


def _by_user() -> bool:
    """Whether it is the user's code that does what is being done, and not merkl's own or an import."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_STDLIB[0], _STDLIB[1], _HERE)):
            return not name.startswith((*_IN_SITES, _OURS))
        frame = frame.f_back
    return False


def stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
    """As ``os.stat``."""
    try:
        found = _stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    except OSError as error:
        _see(path, dir_fd, follow_symlinks, error.errno or 0)
        raise
    _see(path, dir_fd, follow_symlinks, found)
    return found


def lstat(path: Any, *, dir_fd: int | None = None) -> os.stat_result:
    """As ``os.lstat``."""
    try:
        found = _lstat(path, dir_fd=dir_fd)
    except OSError as error:
        _see(path, dir_fd, False, error.errno or 0)
        raise
    _see(path, dir_fd, False, found)
    return found


def access(
    path: Any,
    mode: int,
    *,
    dir_fd: int | None = None,
    effective_ids: bool = False,
    follow_symlinks: bool = True,
) -> bool:
    """As ``os.access``."""
    with contextlib.suppress(OSError):
        stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    return _access(path, mode, dir_fd=dir_fd, effective_ids=effective_ids, follow_symlinks=follow_symlinks)


def readlink(path: Any, *, dir_fd: int | None = None) -> Any:
    """As ``os.readlink``."""
    with contextlib.suppress(OSError):
        lstat(path, dir_fd=dir_fd)
    return _readlink(path, dir_fd=dir_fd)


def open_file(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """As ``os.open``; its audit event does not say from which directory a path starts."""
    if dir_fd is not None and _active is not None:
        if _by_user() and flags & _WRITING:
            _active.spoil(f"{_whole(path, dir_fd)} was opened for writing")
        with contextlib.suppress(OSError):
            stat(path, dir_fd=dir_fd)
    return _open(path, flags, mode, dir_fd=dir_fd)


_WRAPPED: Final[dict[str, tuple[Callable[..., Any], Callable[..., Any]]]] = {
    "stat": (stat, _stat),
    "lstat": (lstat, _lstat),
    "access": (access, _access),
    "readlink": (readlink, _readlink),
    "open": (open_file, _open),
}
for _name, (_wrapper, _) in _WRAPPED.items():
    # Whoever takes hold of one is to find it, and to pickle it, where the original is.
    _wrapper.__module__, _wrapper.__name__, _wrapper.__qualname__ = "posix", _name, _name


def _patch(on: bool) -> None:
    for name, (wrapper, original) in _WRAPPED.items():
        for module in (os, posix):
            setattr(module, name, wrapper if on else original)
        for able in (
            os.supports_dir_fd,
            os.supports_fd,
            os.supports_follow_symlinks,
            os.supports_effective_ids,
        ):
            if original in able:
                able.add(wrapper)
    view: Any = os.environ
    both: Any = os.environb
    view._data = both._data = _Variables(view._data) if on else dict.copy(view._data)
    for stream, hears in ((sys.stdout, _hear_out), (sys.stderr, _hear_err)):
        if stream is not None:
            hears(stream) if on else stream.__dict__.pop("write", None)


# ---- what it says ------------------------------------------------------------------------------------------------------


def _hear_out(stream: Any) -> None:
    write = stream.write

    def hear(text: str) -> int:
        if _active is not None:
            _active.out.append(text)
        written: int = write(text)
        return written

    stream.write = hear


def _hear_err(stream: Any) -> None:
    write = stream.write

    def hear(text: str) -> int:
        if _active is not None and text:
            _active.said = True
        written: int = write(text)
        return written

    stream.write = hear


# ---- variables ---------------------------------------------------------------------------------------------------------


class _Variables(dict[bytes, bytes]):
    """What ``os.environ`` and ``os.environb`` are views of.  The values are those the process began with."""

    def __getitem__(self, name: bytes) -> bytes:
        if _active is not None:
            _active.variables.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        if _active is not None and isinstance(name, bytes):
            _active.variables.add(name)
        return super().__contains__(name)

    def get(self, name: bytes, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def __iter__(self) -> Iterator[bytes]:
        if _active is not None:
            _active.all_variables = True
        return super().__iter__()

    def __len__(self) -> int:
        if _active is not None:
            _active.all_variables = True
        return super().__len__()

    def keys(self) -> Any:
        return dict(self.items()).keys()

    def values(self) -> Any:
        return dict(self.items()).values()

    def items(self) -> Any:
        if _active is not None:
            _active.all_variables = True
        return super().items()

    def copy(self) -> dict[bytes, bytes]:
        return dict(self.items())


# ---- the audit hook ----------------------------------------------------------------------------------------------------


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _active is None:
        return
    handle = _HANDLERS.get(event)
    if handle is not None:
        handle(_active, event, args)


def _opened(recording: Recording, _event: str, args: tuple[Any, ...]) -> None:
    path, _, flags = args
    if isinstance(path, int) or path is None:
        return
    where = _whole(path, None)
    if where is None or own(where):
        if where is not None and where.startswith(_MACHINE):
            _from_machine(recording, where)
        return
    if isinstance(flags, int) and flags & _WRITING:
        if _by_user():
            recording.spoil(f"{where} was opened for writing")
        return
    with contextlib.suppress(OSError):
        stat(where)


def _listing(recording: Recording, event: str, args: tuple[Any, ...]) -> None:
    path = args[0] if args[0] is not None else "."
    where = _whole(path, None) if not isinstance(path, int) else _whole("", path)
    if where is None or own(f"{where}/"):
        if where is not None and where.startswith(_MACHINE):
            _from_machine(recording, where)
        return
    try:
        found: Stamp = full_stamp(_stat(where))
    except OSError as error:
        found = error.errno or 0
    recording.look(where, found, recording.files)
    closely = event == "os.scandir" and not sys._getframe(2).f_code.co_filename.startswith((*_STDLIB, _OURS))
    recording.listed[where] = recording.listed.get(where, False) or closely


def _effect(recording: Recording, event: str, args: tuple[Any, ...]) -> None:
    if event == "sqlite3.connect" and not _by_user():
        _see_database(recording, args[0])
    elif _by_user() or event in ("subprocess.Popen", "os.fork", "os.exec", "os.posix_spawn", "os.system"):
        recording.spoil(f"code of the Merklfile {_EFFECTS[event]}")


def _see_database(recording: Recording, path: Any) -> None:
    """A store answers from its database; one that is as it was says what it said."""
    text = os.fsdecode(path)
    if text.startswith("file:"):
        from urllib.parse import unquote

        text = unquote(text[len("file:") :].partition("?")[0])
    where = _whole(text, None)
    if where is None or os.path.basename(os.path.dirname(where)) == STATE:
        return  # The index is memory, and decides nothing.
    for name in (where, f"{where}-wal"):
        try:
            found: Stamp = full_stamp(_stat(name))
        except OSError as error:
            found = error.errno or 0
        recording.files.setdefault(name, found)
        recording.kept.add(name)


_HANDLERS: Final[dict[str, Callable[[Recording, str, tuple[Any, ...]], None]]] = {
    "open": _opened,
    "os.listdir": _listing,
    "os.scandir": _listing,
    **dict.fromkeys(_EFFECTS, _effect),
}

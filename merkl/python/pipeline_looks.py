"""What the function of a pipeline looks at besides its arguments.

It decides what can be asked again later (the contents of files, environment variables), and what cannot: then nothing of
the call is remembered.  The clock, randomness, ``sys.argv`` and what an extension in C reads by itself are not seen.

The invariant: whoever cannot be told from the pipeline's own code is taken for it.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from merkl.snapshot.asker import by_user, is_import

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EFFECTS: Final = {
    **dict.fromkeys(("os.listdir", "os.scandir"), "lists a directory; files() would be remembered"),
    **dict.fromkeys(
        ("subprocess.Popen", "os.system", "os.fork", "os.exec", "os.posix_spawn", "os.spawn"),
        "starts a process",
    ),
    **dict.fromkeys(
        ("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.gethostname"), "uses the network"
    ),
    **dict.fromkeys(
        ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime"),
        "changes files",
    ),
    **dict.fromkeys(("os.putenv", "os.unsetenv"), "changes environment variables"),
    "os.chdir": "changes the current directory",
    "sqlite3.connect": "opens a database",
    "builtins.input": "asks the user",
}  # fmt: skip


class Looks:
    """``files`` were opened, with the digest of each, None if it was not there; ``variables`` were asked for; ``spoiled`` says
    what cannot be asked again.  ``read`` says of an absolute path how it is called and its digest, or why that cannot be
    remembered, or None if it is no matter.
    """

    def __init__(self, read: "Callable[[str], tuple[str, str | None] | str | None]") -> None:
        self._read = read
        self.files: dict[str, str | None] = {}
        self.variables: dict[str, None] = {}
        self.spoiled = ""

    def spoil(self, why: str) -> None:
        """Nothing of this call can be remembered; the first reason is kept."""
        self.spoiled = self.spoiled or why

    def opened(self, path: str) -> None:
        """A file was opened, to be read."""
        found = self._read(path)
        if isinstance(found, str):
            self.spoil(found)
        elif found is not None:
            self.files.setdefault(*found)


_active: Final[list[Looks]] = []  # Of pipelines inside each other.
_hooked: Final[list[bool]] = []
_undo: Final[list[Callable[[], None]]] = []


@contextlib.contextmanager
def watching(looks: Looks) -> Iterator[None]:
    """Note what the code inside looks at."""
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_hook)
    _active.append(looks)
    patched = not _undo
    if patched:
        _patch()
    try:
        yield
    finally:
        if patched:
            _unpatch()
        _active.remove(looks)


@contextlib.contextmanager
def not_watching() -> Iterator[None]:
    """Run code that is not the pipeline's, such as a task's, in this process."""
    paused, _active[:] = list(_active), []
    patched = bool(_undo)
    _unpatch()
    try:
        yield
    finally:
        _active[:] = paused
        if patched:
            _patch()


def _spoil(why: str) -> None:
    for looks in _active:
        looks.spoil(why)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _active:
        return
    if event == "open":
        path, _, flags = args
        if isinstance(path, int) or path is None or is_import() or not by_user():
            return
        if isinstance(flags, int) and flags & _WRITING:
            _spoil("it writes files")
            return
        for looks in _active:
            looks.opened(os.path.abspath(os.fsdecode(path)))
    elif event in _EFFECTS and not is_import() and by_user():
        _spoil(f"it {_EFFECTS[event]}")


# ---- what raises no audit event --------------------------------------------------------------------------------------

_ASKS: Final = ("stat", "lstat", "access", "readlink")


def _patch() -> None:
    variables: Any = os.environ
    both: Any = os.environb
    before = variables._data
    asked = _Variables(before)
    variables._data = both._data = asked

    def restore() -> None:
        if variables._data is asked:
            variables._data = both._data = before

    _undo.append(restore)
    for name in _ASKS:
        _patch_function(name)


def _patch_function(name: str) -> None:
    original = getattr(os, name)

    def ask(*args: Any, **options: Any) -> Any:
        if _active and not is_import() and by_user():
            _spoil("it looks whether a file is there; file() and files() would be remembered")
        return original(*args, **options)

    able = [
        each
        for each in (
            os.supports_dir_fd,
            os.supports_fd,
            os.supports_follow_symlinks,
            os.supports_effective_ids,
        )
        if original in each
    ]
    for each in able:
        each.add(ask)
    setattr(os, name, ask)

    def restore() -> None:
        if getattr(os, name) is ask:
            setattr(os, name, original)
        for each in able:
            each.discard(ask)

    _undo.append(restore)


def _unpatch() -> None:
    while _undo:
        _undo.pop()()


class _Variables:
    """What ``os.environ`` and ``os.environb`` are views of."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getitem__(self, name: bytes) -> bytes:
        if by_user():
            self._note(name)
        value: bytes = self._inner[name]
        return value

    def __contains__(self, name: object) -> bool:
        if by_user():
            self._note(name)
        return name in self._inner

    def _note(self, name: object) -> None:
        for looks in _active:
            if isinstance(name, bytes):
                looks.variables.setdefault(os.fsdecode(name))

    def __iter__(self) -> Iterator[bytes]:
        if by_user():
            _spoil("it asks for all environment variables")
        return iter(self._inner)

    def __len__(self) -> int:
        if by_user():
            _spoil("it asks for all environment variables")
        return len(self._inner)

    def __setitem__(self, name: bytes, value: bytes) -> None:
        self._inner[name] = value

    def __delitem__(self, name: bytes) -> None:
        del self._inner[name]

    def keys(self) -> Any:
        """All names."""
        return list(self)

    def items(self) -> Any:
        """All names and values."""
        return [(name, self._inner[name]) for name in self]

"""The user's own directory of settings, and files in it that nobody else may write, or read.

It decides what a file must be before it is believed: the user's own, and as closed as it has to be.

The invariant: a file there is replaced in whole, and is on the disk before anything relies on it.
"""

import contextlib
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from typing import Final

from merkl.errors import ConfigError
from merkl.filesystem import alone, sync_directory
from merkl.trust.directories import is_of_user, why_unsafe

_LOCK: Final = "lock"
_LONGEST: Final = 1 << 24  # Letters.
_LINKS: Final = 40  # As many as the system follows.
_ELSEWHERE: Final = "XDG_CONFIG_HOME says where settings are kept"


def settings_directory(environ: Mapping[str, str]) -> str:
    """Where this user's settings of merkl are: ``$XDG_CONFIG_HOME/merkl``, or ``~/.config/merkl``."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # As its specification says: a relative one is ignored.
        home = environ.get("HOME", "")
        base = os.path.join(home if os.path.isabs(home) else _home(), ".config")
    return os.path.join(base, "merkl")


def _home() -> str:
    """The home that the system knows of; in a container the user may be a number without any."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"


def refuse_inside(path: str, project: str, what: str) -> None:
    """Refuse a file of settings that lies in a project, which others write to as well; "" is no project.

    Raises:
        ConfigError: it does.
    """
    root = os.path.realpath(project) if project else ""
    if root and (os.path.realpath(path) + os.sep).startswith(root.rstrip(os.sep) + os.sep):
        raise ConfigError(
            f"{what} not kept in a project, and {os.path.dirname(path)} is in {project}",
            hint="set XDG_CONFIG_HOME to a directory elsewhere",
        )


def read_own(path: str, *, secret: bool = False) -> str | None:
    """The text of a file that only this user can have written, and if it is ``secret`` read; None if there is none.

    Raises:
        ConfigError: it is open to others, or cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            known = os.fstat(file.fileno())
            _refuse_open(path, known, secret)
            text = file.read(_LONGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path} cannot be read: {why}", hint=_ELSEWHERE) from error
    if len(text) > _LONGEST:  # Its end may say what is revoked.
        raise ConfigError(f"{path} is too long to be believed", hint="move it away")
    return text


def _refuse_open(path: str, known: os.stat_result, secret: bool) -> None:
    if known.st_uid and not is_of_user(known.st_uid):
        raise ConfigError(f"{path} belongs to another user, and is not believed", hint=_ELSEWHERE)
    # Who can write there could put another file of this user's in its place, or take it away.
    for directory in _directories(path):
        if why := why_unsafe(directory, or_root=True):
            text = f"{directory} {why}, so what is in it is not believed"
            raise ConfigError(text, hint=f"chmod go-w {directory}")
    others = known.st_mode & (0o077 if secret else 0o022)
    if others and stat.S_ISREG(known.st_mode):
        verb = "read" if known.st_mode & 0o044 and secret else "written"
        raise ConfigError(
            f"{path} can be {verb} by others, and is not used",
            hint=f"chmod {'600' if secret else 'go-w'} {path}",
        )


def _directories(path: str) -> Iterator[str]:
    """The directory of a file, and if that is a link those of all that it leads through."""
    yield os.path.dirname(path)
    for _ in range(_LINKS):
        if not os.path.islink(path):
            return
        path = os.path.join(os.path.dirname(path), os.readlink(path))
        directory = os.path.dirname(path)
        # In a sticky one, such as the system's store of packages or /tmp, nobody takes the place of another's file.
        if not os.stat(directory).st_mode & stat.S_ISVTX:
            yield directory


def write_own(path: str, text: str, *, secret: bool = False, replace: bool = True) -> bool:
    """Write a file of this user's, whole and on the disk; False if there is one already and it is not to be replaced.

    Raises:
        ConfigError: it cannot be written.
    """
    path = os.path.realpath(path)  # Some keep all their settings elsewhere, and have links here.
    directory = os.path.dirname(path)
    draft = f"{path}.{os.getpid()}-{os.urandom(6).hex()}"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if secret else 0o644)
        try:
            with open(fd, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600 if secret else 0o644)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            done = _publish(draft, path, replace)
        finally:
            if os.path.lexists(draft):
                os.unlink(draft)
        sync_directory(directory)
        return done
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            hint=_ELSEWHERE,
        ) from error


@contextlib.contextmanager
def alone_in(directory: str) -> Iterator[None]:
    """Change files of a directory of settings, which is made if need be, while no other process does so.

    Raises:
        ConfigError: there can be no such directory.
    """
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        # A file: over NFS a directory cannot be locked.
        fd = os.open(os.path.join(directory, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"{directory} cannot be used: {error.strerror}",
            hint=_ELSEWHERE,
        ) from error
    with alone(fd):  # Where there are no locks, two changes at one moment may lose one.
        yield


def _publish(draft: str, path: str, replace: bool) -> bool:
    with contextlib.nullcontext() if replace else alone_in(os.path.dirname(path)):
        if not replace and os.path.lexists(path):
            return False
        os.rename(draft, path)
    return True

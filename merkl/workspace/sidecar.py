"""Sidecars: the small files beside tracked data that are committed in its place.

It decides the format, and when a sidecar is written anew: only if digest, kind, executable bit or serializer changes,
so that rebuilding the same bytes makes no difference for git.

The format is one ``name: value`` to a line, in a fixed order: valid YAML, of which it is a small part.  Anything that
is not exactly it is an error that names file and line.  Line ends may be CRLF, as git may have made them.

The invariant: ``parse_sidecar(write(s)) == s``, and a sidecar never holds anything that would be run.
"""

import json
import os
import re
import stat
from collections.abc import Callable
from typing import Any, Final

from merkl.dataclass import dataclass, field_names
from merkl.digest import Digest, Key
from merkl.errors import PlacementError, SidecarConflict, SidecarError
from merkl.nodes import Kind
from merkl.pattern import pattern
from merkl.workspace.paths import NAME_MAX, absolute, placeable
from merkl.workspace.place import put_file

VERSION: Final = 1
LARGEST: Final = 1 << 16  # bytes
SUFFIX: Final = ".merkl"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a sidecar says of the data beside it.

    ``size`` is in bytes, of all files together for a directory.  ``modified_ns`` is since the epoch.  ``key``, ``output``,
    ``task`` and ``serializer`` are those of the node that made it; ``key`` is None for data that no node made.
    """

    kind: Kind
    digest: Digest
    size: int
    modified_ns: int
    executable: bool = False
    key: Key | None = None
    output: str = ""
    task: str = ""
    serializer: str = ""

    def same_data(self, other: "Sidecar") -> bool:
        """Whether the two agree on everything but when, and by which node, the data was made."""
        mine = (self.kind, self.digest, self.executable, self.serializer)
        return mine == (other.kind, other.digest, other.executable, other.serializer)


def sidecar_of(path: str) -> str:
    """The path of the sidecar of what is at ``path``.

    Raises:
        PlacementError: the name would be too long.
    """
    if len(os.fsencode(os.path.basename(path))) > NAME_MAX - len(SUFFIX):
        raise PlacementError(
            f"the name of {path} is too long for a sidecar beside it",
            hint=f"choose one of at most {NAME_MAX - len(SUFFIX)} bytes",
        )
    return path + SUFFIX


def read_sidecar(root: str, path: str) -> Sidecar | None:
    """The sidecar of what is at ``path``, normalised; None if there is none.

    Raises:
        SidecarError: there is one, and it cannot be understood.
    """
    data = read_bytes_of(root, path)
    return None if data is None else parse_sidecar(data, sidecar_of(path))


def read_bytes_of(root: str, path: str) -> bytes | None:
    """What the sidecar of ``path`` holds, whatever that is; None if there is none.

    Raises:
        SidecarError: it is no file, cannot be read, or is longer than any sidecar.
    """
    name = sidecar_of(path)
    try:
        fd = os.open(absolute(name, root), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise SidecarError(f"{name} is no file", hint="remove it, and build or track again")
            if found.st_size > LARGEST:
                raise _unusable(name, 1, f"{found.st_size} bytes are more than any sidecar has")
            return os.read(fd, LARGEST + 1)
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(absolute(name, root)):
            hint = "remove it, and build or track again"
            raise SidecarError(f"{name} is a symbolic link that leads nowhere", hint=hint) from None
        return None
    except OSError as error:
        raise SidecarError(f"{name} cannot be read: {error.strerror}", hint="see who may read it") from None


def write_sidecar(
    root: str, path: str, sidecar: Sidecar, *, durable: bool = False, resolve: bool = False
) -> Sidecar:
    """Write the sidecar of what is at ``path``, unless the one there says the same of the data; the one now there.

    The data should get the modification time of what is returned.  ``resolve`` replaces one with git's conflict
    markers too: git has both sides.

    Raises:
        SidecarError: the one there cannot be understood, so nobody knows what would be lost with it.
        PlacementError, WorkspaceError: it cannot be written.
    """
    placeable(path)
    try:
        old = read_sidecar(root, path)
    except SidecarConflict:
        if not resolve:
            raise
        old = None
    if old is not None and old.same_data(sidecar):
        return old
    put_file(root, sidecar_of(path), render_sidecar(sidecar), durable=durable)
    return sidecar


def render_sidecar(sidecar: Sidecar) -> bytes:
    """The bytes of a sidecar."""
    lines = [
        f"merkl: {VERSION}",
        f"kind: {sidecar.kind}",
        f'digest: "{sidecar.digest}"',
        f"size: {sidecar.size}",
    ]
    lines.append(f"modified: {_iso(sidecar.modified_ns)}")
    lines.append(f"executable: {str(sidecar.executable).lower()}")
    if sidecar.key is not None:
        lines += [f'key: "{sidecar.key}"', f"output: {json.dumps(sidecar.output)}"]
        lines += [f"task: {json.dumps(sidecar.task)}", f"serializer: {json.dumps(sidecar.serializer)}"]
    return "".join(line + "\n" for line in lines).encode("ascii")


_EARLIEST: Final = -62_135_596_800  # 0001-01-01, in seconds
_LATEST: Final = 253_402_300_799  # 9999-12-31
_ISO: Final = pattern(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", re.ASCII)


def _iso(ns: int) -> str:
    """A time in UTC with all its digits; one outside the years 1 to 9999 becomes the nearest inside."""
    from datetime import datetime, timedelta  # Slow to load.

    seconds, rest = divmod(ns, 1_000_000_000)
    if not _EARLIEST <= seconds <= _LATEST:
        seconds, rest = min(max(seconds, _EARLIEST), _LATEST), 0
    when = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return f"{when.isoformat(timespec='seconds')}.{rest:09d}Z"


def _from_iso(text: str) -> int:
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError("a time such as 2026-01-31T12:00:00.000000000Z was expected")
    from datetime import datetime

    since = datetime.fromisoformat(found[1]) - datetime(1970, 1, 1)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + int(found[2])


def _word(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{' or '.join(words)} was expected")
        return text

    return read


def _number(text: str) -> int:
    if not re.fullmatch(r"0|[1-9]\d{0,18}", text, re.ASCII):
        raise ValueError("a number was expected")
    return int(text)


def _quoted(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, str):
        raise ValueError("a text in double quotes was expected")
    return value


_READERS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "merkl": ("version", _number),
    "kind": ("kind", _word("file", "dir", "value")),
    "digest": ("digest", lambda text: Digest.parse(_quoted(text))),
    "size": ("size", _number),
    "modified": ("modified_ns", _from_iso),
    "executable": ("executable", lambda text: _word("true", "false")(text) == "true"),
    "key": ("key", lambda text: Key.parse(_quoted(text))),
    "output": ("output", _quoted),
    "task": ("task", _quoted),
    "serializer": ("serializer", _quoted),
}
_NEEDED: Final = ("merkl", "kind", "digest", "size", "modified", "executable")
_OF_A_NODE: Final = ("key", "output", "task", "serializer")
_CONFLICT: Final = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")


def parse_sidecar(data: bytes, name: str) -> Sidecar:
    """Read the bytes of the sidecar called ``name``.

    Raises:
        SidecarError: they are not exactly what a sidecar of this version holds.
    """
    if len(data) > LARGEST:
        raise _unusable(name, 1, f"more than {LARGEST} bytes are more than any sidecar has")
    if not data.strip():
        raise _unusable(name, 1, "it is empty")
    values: dict[str, Any] = {}
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    _no_conflict(name, lines)
    for number, line in enumerate(lines[:-1], 1):
        if line and not line.startswith(b"#"):
            _read_line(name, number, line, values)
    if lines[-1]:
        raise _unusable(name, len(lines), "it ends in the middle of a line")
    needed = _NEEDED + (_OF_A_NODE if any(each in values for each in _OF_A_NODE) else ())
    missing = [each for each in needed if each not in values]
    if missing:
        raise _unusable(name, len(lines), f"it ends without saying {missing[0]!r}")
    known = field_names(Sidecar)
    return Sidecar(
        **{
            attribute: values[each]
            for each, (attribute, _) in _READERS.items()
            if each in values and attribute in known
        }
    )


def _no_conflict(name: str, lines: list[bytes]) -> None:
    for number, line in enumerate(lines, 1):
        if line[:7].decode("latin-1") in _CONFLICT:
            raise SidecarConflict(
                f"{name}:{number}: git left its conflict markers here",
                hint=f"keep one side (`git checkout --ours {name}` or `--theirs`), or remove it and build or track again",
            )


def _read_line(name: str, number: int, line: bytes, values: dict[str, Any]) -> None:
    try:
        field, colon, text = line.decode("ascii").partition(": ")
    except UnicodeDecodeError:
        raise _unusable(name, number, "it holds bytes that no sidecar has") from None
    if not values and field != "merkl":
        raise _unusable(name, number, "it does not begin with 'merkl: 1'")
    if not colon or field not in _READERS:
        raise _unusable(name, number, f"{line[:40].decode('ascii')!r} is not part of a sidecar")
    if field in values:
        raise _unusable(name, number, f"it says {field!r} twice")
    try:
        values[field] = _READERS[field][1](text)
    except ValueError as error:
        raise _unusable(name, number, f"{field}: {error}") from None
    if field == "merkl" and values[field] != VERSION:
        raise SidecarError(
            f"{name}:{number}: it has format {text[:20]}, and this merkl reads format {VERSION}",
            hint="upgrade merkl",
        )


def _unusable(name: str, line: int, problem: str) -> SidecarError:
    hint = "get it back from version control, or remove it and build or track again"
    return SidecarError(f"{name}:{line}: not a sidecar: {problem}", hint=hint)

"""Secrets: those that are arguments, those of a call, and texts without them.

It decides what counts as a secret's trace.  The invariant: no text that went through here holds a value, or a line of a
value of several lines, as it is or as a shell, Python or JSON would quote it, nor the value in UTF-16 or UTF-32, in base64,
hexadecimal or as part of a URL.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from merkl.errors import MerklError, TaskError, TaskFailed
from merkl.execute.workplace import Staged
from merkl.nodes import Call, Node, calling_place, current_session
from merkl.pattern import pattern

VARIABLE: Final = "MERKL_SECRET_"  # Before the name, in the environment that a command starts with.
SHOWN: Final = b"***"
_NAME: Final = pattern("[A-Za-z_][A-Za-z0-9_]*")
_LONG_LINE: Final = 8  # Bytes; a shorter line of a longer secret says little and occurs by chance.
_WORD: Final = 4  # Bytes; what is shorter is not looked for in results.
_CHUNK: Final = 1 << 20
# RFC 3986
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_BASE64_LINE: Final = 57  # Bytes in a line where base64 is broken into lines.
_META: Final = pattern(rb"[^A-Za-z0-9_@%+=:,./\x80-\xff-]")  # What ``printf %q`` puts a backslash before.


class Secret:
    """An argument of a Python task that is an environment variable of the process that builds.

    The function gets its value as a str; all else, keys and messages included, knows only its name.

    Raises:
        TaskError: no variable can have that name.
    """

    __slots__ = ("name",)

    # Whether there ever was one in this process: else nobody need look for them.
    some: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise TaskError(
                f"Secret takes the name of an environment variable, not {name!r:.30}",
                hint='Secret("TOKEN"), and export TOKEN=… where merkl is started',
                at=calling_place(),
            )
        self.name: Final = name
        Secret.some = True

    @property
    def value(self) -> str:
        """What the variable holds here.

        Raises:
            TaskFailed: it is not set; or a task asks that was not given it, so that nobody would keep it out of its log.
        """
        may_see = getattr(current_session(), "may_see", None)
        if may_see is not None:
            may_see(self)
        found = os.environ.get(self.name)
        if found is None:
            raise _unset(self.name, "the task")
        return found

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.name == other.name

    def __hash__(self) -> int:
        return hash((Secret, self.name))

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, (self.name,)


def _unset(name: str, task: str) -> TaskFailed:
    return TaskFailed(
        f"{task} needs the secret {name}, which is not in the environment", hint=f"export {name}=…"
    )


def require_secrets(nodes: Iterable[Node], environ: Mapping[bytes, bytes], root: str) -> None:
    """See that the secrets which are arguments are there.

    Raises:
        TaskFailed: one is not set.
    """
    if not Secret.some:
        return
    for node in nodes:
        for name in node.call.secrets:
            if name.encode() not in environ:
                error = _unset(name, node.name)
                error.details["at"] = node.place.relative_to(root)
                raise error


def secret_told(node: Node) -> TaskFailed:
    """The error for a task whose result holds a secret."""
    return TaskFailed(
        f"{node.name} returned the value of a secret ({', '.join(node.call.secrets)}), which would stay in the store",
        hint="return what was made with it, not the secret itself",
        at=node.place,
    )


def secrets_of(call: Call, environ: Mapping[bytes, bytes]) -> list[bytes]:
    """What must not be shown of a call's secrets, the longest first."""
    if not (names := call.secrets):
        return []
    found: set[bytes] = set()
    encoded: set[bytes] = set()
    for name in names:
        value = environ.get(name.encode(), b"")
        lines = value.splitlines()
        found |= {value, value.rstrip(b"\r\n")}
        encoded |= set(_encoded(value.rstrip(b"\r\n")))
        if len(lines) > 1:
            found |= {line for line in lines if len(line) >= _LONG_LINE}
    found |= encoded | {form for value in list(found) for form in _quoted(value)}
    return sorted(found - {b""}, key=lambda secret: (-len(secret), secret))


def _quoted(value: bytes) -> Iterator[bytes]:
    """How ``set -x``, ``printf %q``, ``repr`` and JSON write a value that has quotes or the like in it, without the quotes."""
    if value.isalnum():
        return
    yield value.replace(b"'", b"'\\''")
    yield _META.sub(rb"\\\g<0>", value)
    import json

    text = value.decode("utf-8", "surrogateescape")
    for written in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]):
        plain = written.encode("utf-8", "surrogateescape")
        yield plain
        yield plain.replace(b'\\"', b'"').replace(b"'", b"\\'")  # And in ``$'…'``.


def _encoded(value: bytes) -> Iterator[bytes]:
    """How a value stands in what was made from it by no more than another spelling, unless it is short."""
    if len(value) < _LONG_LINE:
        return
    import binascii

    text = value.decode("utf-8", "surrogateescape")
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        yield text.encode(encoding, "surrogatepass")
    yield value.hex().encode()
    yield value.hex().upper().encode()
    part = b"".join(bytes([each]) if each in _UNRESERVED else b"%%%02X" % each for each in value)
    for written in (part, part.replace(b"%2F", b"/")):
        yield written
        yield written.replace(b"%20", b"+")
    for before in range(3):
        # Three bytes are four characters: what stands at the ends depends on what is beside it, too.
        written = binascii.b2a_base64(bytes(before) + value, newline=False)
        written = written[(0, 2, 3)[before] : 8 * (before + len(value)) // 6]
        yield written
        yield written.translate(_URL_SAFE)
    if len(value) > _BASE64_LINE:
        for start in range(0, len(value) - _LONG_LINE, _BASE64_LINE):
            yield binascii.b2a_base64(value[start : start + _BASE64_LINE], newline=False)


def without(data: bytes, secrets: list[bytes]) -> bytes:
    """``data`` with ``***`` for every secret."""
    for secret in secrets:
        data = data.replace(secret, SHOWN)
    return data


def text_without(text: str, secrets: list[bytes]) -> str:
    """The same for text, in which bytes that are no text may stand as surrogates."""
    if not secrets:
        return text
    return without(text.encode("utf-8", "surrogateescape"), secrets).decode("utf-8", "surrogateescape")


def hide_in_error(error: MerklError, secrets: list[bytes]) -> None:
    """Take secrets out of all the texts of an error, and let go of the one it comes from, which may hold others."""
    if not secrets:
        return
    error.headline, error.hint = text_without(error.headline, secrets), text_without(error.hint, secrets)
    error.args = (error.headline,)
    for name, value in error.details.items():
        if isinstance(value, str):
            error.details[name] = text_without(value, secrets)
    error.__cause__ = error.__context__ = None


def make_private(path: bytes) -> None:
    """Let nobody else read what is printed before the secrets are taken out of it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


class Veil:
    """Bytes that come in pieces, without secrets.  What may be the beginning of one is held back until more has come."""

    __slots__ = ("_held", "_pattern", "_secrets")

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = secrets
        self._pattern = re.compile(b"|".join(map(re.escape, secrets)))  # The longest first.
        self._held = b""

    def take(self, data: bytes) -> bytes:
        """What can be shown now."""
        if not self._secrets:
            return data
        data = self._held + data
        cut = self._begun(data)
        if not any(secret in data for secret in self._secrets):  # Far cheaper than to search for any of them.
            self._held = data[cut:]
            return data[:cut]
        shown, at = [], 0
        for match in self._pattern.finditer(data):
            if match.start() >= cut:
                break
            shown += [data[at : match.start()], SHOWN]
            at = match.end()
        cut = max(at, cut)
        self._held = data[cut:]
        return b"".join([*shown, data[at:cut]])

    def rest(self) -> bytes:
        """What was held back, now that no more comes."""
        data, self._held = self._held, b""
        return self._pattern.sub(SHOWN, data) if self._secrets else data

    def _begun(self, data: bytes) -> int:
        """Where the first secret begins of which ``data`` has only a part; its end if there is none."""
        first = len(data)
        for secret in self._secrets:
            at = data.find(secret[:1], max(0, len(data) - len(secret) + 1))
            while 0 <= at < first:
                if secret.startswith(data[at:]):
                    first = at
                at = data.find(secret[:1], at + 1)
        return first


def hide_in_file(path: bytes, secrets: list[bytes]) -> None:
    """Rewrite a file without secrets; a missing one is left missing."""
    if not secrets:
        return
    veil = Veil(secrets)
    try:
        with open(path, "rb") as source, open(path + b".hidden", "wb") as target:
            while chunk := source.read(_CHUNK):
                target.write(veil.take(chunk))
            target.write(veil.rest())
    except FileNotFoundError:
        return
    os.replace(path + b".hidden", path)


def told_by_output(staged: Staged, root: bytes, secrets: Sequence[bytes]) -> bool:
    """Whether what a task made, which would stay in the store, holds a secret; its path may be relative to ``root``."""
    if not secrets:
        return False
    named = os.fsencode(f"{staged.name} {staged.filename}")
    if told(staged.data or b"", secrets) or told(named, secrets):
        return True
    return staged.path is not None and told_by_file(os.path.join(root, staged.path), secrets)


def told_by_file(path: bytes, secrets: Sequence[bytes]) -> bool:
    """Whether a file, or one in a directory, holds a secret, or has its name."""
    if os.path.isdir(path) and not os.path.islink(path):
        with os.scandir(path) as entries:
            return any(told(entry.name, secrets) or told_by_file(entry.path, secrets) for entry in entries)
    if not secrets or not os.path.isfile(path):
        return False
    overlap, before = max(map(len, secrets)) + 1, b""
    with open(path, "rb") as file:
        chunk = file.read(_CHUNK)
        while chunk:
            after = file.read(_CHUNK)
            if told(before + chunk, secrets, begun=bool(before), goes_on=bool(after)):
                return True
            before, chunk = chunk[-overlap:], after
    return False


def told(data: bytes, secrets: Sequence[bytes], *, begun: bool = False, goes_on: bool = False) -> bool:
    """Whether ``data`` holds a secret; a short one may stand anywhere by chance, and only counts as a word.

    If ``begun``, what precedes the first byte is not known; if it ``goes_on``, neither is what follows the last one.
    """
    if any(len(secret) >= _LONG_LINE and secret in data for secret in secrets):
        return True
    words = [secret for secret in secrets if _WORD <= len(secret) < _LONG_LINE and not secret.isdigit()]
    if not any(word in data for word in words):
        return False
    either = b"|".join(map(re.escape, words))
    found = re.compile(rb"(?<![A-Za-z0-9_])(?:%b)(?![A-Za-z0-9_])" % either).finditer(data, begun)
    return any(match.end() < len(data) or not goes_on for match in found)

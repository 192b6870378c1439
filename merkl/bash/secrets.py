"""The secrets of a call, and texts without them.

It decides what counts as a secret's trace.  The invariant: no text that went through here holds a value, or a line of a
value of several lines, as it is or as a shell, Python or JSON would quote it.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from merkl.bash.placeholders import SecretArg
from merkl.bash.task import BashCall
from merkl.nodes import Call

VARIABLE: Final = "MERKL_SECRET_"  # Before the name, in the environment that a command starts with.
SHOWN: Final = b"***"
_LONG_LINE: Final = 8  # Bytes; a shorter line of a longer secret says little and occurs by chance.
_CHUNK: Final = 1 << 20
_META: Final = re.compile(rb"[^A-Za-z0-9_@%+=:,./\x80-\xff-]")  # What ``printf %q`` puts a backslash before.


def secret_names(call: Call) -> list[str]:
    """The variables that a call takes secrets from."""
    if not isinstance(call, BashCall):
        return []
    return [p.name for p in call.task.template.placeholders.values() if isinstance(p, SecretArg)]


def secrets_of(call: Call, environ: Mapping[bytes, bytes]) -> list[bytes]:
    """What must not be shown of a call's secrets, the longest first."""
    found: set[bytes] = set()
    for name in secret_names(call):
        value = environ.get(name.encode(), b"")
        lines = value.splitlines()
        found |= {value, value.rstrip(b"\r\n")}
        if len(lines) > 1:
            found |= {line for line in lines if len(line) >= _LONG_LINE}
    found |= {form for value in list(found) for form in _quoted(value)}
    return sorted(found - {b""}, key=lambda secret: (-len(secret), secret))


def _quoted(value: bytes) -> Iterator[bytes]:
    """How ``set -x``, ``printf %q``, ``repr`` and JSON write a value that has quotes or the like in it, without the quotes."""
    if value.isalnum():
        return
    yield value.replace(b"'", b"'\\''")
    yield _META.sub(rb"\\\g<0>", value)
    text = value.decode("utf-8", "surrogateescape")
    for written in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]):
        plain = written.encode("utf-8", "surrogateescape")
        yield plain
        yield plain.replace(b'\\"', b'"').replace(b"'", b"\\'")  # And in ``$'…'``.


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

"""The secrets of a call, and texts without them.

It decides what counts as a secret's trace.  The invariant: no text that went through here holds a value, or a line of a
value of several lines.
"""

import os
from collections.abc import Mapping
from typing import Final

from merkl.bash.placeholders import SecretArg
from merkl.bash.task import BashCall
from merkl.nodes import Call

VARIABLE: Final = "MERKL_SECRET_"  # Before the name, in the environment that a command starts with.
SHOWN: Final = b"***"
_LONG_LINE: Final = 8  # Bytes; a shorter line of a longer secret says little and occurs by chance.
_CHUNK: Final = 1 << 20


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
    return sorted(found - {b""}, key=lambda secret: (-len(secret), secret))


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


def hide_in_file(path: bytes, secrets: list[bytes]) -> None:
    """Rewrite a file without secrets; a missing one is left missing."""
    if not secrets:
        return
    most = len(secrets[0]) - 1  # Bytes of a secret that may have been read without its end.
    try:
        with open(path, "rb") as source, open(path + b".hidden", "wb") as target:
            held = b""
            while chunk := source.read(_CHUNK):
                held = without(held + chunk, secrets)
                cut = max(0, len(held) - most)
                target.write(held[:cut])
                held = held[cut:]
            target.write(held)
    except FileNotFoundError:
        return
    os.replace(path + b".hidden", path)

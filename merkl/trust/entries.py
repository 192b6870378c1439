"""What a user has said about keys, as text: one entry to a line.

    ed25519:KEY allow=files,pickle namespace=default name=alice
    revoked ed25519:KEY
    project DIGEST
    store "/path"

Quotes around a path may be left out if it has no ``;`` and no ``#``.

It decides what such a text means.  It reads no file.

The invariant: a line that is not understood is an error, never left out: it may have been one that revokes.
"""

import json
import re
from collections.abc import Iterable
from typing import Final, TypeAlias, assert_never

from merkl.dataclass import dataclass
from merkl.remotes import NAMESPACE, is_namespace
from merkl.trust.signer import Signer

ANY: Final = "*"
_NAME: Final = re.compile(r"[^\s;#]{1,80}")
_PART: Final = re.compile(r'\s*(store +"(?:[^"\\]|\\.)*"|#.*|[^;#]+)')
_FILES: Final = "files"
_PICKLES: Final = "files,pickle"


@dataclass(frozen=True, slots=True)
class Trusted:
    """A key whose records count in a namespace, or in all (``*``); with ``pickles`` also those that hold pickles."""

    signer: Signer
    pickles: bool = False
    namespace: str = NAMESPACE
    name: str = ""

    def holds_in(self, namespace: str) -> bool:
        """Whether it says anything about that namespace."""
        return self.namespace in (ANY, namespace)

    @property
    def allow(self) -> str:
        """What its records may hold, as it is written."""
        return _PICKLES if self.pickles else _FILES

    def __str__(self) -> str:
        name = f" name={self.name}" if self.name else ""
        return f"{self.signer} allow={self.allow} namespace={self.namespace}{name}"


@dataclass(frozen=True, slots=True)
class Revoked:
    """A key that counts no more, whoever else says so."""

    signer: Signer

    def __str__(self) -> str:
        return f"revoked {self.signer}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a project proposes was looked at, and counts as it was then: the digest of it."""

    digest: str

    def __str__(self) -> str:
        return f"project {self.digest}"


@dataclass(frozen=True, slots=True)
class SafeStore:
    """A store that may be used, whoever else can write there."""

    path: str

    def __str__(self) -> str:
        return f"store {json.dumps(self.path)}"


Entry: TypeAlias = Trusted | Revoked | Accepted | SafeStore


def parse_entries(text: str) -> list[Entry]:
    """Read lines; ``#`` begins a remark, and ``;`` ends a line as well.

    Raises:
        ValueError: a line is no entry; the message says which.
    """
    entries: list[Entry] = []
    for number, line in enumerate(text.splitlines(), 1):
        for part in map(str.strip, _PART.findall(line)):
            if part and not part.startswith("#"):
                try:
                    entries.append(_entry(part))
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from None
    return entries


def _entry(line: str) -> Entry:
    kind, _, rest = line.partition(" ")
    if kind == "revoked":
        return Revoked(Signer.parse(rest.strip()))
    if kind == "project":
        if not re.fullmatch("[0-9a-f]{64}", rest.strip()):
            raise ValueError("project is followed by 64 hexadecimal digits")
        return Accepted(rest.strip())
    if kind == "store":
        path = json.loads(rest) if rest.startswith('"') else rest.strip()
        if not isinstance(path, str) or not path.startswith("/"):
            raise ValueError("store is followed by an absolute path")
        return SafeStore(path)
    return parse_trusted(line)


def parse_trusted(line: str, *, namespace: str = NAMESPACE) -> Trusted:
    """Read one key with what it may do; ``namespace`` is the one meant where none is named.

    Raises:
        ValueError: it is something else.
    """
    key, *words = line.split()
    signer = Signer.parse(key)
    said: dict[str, str] = {}
    for word in words:
        what, equals, value = word.partition("=")
        if not equals or what not in ("allow", "namespace", "name") or what in said:
            raise ValueError(f"{word[:80]!r} is none of allow=, namespace= and name=, each at most once")
        said[what] = value
    return trusted(signer, said.get("allow", _FILES), said.get("namespace", namespace), said.get("name", ""))


def trusted(signer: Signer, allow: str, namespace: str, name: str) -> Trusted:
    """An entry made of what was said of it.

    Raises:
        ValueError: one of them is no such thing.
    """
    if allow not in (_FILES, _PICKLES):
        raise ValueError(f"a key may be trusted for {_FILES} or {_PICKLES}, not {allow[:80]!r}")
    if namespace != ANY and not is_namespace(namespace):
        raise ValueError(f"{namespace[:80]!r} is no namespace")
    if name and not (_NAME.fullmatch(name) and name.isprintable()):
        raise ValueError(
            f"a name has at most 80 letters that can be printed, and no spaces: not {name[:100]!r}"
        )
    return Trusted(signer, allow == _PICKLES, namespace, name)


def with_entry(entries: Iterable[Entry], new: Entry) -> list[Entry]:
    """The entries with one more, which takes the place of what was said of the same before."""
    return [*(each for each in entries if not _is_about_same(each, new)), new]


def _is_about_same(old: Entry, new: Entry) -> bool:
    match new:
        case Trusted():
            if isinstance(old, Trusted):
                return old.signer == new.signer and new.namespace in (ANY, old.namespace)
            return isinstance(old, Revoked) and old.signer == new.signer
        case Revoked():
            return isinstance(old, Trusted | Revoked) and old.signer == new.signer
        case Accepted() | SafeStore():
            return old == new
        case other:
            assert_never(other)


def written(entries: Iterable[Entry]) -> str:
    """The text of entries."""
    return "".join(f"{each}\n" for each in entries)

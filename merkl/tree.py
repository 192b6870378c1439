"""The form of a directory as one value: sorted entries, and the bytes whose digest names it.

It decides when two directories are equal.  It touches no disk.

The invariant: ``Tree.encode`` is canonical and ``Tree.decode`` refuses whatever ``encode`` would not have written, so one
directory has one digest; and in a decoded tree everything lies in a directory that is an entry itself, never behind a link.
"""

import struct
from collections.abc import Mapping
from typing import Final, Literal

from merkl.dataclass import dataclass
from merkl.digest import Digest

MOST_LINKS: Final = 40  # That one path may lead through, as in the kernel.
MAGIC: Final = b"merkl tree 1\0"
_HEAD: Final = struct.Struct(">cBIQ32s")  # kind, executable, length of path, size or length of link, digest


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One thing in a directory, by its path relative to it.

    A file has a digest, a size in bytes and an executable bit.  A link has the text it points to, and digest and
    executable bit of what it leads to if that lies outside the directory.  Every directory is an entry, the empty ones too.
    """

    path: bytes
    kind: Literal["file", "link", "dir"]
    digest: Digest | None = None
    size: int = 0
    executable: bool = False
    link: bytes = b""


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory; ``entries`` are sorted by the bytes of their paths."""

    entries: tuple[TreeEntry, ...]

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(entry.size for entry in self.entries)

    @property
    def digest(self) -> Digest:
        """The name of this directory: the digest of its encoding."""
        return Digest.of(self.encode())

    def encode(self) -> bytes:
        """The bytes that are stored, and hashed."""
        parts = [MAGIC]
        for entry in sorted(self.entries, key=lambda entry: entry.path):
            size = len(entry.link) if entry.kind == "link" else entry.size
            digest = bytes(32) if entry.digest is None else entry.digest
            kind = entry.kind[:1].encode()
            parts.append(_HEAD.pack(kind, entry.executable, len(entry.path), size, digest))
            parts += (entry.path, entry.link)
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> "Tree":
        """Read what ``encode`` wrote.

        Raises:
            ValueError: it is anything else: cut short, out of order, or with a path that leaves the directory.
        """
        try:
            tree = cls(tuple(_entries(data)))
        except (struct.error, KeyError) as error:
            raise ValueError("not a directory's encoding") from error
        if tree.encode() != data:
            raise ValueError("not a directory's canonical encoding")
        tree.check()
        return tree

    def check(self) -> None:
        """See that the entries are those of one possible directory.

        Raises:
            ValueError: a path may lead out or occurs twice, its parent is no directory, or an entry lacks or has what
                its kind has not.
        """
        kinds: dict[bytes, str] = {b"": "dir"}
        for entry in self.entries:
            if not safe_path(entry.path) or entry.path in kinds:
                raise ValueError(
                    f"a directory's encoding names {entry.path!r}, which may lead out of it or is there twice"
                )
            if kinds.get(entry.path.rpartition(b"/")[0]) != "dir":
                raise ValueError(
                    f"a directory's encoding names {entry.path!r}, which is in no directory of it"
                )
            kinds[entry.path] = entry.kind
            if not _whole(entry):
                raise ValueError(f"a directory's encoding says what cannot be of {entry.path!r}")


_KINDS: Final[dict[bytes, Literal["file", "link", "dir"]]] = {b"f": "file", b"l": "link", b"d": "dir"}


def _entries(data: bytes) -> list[TreeEntry]:
    if not data.startswith(MAGIC):
        raise ValueError("not a directory's encoding")
    at = len(MAGIC)
    entries: list[TreeEntry] = []
    while at < len(data):
        letter, executable, length, size, digest = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        path = data[at : at + length]
        at += length
        kind = _KINDS[letter]
        link = data[at : at + size] if kind == "link" else b""
        at += len(link)
        known = None if digest == bytes(32) else Digest(digest)
        entries.append(TreeEntry(path, kind, known, 0 if kind == "link" else size, bool(executable), link))
    return entries


def safe_path(path: bytes) -> bool:
    """Whether a stored relative path stays inside its directory and has only one spelling."""
    parts = path.split(b"/")
    return b"\0" not in path and not any(part in (b"", b".", b"..") for part in parts)


def _whole(entry: TreeEntry) -> bool:
    if entry.kind == "file":
        return entry.digest is not None and not entry.link
    if entry.kind == "link":
        return bool(entry.link) and b"\0" not in entry.link and not entry.size
    return entry.digest is None and not entry.executable and not entry.size and not entry.link


def leads_to(entries: Mapping[bytes, TreeEntry], path: bytes) -> bytes | None:
    """The path of what the link at ``path`` leads to in the end; empty for the directory itself.

    None if that lies outside, is not there, or is never reached.  ``entries`` are a whole tree's, by path.
    """
    at: list[bytes] = []
    todo = path.split(b"/")[::-1]
    followed = 0
    while todo:
        name = todo.pop()
        if name == b".." and not at:
            return None
        if name == b"..":
            at.pop()
            continue
        if name in (b"", b"."):
            continue
        entry = entries.get(b"/".join((*at, name)))
        if entry is None or (entry.kind == "file" and todo):
            return None
        if entry.kind != "link":
            at.append(name)
            continue
        followed += 1
        if followed > MOST_LINKS or entry.link.startswith(b"/"):
            return None
        todo += entry.link.split(b"/")[::-1]
    return b"/".join(at)

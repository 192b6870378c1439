"""Many outputs in one content, with an index: what ``together=True`` keeps.

It decides how such a bundle is written and how one item of it is read.  To a store it is a directory of two files,
``contents`` and ``index``, so that whatever keeps, sends or removes directories does so with it.

The invariant: an item is handed out only with the bytes that have its own digest, whatever the index says of where they lie.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.errors import StoreCorrupt
from merkl.nodes import Artifact, Kind
from merkl.store.serializers import is_pickled
from merkl.tree import Tree

PLAIN: Final = "bundle"  # The serializer of a bundle, as records name it.
PICKLED: Final = "bundle with pickle"  # Of one in which some value is a pickle: not every store takes that.
MAGIC: Final = b"merkl bundle 1\0"
_NOWHERE: Final = Digest(bytes(32))
_HEAD: Final = struct.Struct(">cBHHHQQ32s")  # kind, executable, lengths of three texts, offset, size, digest
_LETTERS: Final[dict[Kind, bytes]] = {"value": b"v", "file": b"f"}
_KINDS: Final[dict[bytes, Kind]] = {letter: kind for kind, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class Slice(Artifact):
    """An artifact whose bytes lie in ``blob``, from ``offset`` on."""

    blob: Digest = _NOWHERE
    offset: int = 0

    @property
    def holder(self) -> Artifact:
        """What must be there for the bytes to be there."""
        return Artifact("file", self.blob, 0)


@dataclass(frozen=True, slots=True)
class Item:
    """What the index says of one output: what it is, and from where on its bytes lie."""

    name: str
    artifact: Artifact
    offset: int


def is_bundle(artifact: Artifact) -> bool:
    """Whether an artifact is a bundle, and no directory of the user's."""
    return artifact.kind == "dir" and artifact.serializer in (PLAIN, PICKLED)


def write_index(items: Iterable[Item]) -> bytes:
    """The bytes of an index."""
    parts = [MAGIC]
    for item in items:
        made = item.artifact
        texts = [_bytes(text) for text in (item.name, made.serializer, made.filename)]
        parts.append(
            _HEAD.pack(
                _LETTERS[made.kind], made.executable, *map(len, texts), item.offset, made.size, made.digest
            )
        )
        parts += texts
    return b"".join(parts)


def read_index(data: bytes, blob: Digest, *, pickles: bool) -> Mapping[str, Slice]:
    """The items by name, whose bytes lie in ``blob``.

    Raises:
        ValueError: it is no index, or names a pickle although there are to be none.
    """
    if not data.startswith(MAGIC):
        raise ValueError("not a bundle's index")
    found: dict[str, Slice] = {}
    at = len(MAGIC)
    try:
        while at < len(data):
            letter, executable, *lengths, offset, size, digest = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            texts = []
            for length in lengths:
                texts.append(data[at : at + length].decode("utf-8", "surrogateescape"))
                at += length
            name, serializer, filename = texts
            if is_pickled(serializer) and not pickles:
                raise ValueError("a bundle's index names a pickle, and its record none")
            kind = _KINDS[letter]
            found[name] = Slice(
                kind, Digest(digest), size, bool(executable), serializer, filename, blob, offset
            )
    except (struct.error, KeyError) as error:
        raise ValueError("not a bundle's index") from error
    if at != len(data):
        raise ValueError("a bundle's index is cut short")
    return found


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Reads(Protocol):
    """What is asked of a store here."""

    def read(self, digest: Digest) -> bytes | None: ...


class ReadsParts(Reads, Protocol):
    """The same, with parts."""

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None: ...


def items_of(store: Reads, artifact: Artifact) -> Mapping[str, Slice] | None:
    """The items of a bundle by name; None if what says so is gone or damaged."""
    tree = store.read(artifact.digest)
    if tree is None:
        return None
    try:
        digests = {entry.path: entry.digest for entry in Tree.decode(tree).entries}
        blob, index = digests[b"contents"], digests[b"index"]
        assert blob is not None and index is not None
        data = store.read(index)
        return None if data is None else read_index(data, blob, pickles=artifact.serializer == PICKLED)
    except (ValueError, KeyError):
        return None


def item_bytes(store: ReadsParts, item: Slice) -> bytes:
    """The bytes of one item: its range of the bundle, or what is kept of it by itself.

    Raises:
        StoreCorrupt: they are gone or damaged.
    """
    data = store.part(item.blob, item.offset, item.size, of=item.digest)
    if data is None:
        data = store.read(item.digest)
    if data is None:
        raise StoreCorrupt(
            f"an item, {item.digest.short}, is gone from a bundle in the store",
            hint="what needs it is made again",
        )
    return data

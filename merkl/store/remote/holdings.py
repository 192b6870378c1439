"""What a remote holds, read for gc: each record and what it names, each content and where it lies.

It decides nothing, and believes nothing: whose signature a record has does not matter, for somebody may trust it.

The invariant: contents are listed before records, so a record that came in between names only what was stored later.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from merkl.dataclass import dataclass, field
from merkl.digest import Digest, Key
from merkl.store.base import Record
from merkl.store.records import leaves
from merkl.store.remote.codec import LARGEST, NotARecord, fields_of, read_fields
from merkl.store.remote.going import GOING
from merkl.store.remote.objects import Listed, Objects
from merkl.store.remote.packs import DamagedIndex, Entries, load_index
from merkl.store.remote.remote import Remote
from merkl.store.remote.signed import VERSION
from merkl.store.together import Together

_RECORDS: Final = ("records", "made")


@dataclass(frozen=True, slots=True)
class Said:
    """What the text of a record's object says: the record, the key it is filed under, and in which namespace."""

    record: Record
    filed: Key | None
    namespace: str | None


@dataclass(slots=True)
class Holdings:
    """All objects of a remote, by name.

    ``bad`` are names of records that are damaged, ``newer`` of those that a newer merkl wrote; ``packed`` has what the indexes
    of each pack say, by its digest.
    """

    objects: dict[str, Listed] = field(default_factory=dict)
    records: dict[str, Said] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    newer: list[str] = field(default_factory=list)
    packed: dict[str, dict[Digest, tuple[int, int]]] = field(default_factory=dict)
    indexes: dict[str, list[str]] = field(default_factory=dict)
    """The names of a pack's indexes."""

    def of_kind(self, *kinds: str) -> Iterator[Listed]:
        """The objects of some kinds."""
        return (each for name, each in self.objects.items() if name.partition("/")[0] in kinds)


class Newer(Exception):
    """A record is written in a way that this merkl does not know."""


def said_by(data: bytes) -> Said:
    """Read a record's object, signed or not, without looking at seals and signatures.

    Raises:
        NotARecord: it is none.
        Newer: it is one of a newer merkl.
    """
    head, _, rest = data.partition(b"\n")
    line = rest.partition(b"\n")[0]
    if len(data) > LARGEST or not head.startswith(b"merkl record "):
        raise NotARecord("it does not begin as a record does")
    version = head.removeprefix(b"merkl record ")
    if version.isdigit() and (len(version) > 9 or int(version) > VERSION):
        raise Newer
    try:
        fields: Mapping[str, Any] = json.loads(line)
        filed, namespace = fields["filed"], fields.get("namespace")
        before = {} if namespace is None else {"namespace": namespace}
        record = read_fields(line, lambda read: {**before, **fields_of(read), "filed": filed})
        return Said(record, None if filed is None else Key.parse(filed), namespace)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotARecord(f"it is damaged: {error}") from None


def holdings_of(remote: Remote) -> Holdings:
    """Read the names of all objects, and the bytes of records and indexes.

    Raises:
        RemoteError: the place cannot be read.
    """
    _ = remote.contents  # It says what it is.
    objects, held = remote.objects, Holdings()
    together = Together(objects.width)
    try:
        for kind in ("blobs", "packs", "index", *_RECORDS, "aside", GOING):
            held.objects |= {each.name: each for each in objects.names(kind)}
        _read_records(held, objects, together)
        _read_indexes(held, objects, together)
    finally:
        together.close()
    return held


def _read_records(held: Holdings, objects: Objects, together: Together) -> None:
    def read(name: str) -> Said | None:
        data = objects.get(name, 0, LARGEST + 1)
        try:
            return None if data is None else said_by(data)
        except NotARecord:
            held.bad.add(name)
        except Newer:
            held.newer.append(name)
        return None

    names = [each.name for each in held.of_kind(*_RECORDS)]
    for name, said in zip(names, together.map(read, names), strict=True):
        if said is not None:
            held.records[name] = said


def _read_indexes(held: Holdings, objects: Objects, together: Together) -> None:
    def read(name: str) -> tuple[str, Entries]:
        try:
            return name, load_index(objects, name.removeprefix("index/")) or ()
        except DamagedIndex:
            return name, ()

    for name, entries in together.map(read, [each.name for each in held.of_kind("index")]):
        pack = name.removeprefix("index/").partition(".")[0]
        held.indexes.setdefault(pack, []).append(name)
        places = held.packed.setdefault(pack, {})
        places |= {digest: (at.start, at.length) for digest, at in entries}


class Trees:
    """What is in directories, each read once."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._inside: dict[Digest, tuple[Digest, ...]] = {}

    def needs(self, record: Record) -> set[Digest]:
        """All contents that a record promises."""
        found = {artifact.digest for artifact in record.outputs.values()}
        found |= {record.log} if record.log is not None else set()
        return found.union(self.inside(each.digest for each in record.outputs.values() if each.kind == "dir"))

    def inside(self, trees: Iterable[Digest]) -> set[Digest]:
        """What directories hold; nothing for what is not there, or is none."""
        found: set[Digest] = set()
        for digest in trees:
            if digest not in self._inside:
                self._inside[digest] = tuple(leaves(self._remote.read(digest) or b""))
            found.update(self._inside[digest])
        return found

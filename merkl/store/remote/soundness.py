"""fsck of a remote: every object read, and every record's contents looked for.

It decides what is wrong with what is there.  Damaged contents are set aside, as far as the place may be written: a push
of what they belong to then sends them again.  Damaged records stay where they are: a push writes over them.

The invariant: a content counts as there only if its bytes were read and have its digest.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from blake3 import blake3

from merkl.digest import Digest, Key
from merkl.store import records
from merkl.store.remote.codec import LARGEST, NotARecord, decode_record
from merkl.store.remote.errors import RemoteError
from merkl.store.remote.objects import Listed
from merkl.store.remote.packs import read_index, runs
from merkl.store.remote.remote import Remote
from merkl.store.remote.whereabouts import Packed

_KINDS: Final = ("packs", "index", "blobs", "records", "made")
_CHUNK: Final = 4 << 20  # Bytes.
_BLOB: Final = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_FILED: Final = re.compile(r"records/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_MADE: Final = re.compile(r"made/([0-9a-f]{2})/(\1[0-9a-f]{62})/(?:none|[0-9a-f]{64})")

Progress = Callable[[int, int], object]  # Objects done, objects in all.


@dataclass(slots=True)
class RemoteFindings:
    """What was found: ``objects`` and their ``bytes``; the names of ``bad`` ones, and of records that lack contents.

    ``aside`` are those of the bad that were set aside.
    """

    objects: int = 0
    bytes: int = 0
    bad: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    lacking: dict[str, tuple[Digest, ...]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.bad or self.lacking)


def inspect(remote: Remote, *, progress: Progress | None = None) -> RemoteFindings:
    """Read everything in a remote.  Safe beside pushes: what comes after the listing is not looked at.

    Raises:
        RemoteError: it cannot be read at all.
    """
    _ = remote.contents  # It says what it is.
    inspection = _Inspection(remote)
    # Records first: what a record names that is listed now was stored before it.
    listed = {kind: list(remote.objects.names(kind)) for kind in reversed(_KINDS)}
    total = sum(map(len, listed.values()))
    for done, each in enumerate((each for kind in _KINDS for each in listed[kind]), 1):
        inspection.look(each)
        if progress is not None:
            progress(done, total)
    findings = inspection.conclude()
    inspection.set_aside()
    return findings


class _Inspection:
    """One walk over the objects of a place."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._objects = remote.objects
        self._findings = RemoteFindings()
        self._sound: set[Digest] = set()
        self._packs: set[str] = set()
        self._needs: dict[
            str, tuple[set[Digest], list[Digest]]
        ] = {}  # Of records: contents, and directories among them.
        self._look = {
            "packs": self._pack, "index": self._index, "blobs": self._blob,
            "records": self._record, "made": self._record,
        }  # fmt: skip

    def look(self, listed: Listed) -> None:
        """Read one object; one that has gone since it was listed is nothing wrong."""
        sound = self._look[listed.name.partition("/")[0]](listed.name)
        if sound is None:
            return
        self._findings.objects += 1
        self._findings.bytes += listed.size
        if not sound:
            self._findings.bad.append(listed.name)

    def conclude(self) -> RemoteFindings:
        """See that every record's contents are there."""
        inside: dict[Digest, set[Digest]] = {}
        for name, (needs, trees) in self._needs.items():
            for tree in trees:
                if tree not in inside:
                    data = self._remote.read(tree) if tree in self._sound else None
                    inside[tree] = set(records.leaves(data or b""))
            if missing := needs.union(*(inside[tree] for tree in trees)) - self._sound:
                self._findings.lacking[name] = tuple(sorted(missing))
        return self._findings

    def set_aside(self) -> None:
        """Take damaged contents out of use, if they are damaged when read again."""
        of_packs: dict[str, list[str]] = {}
        for name in self._findings.bad:
            kind, _, own = name.partition("/")
            if kind in ("packs", "index"):
                of_packs.setdefault(own.partition(".")[0], []).append(name)
            elif (match := _BLOB.fullmatch(name)) and self._remote.contents.set_aside(Digest.parse(match[2])):
                self._findings.aside.append(name)
        for pack, names in of_packs.items():
            sound = all(self._look[name.partition("/")[0]](name) for name in names)
            if not sound and self._remote.contents.packs.set_aside(pack):
                self._findings.aside += names

    def _pack(self, name: str) -> bool | None:
        found = self._digest(name)
        if found is not None:
            self._packs.add(found.hex())
        return None if found is None else found.hex() == name.removeprefix("packs/")

    def _index(self, name: str) -> bool | None:
        data = self._objects.get(name)
        if data is None:
            return None
        own = name.removeprefix("index/")
        entries = read_index(own, data)
        if entries is None or own.partition(".")[0] not in self._packs:
            return False
        bad = [run for run in runs(entries) if not self._run(run)]  # All are read: what is sound counts.
        return not bad

    def _run(self, run: list[tuple[Digest, Packed]]) -> bool:
        start = run[0][1].start
        end = max(at.start + at.length for _, at in run)
        data = self._objects.get(f"packs/{run[0][1].pack}", start, end - start) or b""
        good = {d for d, at in run if Digest.of(data[at.start - start : at.start - start + at.length]) == d}
        self._sound |= good
        return len(good) == len({digest for digest, _ in run})

    def _blob(self, name: str) -> bool | None:
        found, match = self._digest(name), _BLOB.fullmatch(name)
        if found is None:
            return None
        if match is None or match[2] != found.hex():
            return False
        self._sound.add(found)
        return True

    def _record(self, name: str) -> bool | None:
        data = self._objects.get(name, 0, LARGEST + 1)
        if data is None:
            return None
        filed, made = _FILED.fullmatch(name), _MADE.fullmatch(name)
        try:
            record = decode_record(data, Key.parse(filed[2]) if filed else None)
        except NotARecord:
            return False
        if filed is None and (made is None or record.content_key.hex() != made[2]):
            return False
        trees = [artifact.digest for artifact in record.outputs.values() if artifact.kind == "dir"]
        self._needs[name] = records.needs(record, lambda _: None), trees
        return True

    def _digest(self, name: str) -> Digest | None:
        """The digest of an object's bytes, whatever its size."""
        file = self._objects.open(name)
        if file is None:
            return None
        hasher = blake3(max_threads=blake3.AUTO)
        with file:
            while piece := self._some(file):
                hasher.update(piece)
        return Digest(hasher.digest())

    def _some(self, file: BinaryIO) -> bytes:
        try:
            return file.read(_CHUNK)
        except OSError as error:
            raise RemoteError(
                f"the remote {self._remote.url} cannot be read: {error.strerror}", hint="is its disk sound?"
            ) from error

"""fsck of a remote: every object read, or a sample of them, and every record's contents looked for.

It decides what is wrong with what is there.  Damaged contents are set aside, as far as the place may be written: a push
of what they belong to then sends them again.  Damaged records stay where they are: a push writes over them.

A record is sound if the signer of its name has signed it, whether or not that signer counts here.

The invariant: a content counts as there only if its bytes were read and have its digest; where only a sample is looked
at, the contents of a record that are not in it only need to have a name there.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, Final

from merkl.dataclass import dataclass, field
from merkl.digest import Digest, Key
from merkl.hashers import large_hasher
from merkl.store import records
from merkl.store.remote.codec import LARGEST, NotARecord
from merkl.store.remote.errors import RemoteError
from merkl.store.remote.objects import Listed
from merkl.store.remote.packs import FULL, DamagedIndex, load_index, runs
from merkl.store.remote.remote import Remote
from merkl.store.remote.signed import decode_signed
from merkl.store.remote.squeezing import pieces_in, plain, plain_pieces
from merkl.store.remote.whereabouts import Packed
from merkl.trust.signer import Signer

_KINDS: Final = ("packs", "index", "blobs", "records", "made")
_BLOB: Final = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_FILED: Final = re.compile(r"records/([^/]+)/([0-9a-f]{2})/(\2[0-9a-f]{62})/([0-9a-f]{64})")
_MADE: Final = re.compile(
    r"made/([^/]+)/([0-9a-f]{2})/(\2[0-9a-f]{62})/(?:none|[0-9a-f]{64})\.([0-9a-f]{64})"
)

Progress = Callable[[int, int], object]  # Objects done, objects in all.


@dataclass(slots=True)
class RemoteFindings:
    """What was found: ``objects`` and their ``bytes``; the names of ``bad`` ones, and of records that lack contents.

    ``aside`` are those of the bad that were set aside; ``total`` is how many objects there are, looked at or not.
    """

    total: int = 0
    objects: int = 0
    bytes: int = 0
    bad: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    lacking: dict[str, tuple[Digest, ...]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.bad or self.lacking)


def inspect(remote: Remote, *, share: float = 1.0, progress: Progress | None = None) -> RemoteFindings:
    """Read everything in a remote, or about a ``share`` of its objects, chosen anew each time.

    Safe beside pushes: what comes after the listing is not looked at.

    Raises:
        RemoteError: it cannot be read at all.
    """
    _ = remote.contents  # It says what it is.
    inspection = _Inspection(remote, whole=share >= 1)
    # Records first: what a record names that is listed now was stored before it.
    listed = {kind: list(remote.objects.names(kind)) for kind in reversed(_KINDS)}
    inspection.findings.total = sum(map(len, listed.values()))
    if share < 1:
        listed = _sampled(listed, share)
    total = sum(map(len, listed.values()))
    for done, each in enumerate((each for kind in _KINDS for each in listed[kind]), 1):
        inspection.look(each)
        if progress is not None:
            progress(done, total)
    findings = inspection.conclude()
    inspection.set_aside()
    return findings


def _sampled(listed: Mapping[str, Sequence[Listed]], share: float) -> dict[str, list[Listed]]:
    """About so many of each kind, one at least; a pack with all its indexes."""

    def chosen(some: Sequence[Listed]) -> list[Listed]:
        found = [each for each in some if random.random() < share]
        return found or random.sample(some, min(1, len(some)))

    sample = {kind: chosen(some) for kind, some in listed.items()}
    packs = {each.name.removeprefix("packs/") for each in sample["packs"]}
    sample["index"] = [
        each for each in listed["index"] if each.name.removeprefix("index/").partition(".")[0] in packs
    ]
    return sample


class _Inspection:
    """One walk over the objects of a place; ``whole``: over all of them."""

    def __init__(self, remote: Remote, *, whole: bool) -> None:
        self._remote = remote
        self._objects = remote.objects
        self._whole = whole
        self.findings = RemoteFindings()
        self._sound: set[Digest] = set()
        self._packs: set[str] = set()
        # Of records: contents, and directories among them.
        self._needs: dict[str, tuple[set[Digest], list[Digest]]] = {}
        self._look = {
            "packs": self._pack, "index": self._index, "blobs": self._blob,
            "records": self._record, "made": self._record,
        }  # fmt: skip

    def look(self, listed: Listed) -> None:
        """Read one object; one that has gone since it was listed is nothing wrong."""
        sound = self._look[listed.name.partition("/")[0]](listed.name)
        if sound is None:
            return
        self.findings.objects += 1
        self.findings.bytes += listed.size
        if not sound:
            self.findings.bad.append(listed.name)

    def conclude(self) -> RemoteFindings:
        """See that every record's contents are there."""
        inside: dict[Digest, set[Digest]] = {}
        for name, (needs, trees) in self._needs.items():
            for tree in trees:
                if tree not in inside:
                    data = self._remote.read(tree) if tree in self._sound or not self._whole else None
                    inside[tree] = set(records.leaves(data or b""))
            missing = needs.union(*(inside[tree] for tree in trees)) - self._sound
            if not self._whole:
                missing -= self._remote.has(missing)
            if missing:
                self.findings.lacking[name] = tuple(sorted(missing))
        return self.findings

    def set_aside(self) -> None:
        """Take damaged contents out of use, if they are damaged when read again."""
        of_packs: dict[str, list[str]] = {}
        for name in self.findings.bad:
            kind, _, own = name.partition("/")
            if kind in ("packs", "index"):
                of_packs.setdefault(own.partition(".")[0], []).append(name)
            elif (match := _BLOB.fullmatch(name)) and self._remote.contents.set_aside(Digest.parse(match[2])):
                self.findings.aside.append(name)
        for pack, names in of_packs.items():
            sound = all(self._look[name.partition("/")[0]](name) for name in names)
            if not sound and self._remote.contents.packs.set_aside(pack):
                self.findings.aside += names

    def _pack(self, name: str) -> bool | None:
        found = self._digest(name)
        if found is not None:
            self._packs.add(found.hex())
        return None if found is None else found.hex() == name.removeprefix("packs/")

    def _index(self, name: str) -> bool | None:
        own = name.removeprefix("index/")
        try:
            entries = load_index(self._objects, own)
        except DamagedIndex:
            return False
        if entries is None:
            return None
        if own.partition(".")[0] not in self._packs:
            return False
        bad = [run for run in runs(entries) if not self._run(run)]  # All are read: what is sound counts.
        return not bad

    def _run(self, run: list[tuple[Digest, Packed]]) -> bool:
        start = run[0][1].start
        end = max(at.start + at.length for _, at in run)
        data = self._objects.get(f"packs/{run[0][1].pack}", start, end - start) or b""
        stored = ((d, data[at.start - start : at.start - start + at.length]) for d, at in run)
        good = {digest for digest, piece in stored if Digest.of(plain(piece, FULL)) == digest}
        self._sound |= good
        return len(good) == len({digest for digest, _ in run})

    def _blob(self, name: str) -> bool | None:
        found, match = self._digest(name, plain_pieces), _BLOB.fullmatch(name)
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
        found = filed or made
        if found is None:
            return False
        key = Key.parse(found[3])
        try:
            record = decode_signed(data, key if filed else None, found[1], Signer(bytes.fromhex(found[4])))
        except NotARecord:
            return False
        if filed is None and record.content_key != key:
            return False
        trees = [artifact.digest for artifact in record.outputs.values() if artifact.kind == "dir"]
        self._needs[name] = records.needs(record, lambda _: None), trees
        return True

    def _digest(self, name: str, pieces: Callable[[BinaryIO], Iterator[bytes]] = pieces_in) -> Digest | None:
        """The digest of what ``pieces`` gives of an object, whatever its size."""
        file = self._objects.open(name)
        if file is None:
            return None
        hasher = large_hasher()
        try:
            with file:
                for piece in pieces(file):
                    hasher.update(piece)
        except OSError as error:
            raise RemoteError(
                f"the remote {self._remote.url} cannot be read: {error.strerror}", hint="is its disk sound?"
            ) from error
        return Digest(hasher.digest())

"""Many small contents in one object, and which is where.

A pack is contents one after another, named by its digest: ``packs/<digest>``.  What is in it says
``index/<digest>.<16 digits of the index's own digest>``: ``merkl index 1``, a NUL byte, and for each content its digest
(32 bytes), start and length (8 bytes each, big endian), sorted by digest.  A content may be squeezed, see ``squeezing``.

It decides nothing about which contents are worth packing.  It remembers indexes through ``whereabouts``.

A pack that does not hold what its index says is set aside, and what is sound of it goes into another: so the next push
sends the rest.  Where the place may not be written, this machine remembers not to believe it.

The invariant: a pack is written before its index, so an index promises only what is there.
"""

import contextlib
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from merkl.digest import Digest, Key
from merkl.errors import StoreError
from merkl.events import Note
from merkl.store.remote.objects import Listed, Objects
from merkl.store.remote.squeezing import plain, squeeze
from merkl.store.remote.whereabouts import Packed, Whereabouts
from merkl.store.together import Together

LARGEST: Final = 256 << 10  # Bytes; what is larger is an object of its own.
FULL: Final = 8 << 20  # Bytes after which a pack is closed.
_HEAD: Final = b"merkl index 1\0"
_ENTRY: Final = struct.Struct(">32sQQ")
_LARGEST_INDEX: Final = 256 << 20  # Bytes.
# Bytes; nothing in an index is beyond this, and no content is longer than FULL.
_LARGEST_PACK: Final = 1 << 40
_FRESH_S: Final = 2.0  # Seconds for which the list of indexes is not asked for again.
_GAP: Final = 64 << 10  # Bytes that are read for nothing rather than asked for apart.
_RUN: Final = 2 << 20  # Bytes read at once.
ASIDE: Final = "aside"  # Where damaged objects go, below it with their own names.

Entries = Sequence[tuple[Digest, Packed]]


def write_index(entries: Iterable[tuple[Digest, Packed]]) -> bytes:
    """The bytes of an index."""
    ordered = sorted(entries, key=lambda entry: entry[0])
    return _HEAD + b"".join(_ENTRY.pack(digest, at.start, at.length) for digest, at in ordered)


def read_index(name: str, data: bytes) -> Entries | None:
    """What the index called ``name`` says, or None if it is damaged."""
    pack, _, own = name.partition(".")
    if not data.startswith(_HEAD) or Digest.of(data).hex()[:16] != own:
        return None
    body = data[len(_HEAD) :]
    if len(body) % _ENTRY.size:
        return None
    found = [
        (Digest(digest), Packed(pack, start, length)) for digest, start, length in _ENTRY.iter_unpack(body)
    ]
    believable = all(at.start <= _LARGEST_PACK and at.length <= FULL for _, at in found)
    return found if believable else None


class DamagedIndex(Exception):
    """An index is not what its name says."""


def load_index(objects: Objects, name: str) -> Entries | None:
    """What the index called ``name`` says, or None if it is not there.

    Raises:
        DamagedIndex: it is damaged.
    """
    data = objects.get(f"index/{name}", 0, _LARGEST_INDEX + 1)
    if data is None:
        return None
    entries = read_index(name, data) if len(data) <= _LARGEST_INDEX else None
    if entries is None:
        raise DamagedIndex
    return entries


def runs(places: Iterable[tuple[Digest, Packed]]) -> Iterator[list[tuple[Digest, Packed]]]:
    """Contents that lie near each other in one pack, to be read at once, in the order in which they lie."""
    run: list[tuple[Digest, Packed]] = []
    for digest, at in sorted(places, key=lambda place: (place[1].pack, place[1].start)):
        if run:
            first, last = run[0][1], run[-1][1]
            near = at.pack == last.pack and at.start - (last.start + last.length) <= _GAP
            if not near or at.start + at.length - first.start > _RUN:
                yield run
                run = []
        run.append((digest, at))
    if run:
        yield run


class Packs:
    """The packs of one place.  ``cache`` is a database file for what their indexes say, or None to keep it in memory."""

    def __init__(self, objects: Objects, cache: str | None) -> None:
        self._objects = objects
        self._lock = threading.RLock()
        self._looked_at = float("-inf")
        self._whereabouts = Whereabouts(cache)
        self._damaged: set[str] = set()
        self._written: dict[str, float] = {}  # By pack: when it was written last, as far as that is known.
        self._notes: list[Note] = []
        self._together = Together(objects.width)

    def find(self, digests: Iterable[Digest]) -> dict[Digest, Packed]:
        """Where those are that are in packs.  The list of packs is asked for again if some are in none."""
        asked = set(digests)
        with self._lock:
            found = self._whereabouts.known(asked)
            stale = time.monotonic() - self._looked_at > _FRESH_S
            if len(found) < len(asked) and stale and self.refresh():
                found |= self._whereabouts.known(asked - found.keys())
        return found

    def read(self, run: Sequence[tuple[Digest, Packed]]) -> dict[Digest, bytes]:
        """The contents of a run, checked; a pack that does not hold what it should, read twice, is set aside."""
        found = self._read(run)
        if len(found) < len({digest for digest, _ in run}):
            found |= self._read(run)
        if len(found) < len({digest for digest, _ in run}):
            self._disbelieve(run[0][1].pack)
        return found

    def _read(self, run: Sequence[tuple[Digest, Packed]]) -> dict[Digest, bytes]:
        start = run[0][1].start
        end = max(at.start + at.length for _, at in run)
        data = self._objects.get(f"packs/{run[0][1].pack}", start, end - start) or b""
        found = {}
        for digest, at in run:
            piece = plain(data[at.start - start : at.start - start + at.length], FULL)
            if Digest.of(piece) == digest:
                found[digest] = piece
        return found

    def write(self, contents: Sequence[tuple[Digest, bytes]]) -> str:
        """Store contents as one pack; the name of its index."""
        squeezes = self._objects.squeezes
        pieces = {digest: squeeze(data) if squeezes else data for digest, data in contents}
        entries: list[tuple[Digest, Packed]] = []
        whole = b"".join(pieces.values())
        pack, start = Digest.of(whole).hex(), 0
        for digest, data in pieces.items():
            entries.append((digest, Packed(pack, start, len(data))))
            start += len(data)
        index = write_index(entries)
        # Two packs of the same bytes, cut otherwise, have indexes of their own: both are true.
        name = f"{pack}.{Digest.of(index).hex()[:16]}"
        self._objects.put(f"packs/{pack}", whole)
        self._objects.put(f"index/{name}", index)
        with self._lock:
            self._damaged.discard(name)
            self._written[pack] = time.time()
            self._whereabouts.change({name: entries}, ())
        return name

    def set_aside(self, pack: str) -> bool:
        """Take a damaged pack out of use, what is sound of it put into another; whether the place let us.

        If it did not, this machine does not believe the pack any more.
        """
        with self._lock:
            self._whereabouts.forget(pack)
            indexes = [
                each
                for each in self._objects.names("index")
                if each.name.removeprefix("index/").partition(".")[0] == pack
            ]
            try:
                kept = self._save([each.name.removeprefix("index/") for each in indexes])
                if pack not in {name.partition(".")[0] for name in kept}:
                    self._objects.move(f"packs/{pack}", f"{ASIDE}/packs/{pack}")
                self._objects.remove(
                    each.name for each in indexes if each.name.removeprefix("index/") not in kept
                )
            except StoreError:
                self._whereabouts.doubt(indexes)
                return False
            return True

    def filed(self, place: str, keys: Iterable[Key], since: float) -> set[Key]:
        """As ``Whereabouts.filed``."""
        with self._lock:
            return self._whereabouts.filed(place, keys, since)

    def note_filed(self, place: str, keys: Iterable[Key], at: float) -> None:
        """As ``Whereabouts.note_filed``."""
        with self._lock:
            self._whereabouts.note_filed(place, keys, at)

    def doubts(self) -> dict[str, tuple[int, float]]:
        """As ``Whereabouts.doubts``."""
        with self._lock:
            return self._whereabouts.doubts()

    def doubt(self, found: Iterable[Listed]) -> None:
        """As ``Whereabouts.doubt``."""
        with self._lock:
            self._whereabouts.doubt(found)

    def _save(self, indexes: Iterable[str]) -> set[str]:
        """Write what is sound of a pack anew; the names of the new indexes."""
        places: dict[Digest, Packed] = {}
        for name in indexes:
            with contextlib.suppress(DamagedIndex):
                places |= load_index(self._objects, name) or ()
        written: set[str] = set()
        batch: dict[Digest, bytes] = {}
        for run in runs(places.items()):
            batch |= self._read(run)
            if sum(map(len, batch.values())) >= FULL:
                written.add(self.write(list(batch.items())))
                batch = {}
        if batch:
            written.add(self.write(list(batch.items())))
        return written

    def refresh(self) -> bool:
        """Read the indexes that are new, forget those that are gone; whether there was either."""
        with self._lock:
            doubts = self._whereabouts.doubts()
            times = {
                each.name.removeprefix("index/"): each.modified
                for each in self._objects.names("index")
                if doubts.get(each.name) != (each.size, each.modified)
            }
            there = times.keys()
            for name, modified in times.items():
                pack = name.partition(".")[0]
                self._written[pack] = max(modified, self._written.get(pack, 0.0))
            self._looked_at = time.monotonic()
            known = self._whereabouts.indexes()
            unknown = sorted(there - known - self._damaged, key=lambda name: (times[name], name))
            new = dict(zip(unknown, self._together.map(self._learn, unknown), strict=True))
            learned = {name: entries for name, entries in new.items() if entries is not None}
            if not learned and known <= there:
                return False
            self._whereabouts.change(learned, known - there)
            return True

    def written(self, pack: str) -> float:
        """When a pack was written last, in seconds since the epoch; 0.0 if it is not there."""
        with self._lock:
            if self._looked_at == float("-inf"):
                self.refresh()
            return self._written.get(pack, 0.0)

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        """End the threads, and close the database."""
        self._together.close()
        with self._lock:
            self._whereabouts.close()

    def _learn(self, name: str) -> Entries | None:
        try:
            return load_index(self._objects, name)
        except DamagedIndex:
            self._damaged.add(name)
            text = f"an index in the remote {self._objects.url} is damaged, and not used (index/{name})"
            self._notes.append(Note(text, "pushing what it lists writes it again"))
            return None

    def _disbelieve(self, pack: str) -> None:
        with self._lock:
            if self._whereabouts.forget(pack):  # Else another thread was first.
                self.set_aside(pack)
                text = f"a pack in the remote {self._objects.url} is damaged or gone, and not used (packs/{pack})"
                self._notes.append(Note(text, "pushing what it held writes it again"))

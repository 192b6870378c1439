"""Many small contents in one object, and which is where.

A pack is contents one after another, named by its digest: ``packs/<digest>``.  What is in it says
``index/<digest>.<16 digits of the index's own digest>``: ``merkl index 1``, a NUL byte, and for each content its digest
(32 bytes), start and length (8 bytes each, big endian), sorted by digest.

It decides nothing about which contents are worth packing.  It remembers indexes through ``whereabouts``.

The invariant: a pack is written before its index, so an index promises only what is there.
"""

import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from merkl.digest import Digest
from merkl.events import Note
from merkl.store.remote.objects import Objects
from merkl.store.remote.whereabouts import Packed, Whereabouts

LARGEST: Final = 256 << 10  # Bytes; what is larger is an object of its own.
FULL: Final = 8 << 20  # Bytes after which a pack is closed.
_HEAD: Final = b"merkl index 1\0"
_ENTRY: Final = struct.Struct(">32sQQ")
_LARGEST_INDEX: Final = 256 << 20  # Bytes.
_LARGEST_PACK: Final = (
    1 << 40
)  # Bytes; nothing in an index is beyond this, and no content is longer than FULL.
_FRESH_S: Final = 2.0  # Seconds for which the list of indexes is not asked for again.
_GAP: Final = 64 << 10  # Bytes that are read for nothing rather than asked for apart.
_RUN: Final = 2 << 20  # Bytes read at once.

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
        self._notes: list[Note] = []

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
        """The contents of a run, checked; a pack that does not hold what it should is not believed any more."""
        start = run[0][1].start
        end = max(at.start + at.length for _, at in run)
        data = self._objects.get(f"packs/{run[0][1].pack}", start, end - start) or b""
        found = {}
        for digest, at in run:
            piece = data[at.start - start : at.start - start + at.length]
            if Digest.of(piece) == digest:
                found[digest] = piece
        if len(found) < len(run):
            self._forget(run[0][1].pack)
        return found

    def write(self, contents: Sequence[tuple[Digest, bytes]]) -> None:
        """Store contents as one pack."""
        pieces = dict(contents)
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
            self._whereabouts.change({name: entries}, ())

    def refresh(self) -> bool:
        """Read the indexes that are new, forget those that are gone; whether there was either."""
        with self._lock:
            there = {each.name.removeprefix("index/") for each in self._objects.names("index")}
            self._looked_at = time.monotonic()
            known = self._whereabouts.indexes()
            new = {name: self._learn(name) for name in sorted(there - known - self._damaged)}
            learned = {name: entries for name, entries in new.items() if entries is not None}
            if not learned and known <= there:
                return False
            self._whereabouts.change(learned, known - there)
            return True

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._whereabouts.close()

    def _learn(self, name: str) -> Entries | None:
        data = self._objects.get(f"index/{name}", 0, _LARGEST_INDEX + 1)
        entries = None if data is None or len(data) > _LARGEST_INDEX else read_index(name, data)
        if entries is None and data is not None:
            self._damaged.add(name)
            text = f"an index in the remote {self._objects.url} is damaged, and not used (index/{name})"
            self._notes.append(Note(text, "pushing what it lists writes it again"))
        return entries

    def _forget(self, pack: str) -> None:
        with self._lock:
            if self._whereabouts.forget(pack):
                text = f"a pack in the remote {self._objects.url} is damaged or gone, and not used (packs/{pack})"
                self._notes.append(Note(text, "pushing what it held writes it again"))

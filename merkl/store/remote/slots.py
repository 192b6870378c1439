"""Where records lie in a place that several share: a slot for each signer, so that nobody takes another's.

    records/<namespace>/ab/<key>/<signer>                        the record that answers a key, with that key in it
    made/<namespace>/ab/<content key>/<discovered>.<signer>      by content key; ``none``, or the digest of what it discovered
    signers/<namespace>/<signer>                                 that somebody files records there

It decides which slots are looked at: those of signers who count and have filed something.  Of the others it only counts what
they have, for one line to the user, when all records of a content key are asked for: so is whatever is missing by key.

The invariant: whoever fills slots of their own, those of others are found as before.
"""

import itertools
import re
import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from merkl.digest import Digest, Key
from merkl.events import Note
from merkl.store.base import Discovered, Record
from merkl.store.remote.objects import Listed, Objects
from merkl.store.rows import to_json
from merkl.trust.signer import Signer
from merkl.trust.trust import Trust

_NOTHING: Final = "none"
_SIGNER: Final = re.compile(r"[0-9a-f]{64}")
_MOST: Final = 10_000  # Objects of a listing that are looked at: more of one key are somebody's mischief.
_TOLD: Final = 3  # Signers.


class Slots:
    """The slots of one namespace in ``objects``.  Safe to share between threads."""

    def __init__(self, objects: Objects, trust: Trust) -> None:
        self._objects = objects
        self._trust = trust
        self._lock = threading.Lock()
        self._there: set[Signer] | None = None  # Who files records there.
        self._entered = False
        # Of signers who do not count, or not for pickles: the content keys of what they have.
        self._strange: dict[Signer, set[Key]] = defaultdict(set)
        self._pickled: dict[Signer, set[Key]] = defaultdict(set)

    # ---- names ---------------------------------------------------------------------------------------------------

    def named(self, key: Key, signer: Signer) -> str:
        """Where the record lies that answers a key."""
        return f"{self.folder_of(key)}/{signer.hex()}"

    def folder_of(self, key: Key) -> str:
        """Where all signers' records lie that answer a key."""
        return _folder("records", self._trust.namespace, key)

    def made(self, record: Record, signer: Signer) -> str:
        """Where a record lies by content key."""
        return f"{self.folder_made(record.content_key)}/{_found(record.discovered)}.{signer.hex()}"

    def folder_made(self, content_key: Key) -> str:
        """Where all records of a content key lie."""
        return _folder("made", self._trust.namespace, content_key)

    # ---- signers -------------------------------------------------------------------------------------------------

    def signers(self) -> list[Signer]:
        """Those whose slots are worth looking at."""
        there = self._known()
        own = self._trust.own() if self._entered else None
        return [each for each in self._trust.signers() if each in there or each == own]

    def _known(self) -> set[Signer]:
        with self._lock:
            if self._there is None:
                self._there = self._filing(f"signers/{self._trust.namespace}")
            return self._there

    def _filing(self, folder: str) -> set[Signer]:
        """Who has an object in a folder; all who count, if there are too many to tell."""
        listed = list(self._listed(folder))
        there = {signer for each in listed if (signer := _signer_of(each.name))}
        return there | set(self._trust.signers()) if len(listed) >= _MOST else there

    def look_again(self) -> None:
        """Somebody may have come."""
        with self._lock:
            self._there = None

    def enter(self, signer: Signer) -> None:
        """Say that ``signer`` files records there; once is enough."""
        if not self._entered:
            self._objects.create(f"signers/{self._trust.namespace}/{signer.hex()}", b"merkl signer 1\n")
            self._entered = True

    def present(self, key: Key) -> set[Signer]:
        """Who has a record that answers a key, in one request."""
        return self._filing(self.folder_of(key))

    # ---- what does not count -------------------------------------------------------------------------------------

    def by_signer(self, content_key: Key) -> list[tuple[Listed, Signer]]:
        """The slots of a content key that are worth looking at: one's own first, then as they were filed."""
        ranks = {signer: rank for rank, signer in enumerate(self._trust.signers())}
        found: list[tuple[Listed, Signer]] = []
        for each in self._all_made(content_key, list(ranks)):
            signer = _signer_of(each.name)
            if signer in ranks:
                found.append((each, signer))
            elif signer is not None:
                self._count(self._strange, signer, content_key)
        return sorted(found, key=lambda it: (ranks[it[1]], it[0].modified, it[0].name))

    def _all_made(self, content_key: Key, signers: Iterable[Signer]) -> Iterable[Listed]:
        folder = self.folder_made(content_key)
        listed = list(self._listed(folder))
        if len(listed) >= _MOST:  # Those that discovered nothing have a name that can be asked for.
            there = {each.name for each in listed}
            names = {f"{folder}/{_NOTHING}.{signer.hex()}" for signer in signers} - there
            listed += [found for name in sorted(names) if (found := self._objects.look(name)) is not None]
        return listed

    def refuse_pickles(self, record: Record) -> None:
        """A record was found that may not be used, for the pickles in it."""
        if record.origin is not None and record.holds_pickles:  # Else it costs no run of a task.
            self._count(self._pickled, record.origin.signer, record.content_key)

    def _listed(self, folder: str) -> Iterable[Listed]:
        return itertools.islice(self._objects.names(folder), _MOST)

    def _count(self, counts: dict[Signer, set[Key]], signer: Signer, content_key: Key) -> None:
        with self._lock:
            counts[signer].add(content_key)

    def take_notes(self) -> list[Note]:
        """What was not used since the last call: a line for each signer, with the command that would change it."""
        with self._lock:
            strange, pickled = dict(self._strange), dict(self._pickled)
            self._strange.clear()
            self._pickled.clear()
        notes = [
            self._note(signer, len(keys), pickles=False)
            for signer, keys in sorted(strange.items(), key=lambda item: -len(item[1]))
        ]
        more = len(notes) - _TOLD
        notes[_TOLD:] = [Note(f"{more} more sign results there that are not used", "")] if more > 0 else []
        return notes + [self._note(signer, len(keys), pickles=True) for signer, keys in pickled.items()]

    def _note(self, signer: Signer, count: int, *, pickles: bool) -> Note:
        results = f"{count} result{'s' * (count != 1)} in {self._objects.url}"
        what = "hold pickles of" if pickles else "are signed by"
        if count == 1:
            what = "holds pickles of" if pickles else "is signed by"
        return Note(f"{results} {what} {signer}, {self._trust.lack(signer, pickles=pickles)}", "")


def _folder(kind: str, namespace: str, key: Key) -> str:
    text = key.hex()
    return f"{kind}/{namespace}/{text[:2]}/{text}"


def _signer_of(name: str) -> Signer | None:
    text = name.rpartition("/")[2].rpartition(".")[2]
    return Signer(bytes.fromhex(text)) if _SIGNER.fullmatch(text) else None


def _found(discovered: Discovered | None) -> str:
    if discovered is None:
        return _NOTHING
    files = sorted((path, digest and digest.hex()) for path, digest in discovered.files.items())
    return Digest.of(to_json(files).encode()).hex()

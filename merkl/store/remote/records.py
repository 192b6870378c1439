"""Records in a place that several machines share, signed, one object each: ``slots`` says where.

It decides which of two records of one name and one signer stays: the first, unless what it promised is gone or it is damaged.
Whose records count is for ``Trust`` to say.

The invariant: a record is believed only under the very key, namespace and signer that it says; and only what was made here,
or signed with this key before, is signed.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from merkl.digest import Key
from merkl.errors import NotTrusted
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.store.base import Record
from merkl.store.remote.codec import LARGEST, NotARecord
from merkl.store.remote.going import keep_from_going
from merkl.store.remote.objects import REFRESH_S, Objects
from merkl.store.remote.signed import decode_signed, encode_signed
from merkl.store.remote.slots import Slots
from merkl.store.together import Together
from merkl.trust.signer import Signer
from merkl.trust.trust import Trust

_ASKED: Final = 3  # Signers whose slots are asked for one by one; of more it is listed who has something.
_TOLD: Final = 3  # Damaged records: somebody may have spoilt all of them.

Whole = Callable[[Iterable[Artifact]], bool]  # Whether all contents of some outputs are there.


class RemoteRecords:
    """A ``MerkleStore`` of ``objects``.  ``whole`` says whether what a record promises is there.

    With ``strict`` a record that is not what its name says is an error, and not only not used.
    """

    def __init__(
        self, objects: Objects, whole: Whole, trust: Trust | None = None, *, strict: bool = False
    ) -> None:
        self._objects = objects
        self._whole = whole
        self._trust = Trust() if trust is None else trust
        self._strict = strict
        self._slots = Slots(objects, self._trust)
        self._together = Together(objects.width)
        self._notes: list[Note] = []

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records filed under those keys, of signers who count."""
        asked = list(keys)
        if not asked:
            return {}
        signers = self._slots.signers()
        records = self._together.map(lambda key: self._first(key, signers), asked) if signers else ()
        return {key: record for key, record in zip(asked, records) if record}

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """All records filed under those content keys, of signers who count: one's own first, then oldest first."""
        asked = list(keys)
        found = zip(asked, self._together.map(self._made, asked), strict=True)
        return {key: records for key, records in found if records}

    def file(self, record: Record, *, under_key: bool = True) -> Record:
        """File a record whose contents are here; the one of this signer that counts is returned.

        What somebody else has signed is theirs to file: nothing is done.
        """
        if not self.is_ours(record):
            return record
        signer = self._trust.signing_key().signer
        kept = self._keep(self._slots.made(record, signer), record, None)
        if under_key:
            self._name_it(record.key, kept)
        return kept

    def is_ours(self, record: Record) -> bool:
        """Whether a record was made here, or signed with the key of this user."""
        return self._trust.is_own(record.origin)

    def file_many(self, results: Iterable[tuple[Record, Sequence[Key]]]) -> None:
        """File many records, several at once, each under the keys that it answers."""

        def file(result: tuple[Record, Sequence[Key]]) -> None:
            kept = self.file(result[0], under_key=False)
            for key in result[1]:
                self._name_it(key, kept)

        deque(self._together.map(file, results), maxlen=0)

    def alias(self, key: Key, record: Record) -> None:
        """File a record under one more key."""
        self._name_it(key, self.file(record, under_key=False))

    def forget(self, keys: Iterable[Key]) -> int:
        """Remove this signer's records under those keys or content keys, with their own keys; aliases cannot be found,
        and stay."""
        own = self._trust.own()
        if own is None:
            return 0
        gone: dict[str, Record] = {}
        names: set[str] = set()
        for key in keys:
            named = self._first(key, [own])
            names |= {self._slots.named(key, own)} if named is not None else set()
            made = [record for record in self._made(key) if self.is_ours(record)]
            for record in (*made, *([named] if named is not None else ())):
                gone[self._slots.made(record, own)] = record
        for name, record in gone.items():
            filed = self._first(record.key, [own])
            names.add(name)
            if filed is None or self._slots.made(filed, own) == name:
                names.add(self._slots.named(record.key, own))
        self._objects.remove(sorted(names))
        return len(gone)

    def look_again(self) -> None:
        """Somebody may have filed records who had none before."""
        self._slots.look_again()

    def take_notes(self) -> list[Note]:
        """What was noticed since the last call."""
        notes, self._notes = self._notes, []
        more = len(notes) - _TOLD
        if more > 0:
            notes[_TOLD:] = [Note(f"and {more} more there are not used", "`merkl fsck --remote` lists them")]
        return notes + self._slots.take_notes()

    def close(self) -> None:
        """End the threads.  Idempotent."""
        self._together.close()

    def _name_it(self, key: Key, record: Record) -> None:
        if self.is_ours(record):
            self._keep(self._slots.named(key, self._trust.signing_key().signer), record, key)

    def _keep(self, name: str, record: Record, filed: Key | None) -> Record:
        """Create an object, or read the one that was first."""
        key = self._trust.signing_key()
        self._slots.enter(key.signer)
        data = encode_signed(record, filed, self._trust.namespace, key)
        if self._objects.create(name, data):
            return record
        first = self._read(name, filed, key.signer, strict=False)
        belongs = first is not None and (filed is not None or self._slots.made(first, key.signer) == name)
        # What this one promises is there, so another that promises the same is whole as well.
        if first and belongs and (first.outputs == record.outputs or self._whole(first.outputs.values())):
            listed = self._objects.look(name)
            # Else gc may take it for forgotten.
            if listed is None or listed.modified < time.time() - REFRESH_S:
                self._renew(name, encode_signed(first, filed, self._trust.namespace, key))
            return first
        self._renew(name, data)
        return record

    def _renew(self, name: str, data: bytes) -> None:
        """Store again what was there, so that it is young, also if gc is about to remove it."""

        def lost() -> list[str]:
            return [] if self._objects.look(name) is not None else [name]

        self._objects.put(name, data)
        keep_from_going(self._objects, [name], lost, lambda _: self._objects.put(name, data))

    def _first(self, key: Key, signers: Sequence[Signer]) -> Record | None:
        """The record under a key, of the first of some signers who has one that may be used."""
        if len(signers) > _ASKED:
            there = self._slots.present(key)
            signers = [each for each in signers if each in there]
        for signer in signers:
            record = self._read(self._slots.named(key, signer), key, signer, strict=self._strict)
            if record is not None and self._trust.accepts(record.origin, pickles=record.runs_code):
                return record
            if record is not None:
                self._slots.refuse_pickles(record)
        return None

    def _made(self, key: Key) -> list[Record]:
        records: list[Record] = []
        for listed, signer in self._slots.by_signer(key):
            record = self._read(listed.name, None, signer, strict=self._strict)
            if record is None or record.content_key != key:
                continue
            if self._trust.accepts(record.origin, pickles=record.runs_code):
                records.append(record)
            else:
                self._slots.refuse_pickles(record)
        return records

    def _read(self, name: str, filed: Key | None, signer: Signer, *, strict: bool) -> Record | None:
        data = self._objects.get(name, 0, LARGEST + 1)
        if data is None:
            return None
        try:
            return decode_signed(data, filed, self._trust.namespace, signer)
        except NotARecord as error:
            text = f"a record in the remote {self._objects.url} is not used: {error} ({name})"
            if strict:
                raise NotTrusted(text, hint="`merkl push` from where it was made writes it anew") from None
            self._notes.append(Note(text, ""))
            return None

"""The second store: one that several machines share, to push to and pull from.

It joins contents and records in one place, and decides what the place must say of itself before it is used:
``merkl-remote``, a JSON object with the version of the layout and an id of its own.

The invariant: contents are there before the record that names them.
"""

import json
import os
import re
import secrets
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

from merkl.digest import Digest, Key
from merkl.errors import SchemaTooNew
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.store.base import Record
from merkl.store.combined import present
from merkl.store.fileobjects import FileObjects
from merkl.store.remote.contents import RemoteContents
from merkl.store.remote.errors import RemoteError
from merkl.store.remote.objects import REFRESH_S, Objects
from merkl.store.remote.records import RemoteRecords
from merkl.trust.trust import Trust

VERSION: Final = 2
MARK: Final = "merkl-remote"
_LONGEST_MARK: Final = 4096  # Bytes.


class Remote(FileObjects):
    """Records and contents of one place.  ``state`` is a directory for what is remembered of it, or None.

    ``trust`` says whose records count, by default as this user's settings do; ``strict`` is that of ``RemoteRecords``.
    Nothing is read before the first use.
    """

    def __init__(
        self, objects: Objects, state: str | None = None, trust: Trust | None = None, *, strict: bool = False
    ) -> None:
        self.objects = objects
        self.url = objects.url
        self._state = state
        self._lock = threading.Lock()
        self._contents: RemoteContents | None = None
        self._probed = False
        self._notes: list[Note] = []
        self.trust = Trust() if trust is None else trust
        self._records = RemoteRecords(objects, self.whole, self.trust, strict=strict)

    @property
    def contents(self) -> RemoteContents:
        """The contents; on first use the place says what it is.

        Raises:
            SchemaTooNew: a newer merkl made it.
            RemoteError: it is something else.
        """
        with self._lock:
            if self._contents is None:
                mark = self.mark()
                cache = (
                    None if mark is None or self._state is None else os.path.join(self._state, f"{mark}.db")
                )
                self._contents = RemoteContents(self.objects, cache)
            return self._contents

    @property
    def records(self) -> RemoteRecords:
        """The records; as ``contents``."""
        _ = self.contents
        return self._records

    def prepare(self) -> None:
        """Make sure that the place can be written, and says what it is.

        Raises:
            RemoteError, StoreFull: it cannot be written.
        """
        self.objects.sweep()
        data = self.objects.get(MARK, 0, _LONGEST_MARK)
        mark = None if data is None else self._read(data)
        if mark is None or mark[0] < VERSION:
            data = self._write_mark(None if mark is None else mark[1])
            with self._lock:
                before, self._contents = self._contents, None
            if before is not None:
                before.close()
        self._probe(data or b"")

    def _write_mark(self, name: str | None) -> bytes | None:
        """Say what the place is, whose id is ``name`` if it has one; what it says then."""
        mark = {"merkl": VERSION, "id": name or secrets.token_hex(16)}
        data = json.dumps(mark).encode() + b"\n"
        if name is None:
            self.objects.create(MARK, data)
        else:  # So that an older merkl does not take for damage what it does not know.
            self.objects.put(MARK, data)
        return self.objects.get(MARK, 0, _LONGEST_MARK)

    def _probe(self, data: bytes) -> None:
        """Try to create what is there, with the bytes that it has: that must not work."""
        with self._lock:
            probed, self._probed = self._probed, True
        if not probed and data and self.objects.create(MARK, data):
            self._notes.append(
                Note(
                    f"the remote {self.url} ignores conditions: of two results pushed for one key the last stays",
                    "its server would have to know If-None-Match: *; see docs/trust.md",
                )
            )

    def is_made(self) -> bool:
        """Whether somebody has written there yet.

        Raises:
            RemoteError: it cannot be used, or is something else.
        """
        return self.mark() is not None

    def mark(self) -> str | None:
        """The place's id, which tells it from any other; None if nobody has written there yet.

        Raises:
            RemoteError: it cannot be used, or is something else.
        """
        data = self.objects.get(MARK, 0, _LONGEST_MARK)
        return None if data is None else self._read(data)[1]

    def _read(self, data: bytes) -> tuple[int, str]:
        """What the place says of itself: version and id."""
        try:
            mark: dict[str, Any] = json.loads(data)
            version, name = mark["merkl"], mark["id"]
            if type(version) is not int or not re.fullmatch("[0-9a-f]{32}", name):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise RemoteError(
                f"{self.url} is not a merkl remote: {MARK} there is not one of merkl's",
                hint="name an empty directory, or a place that merkl has made",
            ) from None
        if version > VERSION:
            raise SchemaTooNew(
                f"the remote {self.url} was made by a newer merkl (format {version}, this one knows {VERSION})",
                hint="upgrade merkl",
            )
        return version, str(name)

    # ---- records -------------------------------------------------------------------------------------------------

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records filed under those keys."""
        return self.records.by_key(keys)

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """All records filed under those content keys, oldest first."""
        return self.records.by_content_key(keys)

    def file(self, record: Record, *, under_key: bool = True) -> Record:
        """File a record whose contents are here; the one that counts is returned."""
        return self.records.file(record, under_key=under_key)

    def file_many(self, results: Iterable[tuple[Record, Sequence[Key]]]) -> None:
        """File many records whose contents are here, each under the keys that it answers; this machine remembers that."""
        given = list(results)
        self.records.file_many(given)
        keys = {key for record, answered in given for key in (*answered, record.content_key)}
        if keys:
            self.contents.packs.note_filed(self._place(), keys, time.time())

    def filed(self, keys: Iterable[Key]) -> set[Key]:
        """Those of some keys or content keys that this machine filed lately, so that gc has not removed it since."""
        return self.contents.packs.filed(self._place(), keys, time.time() - REFRESH_S)

    def _place(self) -> str:
        own = self.trust.own()
        return f"{self.trust.namespace} {own.hex() if own is not None else ''}"

    def alias(self, key: Key, record: Record) -> None:
        """File a record under one more key."""
        self.records.alias(key, record)

    def forget(self, keys: Iterable[Key]) -> int:
        """Remove the records under those keys or content keys."""
        return self.records.forget(keys)

    # ---- contents ------------------------------------------------------------------------------------------------

    def put(self, chunks: Iterable[bytes]) -> Digest:
        """Store bytes as they come."""
        return self.contents.put(chunks)

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are here, by name only."""
        return self.contents.has(digests)

    def stored(
        self, digests: Iterable[Digest], *, packed: Collection[Digest] = frozenset()
    ) -> dict[Digest, float]:
        """Those that are here, and when each was stored last, by the place's clock; ``packed`` are looked for in packs only."""
        return self.contents.stored(digests, packed=packed)

    def look_again(self) -> None:
        """Do not go by memory: read the list of packs anew, and who files records."""
        self.contents.packs.refresh()
        self._records.look_again()

    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]:
        """The digests of those that are here, by name only; a directory with all its files."""
        asked = list(artifacts)
        here = present(self.contents, asked)
        if len(here) < len({artifact.digest for artifact in asked}) and self.contents.packs.refresh():
            here = present(self.contents, asked)  # Somebody sent it a moment ago.
        return here

    def whole(self, artifacts: Iterable[Artifact]) -> bool:
        """Whether all of some outputs are here."""
        asked = list(artifacts)
        return self.present(asked) == {artifact.digest for artifact in asked}

    def open(self, digest: Digest) -> BinaryIO | None:
        """A reader of the bytes, checked; None if they are not here."""
        return self.contents.open(digest)

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """The bytes as they come."""
        return self.contents.pieces(digest)

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None:
        """A part of a content."""
        return self.contents.part(digest, start, size, of=of)

    def many(self, digests: Iterable[Digest]) -> Iterator[Mapping[Digest, bytes]]:
        """Those that lie in packs."""
        return self.contents.many(digests)

    def fetch(self, digest: Digest) -> BinaryIO | None:
        """As ``open``, but a damaged content is a miss, with a note."""
        return self.contents.fetch(digest)

    def read(self, digest: Digest) -> bytes | None:
        """All bytes at once, as ``fetch``."""
        return self.contents.read(digest)

    def size(self, digest: Digest) -> int | None:
        """How many bytes a content has, or None."""
        return self.contents.size(digest)

    def take_notes(self) -> list[Note]:
        """What the user should know that was noticed since the last call."""
        own = self._contents.take_notes() if self._contents is not None else []
        notes, self._notes = self._notes, []
        return [*notes, *self._records.take_notes(), *own]

    def close(self) -> None:
        """Let go of threads, files and connections.  Idempotent."""
        self._records.close()
        if self._contents is not None:
            self._contents.close()
            self._contents = None

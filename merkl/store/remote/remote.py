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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

from merkl.digest import Digest, Key
from merkl.errors import ConfigError, SchemaTooNew
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.root import STATE_DIR
from merkl.store.base import Record
from merkl.store.combined import present
from merkl.store.fileobjects import FileObjects
from merkl.store.remote.contents import RemoteContents
from merkl.store.remote.directory import DirectoryObjects
from merkl.store.remote.errors import RemoteError
from merkl.store.remote.objects import Objects
from merkl.store.remote.records import RemoteRecords

VERSION: Final = 1
MARK: Final = "merkl-remote"
_LONGEST_MARK: Final = 4096  # Bytes.
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def open_objects(url: str, root: str) -> Objects:
    """The place that a URL names; a relative path starts from ``root``.

    Raises:
        ConfigError: there is no such kind of place.
    """
    found = _SCHEME.match(url)
    if found is None or found[1].lower() == "file":
        path = url if found is None else url[found.end() :]
        directory = os.path.join(root, os.path.expanduser(path))
        where = os.path.realpath(directory)
        state, own = os.path.join(os.path.realpath(root), STATE_DIR), os.path.realpath(root)
        if where == own or (where + os.sep).startswith(state + os.sep) or ".git" in where.split(os.sep):
            raise ConfigError(
                f"merkl.yaml: remote: {path} has a use of its own",
                hint="name a directory for the remote alone",
            )
        return DirectoryObjects(directory)
    raise ConfigError(
        f"merkl.yaml: remote: {found[1]}:// is no place that this merkl knows",
        hint="a directory, such as /mnt/team/merkl",
    )


class Remote(FileObjects):
    """Records and contents of one place.  ``state`` is a directory for what is remembered of it, or None.

    Nothing is read before the first use.
    """

    def __init__(self, objects: Objects, state: str | None = None) -> None:
        self.objects = objects
        self.url = objects.url
        self._state = state
        self._lock = threading.Lock()
        self._contents: RemoteContents | None = None
        self._records = RemoteRecords(objects, self.whole)

    @property
    def contents(self) -> RemoteContents:
        """The contents; on first use the place says what it is.

        Raises:
            SchemaTooNew: a newer merkl made it.
            RemoteError: it is something else.
        """
        with self._lock:
            if self._contents is None:
                mark = self._mark()
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
        if self._mark() is None:
            mark = {"merkl": VERSION, "id": secrets.token_hex(16)}
            self.objects.create(MARK, json.dumps(mark).encode() + b"\n")
            with self._lock:
                before, self._contents = self._contents, None
            if before is not None:
                before.close()

    def _mark(self) -> str | None:
        """The place's id; None if nobody has written there yet."""
        data = self.objects.get(MARK, 0, _LONGEST_MARK)
        if data is None:
            return None
        try:
            mark: dict[str, Any] = json.loads(data)
            version, name = mark["merkl"], mark["id"]
            if type(version) is not int or not re.fullmatch("[0-9a-f]{32}", name):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise RemoteError(
                f"{self.url} is not a merkl remote: {MARK} there is not one of merkl's",
                hint="name an empty directory, or one that merkl has made",
            ) from None
        if version > VERSION:
            raise SchemaTooNew(
                f"the remote {self.url} was made by a newer merkl (format {version}, this one knows {VERSION})",
                hint="upgrade merkl",
            )
        return str(name)

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

    def look_again(self) -> None:
        """Do not go by memory: read the list of packs anew."""
        self.contents.packs.refresh()

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
        return [*self._records.take_notes(), *own]

    def close(self) -> None:
        """Let go of threads, files and connections.  Idempotent."""
        self._records.close()
        if self._contents is not None:
            self._contents.close()
            self._contents = None

"""Bytes of results in a bucket, for caches that projects put together themselves.

It decides under which names they lie there, and that they are squeezed for the way.  It signs nothing and keeps no records:
whoever may write to the bucket can only make it forget, since what comes is compared with the digest that it is asked for by.

The invariant: nothing is asked before the first use, so that a project can name it where there is no network.
"""

import io
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from merkl.remotes import TIMEOUT_S, RemoteConfig, checked_remote
from merkl.store.caches import About, BaseCache
from merkl.store.remote.objects import Objects
from merkl.store.remote.places import open_objects
from merkl.store.remote.squeezing import plain_pieces, squeeze, squeeze_file
from merkl.store.streams import whole

_PIECE: Final = 1 << 20  # Bytes.


class S3ContentBackend(BaseCache):
    """The contents of a ``CombinedCache``, in a bucket.

    ``url`` is ``s3://bucket/prefix``, or the like of another cloud; ``endpoint`` the address of a server that is not the
    cloud's own.  Credentials come from the environment or from the files of that cloud, as for a remote.
    """

    def __init__(self, url: str, *, endpoint: str = "", region: str = "", timeout: float = TIMEOUT_S) -> None:
        named = {"url": url, "endpoint": endpoint, "region": region, "timeout": timeout}
        self._settings: RemoteConfig = checked_remote(named, "S3ContentBackend")
        self._opened: Objects | None = None
        open_objects(url, "", self._settings).close()  # To say at once what cannot be.

    def __repr__(self) -> str:
        return f"S3ContentBackend({self._settings.url!r})"

    @property
    def _objects(self) -> Objects:
        if self._opened is None:
            self._opened = open_objects(self._settings.url, "", self._settings)
        return self._opened

    def get(self, name: str) -> bytes | None:
        """The bytes of that name, or None."""
        return whole(self.get_fileobject(name))

    def get_fileobject(self, name: str) -> BinaryIO | None:
        """A reader of the bytes of that name, which reads ahead, or None."""
        file = self._objects.open(_object(name))
        return None if file is None else cast(BinaryIO, io.BufferedReader(_Plain(file), _PIECE))

    def has(self, name: str) -> bool:
        """Whether they are there, without reading them."""
        return self._objects.look(_object(name)) is not None

    def add(self, name: str, data: bytes, about: About) -> bool | None:  # noqa: ARG002
        """Keep bytes."""
        self._objects.put(_object(name), squeeze(data))
        return True

    def add_fileobject(self, name: str, file: BinaryIO, about: About) -> bool | None:
        """Keep what a file holds, in parts if it is large."""
        self._objects.put(_object(name), squeeze_file(file, about.size))
        return True

    def remove(self, name: str) -> None:
        """Forget them."""
        self._objects.remove([_object(name)])


class _Plain(io.RawIOBase):
    """A content, of a reader of what is stored."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pieces: Iterator[bytes] = plain_pieces(file)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """The next bytes, into a buffer."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count

    def close(self) -> None:
        """Ask for nothing more."""
        self._file.close()
        super().close()


def _object(name: str) -> str:
    return f"contents/{name[:2]}/{name}"

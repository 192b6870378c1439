"""Contents as they are stored: as they are, or squeezed with zstd where that pays.

What is squeezed begins with ``HEAD`` and its size (8 bytes, big endian), in a frame that zstd skips; then come frames of zstd,
so `zstd -d` reads the whole.  What is not is stored as it is; if it happens to begin with ``HEAD`` it is squeezed.

It decides when it pays.  It knows no digests: whoever reads compares those.

The invariant: never more bytes come out than the size that stands in front.
"""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

from merkl.store.remote.errors import RemoteError

_NAME: Final = b"merkl squeezed 1\0\0\0\0"
_SIZE: Final = 8  # Bytes.
HEAD: Final = (0x184D2A5D).to_bytes(4, "little") + (len(_NAME) + _SIZE).to_bytes(4, "little") + _NAME
LONGEST: Final = len(HEAD) + _SIZE  # Bytes before the first frame.
_LEAST: Final = 200  # Bytes; below, it never pays.
_SAMPLE: Final = 256 << 10  # Bytes of what is larger, that say whether it pays.
_PAYS: Final = 0.9
_WINDOW: Final = 8 << 20  # Bytes that a frame may refer back, and so cost in memory.
_PIECE: Final = 4 << 20  # Bytes.
_LARGEST: Final = 64 << 30  # Bytes of what is squeezed: the size of the result is not known before.
_QUICK: Final = 1  # Levels of zstd: what is sent is to wait for the network, not for this.
_SMALL: Final = 3


def squeeze(data: bytes) -> bytes:
    """A small content as it is stored."""
    if len(data) < _LEAST and not data.startswith(HEAD):
        return data
    squeezed = _head(len(data)) + _zstd().ZstdCompressor(level=_SMALL).compress(data)
    return squeezed if len(squeezed) < _PAYS * len(data) or data.startswith(HEAD) else data


def squeeze_file(file: BinaryIO, size: int) -> BinaryIO:
    """A reader of what is left of ``file``, a content of ``size`` bytes, as it is stored."""
    sample = read_up_to(file, _SAMPLE)
    whole = cast(BinaryIO, _Replayed(sample, file))
    if not sample.startswith(HEAD):
        squeezed = _zstd().ZstdCompressor(level=_QUICK).compress(sample)
        if len(squeezed) >= _PAYS * len(sample) or size > _LARGEST:
            return whole
    return cast(BinaryIO, _Squeezing(whole, size))


class _Replayed:
    """A reader of a file of which the first bytes have been read already."""

    def __init__(self, first: bytes, file: BinaryIO) -> None:
        self._first = first
        self._file = file
        self.fileno = file.fileno

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        if not self._first:
            return self._file.read(size)
        piece, self._first = (self._first, b"") if size < 0 else (self._first[:size], self._first[size:])
        return piece


class _Squeezing:
    """A reader of a file's bytes, squeezed."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._head = _head(size)
        self._frames = _zstd().ZstdCompressor(level=_QUICK).stream_reader(file, size=size, closefd=False)

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        head, self._head = self._head, b""
        return head or self._frames.read(_PIECE if size < 0 else size)


def plain(stored: bytes, most: int) -> bytes:
    """A small content, of what is stored; of what is damaged, or has more than ``most`` bytes, nothing that anybody wants."""
    size = size_of(stored)
    if size is None or size > most:
        return stored
    return b"".join(plain_pieces(cast(BinaryIO, io.BytesIO(stored))))


def size_of(start: bytes) -> int | None:
    """The size of a content whose stored bytes begin so, ``LONGEST`` of them; None if it is stored as it is."""
    if not start.startswith(HEAD) or len(start) < LONGEST:
        return None
    return int.from_bytes(start[len(HEAD) : LONGEST], "big")


def pieces_in(file: BinaryIO) -> Iterator[bytes]:
    """What is left of a file, as it is."""
    while piece := file.read(_PIECE):
        yield piece


def plain_pieces(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a content, of a reader of what is stored; of what is damaged, as much as can be read.

    Raises:
        StoreError: what is stored cannot be read.
    """
    first = read_up_to(file, LONGEST)
    size = size_of(first)
    if size is None:
        yield first + file.read(_PIECE - len(first))
        yield from pieces_in(file)
        return
    if size > _LARGEST:
        return  # Nobody squeezed that.
    library = _zstd()
    frames = library.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(
        file, read_across_frames=True, closefd=False
    )
    while size > 0:
        try:
            piece = frames.read(min(_PIECE, size))
        except library.ZstdError:
            return
        if not piece:
            return
        size -= len(piece)
        yield piece
    # One byte more than it said is damage: whoever compares digests must see it.
    try:
        yield frames.read(1)
    except library.ZstdError:
        return


def read_up_to(file: BinaryIO, size: int) -> bytes:
    """The next bytes of a file, fewer only at its end."""
    data = file.read(size)
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def _head(size: int) -> bytes:
    return HEAD + size.to_bytes(_SIZE, "big")


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError:
        raise RemoteError(
            "what is stored in this remote is squeezed, and the library for that is not installed",
            hint="pip install 'merkl[remote]'",
        ) from None
    return zstandard

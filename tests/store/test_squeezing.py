"""Contents as they are stored: squeezed where it pays, and never more bytes than they say."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from shared_stores import bucket_objects
from store_samples import record

from merkl.digest import Digest
from merkl.errors import StoreCorrupt
from merkl.nodes import Artifact
from merkl.store.layered import Layered
from merkl.store.memory import MemoryStore
from merkl.store.remote.contents import RemoteContents, blob_name
from merkl.store.remote.parts import Parts
from merkl.store.remote.remote import Remote
from merkl.store.remote.squeezing import HEAD, LONGEST, plain, plain_pieces, size_of, squeeze, squeeze_file

TEXT = b"some text that says the same again and again\n" * 20_000
NOISE = os.urandom(500_000)


def whole(data: bytes) -> bytes:
    file = squeeze_file(io.BytesIO(data), len(data))
    return b"".join(iter(lambda: file.read(100_000), b""))


@pytest.mark.parametrize(
    "data",
    [b"", b"a", b"a" * 1000, TEXT, NOISE, HEAD, HEAD + b"x", HEAD + NOISE, HEAD * 1000, b"\0" * 9_000_000],
)
def test_whatever_is_stored_comes_back(data: bytes) -> None:
    for stored in (squeeze(data), whole(data)):
        assert b"".join(plain_pieces(io.BytesIO(stored))) == data
        assert plain(stored, len(data)) == data
        assert size_of(stored) in (None, len(data))
        assert len(stored) <= len(data) or data.startswith(HEAD)


def test_it_is_squeezed_where_that_pays_and_zstd_can_read_it() -> None:
    for stored in (squeeze(TEXT), whole(TEXT)):
        assert len(stored) < len(TEXT) / 20 and stored.startswith(HEAD)
        reader = zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True)
        assert reader.read() == TEXT
    assert whole(NOISE) == squeeze(NOISE) == NOISE


def bomb(size: int, says: int) -> bytes:
    """A few bytes that become ``size`` bytes of nothing, and say that they are ``says``."""
    return HEAD + says.to_bytes(8, "big") + zstandard.ZstdCompressor().compress(bytes(size))


@pytest.mark.parametrize("says", [0, 10, 1 << 20])
def test_row_32_no_more_comes_out_than_it_says_and_one_byte_that_shows_it(says: int) -> None:
    stored = bomb(200 << 20, says)
    assert len(stored) < 20_000

    assert sum(map(len, plain_pieces(io.BytesIO(stored)))) <= says + 1
    assert len(plain(stored, 1000)) <= len(stored)


def test_row_32_what_says_that_it_is_larger_than_anything_gives_nothing() -> None:
    assert list(plain_pieces(io.BytesIO(bomb(1000, 1 << 62)))) == []


@pytest.mark.parametrize("cut", [LONGEST, LONGEST + 3, -1])
def test_what_is_cut_or_garbled_gives_other_bytes_and_no_error(cut: int) -> None:
    stored = squeeze(TEXT)

    assert b"".join(plain_pieces(io.BytesIO(stored[:cut]))) != TEXT
    garbled = stored[: LONGEST + 9] + bytes(50) + stored[LONGEST + 59 :]
    assert b"".join(plain_pieces(io.BytesIO(garbled))) != TEXT


def test_row_32_of_a_bomb_no_more_is_taken_than_the_record_says(tmp_path: Path) -> None:
    made, _ = record("made", outputs={"": Artifact("file", Digest.of(b"x" * 300_000), 300_000)})
    digest = made.outputs[""].digest
    remote = Remote(bucket_objects(), str(tmp_path / "state"))
    remote.prepare()
    remote.file(made)
    remote.objects.put(blob_name(digest), bomb(100 << 20, 100 << 20))
    came: list[int] = []
    store = Layered(MemoryStore(), remote)
    store.came = came.append
    store.by_key([made.key])

    with pytest.raises(StoreCorrupt):
        store.reader(digest)

    assert sum(came) <= 300_000
    assert remote.has([digest]) == set(), "it was set aside"
    store.close()


def test_row_32_a_frame_of_another_content_is_damage(tmp_path: Path) -> None:
    contents = RemoteContents(bucket_objects())
    digest = Digest.of(TEXT)
    contents.objects.put(blob_name(digest), squeeze(TEXT.upper()))

    assert contents.read(digest) is None

    [note] = contents.take_notes()
    assert "damaged" in note.text and contents.has([digest]) == set()
    contents.close()


def test_small_contents_are_squeezed_one_by_one_in_their_pack() -> None:
    contents = RemoteContents(bucket_objects())
    pieces = {Digest.of(TEXT[:n]): TEXT[:n] for n in (0, 3, 5000, 100_000)}
    sizes = [(digest, len(data)) for digest, data in pieces.items()]

    contents.send(sizes, lambda digest: io.BytesIO(pieces[digest]))

    [pack] = contents.objects.names("packs")
    assert pack.size < 3000
    for digest, data in pieces.items():
        assert contents.read(digest) == data and contents.size(digest) == len(data)
        assert contents.part(digest, 1, 2, of=Digest.of(data[1:3])) in (
            data[1:3] if len(data) > 2 else None,
            None,
        )
    contents.close()


def test_a_part_of_one_content_does_not_wait_for_another_and_the_last_one_comes_once() -> None:
    fetched: list[Digest] = []
    slow, quick, nowhere = (Digest.of(text) for text in (b"slow", b"quick", b"nowhere"))
    begun, go_on = threading.Event(), threading.Event()

    def fetch(digest: Digest) -> io.BytesIO | None:
        fetched.append(digest)
        if digest == slow:
            begun.set()
            assert go_on.wait(60)
        return None if digest == nowhere else io.BytesIO(digest + b"more")

    parts = Parts(fetch)  # type: ignore[arg-type]  # All that a reader of bytes has.
    with ThreadPoolExecutor(1) as aside:
        first = aside.submit(lambda: parts.part(slow, 32, 2))
        assert begun.wait(60)
        assert [parts.part(quick, start, 2) for start in (32, 34)] == [b"mo", b"re"]
        assert parts.has(quick) and not parts.has(slow)
        go_on.set()
        assert first.result() == b"mo"
    assert parts.part(nowhere, 0, 1) is None is parts.part(nowhere, 0, 1)
    assert fetched == [slow, quick, nowhere, nowhere]
    parts.close()
    parts.close()

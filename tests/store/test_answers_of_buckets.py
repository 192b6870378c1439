"""One answer brings a whole object from a bucket, unless it breaks off or is slow; and large contents go to files in steps."""

import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from merkl.store.remote.errors import RemoteError
from merkl.store.remote.reading import Reading, until_broken
from merkl.store.streams import Growing
from merkl.store.together import Pool

MIB = 1 << 20
DATA = os.urandom(MIB) * 24


@pytest.fixture
def pool() -> Iterator[Pool]:
    threads = Pool(4)
    yield threads
    threads.close()


class Asked:
    """Gives parts of ``DATA``, and remembers which."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int]] = []

    def __call__(self, start: int, end: int) -> bytes | None:
        self.parts.append((start, end))
        return DATA[start:end]


def pieces(until: int, wait: Callable[[], object] = lambda: None) -> Iterator[bytes]:
    source = io.BytesIO(DATA[:until])
    while piece := source.read(300_000):
        wait()
        yield piece


def test_what_one_answer_brings_is_asked_for_once(pool: Pool) -> None:
    asked = Asked()
    with Reading(pieces(5 * MIB), 5 * MIB, asked, pool, "s3://bucket") as reader:
        assert reader.read() == DATA[: 5 * MIB]
        assert reader.read() == b""
    assert asked.parts == []


def test_an_answer_that_breaks_off_is_gone_on_with_in_parts(pool: Pool) -> None:
    asked = Asked()
    with Reading(pieces(7 * MIB + 1), len(DATA), asked, pool, "s3://bucket") as reader:
        assert reader.read() == DATA
    assert min(asked.parts)[0] == 7 * MIB + 1 and max(asked.parts)[1] == len(DATA)


def test_of_an_answer_that_comes_slowly_the_rest_comes_in_several(pool: Pool) -> None:
    asked = Asked()
    slow = pieces(len(DATA), lambda: time.sleep(0.005))  # At most 60 MB in a second.
    with Reading(slow, len(DATA), asked, pool, "s3://bucket") as reader:
        assert reader.read() == DATA
    assert len(asked.parts) > 1


def test_an_object_that_goes_away_meanwhile_is_an_error(pool: Pool) -> None:
    with (
        Reading(pieces(MIB), 2 * MIB, lambda start, end: None, pool, "s3://bucket") as reader,
        pytest.raises(RemoteError, match="was removed while it was read"),
    ):
        reader.read()


def broken(error: Exception) -> Iterator[bytes]:
    yield b"some"
    raise error


def test_a_connection_that_ends_ends_the_answer() -> None:
    assert list(until_broken(broken(OSError("reset")), pause=60)) == [b"some"]


@pytest.mark.parametrize(("error", "pause"), [(OSError("timed out"), 0), (RemoteError("too slow"), 60)])
def test_a_sender_that_says_nothing_is_not_asked_anew(error: Exception, pause: float) -> None:
    with pytest.raises(type(error)):
        list(until_broken(broken(error), pause))


@pytest.mark.parametrize("size", [0, 1, 3 * MIB, len(DATA) - 1])
def test_a_file_that_grows_in_steps_has_what_was_written_and_no_more(tmp_path: Path, size: int) -> None:
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        growing = Growing(file.fileno())
        for start in range(0, size, 2 * MIB):
            growing.write(memoryview(DATA)[start : min(start + 2 * MIB, size)])
        growing.finish()
        found = os.fstat(file.fileno())
    assert (tmp_path / "file").read_bytes() == DATA[:size]
    assert found.st_blocks * 512 < size + MIB

"""What was looked at of very many files is packed, and says the same afterwards."""

import gc
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from merkl.snapshot import recorder
from merkl.snapshot.answer import answer, request_of
from merkl.snapshot.keep import Looks, keep
from merkl.snapshot.recording import Recording

WORDS, VERSION = ["build"], "1"
PACKED, NOT_PACKED = 0, sys.maxsize
# Bytes of a file that was looked at; packed it takes some 60, else more than 300.
LOOKED_AT = 120
WRITTEN = 350  # At the peak of writing it down: for one directory at a time.


class Place:
    """A project of which files are looked at, as a build does that is told of them by name, or as a Merklfile does."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def write(self, *directories: str, count: int = 20) -> list[str]:
        """So many files in each of some directories; their paths."""
        paths = [os.path.join(self.top, at, f"{n:04d}.txt") for at in directories for n in range(count)]
        for path in paths:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(path).write_text("x")
        return paths

    def look(self, named: Sequence[str], others: Sequence[str] = (), *, room: int = PACKED) -> Recording:
        """A recording of looks, after which files are packed once there are more than ``room``."""
        recording = recorder.start(request_of(WORDS, VERSION))
        try:
            self.go_on(recording, named, others, room=room)
        finally:
            recorder.stop()
        return recording

    def go_on(
        self, recording: Recording, named: Sequence[str], others: Sequence[str] = (), *, room: int = PACKED
    ) -> None:
        for path in named:
            recording.room = room
            with recorder.for_source():
                os.stat(path)
        for path in others:
            recording.room = room
            try:
                os.stat(path)
            except FileNotFoundError:
                continue

    def keep(self, recording: Recording, *, later_s: float = 10.0, store: str = "") -> str:
        """Write the snapshot as if all that is there was written long before; why there can be none, or empty."""
        clock_ns = time.time_ns() + int(later_s * 1e9)
        store = store or os.path.join(self.top, ".merkl/store")
        looks = Looks(recording, root=str(self.top), store=store, clock_ns=clock_ns)
        return keep(looks, summary=("", ""), only_ask=False)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    (tmp_path / ".merkl").mkdir()
    monkeypatch.chdir(tmp_path)
    yield Place(tmp_path)
    recorder.stop()


def test_what_was_packed_is_unpacked_as_it_was(place: Place) -> None:
    named = place.write("a", "b", "")
    others = [*named[5:25], *place.write("c"), str(place.top / "a"), str(place.top / "missing")]
    packed, plain = (place.look(named, others, room=room) for room in (PACKED, NOT_PACKED))

    assert packed.piles is not None
    assert plain.piles is None
    assert set(packed.paths()) == set(plain.paths())
    packed.unpack()

    assert packed.files == plain.files
    assert (packed.by_source, packed.by_others) == (plain.by_source, plain.by_others)


@pytest.mark.parametrize("changed", ["a/0003.txt", "b/0019.txt", "0000.txt", "missing"])
def test_a_change_of_what_was_packed_is_seen(place: Place, changed: str) -> None:
    named = place.write("a", "b", "")
    recording = place.look([*named, *named[::3]], [*named[::2], str(place.top / "missing")])

    assert place.keep(recording) == ""
    assert answer(WORDS, VERSION) == 0
    Path(place.top, changed).write_text("y")
    assert answer(WORDS, VERSION) is None


def test_what_was_packed_and_changed_before_it_was_looked_at_again_is_no_snapshot(place: Place) -> None:
    paths = place.write("a")
    recording = recorder.start(request_of(WORDS, VERSION))
    place.go_on(recording, paths)
    with recorder.unheard():  # As another process.
        os.utime(paths[7])
    place.go_on(recording, paths)
    recorder.stop()

    assert place.keep(recording) == f"{paths[7]} changed meanwhile"


def test_what_was_packed_and_may_have_been_changed_since_is_no_snapshot(place: Place) -> None:
    recording = place.look(place.write("a"))

    assert "was changed just now" in place.keep(recording, later_s=0.0)


def test_of_a_store_elsewhere_nothing_is_packed_into_a_snapshot(place: Place) -> None:
    elsewhere = Place(place.top.parent / f"{place.top.name} store")
    (blob,) = elsewhere.write("blobs", count=1)
    recording = place.look([blob, *place.write("a")])

    assert place.keep(recording, store=str(elsewhere.top)) == ""
    Path(blob).unlink()
    assert answer(WORDS, VERSION) == 0


def test_of_a_store_elsewhere_that_counts_all_is_in_a_snapshot(place: Place) -> None:
    elsewhere = Place(place.top.parent / f"{place.top.name} store")
    (blob,) = elsewhere.write("blobs", count=1)
    recording = place.look([blob, *place.write("a")])
    recording.keep_below(os.path.join(elsewhere.top, "blobs", ""))

    assert place.keep(recording, store=str(elsewhere.top)) == ""
    assert answer(WORDS, VERSION) == 0
    Path(blob).unlink()
    assert answer(WORDS, VERSION) is None


def traced(work: Callable[[], object]) -> tuple[int, int]:
    """How many bytes some work leaves, and how many it needs at its peak."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = work()
        gc.collect()
        current, peak = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return current, peak


def test_a_file_that_is_looked_at_takes_few_bytes_and_few_while_it_is_written_down(place: Place) -> None:
    few, many = (place.write(*(f"{n}/d{at}" for at in range(n)), count=100) for n in (2, 12))
    recordings: list[Recording] = []

    def look(paths: list[str]) -> None:
        recordings.append(recorder.start(request_of(WORDS, VERSION)))
        for at in range(0, len(paths), 50):
            recordings[-1].room = PACKED if at % 100 else NOT_PACKED
            place.go_on(recordings[-1], [str(path) for path in paths[at : at + 50]], room=recordings[-1].room)
        recordings[-1].pack()
        recorder.stop()

    look(few[:1])  # What is loaded once.
    assert place.keep(recordings[-1]) == ""
    looked = [traced(lambda paths=paths: look(paths)) for paths in (few, many)]
    written = [traced(lambda one=one: place.keep(one)) for one in recordings[1:]]

    assert (looked[1][0] - looked[0][0]) / (len(many) - len(few)) < LOOKED_AT
    assert (written[1][1] - written[0][1]) / (len(many) - len(few)) < WRITTEN

"""A result comes back in memory while it is small, and in a file from then on; its bytes are the same."""

import itertools
import json

import pytest

from merkl.python.spill import Spill


@pytest.mark.parametrize("sizes", [[], [4], [3, 1], [5], [4, 1], [2, 3, 9], [0, 4, 0, 1]])
def test_all_that_was_written_is_in_memory_or_in_the_file(tmp_path, sizes):
    numbers = itertools.count(65)
    parts = [bytes([next(numbers)]) * size for size in sizes]
    path = tmp_path / "result"
    with Spill(bytes(path), 4) as spill:
        for part in parts:
            assert spill.write(part) == len(part)

    whole = b"".join(parts)
    assert spill.size == len(whole)
    assert (spill.small(), path.exists()) == ((whole, False) if len(whole) <= 4 else (None, True))
    if path.exists():
        assert path.read_bytes() == whole


def test_what_is_changed_after_it_was_written_does_not_change_it(tmp_path):
    part = bytearray(b"abc")
    with Spill(bytes(tmp_path / "result"), 4) as spill:
        spill.write(part)
        spill.write(memoryview(part)[:1])
        part[:] = b"xyz"
    assert spill.small() == b"abca"


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_results_of_every_form_and_size_come_back_as_they_are(inside, jobs):
    inside.merklfile("""
        def sizes():
            return [10, 65_000, 66_000, 200_000]

        @task
        def as_bytes(n):
            return b"b" * n

        @task
        def as_text(n):
            return "t" * n

        @task
        def as_json(n):
            return ["j" * n]

        @task
        def as_pickle(n):
            return {("p", n)}, "p" * n

        @task
        def lengths(b, t, j, p):
            return [len(b), len(t), len(j[0]), list(*p[0]), len(p[1])]

        @target(default=True)
        def all():
            for n in sizes():
                lengths(as_bytes(n), as_text(n), as_json(n), as_pickle(n)) > f"{n}.json"
    """)
    inside.merkl("build", jobs)
    for n in (10, 65_000, 66_000, 200_000):
        assert json.loads(inside.read(f"{n}.json")) == [n, n, n, ["p", n], n]

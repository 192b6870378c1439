"""What a bucket is asked for: few requests for many contents, and only what is needed."""

import os
from typing import Any


def many(users: Any, count: int, size: int) -> None:
    """Let ``here`` have a tracked directory of many files."""
    (users.here / "data").mkdir()
    for n in range(count):
        (users.here / f"data/{n}").write_bytes(b"%d " % n * (size // 4))
    users.merkl(users.here, "track", "data")


def test_many_small_contents_are_few_requests(users: Any) -> None:
    users.settings(timeout=60)
    many(users, 1500, 1000)

    users.merkl(users.here, "push")

    assert len(users.proxy.asked()) <= 15
    users.proxy.clear()
    users.merkl(users.here, "push")
    assert len(users.proxy.asked()) <= 6, "what is there is not sent again"
    users.proxy.clear()
    users.hand_over()
    users.merkl(users.there, "pull")
    assert len(users.proxy.asked()) <= 10
    assert sorted(os.listdir(users.there / "data")) == sorted(os.listdir(users.here / "data"))


def test_only_what_something_needs_is_fetched(users: Any) -> None:
    users.settings(timeout=60)
    users.merklfile("""
        big = bash_task("head -c 900000 /dev/urandom > {out_file_arg('made', '.bin')}")
        count = bash_task("wc -c < {file_arg('what')} > {out_file_arg('made', '.txt')}")

        @target(default=True)
        def all():
            count(big()) > "out/count.txt"
    """)
    users.build(users.here, "--push")
    users.proxy.clear()

    assert users.build(users.there) == []

    assert users.outputs(users.there) == {"count.txt": b"900000\n"}
    assert not users.proxy.asked("blobs/"), "the bytes between were for nobody"


def test_results_that_come_soon_after_one_another_travel_together(users: Any) -> None:
    users.settings(timeout=60)
    users.merklfile("""
        @task
        def number(n):
            return n

        @target(default=True)
        def all():
            for n in range(60):
                number(n) > f"out/{n}.txt"
    """)

    assert len(users.build(users.here, "--push")) == 60

    assert len(users.objects("packs")) <= 4, "and not one for each result"
    assert users.build(users.there, "--require-remote") == []

"""What a bucket is asked for: few requests for many contents, and only what is needed."""

import os
from typing import Any

from servers.fault_proxy import failing

TWO = """
make = bash_task("echo {arg('word')} > {out_file_arg('made', '.txt')}")

@target(default=True)
def all():
    make("small") > "out/small.txt"
    make("large") > "out/large.txt"
"""


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


def test_a_build_that_pushes_sends_what_earlier_ones_made_and_remembers_that(users: Any) -> None:
    users.merklfile(TWO)
    assert users.build(users.here) == ["make", "make"]
    assert users.build(users.here, "--push") == []
    assert users.build(users.there) == []

    users.proxy.clear()
    assert users.build(users.here, "--push") == []
    assert users.proxy.asked("PUT |HEAD |/(records|made)/") == []

    users.merklfile(TWO.replace('"small"', '"smaller"'))
    assert users.build(users.here, "--push") == ["make"]
    assert len(users.proxy.asked("PUT .*/made/")) == 1


def test_a_remote_that_is_away_is_told_to_who_has_something_to_push(users: Any) -> None:
    users.build(users.here)
    users.proxy.rule(failing(403, "AccessDenied"))
    done = users.merkl(users.here, "build", "--push")
    assert done.stdout.count("note: results of earlier builds not pushed: ") == 1
    assert users.merkl(users.here, "build", "--push", "--require-remote", code=3).stderr

"""Workers that start before a build is planned: only if there will be something for them, and they go with the build."""

import pytest

import merkl.execute.pool
from merkl.execute.orphans import children

TASKS = """
@task
def square(n):
    return n * n

@task(resources=NEEDS)
def total(squares):
    return sum(squares)

@target(default=True)
def all():
    total([square(n) for n in range(5)]) > "total.json"
"""


@pytest.fixture
def started(inside, monkeypatch):
    """Build with two slots; how many workers were started."""
    workers = []
    start = merkl.execute.pool.start_worker

    def noted(*arguments, **options):
        workers.append(start(*arguments, **options))
        return workers[-1]

    monkeypatch.setattr(merkl.execute.pool, "start_worker", noted)

    def build(*arguments, needs="{}", code=0):
        inside.merklfile(TASKS.replace("NEEDS", needs))
        workers.clear()
        inside.merkl("build", "-j2", *arguments, code=code)
        return len(workers)

    return build


def test_a_build_that_runs_no_calls_starts_no_worker(started, inside):
    assert started() == 2
    (inside.path / "total.json").unlink()
    assert started() == 0
    assert inside.read("total.json").strip() == "30"
    inside.merkl("clear", "all")
    assert started("--frozen", code=6) == 0
    assert started() == 2


def test_workers_that_started_in_vain_go_with_the_build(started):
    before = set(children())
    assert started(needs="{'licence': 1}", code=2) == 2
    assert set(children()) <= before

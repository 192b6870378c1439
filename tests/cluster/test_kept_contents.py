"""What the store of a worker's machine keeps: what is needed, and of the rest what was used last."""

import json
import os
import subprocess
import time

import pytest
from servers.dask_cluster import DaskCluster

from merkl.cluster.keeping import Keeping
from merkl.errors import ConfigError
from merkl.executors import executors_from
from merkl.store.builds import register_build
from merkl.store.local import LocalStore

DAY_S = 86_400
SIZE = 200_000  # Bytes: a file each.


@pytest.fixture
def machine(tmp_path):
    """The state directories of two processes of one machine."""
    return [str(tmp_path / "mirrors" / name / "project" / ".merkl") for name in ("one", "two")]


@pytest.fixture
def store(tmp_path):
    made = LocalStore(tmp_path / "store")
    yield made
    made.close()


def put(store, number: int, *, hours: float):
    """A content that was last used so long ago."""
    digest = store.put([bytes([number]) * SIZE])
    used_at = int(time.time() - hours * 3600)
    store.database.write(
        lambda connection: connection.execute(
            "UPDATE blob SET used_at = ? WHERE digest = ?", (used_at, digest)
        )
    )
    return digest


def test_what_was_not_used_for_longest_goes_and_what_anybody_needs_stays(store, machine):
    digests = [put(store, n, hours=20 - n) for n in range(6)]
    fresh = put(store, 6, hours=0)
    with register_build(machine[0]) as own, register_build(machine[1]) as other:
        keeping = Keeping(store, machine[0], own, most=4 * SIZE)
        keeping.needs(7, [digests[0]])
        keeping.needs(8, [digests[1]])
        other.lists(digests[2])
        keeping.done(8)
        keeping.tidy(at_once=True)
        assert store.has([*digests, fresh]) == {digests[0], digests[2], digests[5], fresh}

        keeping.tidy()  # Only now and then.
        put(store, 7, hours=9)
        keeping.tidy()
        assert len(store.has([*digests, fresh])) == 4


def test_on_a_full_disk_all_goes_that_nobody_needs(store, machine):
    needed, unneeded = put(store, 1, hours=1), put(store, 2, hours=0)
    with register_build(machine[0]) as own:
        keeping = Keeping(store, machine[0], own, most=10 * SIZE)
        keeping.needs(1, [needed])
        with register_build(machine[1]):  # Which may have stored it just now.
            assert not keeping.make_room()
            assert store.has([needed, unneeded]) == {needed, unneeded}
        assert keeping.make_room()
        assert store.has([needed, unneeded]) == {needed}


def test_what_was_not_used_for_days_goes_with_whatever_room_there_is(store, machine):
    old, young = put(store, 1, hours=73), put(store, 2, hours=71)
    with register_build(machine[0]) as own:
        Keeping(store, machine[0], own, most=10 * SIZE).tidy(at_once=True)
    assert store.has([old, young]) == {young}


def test_how_much_is_kept_is_a_size():
    def keep(given):
        return executors_from({"lab": {"engine": "dask", "address": "tcp://a:1", **given}}, "/", "m")[
            "lab"
        ].keep

    assert keep({}) == 20_000_000_000
    assert keep({"keep": "1.5GB"}) == 1_500_000_000
    assert keep({"keep": 0}) == 0
    for wrong in ("much", -1, True, [1]):
        with pytest.raises(ConfigError, match="keep is a size"):
            keep({"keep": wrong})


@pytest.mark.full
@pytest.mark.needs("mount")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_build_goes_on_where_the_disk_of_a_worker_is_full_of_what_is_not_needed(project, tmp_path):
    (tmp_path / "shared").mkdir()
    disk = tmp_path / "cluster" / "worker-0"
    disk.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "merkl-test", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"may not mount: {mounted.stderr.decode().strip()}")
    try:
        with DaskCluster(tmp_path / "cluster", workers=1, threads=1) as cluster:
            settings = {"remote": {"url": str(tmp_path / "shared")}, "executors": {"lab": cluster.setting()}}
            project.write("merkl.yaml", json.dumps(settings))
            project.merklfile("""
                big = bash_task("head -c {arg('size')} /dev/urandom > {out_file_arg('o')}")
                both = bash_task("cat {file_arg('a')} {file_arg('b')} | wc -c > {out_file_arg('o')}")

                @target
                def some():
                    parts = [big(10_000_000 + i) for i in range(10)]
                    for i in range(9):
                        both(parts[i], parts[i + 1]) > f"{i}.txt"

                @target
                def large():
                    big(100_000_000) > "large"
            """)
            assert len(project.build("some", "--target", "lab")) == 19
            assert project.read("8.txt") == "20000017\n"

            done = project.merkl("build", "large", "--target", "lab", code=1)
            assert "disk full" in done.stderr
            assert "or lower `keep: 20 GB` of the executor lab in merkl.yaml: its store is /" in done.stderr
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)

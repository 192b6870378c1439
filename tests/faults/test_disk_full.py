"""No room: what was there before stays, what can be delivered is, and the message says what is used up, and where.

========  ====================================================================================================
row 15    a store of one megabyte: here; the store alone: ``tests/store/test_store_disk.py``
row 16    a workspace that is full, where tasks write and where outputs are placed: here
row 17    no room for the store's database, its journal, or the index alone, by ``strace``: here
row 23    no inodes left, in the store, where tasks write, and where outputs are placed: here; the store alone:
          ``tests/store/test_store_disk.py``
========  ====================================================================================================
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import disk_story as story
import pytest
from disk_story import no_traceback, unmount, with_errors

Mount = Callable[..., Path]
Proven = Callable[..., None]

LARGE = """
    import os

    large = bash_task("head -c {arg('size')} /dev/zero | tr '\\\\0' x > {out_file_arg('out', '.txt')}")
    count = bash_task("wc -c < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")

    @task
    def text(path):
        return open(path).read()

    @task
    def tree(text):
        top = os.path.join(os.environ["TMPDIR"], "top")
        os.makedirs(top)
        for name in ("a", "b"):
            with open(os.path.join(top, name), "w") as f:
                f.write(name + text)
        return DirRef(top)

    listed = bash_task("cat {dir_arg('tree')}/* | wc -c > {out_file_arg('out', '.txt')}")
    many = bash_task('''
        mkdir -p {out_dir_arg('out')}
        cd {out_dir_arg('out')}
        for n in $(seq {arg('count')}); do echo $n > $n; done
    ''')

    @target(default=True)
    def all(size: int = 3_000_000):
        big = large(size) > "build/big.txt"
        count(big) > "build/count.txt"
        folder = tree(text(big)) > "build/folder"
        listed(folder) > "build/listed.txt"

    @target
    def small():
        large(10) > "build/small.txt"

    @target
    def files(count: int = 3):
        many(count) > "build/many"
"""


def check_all(project: Any, size: int = 3_000_000) -> None:
    assert (project.path / "build/big.txt").stat().st_size == size
    assert project.read("build/count.txt").split() == [str(size)]
    assert project.read("build/listed.txt").split() == [str(2 * size + 2)]
    assert (project.path / "build/folder/b").stat().st_size == size + 1


def sizes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()
    }


def fill(folder: Path, leave: int = 0) -> Path:
    """Use up what room there is, but for some bytes."""
    filler = folder / "filler"
    free = os.statvfs(folder)
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - leave)))
    return filler


@pytest.mark.needs("mount")
@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_row_15_a_full_store_costs_the_cache_and_not_the_build(
    project: Any, mount: Mount, proven: Proven, jobs: str
) -> None:
    store = mount(".merkl/store", "size=1m")
    project.merklfile(LARGE)

    done = project.merkl("build", jobs)

    assert "not cached: the store cannot take more: disk full" in done.stderr + done.stdout
    assert str(store) in done.stderr + done.stdout and "merkl gc" in done.stderr + done.stdout
    check_all(project)
    assert not [name for name in os.listdir(project.path / ".merkl/run") if "kept" in name]
    assert "large" in project.build(jobs)
    check_all(project)
    assert project.build("small") == ["large"]
    assert project.build("small") == []
    unmount(store)
    proven("all", "small")


@pytest.mark.needs("mount")
def test_row_15_a_value_of_a_full_store_can_be_evaluated(project: Any, mount: Mount) -> None:
    mount(".merkl/store", "size=1m")
    project.merklfile(
        LARGE
        + """
    found = text(large(2_000_000)).eval()
    where = large(2_000_001).eval()
    assert set(found) == {"x"} and len(found) == 2_000_000
    assert os.path.getsize(where) == 2_000_001
    """
    )
    project.merkl("build", "small")


@pytest.mark.needs("mount")
def test_row_16_a_full_disk_under_the_tasks_fails_them_by_name_and_harms_nothing(
    project: Any, mount: Mount, proven: Proven
) -> None:
    state = mount(".merkl", "size=40m")
    project.merklfile(LARGE)
    project.build()
    filler = fill(state, leave=2_000_000)

    done = project.merkl("build", "size=3500000", code=1)

    assert re.search("large failed: .*; disk full, where it writes", done.stderr)
    assert no_traceback(done)
    check_all(project)
    assert project.build("small") == ["large"]
    filler.unlink()
    assert sorted(project.build("size=3500000")) == ["count", "large", "listed", "text", "tree"]
    check_all(project, 3_500_000)
    proven("all", "small")


@pytest.mark.needs("mount")
@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_row_16_a_result_that_finds_no_room_is_not_called_unfit_to_be_stored(
    project: Any, mount: Mount, proven: Proven, jobs: str
) -> None:
    mount(".merkl", "size=5m")
    project.merklfile("""
        @task
        def zeros(size):
            return bytes(size)

        @target(default=True)
        def all(size: int = 10):
            zeros(size) > "zeros"
    """)
    done = project.merkl("build", jobs, "size=9000000", code=1)

    assert "zeros: its result, of type bytes, cannot be written: No space left on device" in done.stderr
    assert "make room" in done.stderr and no_traceback(done)
    proven()


@pytest.mark.needs("mount")
def test_row_16_a_disk_without_one_free_byte_under_merkls_own_directory(
    project: Any, mount: Mount, proven: Proven
) -> None:
    state = mount(".merkl", "size=40m")
    project.merklfile(LARGE)
    project.build()
    filler = fill(state)

    done = project.merkl("build", "size=3500000", code=None)

    assert done.returncode in (1, 3) and no_traceback(done)
    assert "no space left" in done.stderr.lower() or "disk full" in done.stderr
    check_all(project)
    filler.unlink()
    proven()


@pytest.mark.needs("mount")
@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_row_16_a_full_disk_where_outputs_are_placed_leaves_the_old_ones(
    project: Any, mount: Mount, proven: Proven, jobs: str
) -> None:
    build = mount("build", "size=13m")  # Two of the large file, one more as it is replaced, but not two.
    project.merklfile(LARGE)
    project.build()
    before = sizes(build)
    filler = fill(build, leave=1_000_000)

    done = project.merkl("build", jobs, "size=3500000", code=1)

    assert "cannot write build/big.txt: no space left on device" in done.stderr
    assert "make room on its file system" in done.stderr and no_traceback(done)
    filler.unlink()
    assert sizes(build)["big.txt"] == 3_000_000 and sizes(build)["folder/b"] == before["folder/b"]
    assert set(sizes(build)) == set(before)  # Nothing half made is left beside them.
    unmount(build)
    assert "large" not in project.build("size=3500000")  # What it made was kept.
    check_all(project, 3_500_000)
    proven()


@pytest.mark.needs("strace")
@pytest.mark.parametrize(
    ("end", "error"), [("", "ENOSPC"), ("-wal", "ENOSPC"), ("-wal", "EIO"), ("-shm", "ENOSPC")]
)
def test_row_17_a_database_that_cannot_be_written_costs_the_cache_and_not_the_build(
    project: Any, proven: Proven, end: str, error: str
) -> None:
    story.set_up(project)
    project.build()
    journal = f"{story.database(project)}{end}"

    done = with_errors(project, "pwrite64,fdatasync,ftruncate,fallocate", error, journal, "build", "n=2")

    assert no_traceback(done), done.stderr
    if end == "-shm":  # Without it SQLite does not even read.
        assert done.returncode == 3 and ".merkl/store" in done.stderr and "hint:" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert project.read("build/both.txt").startswith("made by 2\n")
    if end == "-wal":
        assert "not cached" in done.stdout + done.stderr
    assert project.build("n=2") in ([], ["both"])
    assert project.build() == []  # What was cached before still is.
    proven()


@pytest.mark.needs("strace")
@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
def test_row_17_an_index_that_cannot_be_written_costs_memory_and_not_the_build(
    project: Any, proven: Proven, end: str
) -> None:
    story.set_up(project)
    project.build()
    index = project.path / f".merkl/index.db{end}"

    done = with_errors(project, "pwrite64,fdatasync,ftruncate,fallocate", "ENOSPC", index, "build", "n=2")

    assert done.returncode == 0 and no_traceback(done), done.stderr
    assert project.read("build/both.txt").startswith("made by 2\n")
    assert project.build("n=2") == []
    proven()


@pytest.mark.needs("mount")
def test_row_23_a_store_without_free_inodes_is_not_called_full(
    project: Any, mount: Mount, proven: Proven
) -> None:
    store = mount(".merkl/store", "size=40m,nr_inodes=16")
    project.merklfile(LARGE)

    done = project.merkl("build")

    said = done.stdout + done.stderr
    assert "not cached: the store cannot take more: no free inodes" in said and "disk full" not in said
    check_all(project)
    unmount(store)
    proven()


@pytest.mark.needs("mount")
def test_row_23_no_inodes_where_outputs_are_placed(project: Any, mount: Mount, proven: Proven) -> None:
    build = mount("build", "size=40m,nr_inodes=50")
    project.merklfile(LARGE)
    project.build("files")

    done = project.merkl("build", "files", "count=100", code=1)

    assert "cannot write build/many: no free inodes" in done.stderr and "df -i" in done.stderr
    assert sorted(os.listdir(build / "many")) == ["1", "2", "3"]
    assert os.listdir(build) == ["many"]
    unmount(build)
    assert project.build("files", "count=100") == []
    proven("files")


@pytest.mark.needs("mount")
def test_row_23_no_inodes_where_tasks_write(project: Any, mount: Mount, proven: Proven) -> None:
    state = mount(".merkl", "size=40m,nr_inodes=80")
    project.merklfile(LARGE)
    project.build("files")

    done = project.merkl("build", "files", "count=100", code=1)

    assert "many failed" in done.stderr and "; no free inodes" in done.stderr
    assert sorted(os.listdir(project.path / "build/many")) == ["1", "2", "3"]
    unmount(state)
    proven("files")


@pytest.mark.needs("mount")
def test_row_23_not_one_inode_for_merkl_itself(project: Any, mount: Mount, proven: Proven) -> None:
    state = mount(".merkl", "size=40m,nr_inodes=80")
    project.merklfile(LARGE)
    project.build("files")
    number = 0
    try:
        while True:
            (state / f"filler{number}").touch()
            number += 1
    except OSError:
        pass

    done = project.merkl("build", "files", "count=4", code=None)

    assert done.returncode in (1, 3) and no_traceback(done)
    assert "no free inodes" in done.stderr and "disk full" not in done.stderr
    assert sorted(os.listdir(project.path / "build/many")) == ["1", "2", "3"]
    for n in range(number):
        (state / f"filler{n}").unlink()
    proven("files")

"""The disk under a store: full, read-only, another one."""

import errno
import os
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store_samples import blob_path, large, record

from merkl.digest import Digest
from merkl.errors import StoreError, StoreFull
from merkl.store.check import check
from merkl.store.local import LocalStore

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of one megabyte, or with the options that the test asks for."""
    options = getattr(request, "param", "size=1m")
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "merkl-test", str(where)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"may not mount: {mounted.stderr.decode().strip()}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.needs("mount")
@root_only
def test_a_full_disk_is_said_to_be_full_and_harms_nothing(small_disk: Path) -> None:
    store = LocalStore(small_disk / "store")
    made, blobs = record("f", b"1")
    store.publish([(made, True)], blobs)
    kept: list[Digest] = []

    with pytest.raises(StoreFull) as full:
        for n in range(100):
            kept.append(store.put([large(n)]))

    assert "disk full" in str(full.value)
    assert str(small_disk) in str(full.value)
    assert "merkl gc" in full.value.hint
    assert kept
    assert os.listdir(small_disk / "store" / "incoming") == []
    assert all(store.read(digest) is not None for digest in kept)
    assert store.by_key([made.key]) == {made.key: made}
    store.close()


@pytest.mark.needs("mount")
@root_only
def test_a_full_disk_under_the_database_is_said_to_be_full(small_disk: Path) -> None:
    store = LocalStore(small_disk / "store")
    made, blobs = record("f", b"1")
    store.publish([(made, True)], blobs)

    with pytest.raises(StoreFull, match="disk full"):
        for n in range(3000):
            more, data = record(f"n{n}", large(n, 2000))
            store.publish([(more, True)], data)

    assert store.by_key([made.key]) == {made.key: made}
    store.close()
    for path in (small_disk / "store").glob("blobs/*/*"):
        path.unlink()
    (small_disk / "store" / "locks").unlink(missing_ok=True)
    again = LocalStore(small_disk / "store")
    assert again.by_key([made.key]) == {made.key: made}
    assert check(again).is_clean
    again.close()


@pytest.mark.needs("mount")
@root_only
@pytest.mark.parametrize("small_disk", ["size=10m,nr_inodes=16"], indirect=True)
def test_too_many_files_are_not_called_a_full_disk(small_disk: Path) -> None:
    store = LocalStore(small_disk / "store")

    with pytest.raises(StoreFull, match="no free inodes"):
        for n in range(50):
            store.put([large(n)])
    store.close()


@pytest.mark.needs("mount")
@root_only
def test_a_file_moves_in_from_another_file_system(small_disk: Path, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    (small_disk / "file").write_bytes(large(1))

    digest = store.put_file(small_disk / "file", move=True)

    assert store.read(digest) == large(1)
    assert not (small_disk / "file").exists()
    store.close()


@pytest.mark.needs("mount")
@root_only
def test_a_move_into_a_full_store_leaves_the_file_whole(small_disk: Path, tmp_path: Path) -> None:
    store = LocalStore(small_disk / "store")
    (tmp_path / "file").write_bytes(large(1, 3_000_000))

    with pytest.raises(StoreFull):
        store.put_file(tmp_path / "file", move=True)

    assert (tmp_path / "file").read_bytes() == large(1, 3_000_000)
    store.close()


def test_a_move_in_one_file_system_is_a_rename(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "file").write_bytes(large(1))
    inode = (tmp_path / "file").stat().st_ino

    digest = store.put_file(tmp_path / "file", move=True)

    assert blob_path(store, digest).stat().st_ino == inode
    store.close()


def test_a_file_with_another_name_is_copied_so_that_nobody_can_write_to_the_blob(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "file").write_bytes(large(1))
    os.link(tmp_path / "file", tmp_path / "other name")

    digest = store.put_file(tmp_path / "file", move=True)

    assert not (tmp_path / "file").exists()
    (tmp_path / "other name").write_bytes(b"changed")
    assert store.read(digest) == large(1)
    store.close()


def test_durable_bytes_come_back(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "edit").write_bytes(large(2))

    digests = [store.put([b"s"], durable=True), store.put([large(1)], durable=True)]
    digests.append(store.put_file(tmp_path / "edit", durable=True))

    assert store.has(digests) == set(digests)
    assert all(store.make_durable(digest) for digest in digests)
    store.close()


def as_nobody(work: Callable[[], None]) -> None:
    """Run ``work`` in a process without root's rights."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            work()
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user can reach, which pytest's own is not."""
    path = Path(tempfile.mkdtemp(prefix="merkl-test-"))
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


def lock_up(directory: Path) -> None:
    for path, _, names in os.walk(directory):
        os.chmod(path, 0o555)
        for name in names:
            os.chmod(os.path.join(path, name), 0o444)


def unlock(directory: Path) -> None:
    for path, _, _ in os.walk(directory):
        os.chmod(path, 0o755)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("journal", [True, False])
def test_a_store_that_may_not_be_written_can_be_read(open_path: Path, journal: bool) -> None:
    directory = open_path / "store"
    store = LocalStore(directory)
    made, blobs = record("f", b"1")
    store.publish([(made, True)], blobs)
    big = store.put([large(1)])
    assert store.read(big) == large(1)
    copy = open_path / "copy"
    if not journal:
        store.close()
    subprocess.run(["cp", "-r", directory, copy], check=True)  # With the journal, as after a crash.
    store.close()
    lock_up(copy)

    def work() -> None:
        reader = LocalStore(copy)
        assert reader.by_key([made.key]) == {made.key: made}
        assert reader.read(Digest.of(b"1")) == b"1"
        assert reader.read(big) == large(1)
        assert reader.try_lock(made.content_key, "f") is not None
        for write in (
            lambda: reader.put([b"new"]),
            lambda: reader.put([large(2)]),
            lambda: reader.publish([(made, True)], blobs),
        ):
            with pytest.raises(StoreError, match="may not be written") as refused:
                write()
            assert str(copy) in str(refused.value)
        reader.close()

    try:
        as_nobody(work)
    finally:
        unlock(copy)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_store_that_can_not_be_made_says_so(open_path: Path) -> None:
    open_path.chmod(0o555)

    def work() -> None:
        with pytest.raises(StoreError, match="may not be written"):
            LocalStore(open_path / "store")

    as_nobody(work)


def test_a_store_in_place_of_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StoreError) as refused:
        LocalStore(tmp_path / "file")

    assert str(tmp_path / "file") in str(refused.value)
    assert refused.value.__cause__.errno == errno.EEXIST  # type: ignore[union-attr]


def test_a_store_may_have_any_name(tmp_path: Path) -> None:
    store = LocalStore(bytes(tmp_path) + b"/%41?mode=ro#x \xff'\n")
    made, blobs = record("f", b"1")

    store.publish([(made, True)], blobs)
    digest = store.put([large(1)])

    assert store.by_key([made.key]) == {made.key: made}
    assert store.read(digest) == large(1)
    store.close()
    assert os.listdir(bytes(tmp_path)) == [b"%41?mode=ro#x \xff'\n"]

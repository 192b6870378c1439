"""One store used by many: processes, threads, forks, kills."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_samples import finish, large, python, record

from merkl.digest import Digest, content_key_of, key_of
from merkl.store import locks
from merkl.store.check import check
from merkl.store.local import LocalStore

ROUNDS = """
    import sys
    from merkl.digest import Digest, content_key_of, key_of
    from merkl.store.local import LocalStore
    from store_samples import large, record

    directory, me, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for r in range(rounds):
        store = LocalStore(directory)
        # All write the same contents and fight for one content key.
        store.put([b"small %d" % r])
        digest = store.put([large(r % 3)])
        made, blobs = record("f", b"from %d" % me, key=key_of(me, r), content=content_key_of(r))
        (kept,) = store.publish([(made, True)], blobs)
        assert store.by_key([made.key]) == {made.key: kept}
        assert store.read(digest) == large(r % 3)
        assert store.read(kept.outputs["out0"].digest) is not None
        print(r, kept.outputs["out0"].digest)
        if r % 5 == 0:
            store.close()
    """


def test_eight_processes_agree_on_every_first_record(tmp_path: Path) -> None:
    rounds = 15
    running = [python(ROUNDS, tmp_path / "store", n, rounds) for n in range(8)]

    said = [finish(process) for process in running]

    assert len(set(said)) == 1, "each round has one winner, and everybody was told the same"
    assert len(said[0].splitlines()) == rounds
    store = LocalStore(tmp_path / "store")
    findings = check(store)
    assert findings.is_clean and findings.blobs == rounds + 3 + 8
    assert findings.stray == []
    assert store.take_notes() == []
    store.close()


def test_threads_share_a_store(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    wrong: list[object] = []

    def work(me: int) -> None:
        try:
            for r in range(30):
                made, blobs = record(
                    "f", b"%d %d" % (me, r), key=key_of(me, r), content=content_key_of(me, r)
                )
                store.publish([(made, True)], blobs)
                if store.by_key([made.key]) != {made.key: made}:
                    wrong.append((me, r))
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert len(store.by_key([key_of(me, r) for me in range(6) for r in range(30)])) == 180
    store.close()


def in_child(work: object) -> int:
    """Fork, run ``work`` in the child, and return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()  # type: ignore[operator]
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_and_its_parent_both_go_on(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    made, blobs = record("f", b"1")
    store.publish([(made, True)], blobs)

    def child() -> None:
        assert store.by_key([made.key]) == {made.key: made}
        for n in range(50):
            other, data = record(f"child {n}", b"c%d" % n)
            store.publish([(other, True)], data)
        store.close()

    for n in range(3):
        assert in_child(child) == 0
        mine, data = record(f"parent {n}", b"p%d" % n)
        store.publish([(mine, True)], data)
        assert store.by_key([mine.key, made.key]) == {mine.key: mine, made.key: made}
    assert len(store.by_key([key_of(f"child {n}") for n in range(50)])) == 50
    assert check(store).is_clean
    store.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_waits_for_what_other_threads_are_writing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    stop = threading.Event()
    count = [0]

    def write() -> None:
        while not stop.is_set():
            made, blobs = record(f"n{count[0]}", b"%d" % count[0])
            store.publish([(made, True)], blobs)
            count[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for n in range(10):

            def child(n: int = n) -> None:
                made, blobs = record(f"child {n}", b"c%d" % n)
                store.publish([(made, True)], blobs)

            assert in_child(child) == 0
    finally:
        stop.set()
        thread.join()

    assert len(store.by_key([key_of(f"n{n}") for n in range(count[0])])) == count[0]
    assert len(store.by_key([key_of(f"child {n}") for n in range(10)])) == 10
    assert check(store).is_clean
    store.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_neither_has_nor_keeps_its_parents_locks(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    key = content_key_of(1)
    lock = store.try_lock(key, "f")
    assert lock is not None
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            lock.release()
            code = 0 if store.try_lock(key, "f") is None else 2
            os.write(ready[1], b"x")
            os.read(go[0], 1)
        finally:
            os._exit(code)
    os.read(ready[0], 1)
    other = LocalStore(tmp_path)
    assert other.try_lock(key, "f") is None

    store.close()

    assert other.try_lock(key, "f") is not None, "a child that lives on does not keep the lock"
    os.write(go[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    other.close()
    for fd in (*ready, *go):
        os.close(fd)


HOLD = """
    import sys
    from merkl.digest import content_key_of
    from merkl.store.local import LocalStore

    store = LocalStore(sys.argv[1])
    lock = store.try_lock(content_key_of(1), "slow task")
    print("held" if lock else "refused", flush=True)
    sys.stdin.read()
    """


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of content key 1 in ``tmp_path``."""
    process = python(HOLD, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_of_another_process_is_respected_and_named(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    store = LocalStore(tmp_path)

    assert store.try_lock(content_key_of(1), "mine") is None
    assert store.try_lock(content_key_of(2), "mine") is not None

    text = store.holder(content_key_of(1))
    assert f"slow task in process {holder.pid} on {os.uname().nodename}, since" in text
    store.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
def test_a_lock_ends_with_its_process_however_that_ends(
    tmp_path: Path, holder: subprocess.Popen[str], end: signal.Signals | None
) -> None:
    store = LocalStore(tmp_path)
    assert store.try_lock(content_key_of(1), "mine") is None

    if end is None:
        holder.communicate("")
    else:
        holder.send_signal(end)
    holder.wait()

    assert store.try_lock(content_key_of(1), "mine") is not None
    assert "mine in process" in store.holder(content_key_of(1))
    assert len(os.listdir(tmp_path / "holders")) == 1, "the note of the dead process is gone"
    store.close()


def test_a_suspended_holder_keeps_its_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    store = LocalStore(tmp_path)
    holder.send_signal(signal.SIGSTOP)
    try:
        assert store.try_lock(content_key_of(1), "mine") is None
        assert str(holder.pid) in store.holder(content_key_of(1))
    finally:
        holder.send_signal(signal.SIGCONT)
    store.close()


def test_a_command_that_was_started_does_not_inherit_locks(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert store.try_lock(content_key_of(1), "f") is not None
    command = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        store.close()
        assert LocalStore(tmp_path).try_lock(content_key_of(1), "f") is not None
    finally:
        command.kill()
        command.wait()


@pytest.mark.parametrize("by_file", [True, False])
def test_two_stores_of_one_process_exclude_each_other(
    tmp_path: Path, by_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not by_file:
        monkeypatch.setattr(locks, "_SET", None)  # As where locks belong to processes.
    one, two = LocalStore(tmp_path), LocalStore(tmp_path)
    key = content_key_of(1)

    lock = one.try_lock(key, "f")

    assert lock is not None
    assert one.try_lock(key, "f") is None
    assert two.try_lock(key, "f") is None
    assert "f in process" in two.holder(key)
    two.close()
    assert two.try_lock(key, "f") is None, "closing one store gives up no lock of another"
    if not by_file:
        assert "refused" in finish(python(HOLD, tmp_path))
    lock.release()
    assert two.try_lock(key, "f") is not None
    one.close()
    two.close()


def test_many_locks_at_once_leave_an_empty_file(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    held = [store.try_lock(content_key_of(n), f"task {n}") for n in range(500)]
    assert all(held)
    assert store.holder(content_key_of(123)).startswith("task 123 ")
    for lock in held:
        assert lock is not None
        lock.release()
    assert (tmp_path / "locks").stat().st_size == 0
    store.close()


def test_a_kill_in_the_middle_of_writing_leaves_a_store_that_works(tmp_path: Path) -> None:
    """Writers are killed at random instants; what was said to be stored is there, and nothing is half there."""
    code = """
    import itertools, sys
    from merkl.store.local import LocalStore
    from store_samples import large, record
    store = LocalStore(sys.argv[1])
    for n in itertools.count():
        digest = store.put([large(n)])
        made, blobs = record(f"{sys.argv[2]} {n}", b"%d" % n)
        store.publish([(made, True)], blobs)
        sys.stdout.write(f"{n} {digest}\n")  # In one piece, even without a buffer.
        sys.stdout.flush()
    """
    for attempt in range(6):
        process = python(code, tmp_path, attempt)
        time.sleep(0.25 + attempt * 0.03)
        process.kill()
        said = process.communicate()[0].splitlines()

        store = LocalStore(tmp_path)
        for line in said:
            n, digest = line.split()
            assert store.read(Digest.parse(digest)) == large(int(n))
            key = key_of(f"{attempt} {n}")
            assert store.by_key([key])[key].task == f"{attempt} {n}"
        findings = check(store)
        assert findings.is_clean
        assert store.take_notes() == []
        store.close()

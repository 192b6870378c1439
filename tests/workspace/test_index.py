"""What is remembered of files, and that no change is missed."""

import dataclasses
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest

from merkl.digest import Digest
from merkl.errors import InputMissing, SchemaTooNew
from merkl.nodes import Artifact
from merkl.stamp import Absent, Stamp
from merkl.workspace import index as index_module
from merkl.workspace.index import FileIndex, Other


@pytest.fixture
def root(tmp_path):
    (tmp_path / ".merkl").mkdir()
    return tmp_path


@pytest.fixture
def opened(root):
    """Opens the project's index anew, as another command would."""
    made = []

    def open_(**options):
        for old in made:
            old.close()
        made.append(FileIndex(str(root), str(root / ".merkl"), **options))
        return made[-1]

    yield open_
    for old in made:
        old.close()


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that were really read, fast or fully."""
    names = []
    for name in ("hash_file", "fast_hash"):
        real = getattr(index_module, name)

        def watched(path, *rest, real=real):
            names.append(os.path.basename(os.fsdecode(path)))
            return real(path, *rest)

        monkeypatch.setattr(index_module, name, watched)
    return names


def settle():
    time.sleep(0.06)


def test_a_source_says_what_the_file_is(root, opened):
    (root / "run.sh").write_text("echo")
    (root / "run.sh").chmod(0o755)

    source = opened().source("run.sh")

    assert (source.path, source.kind, source.executable) == ("run.sh", "file", True)
    assert source.digest == Digest.of(b"echo")
    assert source.stamp == Stamp.of((root / "run.sh").stat())


def test_a_settled_file_is_not_read_again(root, opened, reads):
    (root / "a").write_text("one")
    settle()
    first = opened().source("a")
    reads.clear()

    assert opened().source("a") == first
    assert reads == []


def test_a_file_that_many_calls_name_is_one_source_until_it_is_touched(root, opened):
    (root / "a").write_text("one")
    settle()
    index = opened()
    first = index.source("a")
    assert index.source("a") is first

    for text, mode in (("two", 0o644), ("two", 0o755)):  # Of one size, and the second with the same bytes.
        (root / "a").write_text(text)
        (root / "a").chmod(mode)
        found = index.source("a")
        assert (found.digest, found.executable) == (Digest.of(b"two"), mode == 0o755)
    (root / "a").unlink()
    with pytest.raises(InputMissing):
        index.source("a")


def test_a_file_just_written_is_read_once_more_and_then_kept(root, opened, reads):
    for _ in range(50):
        (root / "a").write_text("one")
        index = opened()
        index.source("a")
        if index.clock_ns() - (root / "a").stat().st_ctime_ns < 20_000_000:
            break
    else:
        pytest.fail("the machine is too busy to read a file in the tick it was written in")
    settle()
    reads.clear()

    opened().source("a")
    opened().source("a")

    assert reads == ["a"]


def test_a_large_file_may_still_be_being_written_long_after_its_stamp(root, opened):
    with open(root / "large", "wb") as file:
        file.truncate(1 << 30)  # One write call of that size, stamped when it began, takes a second.
        settle()
        index = opened()
        stamp = Stamp.of(os.fstat(file.fileno()))
        assert not index._settled(stamp, os.fstat(file.fileno()).st_dev)


def test_one_write_call_that_waits_for_a_busy_machine_is_not_taken_for_settled(root, opened):
    index = opened()
    began = index.clock_ns() - 300_000_000  # So long after its stamp such a call may still be copying bytes.
    stamp = Stamp(6 << 20, began, began, 1, stat.S_IFREG | 0o644)
    assert not index._settled(stamp, index._device)
    assert index._settled(dataclasses.replace(stamp, size=100), index._device)


def test_a_file_rewritten_all_the_time_is_known_by_its_last_bytes_in_the_end(root, opened):
    path = root / "busy"
    versions = [bytes([letter]) * (6 << 20) for letter in b"ab"]
    path.write_bytes(versions[0])
    stop = threading.Event()

    def rewrite():
        while not stop.is_set():
            for version in versions:
                with open(path, "r+b") as file:
                    file.write(version)

    for _ in range(3):
        stop.clear()
        writer = threading.Thread(target=rewrite)
        writer.start()
        index = opened()
        try:
            for _ in range(15):
                try:
                    index.source("busy")
                except InputMissing as error:
                    assert "keeps changing" in error.headline
        finally:
            stop.set()
            writer.join()

        assert index.source("busy").digest == Digest.of(path.read_bytes())


def test_rehash_reads_every_file_once(root, opened, reads):
    (root / "a").write_text("one")
    settle()
    opened().source("a")
    reads.clear()

    index = opened(rehash=True)
    index.source("a")
    index.source("a")

    assert reads == ["a"]


def test_rehash_sees_bytes_that_changed_under_the_same_stamp(root, opened):
    (root / "a").write_text("one")
    settle()
    index = opened()
    index.source("a")
    found = Stamp.of((root / "a").stat())
    index._remember(b"a", index_module._packed(found), True, bytes(range(16)), Digest.of(b"other"))

    assert opened().source("a").digest == Digest.of(b"other")  # What a disk fault would look like.
    assert opened(rehash=True).source("a").digest == Digest.of(b"one")


def test_an_edit_of_the_same_size_with_the_old_mtime_is_seen(root, opened):
    path = root / "a"
    index = opened()
    wrong = 0
    for turn in range(300):
        text = f"{turn:06}".encode()
        path.write_bytes(text)
        os.utime(path, ns=(1, 1))
        wrong += index.source("a").digest != Digest.of(text)

    assert wrong == 0


def test_two_edits_in_one_tick_are_seen_even_in_place(root, opened):
    path = root / "a"
    index = opened()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for turn in range(300):
            text = f"{turn:06}".encode()
            os.pwrite(fd, text, 0)
            source = index.source("a")
            assert source.digest == Digest.of(text)
            assert index.still(source)
            os.pwrite(fd, b"edited", 0)
            assert not index.still(source)
    finally:
        os.close(fd)


@pytest.mark.parametrize("seconds", [-86_400 * 365, 0, 2**33 + 5, 4_070_908_800])
def test_any_modification_time_is_only_compared(root, opened, reads, seconds):
    path = root / "a"
    path.write_text("one")
    os.utime(path, (seconds, seconds))
    settle()
    opened().source("a")
    reads.clear()

    assert opened().source("a").digest == Digest.of(b"one")
    assert reads == []

    path.write_text("two")
    os.utime(path, (seconds, seconds))
    assert opened().source("a").digest == Digest.of(b"two")


@pytest.mark.parametrize("jump", [-86_400, 86_400 * 3650])
def test_a_clock_that_jumps_costs_reading_and_never_a_wrong_digest(root, opened, monkeypatch, jump):
    path = root / "a"
    monkeypatch.setattr(FileIndex, "clock_ns", lambda self: time.time_ns() + jump * 1_000_000_000)
    for turn in range(50):
        path.write_text(f"{turn:04}")
        assert opened().source("a").digest == Digest.of(f"{turn:04}".encode())
    settle()

    assert opened().source("a").digest == opened().source("a").digest


def test_a_stamp_of_extreme_numbers_can_be_remembered(root, opened):
    index = opened()
    for number in (0, 2**63, 2**64 - 1):
        stamp = Stamp(number, -(2**63) + 5, 2**63 + number, number, 0o100644)
        index.seen(f"f{number}", stamp, Digest.of(b"x"))
    index.flush()

    assert opened().remembered("f0") is not None


def test_a_touch_between_naming_and_use_counts_as_a_change(root, opened):
    (root / "a").write_text("one")
    index = opened()
    source = index.source("a")
    assert index.still(source)

    os.utime(root / "a")

    assert not index.still(source)
    assert index.source("a").digest == source.digest


@pytest.mark.parametrize("act", ["remove", "replace", "chmod", "directory", "fifo"])
def test_a_source_that_became_something_else_is_not_still_it(root, opened, act):
    path = root / "a"
    path.write_text("one")
    index = opened()
    source = index.source("a")
    if act == "chmod":
        path.chmod(0o700)
    else:
        path.unlink()
        {"remove": int, "directory": path.mkdir, "fifo": lambda: os.mkfifo(path), "replace": path.touch}[
            act
        ]()

    assert not index.still(source)


def test_a_linked_file_counts_by_what_it_leads_to(root, opened):
    (root / "one").write_text("1")
    (root / "two").write_text("2")
    (root / "link").symlink_to("one")
    settle()
    index = opened()
    source = index.source("link")
    assert source.digest == Digest.of(b"1")

    (root / "link").unlink()
    (root / "link").symlink_to("two")

    assert not index.still(source)
    assert index.source("link").digest == Digest.of(b"2")


@pytest.mark.parametrize("kind", ["file", "dir"])
def test_a_source_of_the_wrong_kind_is_refused(root, opened, kind):
    (root / "file").touch()
    (root / "dir").mkdir()
    opened().source(kind, kind)

    with pytest.raises(InputMissing, match="is needed"):
        opened().source({"file": "dir", "dir": "file"}[kind], kind)


@pytest.mark.parametrize(
    "name",
    [b"a b", b"'\"$(id)`;*~!", b"-rf", b"#x", b"x.", b"\xff\xfe", "\u202ex".encode(), b"n" * 255, b"a\nb"],
)
def test_any_name_will_do(root, opened, name):
    with open(os.fsencode(root) + b"/" + name, "wb") as file:
        file.write(name)
    settle()
    source = opened().source(name)

    assert source.digest == Digest.of(name)
    assert os.fsencode(source.path) == name
    assert opened().source(name) == source


def test_an_unreadable_file_is_named(unprivileged):
    (unprivileged / ".merkl").mkdir()
    (unprivileged / "secret").write_text("x")
    (unprivileged / "secret").chmod(0)

    with pytest.raises(InputMissing, match="secret cannot be read: Permission denied"):
        FileIndex(str(unprivileged), str(unprivileged / ".merkl")).source("secret")


def test_a_read_only_project_can_be_looked_at(unprivileged):
    (unprivileged / ".merkl").mkdir()
    (unprivileged / "a").write_text("x")
    (unprivileged / ".merkl").chmod(0o555)
    index = FileIndex(str(unprivileged), str(unprivileged / ".merkl"))

    assert index.still(index.source("a"))
    index.flush()
    assert len(index.notes) == 1
    index.close()


def test_only_the_changed_file_of_a_directory_is_read_again(root, opened, reads):
    (root / "d" / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c"):
        (root / "d" / name).write_text(name)
    settle()
    first = opened().source("d")
    reads.clear()
    assert opened().source("d") == first
    assert reads == []

    (root / "d" / "b").write_text("B")
    second = opened().source("d")

    assert second.digest != first.digest
    assert reads == ["b"]


def test_a_directory_is_not_still_what_it_was_if_a_file_in_it_was_touched(root, opened):
    (root / "d").mkdir()
    (root / "d" / "a").write_text("one")
    index = opened()
    source = index.source("d")
    assert index.still(source)

    (root / "d" / "a").write_text("two")
    (root / "d" / "a").write_text("one")

    assert not index.still(source)


def test_looking_tells_files_directories_nothing_and_other_things_apart(root, opened):
    (root / "f").write_text("data")
    (root / "d").mkdir()
    (root / "d" / "x").write_text("12345")
    os.mkfifo(root / "p")
    (root / "gone").symlink_to("nowhere")
    (root / "l").symlink_to("f")
    index = opened()

    assert index.look("f") == Artifact("file", Digest.of(b"data"), 4)
    assert index.look("l") == index.look("f")
    assert index.look("d") == Artifact("dir", index.source("d").digest, 5)
    assert index.look("p") == Other("p is a fifo")
    assert index.look("gone") == index.look("f/x") == index.look("none") == Absent()


def test_looking_at_a_directory_sees_what_an_input_would_leave_out(root, opened):
    (root / "d").mkdir()
    (root / "d" / "x").touch()
    index = opened()
    before = index.look("d")

    (root / "d" / ".git").mkdir()

    assert index.look("d") != before
    os.mkfifo(root / "d" / "pipe")
    assert isinstance(index.look("d"), Other)


def test_a_file_that_was_seen_is_read_once_before_it_is_believed(root, opened, reads):
    (root / "out").write_text("made")
    index = opened()
    index.seen("out", Stamp.of((root / "out").stat()), Digest.of(b"made"))
    with open(root / "out", "r+b") as file:
        file.write(b"EDIT")  # Perhaps in the same tick, so that the stamp is the same.

    assert opened().look("out") == Artifact("file", Digest.of(b"EDIT"), 4)
    settle()
    opened().look("out")
    reads.clear()
    opened().look("out")
    assert reads == []


def test_the_clock_is_that_of_the_file_system(root, opened):
    index = opened()
    (root / "before").touch()
    first = index.clock_ns()
    settle()
    (root / "between").touch()
    settle()

    assert (root / "before").stat().st_ctime_ns <= first + 20_000_000
    assert index.clock_ns() > (root / "between").stat().st_ctime_ns


@pytest.mark.parametrize("missing", [True, False])
def test_without_a_place_to_remember_all_still_works_with_one_note(root, missing):
    (root / "a").write_text("one")
    directory = root / "nowhere" if missing else root / ".merkl"
    if not missing:
        (directory / "index.db").mkdir()  # SQLite cannot open that, whoever we are.
    index = FileIndex(str(root), str(directory))

    source = index.source("a")
    assert index.still(source)
    index.flush()
    index.set_targets([{"name": "all"}])
    assert index.targets() == [{"name": "all"}]
    assert len(index.notes) == 1
    assert "index.db" in index.notes[0].text
    index.close()


def test_ten_thousand_files_are_remembered_without_a_query_each(root, opened):
    names = [f"d{i % 10}/f{i}" for i in range(10_000)]
    for i in range(10):
        (root / f"d{i}").mkdir()
    for name in names:
        (root / name).write_text(name)
    settle()
    index = opened()
    sources = [index.source(name) for name in names]
    index = opened()
    queries = []
    index._database._open().set_trace_callback(queries.append)

    assert [index.source(name) for name in names] == sources
    assert len(queries) < 50


DAMAGES = ["garbage", "empty", "half", "tables gone", "not ours"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_moved_aside_with_one_note_and_made_anew(root, opened, damage):
    (root / "a").write_text("one")
    settle()
    index = opened()
    source = index.source("a")
    for i in range(2000):
        index.seen(f"f{i}", source.stamp, source.digest)
    index.close()
    path = root / ".merkl" / "index.db"
    data = path.read_bytes()
    match damage:
        case "garbage":
            path.write_bytes(random.Random(1).randbytes(len(data)))
        case "empty":
            path.write_bytes(b"")
        case "half":
            path.write_bytes(data[: len(data) // 2])
        case "tables gone":
            with sqlite3.connect(path) as connection:
                connection.execute("DROP TABLE stamp")
            connection.close()
        case "not ours":
            path.unlink()
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA user_version = 1")
            connection.close()

    index = opened()
    assert index.source("a") == source
    assert index.source("a") == source
    names = [f"f{i}" for i in range(40)]
    for name in names:  # The whole table is read now, damaged pages too.
        with pytest.raises(InputMissing):
            index.source(name)
    index.flush()
    assert len(index.notes) == (0 if damage == "empty" else 1)
    assert opened().source("a") == source
    assert opened().notes == []
    assert bool(list(path.parent.glob("index.db.damaged-*"))) == (damage != "empty")


def test_a_flipped_bit_anywhere_in_the_database_gives_no_wrong_digest(root, opened):
    names = [f"f{i}" for i in range(100)]
    for name in names:
        (root / name).write_text(name)
    settle()
    index = opened()
    right = {name: index.source(name) for name in names}
    index.close()
    path = root / ".merkl" / "index.db"
    data = path.read_bytes()
    places = random.Random(7)
    for _ in range(60):
        at = places.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << places.randrange(8))]) + data[at + 1 :])
        index = FileIndex(str(root), str(path.parent))
        try:
            assert {name: index.source(name) for name in names} == right, at
            index.flush()
        except SchemaTooNew as error:
            assert "upgrade" in str(error), at  # The bit was in the number of the format.
        finally:
            index.close()
        for left in path.parent.glob("index.db*"):
            left.unlink()


WRITER = """
import sys
from merkl.workspace.index import FileIndex
root, number = sys.argv[1:]
index = FileIndex(root, root + "/.merkl")
for turn in range(20):
    for name in range(50):
        index.source(f"f{name}")
    index.set_targets([{"name": number, "turn": turn}])
    from merkl.workspace.ledger import Placement
    from merkl.digest import Digest, Key
    index.set_placed(f"out{number}-{turn}", Placement("file", Digest.of(b""), False, Key(bytes(32)), ""))
    index.flush()
assert index.notes == [], index.notes
"""


def test_many_processes_share_one_index(root, opened):
    for i in range(50):
        (root / f"f{i}").write_text(str(i))
    workers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(root), str(number)], stderr=subprocess.PIPE)
        for number in range(4)
    ]
    errors = [worker.communicate()[1].decode() for worker in workers]

    assert errors == [""] * 4
    assert len(opened().all_placed()) == 80


def test_a_forked_child_opens_its_own_connection(root, opened):
    (root / "a").write_text("one")
    index = opened()
    index.source("a")
    index.set_targets([{"name": "parent"}])
    index.flush()
    if sys.version_info >= (3, 12):
        pytest.skip("os.fork warns here, since pytest may have threads")
    parents = index._database._open()
    child = os.fork()
    if not child:
        own = False
        try:
            index.set_targets([{"name": "child"}])
            index.flush()
            own = index._database._open() is not parents
        finally:
            os._exit(0 if own else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    assert index.targets() == [{"name": "child"}]
    assert stat.S_ISREG((root / ".merkl" / "index.db").stat().st_mode)

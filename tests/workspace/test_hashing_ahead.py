"""Many files are read before each is asked for, with other processes; what is said of them stays the same."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from merkl.digest import Digest
from merkl.errors import InputMissing
from merkl.nodes import Artifact
from merkl.stamp import Absent
from merkl.workspace import forks, glances
from merkl.workspace import index as index_module
from merkl.workspace.expected import Expected
from merkl.workspace.glances import glance_at_tree
from merkl.workspace.index import FileIndex

COUNT = 1200


@pytest.fixture
def root(tmp_path):
    (tmp_path / ".merkl").mkdir()
    (tmp_path / "data" / "inner").mkdir(parents=True)
    for n in range(COUNT):
        (tmp_path / name_of(n)).write_text(f"file {n}\n")
    time.sleep(0.06)  # By then their stamps are settled.
    return tmp_path


def name_of(n):
    return f"data/inner/{n:04}.txt" if n % 3 == 0 else f"data/{n:04}.txt"


NAMES = sorted(name_of(n) for n in range(COUNT))


@pytest.fixture
def opened(root):
    index = FileIndex(str(root), str(root / ".merkl"))
    yield index
    index.close()


@pytest.fixture
def alone(monkeypatch):
    """The paths of files that were read one by one, because somebody asked."""
    names = []
    real = index_module.hash_file

    def watched(path, *rest):
        names.append(os.fsdecode(path))
        return real(path, *rest)

    monkeypatch.setattr(index_module, "hash_file", watched)
    return names


def digest_of(path):
    return Digest.of(Path(path).read_bytes())


def test_a_directory_with_many_files_is_what_it_is_without_help(root, opened, alone, monkeypatch):
    tree = opened.tree("data")
    assert alone == []
    assert opened.hashed == COUNT
    assert {os.fsdecode(entry.path): (entry.digest, entry.size) for entry in tree.entries if entry.kind == "file"} == {
        name.removeprefix("data/"): (digest_of(root / name), (root / name).stat().st_size) for name in NAMES
    }  # fmt: skip

    (root / "other").mkdir()
    monkeypatch.setattr(index_module, "_MANY", COUNT + 1)
    with_nobody = FileIndex(str(root), str(root / "other"))
    assert with_nobody.tree("data") == tree
    assert len(alone) == COUNT
    with_nobody.close()


def test_with_other_processes_the_same_is_found_and_remembered(root):
    """In a process of its own, since that of the tests may have threads."""
    script = f"""
        import os
        from merkl.workspace import forks, hashing, many
        from merkl.workspace.index import FileIndex
        forks._FIRST_S = forks._WORTH_S = -1.0
        forks.hands = lambda: 3
        us, ours, real = os.getpid(), [], many.hash_small
        many.hash_small = lambda files, *rest, **more: (os.getpid() == us and ours.append(len(files))) or real(files, *rest, **more)
        index = FileIndex({str(root)!r}, {str(root / ".merkl")!r})
        print(index.tree("data").digest.hex(), index.hashed, sum(ours) < {COUNT})
        index.close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )

    again = FileIndex(str(root), str(root / ".merkl"))
    assert done.stdout.split() == [again.tree("data").digest.hex(), str(COUNT), "True"]
    again.close()


@pytest.mark.parametrize("what", ["gone", "unreadable", "longer", "fifo"])
def test_what_cannot_be_read_ahead_is_told_as_it_is_without(root, opened, what, monkeypatch):
    """It becomes so after the directory was listed, and before the file is read."""
    victim = root / name_of(700)
    real = FileIndex.ahead

    def ahead(self, files):
        if what == "longer":
            victim.write_text("much longer than it was\n")
        else:
            victim.unlink()
        if what == "unreadable":
            victim.symlink_to(victim.name)
        elif what == "fifo":
            os.mkfifo(victim)
        real(self, files)

    monkeypatch.setattr(FileIndex, "ahead", ahead)
    if what == "longer":
        (entry,) = [each for each in opened.tree("data").entries if victim.name.encode() in each.path]
        assert (entry.digest, entry.size) == (digest_of(victim), victim.stat().st_size)
        return
    with pytest.raises(InputMissing) as error:
        opened.tree("data")
    assert victim.name in error.value.headline


def test_files_of_a_list_are_read_ahead_once_several_in_a_row_were_read(root, opened, alone):
    opened.expect(NAMES)

    found = [opened.source(name, "file") for name in NAMES]

    assert [source.digest for source in found] == [digest_of(root / name) for name in NAMES]
    assert len(alone) < 200  # The first of them, and the last.
    assert opened.hashed == COUNT


def test_of_a_list_that_nobody_goes_through_nothing_is_read_ahead(opened):
    opened.expect(NAMES)

    for name in NAMES[::100]:
        opened.source(name, "file")

    assert opened.hashed == len(NAMES[::100])


def test_what_changes_after_it_was_read_ahead_is_seen(root, opened):
    opened.expect(NAMES)
    for name in NAMES[:40]:
        opened.source(name, "file")
    assert opened.hashed > 1000
    changed, gone = NAMES[100], NAMES[101]
    before = (root / changed).stat()

    (root / changed).write_text("FILE"[: before.st_size].ljust(before.st_size, "x"))
    os.utime(root / changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    (root / gone).unlink()

    assert opened.look(changed) == Artifact("file", digest_of(root / changed), before.st_size)
    assert opened.look(gone) == Absent()


def test_what_was_read_ahead_is_read_again_only_if_it_was_touched(root, opened, alone):
    opened.expect(NAMES)
    for name in NAMES:
        opened.source(name, "file")
    opened.close()
    read = len(alone)

    again = FileIndex(str(root), str(root / ".merkl"))
    for name in NAMES:
        again.source(name, "file")
    assert len(alone) == read
    again.close()


def test_large_files_are_left_until_they_are_asked_for(root, opened, alone):
    large = root / NAMES[30]
    with large.open("wb") as file:
        file.truncate(2 << 20)
    opened.expect(NAMES)

    for name in NAMES[:40]:
        opened.source(name, "file")

    assert str(large) in alone
    assert opened.hashed > 1000


def test_rehash_reads_each_of_many_once(root, opened, alone):
    opened.tree("data")
    opened.close()

    again = FileIndex(str(root), str(root / ".merkl"), rehash=True)
    again.tree("data")
    again.tree("data")
    assert again.hashed == COUNT
    assert alone == []
    again.close()


def test_lists_that_are_gone_through_side_by_side_are_told_apart():
    one, other = ([f"{kind}/{n:05}" for n in range(5000)] for kind in "ab")
    expected = Expected()
    expected.add(one)
    expected.add(other)

    ahead = [(expected.after(a), expected.after(b)) for a, b in zip(one[100:120], other[7:27], strict=True)]

    assert [bool(paths) for paths, _ in ahead] == [False] * 15 + [True] + [False] * 4
    assert ahead[15] == (one[116:1140], other[23:1047])
    assert expected.after(one[1140]) == one[1141:3189]  # Twice as many.


def test_few_files_ask_for_no_help(tmp_path, monkeypatch):
    monkeypatch.setattr(forks, "shared", None)
    for n in range(100):
        (tmp_path / f"{n}.txt").write_text(str(n))
    index = FileIndex(str(tmp_path), str(tmp_path))
    assert len(index.tree(".", "look").entries) >= 100
    index.close()


def test_a_glance_is_the_same_whoever_looks(root):
    """Also at one directory with many files, and at many directories with few."""
    for n in range(100):
        (root / "data" / "many" / str(n)).mkdir(parents=True)
        (root / "data" / "many" / str(n) / "file").touch()
    script = f"""
        from merkl.workspace import forks, glances
        from merkl.workspace.glances import glance_at_tree
        forks._FIRST_S = forks._WORTH_S = -1.0
        forks.hands = lambda: 3
        print(glance_at_tree({str(root / "data")!r}, {10**20}).digest.hex())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    here = glance_at_tree(str(root / "data"), 10**20)
    assert (done.stdout.strip(), here.settled) == (here.digest.hex(), True)

    seen = {here.digest}
    for change in (
        lambda: (root / NAMES[3]).write_text("x"),
        lambda: (root / "data" / "many" / "7" / "file").touch(),
        lambda: (root / "data" / "many" / "8" / "new").touch(),
        lambda: (root / "data" / "empty").mkdir(),
        lambda: (root / NAMES[9]).unlink(),
        lambda: (root / NAMES[10]).chmod(0o755),
    ):
        time.sleep(0.006)
        change()
        seen.add(glance_at_tree(str(root / "data"), 10**20).digest)
    assert len(seen) == 7


def test_a_glance_at_what_goes_meanwhile_is_like_no_other(root, monkeypatch):
    real = glances._listed

    def listed(directory, names):
        (root / NAMES[5]).unlink(missing_ok=True)
        return real(directory, names)

    monkeypatch.setattr(glances, "_listed", listed)
    one = glance_at_tree(str(root / "data"), 10**20)
    assert not one.settled


def test_what_files_gave_to_a_merklfile_is_read_ahead(inside, alone):
    for n in range(COUNT):
        inside.write(f"in/{n:04}.txt", f"{n}\n")
    inside.merklfile(
        """
        count = bash_task("cat {argfile('each')} > {out_file_arg('o', '.txt')}")

        @target(default=True)
        def all():
            count(files("in/*.txt")) > "out.txt"
        """
    )
    time.sleep(0.06)

    inside.merkl("build", "-n")

    assert 16 <= sum("/in/" in path for path in alone) < 200

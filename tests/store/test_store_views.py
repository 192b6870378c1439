"""Views: paths through which nodes read blobs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from store_samples import blob_path, finish, large, overwrite, python, tree_of

from merkl.digest import Digest
from merkl.errors import StoreCorrupt
from merkl.store import streams, views
from merkl.store.builds import listed_digests, register_build
from merkl.store.local import LocalStore
from merkl.store.views import Views
from merkl.tree import Tree, TreeEntry

SMALL_DATA = b"a few bytes"
DATA = {"small": SMALL_DATA, "large": large(1)}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def open_views(store: LocalStore, tmp_path: Path) -> Views:
    """The project's views as a new build has them."""
    store.flush()
    return Views(store, tmp_path / "view")


def content(path: bytes) -> bytes:
    return Path(os.fsdecode(path)).read_bytes()


def age(path: bytes | Path) -> None:
    """Let more than a tick of the clock pass for the evidence to settle."""
    ctime = os.lstat(path).st_ctime_ns
    clock = streams.FileClock(os.path.dirname(os.fsencode(path)))
    while clock.now_ns() < ctime + 25_000_000:
        pass
    os.unlink(os.path.join(os.path.dirname(os.fsencode(path)), b".clock"))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each view that is hashed."""
    calls: list[int] = []
    real = views.check_file

    def counting(fd: int, digest: Digest, clock: streams.FileClock) -> tuple[bool, bytes | None]:
        calls.append(fd)
        return real(fd, digest, clock)

    monkeypatch.setattr(views, "check_file", counting)
    return calls


@pytest.mark.parametrize("size", DATA)
@pytest.mark.parametrize("name", [b"a.png", b"\xff\xfe", b"n" * 255, b"-rf", b"a b\n'\"$(id)", b".clock"])
def test_a_view_has_the_bytes_and_the_name(store: LocalStore, tmp_path: Path, size: str, name: bytes) -> None:
    digest = store.put([DATA[size]])

    path = open_views(store, tmp_path).path(digest, name)

    assert path == b"%s/%s/%s" % (bytes(tmp_path / "view"), digest.hex().encode(), name)
    assert content(path) == DATA[size]
    assert os.stat(path).st_mode & 0o7777 == 0o444


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(store: LocalStore, tmp_path: Path, name: bytes) -> None:
    with pytest.raises(ValueError, match="name of a view"):
        open_views(store, tmp_path).path(store.put([b"x"]), name)


@pytest.mark.parametrize("size", DATA)
def test_one_blob_under_two_names_and_both_modes(store: LocalStore, tmp_path: Path, size: str) -> None:
    digest = store.put([DATA[size]])
    project = open_views(store, tmp_path)

    plain = [project.path(digest, b"one"), project.path(digest, b"two")]
    executable = [project.path(digest, b"one", True), project.path(digest, b"three", True)]

    assert len({*plain, *executable}) == 4
    assert {content(path) for path in (*plain, *executable)} == {DATA[size]}
    assert {os.stat(path).st_mode & 0o7777 for path in plain} == {0o444}
    assert {os.stat(path).st_mode & 0o7777 for path in executable} == {0o555}
    assert project.path(digest, b"one") == plain[0]
    assert store.read(digest) == DATA[size]
    assert project.check([*plain, *executable]) == []


def test_large_blobs_take_no_room_a_second_time(store: LocalStore, tmp_path: Path) -> None:
    digest = store.put([large(1)])

    path = open_views(store, tmp_path).path(digest, b"x")

    shared = os.stat(path).st_ino == blob_path(store, digest).stat().st_ino
    assert shared or can_clone(tmp_path)


def can_clone(directory: Path) -> bool:
    (directory / "from").write_bytes(b"x")
    with open(directory / "from", "rb") as source, open(directory / "to", "wb") as target:
        return streams.clone(source.fileno(), target.fileno())


def test_a_view_in_another_file_system_is_a_copy(store: LocalStore, elsewhere: Path) -> None:
    other = elsewhere
    directory = other / f"merkl-test-{os.getpid()}"
    try:
        digest = store.put([large(1)])
        assert content(Views(store, directory).path(digest, b"x", True)) == large(1)
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize("size", DATA)
def test_a_view_is_made_once_and_hashed_until_its_stamp_is_settled(
    store: LocalStore, tmp_path: Path, size: str, hashed: list[int]
) -> None:
    digest = store.put([DATA[size]])
    path = open_views(store, tmp_path).path(digest, b"x")
    inode = os.stat(path).st_ino
    age(path)

    project = open_views(store, tmp_path)
    project.path(digest, b"x")
    assert len(hashed) == 1, "its stamp was noted at once after it was made, so it may hide a change"
    project.path(digest, b"x")
    assert open_views(store, tmp_path).path(digest, b"x") == path

    assert len(hashed) == 1
    assert os.stat(path).st_ino == inode
    assert project.check([path]) == []


@pytest.mark.parametrize("size", DATA)
@pytest.mark.parametrize("settled", [True, False])
def test_a_view_that_was_edited_between_builds_is_never_served(
    store: LocalStore, tmp_path: Path, size: str, settled: bool
) -> None:
    digest = store.put([DATA[size]])
    path = open_views(store, tmp_path).path(digest, b"x")
    if settled:
        age(path)
        open_views(store, tmp_path).path(digest, b"x")
    before = os.stat(path)
    shares = before.st_nlink > 1
    overwrite(path, b"!" + DATA[size][1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    project = open_views(store, tmp_path)
    if shares:  # The blob went with it.
        with pytest.raises(StoreCorrupt):
            project.path(digest, b"x")
        assert store.put([DATA[size]]) == digest
    assert content(project.path(digest, b"x")) == DATA[size]

    assert any("had been changed" in note.text for note in store.take_notes())
    aside = [item.read_bytes() for item in (tmp_path / "view" / ".aside").iterdir()]
    assert aside == [b"!" + DATA[size][1:]], "what somebody wrote is not deleted"


@pytest.mark.parametrize("size", DATA)
def test_a_node_that_writes_to_its_input_is_found_out(store: LocalStore, tmp_path: Path, size: str) -> None:
    good, written = store.put([DATA[size]]), store.put([DATA[size] + b"2"])
    project = open_views(store, tmp_path)
    paths = [project.path(good, b"good"), project.path(written, b"written")]
    assert project.check(paths) == []

    subprocess.run(["chmod", "u+w", paths[1]], check=True)
    with open(paths[1], "ab") as file:
        file.write(b"more")

    assert project.check(paths) == [written]
    data = store.read(written)
    assert data is None or data == DATA[size] + b"2"
    assert store.read(good) == DATA[size]
    assert project.check(paths[:1]) == []


def test_a_node_that_removes_its_input_is_found_out(store: LocalStore, tmp_path: Path) -> None:
    digest = store.put([large(1)])
    project = open_views(store, tmp_path)
    path = project.path(digest, b"x")
    os.unlink(path)

    assert project.check([path]) == [digest]
    assert content(project.path(digest, b"x")) == large(1)


def test_a_touch_is_no_change(store: LocalStore, tmp_path: Path) -> None:
    digest = store.put([large(1)])
    project = open_views(store, tmp_path)
    path = project.path(digest, b"x")
    os.utime(path)
    os.chmod(path, 0o600)

    assert project.check([path]) == []
    assert content(project.path(digest, b"x")) == large(1)
    assert os.stat(path).st_mode & 0o7777 == 0o444


@pytest.mark.parametrize("what", ["view", "folder", "everything", "link", "directory", "fifo"])
def test_whatever_was_done_to_a_view_it_is_made_again(store: LocalStore, tmp_path: Path, what: str) -> None:
    digest = store.put([large(1)])
    project = open_views(store, tmp_path)
    path = project.path(digest, b"x")
    if what in ("folder", "everything"):
        shutil.rmtree(tmp_path / "view" if what == "everything" else os.path.dirname(path))
    else:
        os.unlink(path)
    if what == "link":
        os.symlink("/etc/passwd", path)
    elif what == "directory":
        os.mkdir(path)
    elif what == "fifo":
        os.mkfifo(path)

    assert content(project.path(digest, b"x")) == large(1)
    assert content(open_views(store, tmp_path).path(digest, b"x")) == large(1)


def test_a_blob_that_is_gone_or_damaged_has_no_view(store: LocalStore, tmp_path: Path) -> None:
    project = open_views(store, tmp_path)
    with pytest.raises(StoreCorrupt, match="gone"):
        project.path(Digest.of(b"absent"), b"x")
    digest = store.put([large(1)])
    overwrite(blob_path(store, digest), large(2))

    with pytest.raises(StoreCorrupt, match="damaged"):
        project.path(digest, b"x")

    assert os.listdir(tmp_path / "view" / ".new") == []


def test_two_builds_may_make_the_same_views_at_once(tmp_path: Path) -> None:
    code = """
    import os, sys
    from pathlib import Path
    from merkl.store.local import LocalStore
    from merkl.store.views import Views
    from store_samples import large, tree_of
    store = LocalStore(sys.argv[1] + "/store")
    project = Views(store, sys.argv[1] + "/view")
    for n in range(40):
        digest = store.put([large(n % 8)])
        path = project.path(digest, b"%d" % n, n % 3 == 0)
        assert Path(os.fsdecode(path)).read_bytes() == large(n % 8)
        tree = tree_of({b"d/%d" % n: large(n % 8), b"e": b"e"})
        store.put([b"e"])
        path = project.tree(store.put([tree.encode()]), b"t")
        assert Path(os.fsdecode(path), f"d/{n}").read_bytes() == large(n % 8)
        assert project.check([path]) == []
    assert store.take_notes() == []
    store.close()
    """
    for process in [python(code, tmp_path) for _ in range(3)]:
        finish(process)


# Directories.

FILES = {b"a.txt": b"a", b"sub/deep/big": large(3), b"sub/\xff\n": b"name", b"sub/empty file": b""}
LINKS = {b"sub/to a": b"../a.txt"}


def put_tree(store: LocalStore, tree: Tree, files: dict[bytes, bytes]) -> Digest:
    for data in files.values():
        store.put([data])
    return store.put([tree.encode()])


def sample_tree() -> Tree:
    tree = tree_of(FILES, LINKS)
    run = TreeEntry(b"run.sh", "file", Digest.of(b"a"), 1, executable=True)
    entries = (*tree.entries, TreeEntry(b"nothing in it", "dir"), run)
    return Tree(tuple(sorted(entries, key=lambda entry: entry.path)))


def test_a_directory_view_is_what_its_tree_says(store: LocalStore, tmp_path: Path) -> None:
    digest = put_tree(store, sample_tree(), FILES)

    path = open_views(store, tmp_path).tree(digest, b"out\xff")

    for name, data in FILES.items():
        assert content(path + b"/" + name) == data
        assert os.stat(path + b"/" + name).st_mode & 0o7777 == 0o444
    assert os.stat(path + b"/run.sh").st_mode & 0o7777 == 0o555
    assert os.readlink(path + b"/sub/to a") == b"../a.txt"
    assert os.listdir(path + b"/nothing in it") == []
    assert os.stat(path + b"/sub").st_mode & 0o7777 == os.stat(path).st_mode & 0o7777 == 0o555


def test_a_directory_view_is_made_once(store: LocalStore, tmp_path: Path) -> None:
    digest = put_tree(store, sample_tree(), FILES)
    path = open_views(store, tmp_path).tree(digest, b"out")
    inode = os.stat(path).st_ino
    age(path)

    for _ in range(2):
        project = open_views(store, tmp_path)
        assert project.tree(digest, b"out") == path
        assert project.check([path]) == []

    assert os.stat(path).st_ino == inode
    assert store.take_notes() == []


def changed_byte(path: bytes) -> None:
    overwrite(path + b"/a.txt", b"b")


def added_file(path: bytes) -> None:
    os.chmod(path + b"/sub", 0o755)
    with open(path + b"/sub/new", "w") as file:
        file.write("new")


def removed_file(path: bytes) -> None:
    os.chmod(path + b"/sub", 0o755)
    os.unlink(path + b"/sub/empty file")


def other_link(path: bytes) -> None:
    os.chmod(path + b"/sub", 0o755)
    os.unlink(path + b"/sub/to a")
    os.symlink(b"deep", path + b"/sub/to a")


def no_longer_executable(path: bytes) -> None:
    os.chmod(path + b"/run.sh", 0o444)


@pytest.mark.parametrize("edit", [changed_byte, added_file, removed_file, other_link, no_longer_executable])
@pytest.mark.parametrize("settled", [True, False])
def test_an_edited_directory_view_is_found_out_and_made_anew(
    store: LocalStore, tmp_path: Path, edit: "object", settled: bool
) -> None:
    digest = put_tree(store, sample_tree(), FILES)
    project = open_views(store, tmp_path)
    path = project.tree(digest, b"out")
    if settled:
        age(path)
        project.tree(digest, b"out")
    edit(path)  # type: ignore[operator]

    assert project.check([path]) == [digest]
    edited = open_views(store, tmp_path).tree(digest, b"out")
    edit(edited)  # type: ignore[operator]
    for data in FILES.values():
        store.put([data])  # Where views are hard links, the edit has damaged a blob.
    fresh = open_views(store, tmp_path).tree(digest, b"out")

    assert fresh == path
    assert content(path + b"/a.txt") == b"a"
    assert sorted(os.listdir(path + b"/sub")) == sorted([b"\xff\n", b"deep", b"empty file", b"to a"])
    assert os.readlink(path + b"/sub/to a") == b"../a.txt"
    assert os.access(path + b"/run.sh", os.X_OK)


@pytest.mark.parametrize(
    "entries",
    [
        [TreeEntry(b"d", "link", link=b"/etc"), TreeEntry(b"d/passwd", "file", Digest.of(b"x"), 1)],
        [TreeEntry(b"up", "link", link=b"../../outside")],
        [
            TreeEntry(b"a", "dir"),
            TreeEntry(b"a/b", "link", link=b"../c"),
            TreeEntry(b"c", "link", link=b".."),
        ],
        [TreeEntry(b"abs", "link", link=b"/etc/passwd")],
        [TreeEntry(b"no/dir", "file", Digest.of(b"x"), 1)],
        [TreeEntry(b"f", "file", Digest.of(b"x"), 1), TreeEntry(b"f/g", "file", Digest.of(b"x"), 1)],
    ],
)
def test_a_tree_that_leads_out_of_its_directory_is_refused(
    store: LocalStore, tmp_path: Path, entries: list[TreeEntry]
) -> None:
    store.put([b"x"])
    digest = store.put([Tree(tuple(entries)).encode()])

    with pytest.raises(StoreCorrupt, match="a directory's"):
        open_views(store, tmp_path).tree(digest, b"out")

    assert not (tmp_path / "view").exists()


def test_a_tree_blob_that_is_none_is_refused(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(StoreCorrupt, match="should be a directory's"):
        open_views(store, tmp_path).tree(store.put([b"no tree"]), b"out")


def test_a_tree_whose_file_is_lost_has_no_view(store: LocalStore, tmp_path: Path) -> None:
    digest = store.put([tree_of({b"d/f": b"never stored"}).encode()])

    with pytest.raises(StoreCorrupt, match="gone"):
        open_views(store, tmp_path).tree(digest, b"out")

    assert os.listdir(tmp_path / "view" / ".new") == []


def test_a_build_lists_what_it_reads(store: LocalStore, tmp_path: Path) -> None:
    digest, other = store.put([b"x"]), store.put([b"y"])
    with register_build(str(tmp_path)) as lease:
        project = open_views(store, tmp_path)
        project.lease = lease
        project.path(digest, b"x")
        project.path(digest, b"x2")

        assert listed_digests(str(tmp_path)) == {digest}

        project.path(other, b"y")
        assert listed_digests(str(tmp_path)) == {digest, other}
    assert listed_digests(str(tmp_path)) == set()

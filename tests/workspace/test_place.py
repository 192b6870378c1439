"""Outputs get to their places whole, and never anywhere else."""

import ctypes
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from merkl import filesystem
from merkl.digest import Digest
from merkl.errors import PlacementError, WorkspaceError
from merkl.stamp import Stamp
from merkl.tree import Tree, TreeEntry
from merkl.workspace import exchange
from merkl.workspace.place import place_file, place_tree, remove_placed
from merkl.workspace.trees import read_tree

TREE = Tree(
    (
        TreeEntry(b"d", "dir"),
        TreeEntry(b"d/x", "file", Digest.of(b"new"), 3, True),
        TreeEntry(b"empty", "dir"),
        TreeEntry(b"l", "link", link=b"d/x"),
    )
)


def blob(digest):
    return io.BytesIO(b"new")


def everything(root):
    """Every path under ``root`` with what is there."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        name = str(path.relative_to(root))
        found[name] = (
            f"-> {os.readlink(path)}" if path.is_symlink() else path.read_bytes() if path.is_file() else None
        )
    return found


@pytest.fixture
def root(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "project"


@pytest.mark.parametrize("form", ["bytes", "file", "descriptor", "reader"])
@pytest.mark.parametrize("size", [0, 5, 3 << 20])
def test_a_file_is_placed_whatever_its_bytes_come_from(root, form, size):
    data = bytes(range(251)) * (size // 251 + 1)
    (root / "blob").write_bytes(data[:size])
    with open(root / "blob", "rb") as file:
        content = {
            "bytes": data[:size],
            "file": file,
            "descriptor": file.fileno(),
            "reader": io.BytesIO(data[:size]),
        }[form]
        stamp = place_file(str(root), "build/deep/out.bin", content)

    assert (root / "build/deep/out.bin").read_bytes() == data[:size]
    assert stamp == Stamp.of((root / "build/deep/out.bin").stat())
    assert sorted(os.listdir(root / "build/deep")) == ["out.bin"]


def test_a_placed_file_shares_no_inode_with_what_it_was_made_from(root):
    (root / "blob").write_bytes(b"kept")
    with open(root / "blob", "rb") as file:
        place_file(str(root), "out", file)
    with open(root / "out", "ab") as out:
        out.write(b" edited")

    assert (root / "blob").read_bytes() == b"kept"


def test_a_copy_that_the_kernel_will_not_make_is_made_by_hand(root, monkeypatch):
    (root / "blob").write_bytes(b"x" * (3 << 20))

    def refuse(*_, **__):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(filesystem.fcntl, "ioctl", refuse)
    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    with open(root / "blob", "rb") as file:
        place_file(str(root), "out", file)

    assert (root / "out").read_bytes() == (root / "blob").read_bytes()


@pytest.mark.parametrize(
    ("umask", "plain", "executable"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)]
)
def test_the_mode_is_what_umask_leaves(root, umask, plain, executable):
    old = os.umask(umask)
    try:
        place_file(str(root), "a", b"")
        place_file(str(root), "b", b"", executable=True)
        place_tree(str(root), "t", TREE, blob)
    finally:
        os.umask(old)

    modes = [(root / name).stat().st_mode & 0o7777 for name in ("a", "b", "t/d/x")]
    assert modes == [plain, executable, executable]


@pytest.mark.parametrize("mtime", [-5, 0, 1_700_000_000_123_456_789, (2**33 + 7) * 10**9])
def test_the_modification_time_can_be_given(root, mtime):
    stamp = place_file(str(root), "a", b"x", mtime_ns=mtime)
    assert stamp.mtime_ns == mtime == (root / "a").stat().st_mtime_ns

    stamp = place_tree(str(root), "t", TREE, blob, mtime_ns=mtime)
    assert stamp.mtime_ns == mtime == (root / "t").stat().st_mtime_ns


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"-rf", b"n" * 255, "😀".encode(), b" "])
def test_any_name_can_be_placed(root, name):
    path = os.fsdecode(b"d/" + name)
    place_file(str(root), path, b"1")
    place_file(str(root), path, b"2")

    assert os.listdir(os.fsencode(root) + b"/d") == [name]
    assert remove_placed(str(root), path)
    assert not (root / "d").exists()


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", ".git/hooks/x", "a/.GIT/x", ".merkl/x", "a\0b", "", ".", "x" * 256]
)
def test_a_path_outside_or_of_others_is_never_written(root, path):
    before = everything(root.parent)
    for act in (
        lambda: place_file(str(root), path, b"x"),
        lambda: place_tree(str(root), path, TREE, blob),
        lambda: remove_placed(str(root), path),
    ):
        with pytest.raises(PlacementError):
            act()

    assert everything(root.parent) == before


@pytest.mark.parametrize(
    "link",
    [
        "../outside",
        "{tmp}/outside",
        ".git/hooks",
        "../project/.git/hooks",
        "sub/..//../outside",
        ".merkl",
        "loop",
        "file",
        "other",
    ],
)
def test_a_link_on_the_way_leads_nowhere_it_should_not(root, link):
    (root / ".git" / "hooks").mkdir(parents=True)
    (root / ".merkl").mkdir()
    (root / "sub").mkdir()
    (root / "file").write_text("mine")
    (root / "loop").symlink_to("loop")
    (root / "other").symlink_to("../outside")
    (root / "out").symlink_to(link.format(tmp=root.parent))
    before = everything(root.parent)

    for path in ("out/f", "out/deep/f"):
        with pytest.raises(PlacementError, match="cannot write out/"):
            place_file(str(root), path, b"x")
        with pytest.raises(PlacementError):
            place_tree(str(root), path, TREE, blob)

    assert everything(root.parent) == before


@pytest.mark.parametrize("link", ["real", "sub/../real", "{root}/real", "chain", "./real/"])
def test_a_link_on_the_way_that_stays_inside_is_followed(root, link):
    (root / "real").mkdir()
    (root / "sub").mkdir()
    (root / "chain").symlink_to("sub/../real")
    (root / "out").symlink_to(link.format(root=root))

    place_file(str(root), "out/deep/f", b"x")

    assert (root / "real/deep/f").read_bytes() == b"x"
    assert (root / "out").is_symlink()


def test_a_link_at_the_path_itself_is_replaced_and_what_it_led_to_is_not(root):
    (root.parent / "outside" / "f").write_text("theirs")
    (root / "out").symlink_to("../outside/f")

    place_file(str(root), "out", b"ours")

    assert (root / "out").read_bytes() == b"ours"
    assert not (root / "out").is_symlink()
    assert (root.parent / "outside" / "f").read_text() == "theirs"


def test_a_directory_swapped_for_a_link_at_any_moment_leads_nothing_out(root):
    (root / "d").mkdir()
    (root / "evil").symlink_to("../outside")
    stop = threading.Event()

    def swap():
        renameat2 = ctypes.CDLL(None).renameat2
        while not stop.is_set():
            renameat2(-100, os.fsencode(root / "d"), -100, os.fsencode(root / "evil"), 2)

    attacker = threading.Thread(target=swap)
    attacker.start()
    outcomes = set()
    try:
        for turn in range(50_000):
            if turn >= 500 and "placed" in outcomes:
                break  # The other one may have had the directory away each time.
            try:
                place_file(str(root), f"d/f{turn % 3}", b"x")
                outcomes.add("placed")
            except (PlacementError, WorkspaceError):
                outcomes.add("refused")
    finally:
        stop.set()
        attacker.join()

    assert everything(root.parent / "outside") == {}
    assert "placed" in outcomes


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("there", ["nothing", "file", "link", "empty", "full"])
@pytest.mark.parametrize("wanted", ["file", "tree"])
@pytest.mark.parametrize("replace", [True, False])
def test_what_may_take_the_place_of_what(root, there, wanted, replace, fast, monkeypatch):
    if not fast:
        monkeypatch.setattr(exchange, "_at_once", lambda *_: False)
    (root / "target").write_text("link's")
    match there:
        case "file":
            (root / "out").write_text("old")
        case "link":
            (root / "out").symlink_to("target")
        case "empty":
            (root / "out").mkdir()
        case "full":
            (root / "out" / "deep").mkdir(parents=True)
            (root / "out" / "deep" / "old").write_text("old")
            (root / "out" / "deep").chmod(0o500)
    before = everything(root)
    allowed = replace or there in ("nothing", "empty") or (wanted == "file" and there in ("file", "link"))

    def place():
        if wanted == "file":
            place_file(str(root), "out", b"new", replace=replace)
        else:
            place_tree(str(root), "out", TREE, blob, replace=replace)

    if not allowed:
        with pytest.raises(PlacementError, match="is there"):
            place()
        assert everything(root) == before
        return
    place()
    if wanted == "file":
        assert everything(root) == {"out": b"new", "target": b"link's"}
    else:
        assert (
            read_tree(
                os.fsencode(root / "out"),
                lambda path, found: (Digest.of(Path(os.fsdecode(path)).read_bytes()), found.st_size),
                "look",
            )
            == TREE
        )
        assert sorted(os.listdir(root)) == ["out", "target"]


def test_a_directory_with_a_repository_in_it_is_never_replaced_or_removed(root):
    (root / "out" / ".git").mkdir(parents=True)
    before = everything(root)

    for act in (
        lambda: place_file(str(root), "out", b"", replace=True),
        lambda: place_tree(str(root), "out", TREE, blob, replace=True),
        lambda: remove_placed(str(root), "out"),
    ):
        with pytest.raises(PlacementError, match=r"\.git"):
            act()

    assert everything(root) == before


@pytest.mark.parametrize("tree", [True, False])
def test_a_fifo_in_the_way_is_named_and_left(root, tree):
    os.mkfifo(root / "out")
    with pytest.raises(PlacementError, match="a fifo is there"):
        place_tree(str(root), "out", TREE, blob, replace=True) if tree else place_file(str(root), "out", b"")

    assert os.listdir(root) == ["out"]


def test_a_file_where_a_directory_is_needed_is_named(root):
    (root / "a").write_text("mine")

    with pytest.raises(PlacementError, match="a is a file, and a directory is needed"):
        place_file(str(root), "a/b", b"x")


def test_whatever_breaks_off_a_tree_leaves_the_old_one_and_no_litter(root):
    place_tree(str(root), "out", TREE, blob)
    before = everything(root)

    def broken(digest):
        raise OSError(5, "Input/output error")

    with pytest.raises(WorkspaceError, match="cannot write out"):
        place_tree(str(root), "out", TREE, broken, replace=True)
    with pytest.raises(KeyboardInterrupt):
        place_tree(str(root), "out", TREE, lambda _: signal.raise_signal(signal.SIGINT), replace=True)

    assert everything(root) == before


def test_a_directory_that_may_not_be_written_to_is_an_error_that_says_so(unprivileged):
    (unprivileged / "d").mkdir()
    (unprivileged / "d" / "out").write_text("old")
    (unprivileged / "d").chmod(0o555)

    with pytest.raises(WorkspaceError, match="cannot write d/out: permission denied") as error:
        place_file(str(unprivileged), "d/out", b"new")
    with pytest.raises(WorkspaceError, match="cannot remove d/out"):
        remove_placed(str(unprivileged), "d/out")

    assert error.value.hint
    assert (unprivileged / "d" / "out").read_text() == "old"


def test_removing_takes_the_directories_that_are_empty_then_and_no_others(root):
    (root / "mine").mkdir()
    place_file(str(root), "build/a/one", b"1")
    place_file(str(root), "build/two", b"2")
    place_tree(str(root), "trees/t", TREE, blob)

    assert remove_placed(str(root), "build/a/one")
    assert everything(root) == {**everything(root), "build/two": b"2", "build": None}
    assert not (root / "build/a").exists()
    assert remove_placed(str(root), "trees/t")
    assert remove_placed(str(root), "build/two")
    assert os.listdir(root) == ["mine"]
    assert not remove_placed(str(root), "build/two")


def test_removing_a_link_leaves_what_it_leads_to(root):
    (root / "real").write_text("x")
    (root / "out").symlink_to("real")

    assert remove_placed(str(root), "out")
    assert everything(root) == {"real": b"x"}


FULL = """
import os, sys, io
from merkl.digest import Digest
from merkl.errors import WorkspaceError
from merkl.workspace.place import place_file, place_tree
from merkl.tree import Tree, TreeEntry
root = sys.argv[1]
big = b"x" * (2 << 20)
place_file(root, "out", b"old")
def attempt(act):
    try:
        act()
    except WorkspaceError as error:
        print(error.headline, "|", error.hint)
    print(sorted(os.listdir(root)), open(root + "/out").read()[:3])
attempt(lambda: place_file(root, "out", big))
entry = TreeEntry(b"f", "file", Digest.of(big), len(big))
attempt(lambda: place_tree(root, "tree", Tree((entry,)), lambda _: io.BytesIO(big)))
while True:
    try:
        open(f"{root}/n{len(os.listdir(root))}", "x").close()
    except OSError:
        break
names = len(os.listdir(root))
attempt(lambda: place_file(root, "another", b""))
"""


@pytest.mark.needs("mount", "unshare")
def test_a_full_file_system_is_an_error_that_says_what_it_lacks(tmp_path):
    mounted = tmp_path / "full"
    mounted.mkdir()
    script = f'mount -t tmpfs -o size=1m,nr_inodes=20 none "$1" && exec "{sys.executable}" -c "$2" "$1"'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(mounted), FULL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr or "permission denied" in done.stderr.lower():
        pytest.skip("needs the right to mount")

    lines = done.stdout.splitlines()
    assert lines[0].startswith("cannot write out: no space left on device |"), done
    assert lines[1] == "['out'] old"
    assert lines[2].startswith("cannot write tree: no space left on device |")
    assert lines[3] == "['out'] old"
    assert lines[4].startswith("cannot write another: no free inodes are left |")


KILLED = """
import os, sys
from merkl.workspace.place import place_file, place_tree
root, size = sys.argv[1], 1 << 20
turn = 0
while True:
    place_file(root, "out", bytes([65 + turn % 26]) * size)
    if turn == 0:
        print("ready", flush=True)
    turn += 1
"""


def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(root):
    for pause in range(8):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(root)], stdout=subprocess.PIPE)
        process.stdout.readline()
        threading.Event().wait(0.01 + pause * 0.003)
        process.kill()
        process.communicate()
        data = (root / "out").read_bytes()
        assert len(data) == 1 << 20
        assert len(set(data)) == 1

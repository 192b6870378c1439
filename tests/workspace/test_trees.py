"""Directories as values: equal exactly if they are, and restored as they were."""

import io
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkl.digest import Digest
from merkl.errors import ConfigError, InputMissing, PlacementError, TaskFailed
from merkl.tree import Tree, TreeEntry, leads_to
from merkl.workspace.ignore import MERKLIGNORE, Rules
from merkl.workspace.trees import read_output_tree, read_tree, restore_tree


class Blobs(dict[Digest, bytes]):
    """Bytes by digest: takes files in, and gives them out."""

    def take(self, path):
        with open(path, "rb") as file:
            data = file.read()
        self[Digest.of(data)] = data
        return Digest.of(data)

    def take_found(self, path, found):
        return self.take(path), found.st_size

    def open(self, digest):
        return io.BytesIO(self[digest])


def fill(directory, content):
    """Make files, directories (dict), links (``->text``) and executables (``!text``)."""
    os.makedirs(directory, exist_ok=True)
    for name, value in content.items():
        path = os.path.join(os.fsencode(directory), os.fsencode(name))
        if isinstance(value, dict):
            fill(path, value)
        elif value.startswith("->"):
            os.symlink(value[2:], path)
        else:
            with open(path, "w") as file:
                file.write(value.lstrip("!"))
            os.chmod(path, 0o755 if value.startswith("!") else 0o644)


def digest_of(directory, reading="source", **more):
    return read_tree(os.fsencode(directory), Blobs().take_found, reading, **more).digest


NAMES = st.sampled_from(["a", "b", "ab", "a-b", "a b", ".h", b"\xff", "é", "n" * 200])
CONTENTS = st.recursive(
    st.sampled_from(["", "x", "y", "xy", "!x", "!"]),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
).filter(lambda made: isinstance(made, dict))


@given(CONTENTS, CONTENTS)
def test_two_directories_have_one_digest_exactly_if_they_are_equal(one, other):
    with tempfile.TemporaryDirectory() as place:
        fill(place + "/1", one)
        fill(place + "/2", other)
        for reading in ("source", "save", "look"):
            assert (digest_of(place + "/1", reading) == digest_of(place + "/2", reading)) == (one == other)


@given(CONTENTS)
def test_what_is_saved_is_restored_as_it_was(content):
    with tempfile.TemporaryDirectory() as place:
        fill(place + "/1", content)
        blobs = Blobs()
        tree = read_output_tree(os.fsencode(place + "/1"), blobs.take)
        again = Tree.decode(tree.encode())
        assert again == tree

        os.mkdir(place + "/2")
        fd = os.open(place + "/2", os.O_RDONLY)
        restore_tree(again, fd, blobs.open, "2")
        os.close(fd)

        assert digest_of(place + "/2", "save") == digest_of(place + "/2", "look") == tree.digest
        assert tree.size == sum(len(blobs[entry.digest]) for entry in tree.entries if entry.kind == "file")


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_only_a_canonical_encoding_is_read(noise, at, byte):
    good = Tree(
        (
            TreeEntry(b"a", "dir"),
            TreeEntry(b"a/x", "file", Digest.of(b"x"), 1, True),
            TreeEntry(b"l", "link", link=b"a/x"),
        )
    ).encode()
    assert Tree.decode(good).encode() == good
    spoilt = bytearray(good)
    spoilt[at % len(good)] = byte
    for data in (noise, good[: at % len(good)], good + noise, bytes(spoilt)):
        try:
            assert Tree.decode(data).encode() == data
        except ValueError:
            continue


FILE = Digest.of(b"x")


@pytest.mark.parametrize(
    "entries",
    [
        [TreeEntry(b"../x", "file", FILE, 1)],
        [TreeEntry(b"/etc/x", "file", FILE, 1)],
        [TreeEntry(b"a//b", "file", FILE, 1)],
        [TreeEntry(b"", "dir")],
        [TreeEntry(b"a\0b", "file", FILE, 1)],
        [TreeEntry(b"a", "file", FILE, 1), TreeEntry(b"a", "file", FILE, 1)],
        [TreeEntry(b"a/x", "file", FILE, 1)],
        [TreeEntry(b"d", "link", link=b"/etc"), TreeEntry(b"d/passwd", "file", FILE, 1)],
        [TreeEntry(b"f", "file", FILE, 1), TreeEntry(b"f/x", "file", FILE, 1)],
        [TreeEntry(b"f", "file", None, 1)],
        [TreeEntry(b"l", "link", link=b"")],
        [TreeEntry(b"l", "link", link=b"a\0b")],
        [TreeEntry(b"d", "dir", FILE)],
        [TreeEntry(b"l", "link", link=b"/etc/passwd")],
        [TreeEntry(b"l", "link", link=b"../x")],
        [TreeEntry(b"l", "link", link=b"gone")],
        [TreeEntry(b"d", "dir"), TreeEntry(b"d/l", "link", link=b"../../x")],
        [TreeEntry(b"c", "link", link=b"."), TreeEntry(b"l", "link", link=b"c/../x"), TreeEntry(b"x", "file", FILE, 1)],
        [TreeEntry(b".git", "dir")],
        [TreeEntry(b"d", "dir"), TreeEntry(b"d/.MERKL", "file", FILE, 1)],
    ],
)  # fmt: skip
def test_a_hostile_tree_writes_nothing_outside_and_is_refused(tmp_path, entries):
    (tmp_path / "in").mkdir()
    fd = os.open(tmp_path / "in", os.O_RDONLY)
    try:
        with pytest.raises(PlacementError):
            restore_tree(Tree(tuple(entries)), fd, lambda _: io.BytesIO(b"x"), "in")
    finally:
        os.close(fd)

    assert os.listdir(tmp_path) == ["in"]


def test_a_blob_of_another_size_is_noticed(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(PlacementError, match="1 bytes instead of 2"):
        restore_tree(Tree((TreeEntry(b"a", "file", FILE, 2),)), fd, lambda _: io.BytesIO(b"x"), "d")
    os.close(fd)


LINKS = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d/e", "d/f", "d/g/h"]),
    st.lists(
        st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h", "..", "."]), min_size=1, max_size=4
    ).map("/".join),
    max_size=5,
)


@given(LINKS, st.booleans())
def test_a_link_leads_where_the_kernel_says(links, slash):
    with tempfile.TemporaryDirectory() as place:
        top = place + "/1/2/3/4/top"  # So deep that no link of the test reaches another known directory.
        os.makedirs(top + "/d/g")
        for name in ("a", "b", "d/f"):
            if name not in links:
                Path(top, name).write_text(name)
        for name, text in links.items():
            os.symlink(text + "/" * slash, f"{top}/{name}")
        tree = read_tree(os.fsencode(top), Blobs().take_found, "look")
        entries = {entry.path: entry for entry in tree.entries}
        for entry in tree.entries:
            led = leads_to(entries, entry.path)
            try:
                real = os.path.realpath(os.fsencode(top) + b"/" + entry.path, strict=True)
                os.stat(os.fsencode(top) + b"/" + entry.path)
            except OSError:
                assert led is None
                continue
            inside = os.path.join(os.fsencode(top), led) if led else os.fsencode(top)
            if led is not None:
                assert os.path.realpath(inside) == real
            else:  # It goes outside, at the end or on the way.
                texts = [entries[name].link for name in entries if entries[name].kind == "link"]
                assert any(b".." in text for text in texts)


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ({"l": "->/etc/hostname"}, "absolute path"),
        ({"l": "->../outside"}, "leads out"),
        ({"l": "->gone"}, "does not exist"),
        ({"l": "->l"}, "back to itself"),
        ({"l": "->m", "m": "->l"}, "back to itself"),
        ({"d": {"l": "->../../outside"}}, "leads out"),
    ],
)
def test_a_link_that_could_not_be_restored_is_an_error_when_it_is_saved(tmp_path, links, words):
    (tmp_path / "outside").write_text("x")
    fill(tmp_path / "out", {"real": "x", **links})

    with pytest.raises(TaskFailed, match=words) as error:
        read_output_tree(os.fsencode(tmp_path / "out"), Blobs().take, "build/out")

    assert "build/out/" in error.value.headline
    assert error.value.hint


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", ".git", "sub/.merkl", ".GIT"])
def test_what_cannot_be_kept_is_an_error_when_it_is_saved(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill("out", {"sub": {}})
    if kind == "fifo":
        os.mkfifo("out/thing")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("out/thing")
    elif kind == "device":
        try:
            os.mknod("out/thing", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("needs the right to make devices")
    else:
        os.mkdir(f"out/{kind}")

    with pytest.raises(TaskFailed) as error:
        read_output_tree(b"out", Blobs().take)

    assert "out/" in error.value.headline
    assert "remove it" in error.value.hint
    if kind in ("fifo", "socket", "device"):
        with pytest.raises(InputMissing, match="out/thing"):
            digest_of("out")


def test_links_inside_are_kept_as_links_and_hard_links_become_files(tmp_path):
    fill(
        tmp_path / "out",
        {"a": "x", "d": {"up": "->../a", "here": "->."}, "to_d": "->d", "chain": "->to_d/up"},
    )
    os.link(tmp_path / "out" / "a", tmp_path / "out" / "twin")
    blobs = Blobs()
    tree = read_output_tree(os.fsencode(tmp_path / "out"), blobs.take)
    (tmp_path / "again").mkdir()
    fd = os.open(tmp_path / "again", os.O_RDONLY)
    restore_tree(tree, fd, blobs.open, "again")
    os.close(fd)

    assert os.readlink(tmp_path / "again" / "chain") == "to_d/up"
    assert (tmp_path / "again" / "chain").read_text() == "x"
    assert (tmp_path / "again" / "twin").stat().st_nlink == 1


@pytest.mark.parametrize(
    "change",
    ["edit", "add", "remove", "rename", "link", "empty dir", "mode", "outside", "outside dir", "dangling"],
)
def test_each_change_of_an_input_directory_changes_its_digest(tmp_path, change):
    fill(tmp_path / "far", {"f": "1"})
    (tmp_path / "near.txt").write_text("1")
    d = tmp_path / "d"
    fill(d, {"a": "1", "s": {"b": "1"}, "out": "->../near.txt", "outd": "->../far", "gone": "->../gone.txt"})
    before = digest_of(d)
    match change:
        case "edit":
            (d / "s" / "b").write_text("2")
        case "add":
            (d / "s" / "c").touch()
        case "remove":
            (d / "a").unlink()
        case "rename":
            (d / "a").rename(d / "z")
        case "link":
            (d / "a").unlink()
            (d / "a").symlink_to("s/b")
        case "empty dir":
            (d / "e").mkdir()
        case "mode":
            (d / "a").chmod(0o755)
        case "outside":
            (tmp_path / "near.txt").write_text("2")
        case "outside dir":
            (tmp_path / "far" / "f").write_text("2")
        case "dangling":
            (tmp_path / "gone.txt").write_text("now here")

    assert digest_of(d) != before


def test_links_that_lead_in_circles_outside_come_to_an_end(tmp_path):
    fill(tmp_path / "x", {"to_y": "->../y", "f": "1"})
    fill(tmp_path / "y", {"to_x": "->../x", "up": "->..", "to_z": "->../z"})
    fill(tmp_path / "z", {"to_x": "->../x", "to_y": "->../y"})

    assert digest_of(tmp_path / "x") == digest_of(tmp_path / "x")
    (tmp_path / "x" / "f").write_text("2")
    assert digest_of(tmp_path / "x") != digest_of(tmp_path / "y")


def test_an_input_directory_is_read_without_version_control_and_what_is_ignored(tmp_path):
    fill(tmp_path / "d", {"a": "1", "s": {"b": "1"}})
    before = digest_of(tmp_path / "d")
    fill(
        tmp_path / "d",
        {".git": {"HEAD": "x"}, ".merkl": {"db": "x"}, "s": {".svn": {}}, ".a.merkl-tmp-01234567": "x"},
    )
    assert digest_of(tmp_path / "d") == before

    (tmp_path / "d" / ".merklignore").write_text("*.log\n/s/tmp/\n")
    with_rules = digest_of(tmp_path / "d", shown="data/d")
    fill(tmp_path / "d", {"x.log": "1", "s": {"y.log": "1", "tmp": {"z": "1"}}})
    assert digest_of(tmp_path / "d", shown="data/d") == with_rules
    above = Rules((MERKLIGNORE,)).entering(".", (MERKLIGNORE,), str(tmp_path / "d"))
    assert digest_of(tmp_path / "d" / "s", shown="s", rules=above) == digest_of(
        tmp_path / "d" / "s", shown="s", rules=above
    )
    fill(tmp_path / "d", {"s": {"w.log": "1"}})
    assert digest_of(tmp_path / "d" / "s", shown="s", rules=above) == before_of_s(tmp_path)


def before_of_s(tmp_path):
    fill(tmp_path / "alike", {"b": "1"})
    return digest_of(tmp_path / "alike", shown="s")


def test_a_rule_that_means_nothing_is_named_with_its_line(tmp_path):
    (tmp_path / ".merklignore").write_text("*.o\n!\n")

    with pytest.raises(ConfigError, match=r"\.merklignore:2"):
        digest_of(tmp_path)


def test_a_directory_deeper_than_anybody_means_is_named(tmp_path):
    path = tmp_path / "d"
    path.mkdir()
    fd = os.open(path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("x", dir_fd=fd)
        inner = os.open("x", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)

    with pytest.raises(TaskFailed, match="200 directories deep"):
        read_output_tree(os.fsencode(path), Blobs().take)
    shutil.rmtree(path)

"""One spelling for each path, and which paths merkl writes to."""

import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkl.errors import PlacementError, UsageError
from merkl.workspace.paths import (
    NAME_MAX,
    absolute,
    normalise,
    placeable,
    reserved,
    temporary,
    temporary_name,
)
from merkl.workspace.refs import DirRef, FileRef


@pytest.mark.parametrize(
    ("path", "base", "spelt"),
    [
        ("a.txt", "/p", "a.txt"),
        ("./a.txt", "/p", "a.txt"),
        ("a//b/", "/p", "a/b"),
        ("b.txt", "/p/lib", "lib/b.txt"),
        ("../b.txt", "/p/lib", "b.txt"),
        ("../b.txt", "/p", "/b.txt"),
        ("/p/a/../b", "/p", "b"),
        ("/p", "/p", "."),
        (".", "/p/lib", "lib"),
        ("/pq/a", "/p", "/pq/a"),
        ("//etc//passwd", "/p", "/etc/passwd"),
        (b"\xff.txt", "/p", "\udcff.txt"),
        ("-rf", "/p", "-rf"),
        ("a\nb", "/p", "a\nb"),
        (FileRef("x/y.c"), "/p", "x/y.c"),
    ],
)
def test_each_path_has_one_spelling(path, base, spelt):
    assert normalise(path, base, "/p") == spelt
    assert absolute(spelt, "/p") == os.path.normpath("/" + os.path.join(base, os.fsdecode(path)).lstrip("/"))


def test_a_project_at_the_top_of_the_file_system_has_relative_paths_too():
    assert normalise("/etc/passwd", "/", "/") == "etc/passwd"
    assert absolute("etc/passwd", "/") == "/etc/passwd"


def test_a_project_reached_through_a_link_knows_its_files_by_both_names(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    root = str(tmp_path / "link")

    assert normalise(f"{tmp_path}/real/a.txt", root, root) == "a.txt"
    assert normalise(f"{tmp_path}/link/a.txt", root, root) == "a.txt"


@pytest.mark.parametrize("path", ["", "a\0b", b"\0"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(UsageError):
        normalise(path, "/p", "/p")


@given(st.text(st.sampled_from("ab./"), min_size=1, max_size=12), st.sampled_from(["/p", "/p/a", "/q"]))
def test_spelling_a_spelling_changes_nothing(path, base):
    spelt = normalise(path, base, "/p")

    assert normalise(spelt, "/p", "/p") == spelt


@pytest.mark.parametrize(
    "path",
    [
        "", ".", "..", "../x", "a/../../x", "a/../b", "a//b", "a/", "./a", "/etc/x", "/p/../x", "a\0b", ".git", ".git/hooks/pre-commit",
        "sub/.git/config", ".GIT/x", ".Git", "git~1/x", "GIT~1", ".g\u200cit/x", "\u200c.git/x", ".merkl/cache.db", ".MERKL/x", ".hg/x",
        ".svn/x", ".jj/x", "Merklfile.py", "lib/merklfile.PY", "Merklfile.yaml", "merkl.yaml", "a.merkl", "x" * 256, "é" * 128, "/".join(["a" * 200] * 21),
    ],
)  # fmt: skip
def test_an_output_cannot_go_there(path):
    with pytest.raises(PlacementError) as error:
        placeable(path)

    assert error.value.hint


@pytest.mark.parametrize(
    "path",
    ["a", "build/a.o", "x" * 255, ".github/workflows/ci.yaml", ".gitignore", "git", "..a", "a..", "‥/x", "-rf", "a\nb",
     "C:\\x", "COM1", "\udcff", "merkl", "gitgit/x", ".merklignore", " "],
)  # fmt: skip
def test_an_output_can_go_there(path):
    placeable(path)


@given(st.binary(min_size=1, max_size=255).filter(lambda name: not set(name) & {0, 47}))
def test_a_temporary_name_is_short_hidden_and_known(name):
    made = temporary_name(name)

    assert len(made) <= NAME_MAX
    assert made.startswith(b".")
    assert temporary(made)
    assert made != temporary_name(name)
    assert not reserved(made)


def test_a_reference_is_a_path_and_survives_pickling():
    ref = FileRef("out/plot.tar.gz")

    assert (ref, ref.path, ref.ext) == ("out/plot.tar.gz", "out/plot.tar.gz", ".gz")
    assert type(ref.path) is str
    assert os.fspath(ref) == "out/plot.tar.gz"
    assert repr(ref) == "FileRef('out/plot.tar.gz')"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(DirRef(b"d\xff"), protocol))
        assert type(again) is DirRef
        assert os.fsencode(again) == b"d\xff"
    assert FileRef("Makefile").ext == ""
    assert (ref.name, ref.stem, ref.suffix, ref.parent) == ("plot.tar.gz", "plot.tar", ".gz", "out")
    assert (DirRef("a/b/").name, DirRef("a/b/").parent, DirRef("b").parent) == ("b", "a", ".")


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_reference_to_nothing_is_refused(path):
    with pytest.raises(UsageError):
        FileRef(path)

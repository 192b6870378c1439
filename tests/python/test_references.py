"""``FileRef`` and ``DirRef``: paths that tasks make, return and get."""

import json
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest

from merkl import DirRef, FileRef, combine_file_refs
from merkl.errors import UsageError


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a test does not give slots runs in this process: a worker costs half a second.  New files lie apart."""
    monkeypatch.setenv("MERKL_JOBS", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("new")))


def test_a_reference_is_a_string_wherever_one_is_asked_for(tmp_path: Path) -> None:
    ref = FileRef(tmp_path / "plot.tmp", ext=".png")
    Path(ref).write_text("x")

    assert isinstance(ref, str) and ref == str(tmp_path / "plot.tmp")
    assert json.loads(json.dumps({"at": [ref, DirRef(tmp_path)]})) == {"at": [str(ref), str(tmp_path)]}
    assert os.path.getsize(ref) == 1 and os.path.join(DirRef(tmp_path), "plot.tmp") == ref
    assert (ref.name, ref.stem, ref.ext, ref.suffix) == ("plot.tmp", "plot", ".png", ".png")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_references_travel(protocol: int) -> None:
    plain, named, folder = FileRef("a/b.txt"), FileRef("a/b.tmp", ext="png"), DirRef("a")

    for ref in (plain, named, folder):
        back = pickle.loads(pickle.dumps(ref, protocol))
        assert (back, type(back), back.ext) == (ref, type(ref), ref.ext)
    assert not pickle.loads(pickle.dumps(FileRef("a", rm_after_caching=True), protocol)).rm_after_caching


@pytest.mark.parametrize("ext", [".", "a/b", ".tar\0"])
def test_what_is_no_extension_is_refused(ext: str) -> None:
    with pytest.raises(UsageError, match="is no extension"):
        FileRef("a", ext=ext)


def test_a_directory_has_files_that_can_be_listed_loaded_and_added_to(tmp_path: Path) -> None:
    folder = DirRef(tmp_path / "out")
    os.mkdir(folder)
    Path(folder.get_new_file("sub/b.bin")).write_bytes(b"\0")
    Path(folder.get_new_file("a.txt")).write_text("a")
    script = tmp_path / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    added = folder.add_file_ref(FileRef(script))

    assert [os.path.relpath(file, folder) for file in folder.files] == ["a.txt", "run.sh", "sub/b.bin"]
    assert all(isinstance(file, FileRef) for file in folder.files)
    assert folder.load_files() == {"a.txt": b"a", "run.sh": b"#!/bin/sh\n", "sub/b.bin": b"\0"}
    assert os.access(added, os.X_OK) and os.stat(added).st_nlink == 1
    assert folder.get_new_file(ext=".txt") != folder.get_new_file(ext=".txt")
    with pytest.raises(UsageError, match=r"'a\.txt' is in DirRef"):
        folder.add_file_ref(FileRef(script), "a.txt")
    with pytest.raises(UsageError, match="is no name of a file in a directory"):
        folder.get_new_file("../a.txt")


def test_files_are_combined_into_a_directory(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(name)
    one, two = FileRef(tmp_path / "one/x.txt"), FileRef(tmp_path / "two/x.txt", ext=".md")

    assert combine_file_refs([one, two]).load_files() == {"x.txt": b"one", "x.md": b"two"}
    assert combine_file_refs({"a": one, "b/c": one}).load_files() == {"a": b"one", "b/c": b"one"}
    with pytest.raises(UsageError, match=r"two files would be called 'x\.txt'") as raised:
        combine_file_refs([one, one])
    assert "combine_file_refs({" in raised.value.hint


MAKERS = """
    import os
    from pathlib import Path

    @task
    def plot(n):
        ref = FileRef.get_new_file(ext=".png")
        assert ref.startswith(os.environ["TMPDIR"] + "/"), ref
        Path(ref).write_text("#" * n)
        return ref

    @task
    def renamed(n):
        ref = FileRef.get_new_file("scratch.tmp")
        Path(ref).write_text("#" * n)
        return FileRef(ref, ext=".png")

    @task
    def folder(n):
        made = DirRef()
        Path(made.get_new_file("a.txt")).write_text("#" * n)
        made.add_file_ref(FileRef("named.txt"), "b.txt")
        return made

    @task
    def name(ref):
        return ref.ext

    @target(default=True)
    def all(n: int = 1):
        plot(n) > "plot.png"
        folder(n) > "folder"
        name(renamed(n)) > "name.txt"
"""


def test_a_task_makes_new_files_in_its_own_directory(inside: Any) -> None:
    inside.write("named.txt", "b")
    inside.merklfile(MAKERS)

    assert sorted(inside.build("-j2")) == ["folder", "name", "plot", "renamed"]
    assert inside.read("plot.png") == "#" and inside.read("name.txt") == ".png"
    assert inside.read("folder/a.txt") == "#" and inside.read("folder/b.txt") == "b"
    assert inside.build() == []


RM = """
    import os
    from pathlib import Path

    @task
    def take(path, fail=False):
        ref = FileRef(path, rm_after_caching=True)
        if fail:
            raise ValueError
        return ref

    @target(default=True)
    def all(n: int = 1):
        take(os.path.abspath("big.bin"), fail=n == 2) > "kept.bin"
"""


def test_what_is_returned_with_rm_after_caching_goes_once_it_is_stored(inside: Any) -> None:
    inside.merklfile(RM)
    inside.write("big.bin", b"x" * 300_000)

    inside.merkl("build", "n=2", code=1)
    assert (inside.path / "big.bin").exists()
    assert inside.build() == ["take"]
    assert not (inside.path / "big.bin").exists()
    (inside.path / "kept.bin").unlink()
    inside.write("big.bin", b"another")
    assert inside.build() == []
    assert inside.read("kept.bin") == "x" * 300_000
    assert inside.read("big.bin") == "another"


def test_a_directory_goes_too_and_a_link_and_what_no_record_keeps_stay(inside: Any) -> None:
    inside.merklfile("""
        import os

        @task
        def take(path):
            return DirRef(path, rm_after_caching=True)

        @task(cache=False)
        def take_each_time(path):
            return FileRef(path, rm_after_caching=True)

        @target(default=True)
        def all():
            take(os.path.abspath("folder")) > "kept"
            take(os.path.abspath("link")) > "linked"
            take_each_time(os.path.abspath("named")) > "each-time"
    """)
    inside.write("folder/sub/a", "a")
    inside.write("other/b", "b")
    inside.write("named", "c")
    (inside.path / "link").symlink_to("other")

    notes = [e["text"] for e in inside.events() if e["event"] == "note"]

    assert not (inside.path / "folder").exists() and inside.read("kept/sub/a") == "a"
    assert inside.read("named") == inside.read("each-time") == "c"
    assert inside.read("other/b") == inside.read("linked/b") == "b"
    assert [note for note in notes if note.endswith("link is left where it is: it is a link, or merkl's own")]


def test_the_project_itself_is_a_directory_without_what_is_merkls(inside: Any) -> None:
    inside.merklfile("""
        import os

        from merkl import path_future

        @task
        def names(directory):
            return sorted(os.listdir(directory))

        @target(default=True)
        def all():
            names(path_future(".")) > "build/names.json"
    """)
    (inside.path / ".git").mkdir()
    inside.write("a.txt", "a")
    inside.build("-j1")
    made = inside.read("build/names.json")
    assert '"a.txt"' in made and ".merkl" not in made and ".git" not in made

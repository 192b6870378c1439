"""Contents of the store that were damaged behind merkl's back: a miss, one warning, never wrong bytes.

========  ====================================================================================================
row 25    one bit of every content and of every view in turn: here; every reader of the store alone:
          ``tests/store/test_store_damage.py``; views by every kind of write: ``tests/store/test_store_views.py``
row 26    cut short, emptied, made longer: here
row 27    two good contents with each other's names: here; inside the database: ``test_store_damage.py``
row 29    the database gone, the contents gone, the journal gone: here
row 33    an output written to in place, also through a hard link: here
row 34    an output saved by an editor, in the ways editors save: here; every kind of edit of files and directories:
          ``tests/engine/test_workspace.py``
========  ====================================================================================================
"""

import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import disk_story as story
import pytest
from disk_story import flipped

MAKERS = {
    "build/large.txt": "large", "build/tool.sh": "program", "build/folder/long": "folder", "build/both.txt": "both",
    "build/total.json": "total", "build/bare.txt": "bare",
}  # fmt: skip
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda data: flipped(data, len(data) // 2),
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one byte more": lambda data: data + b"\0",
}
SOME = [
    each if each in ("one bit", "half") else pytest.param(each, marks=pytest.mark.full) for each in DAMAGES
]


@pytest.fixture
def built(inside: Any) -> Any:
    """The story, built, with a store as old as one of yesterday; commands run in this process."""
    story.set_up(inside)
    assert sorted(inside.build()) == story.TASKS
    story.let_settle(inside)
    remove_outputs(inside)
    assert inside.build() == []  # Everything is read once, so that its stamps are noted.
    return inside


def remove_outputs(project: Any) -> None:
    shutil.rmtree(project.path / "build")


def outputs(project: Any) -> dict[str, bytes]:
    top = project.path / "build"
    return {str(p.relative_to(project.path)): p.read_bytes() for p in sorted(top.rglob("*")) if p.is_file()}


def notes_and_ran(project: Any, *words: str) -> tuple[list[str], list[str]]:
    events = project.events(*words)
    notes = [event["text"] for event in events if event["event"] == "note"]
    return notes, [event["task"] for event in events if event["event"] == "ran"]


def made_by(project: Any, digest: str, good: dict[str, bytes]) -> str:
    """The task whose output is that content."""
    data = next(path for path in story.blobs(project) if path.name == digest).read_bytes()
    return next(
        (MAKERS[name] for name in MAKERS if good[name] == data), "total"
    )  # It is kept in another form.


@pytest.mark.parametrize("damage", SOME)
def test_row_25_26_every_damaged_content_is_set_aside_and_made_again(
    built: Any, proven: Callable[..., None], damage: str
) -> None:
    good = outputs(built)
    names = [path.name for path in story.blobs(built)]
    assert len(names) == len(MAKERS)
    for name in names:
        path = next(path for path in story.blobs(built) if path.name == name)
        maker = made_by(built, name, good)
        story.overwrite(path, DAMAGES[damage])
        bad = path.read_bytes()
        remove_outputs(built)
        shutil.rmtree(built.path / ".merkl/view", ignore_errors=True)

        notes, ran = notes_and_ran(built)

        assert ran == [maker]
        assert len(notes) == 1 and f"a damaged blob, {name[:12]}" in notes[0]
        (aside,) = (built.path / ".merkl/store/quarantine").glob(f"{name}-*")
        assert aside.read_bytes() == bad and str(aside) in notes[0]
        assert outputs(built) == good
        assert built.build() == []
    remove_outputs(built)
    assert built.build() == []
    proven()


@pytest.mark.parametrize("damage", SOME)
def test_row_25_26_every_damaged_small_content_is_set_aside_and_made_again(
    built: Any, proven: Callable[..., None], damage: str
) -> None:
    good = outputs(built)
    digests = story.small_contents(built)
    assert len(digests) >= 3
    for digest in digests:
        with sqlite3.connect(story.database(built)) as connection:
            (data,) = connection.execute("SELECT bytes FROM blob WHERE digest = ?", (digest,)).fetchone()
            update = "UPDATE blob SET bytes = ? WHERE digest = ?"
            connection.execute(update, (DAMAGES[damage](data), digest))
        connection.close()
        remove_outputs(built)
        shutil.rmtree(built.path / ".merkl/view", ignore_errors=True)

        notes, ran = notes_and_ran(built)

        assert set(ran) <= {"little", "folder"} and len(ran) == len(notes) <= 1
        assert all(digest.hex()[:12] in note for note in notes)
        assert outputs(built) == good
    proven()


@pytest.mark.parametrize("damage", SOME)
def test_row_25_26_a_damaged_view_is_never_read(built: Any, proven: Callable[..., None], damage: str) -> None:
    names = [path.relative_to(built.path) for path in story.views(built) if path.name != "log"]
    assert len(names) == 4
    for n, name in enumerate(names, start=2):
        story.overwrite(built.path / name, DAMAGES[damage])

        notes, ran = notes_and_ran(built, f"n={n}")

        assert "both" in ran and notes
        assert any(str(name.parts[2])[:12] in note for note in notes)
        expected = b"made by %d\n" % n + b"".join(
            (built.path / "build" / part).read_bytes()
            for part in ("large.txt", "folder/link", "folder/sub/short")
        )
        assert (built.path / "build/both.txt").read_bytes() == expected
        assert (built.path / "build/large.txt").read_bytes() == b"".join(
            b"%d\n" % i for i in range(1, 40_001)
        )
        assert (built.path / "build/folder/long").read_bytes() == b"".join(
            b"%d\n" % i for i in range(1, 50_001)
        )
    proven()


def test_row_27_contents_with_each_others_names_are_noticed(built: Any, proven: Callable[..., None]) -> None:
    good = outputs(built)
    names = [path.name for path in story.blobs(built)]
    for one, two in itertools.pairwise(names):
        paths = {path.name: path for path in story.blobs(built)}
        makers = {made_by(built, one, good), made_by(built, two, good)}
        spare = built.path / "spare"
        os.rename(paths[one], spare)
        os.rename(paths[two], paths[one])
        os.rename(spare, paths[two])
        remove_outputs(built)
        shutil.rmtree(built.path / ".merkl/view", ignore_errors=True)

        notes, ran = notes_and_ran(built)

        assert set(ran) == makers and len(notes) == 2
        assert outputs(built) == good
    proven()


def test_row_29_without_its_database_a_store_is_filled_again(built: Any, proven: Callable[..., None]) -> None:
    good = outputs(built)
    for path in (built.path / ".merkl/store").glob("store-*.db*"):
        path.unlink()
    remove_outputs(built)

    notes, ran = notes_and_ran(built)

    assert sorted(ran) == story.TASKS and notes == []
    assert outputs(built) == good
    proven()


def test_row_29_without_its_contents_a_store_is_filled_again(built: Any, proven: Callable[..., None]) -> None:
    good = outputs(built)
    shutil.rmtree(built.path / ".merkl/store/blobs")
    shutil.rmtree(built.path / ".merkl/view", ignore_errors=True)
    remove_outputs(built)

    _, ran = notes_and_ran(built)

    assert sorted(ran) == sorted(set(story.TASKS) - {"little"})  # Its output is in the database.
    assert outputs(built) == good
    proven()


def test_row_29_without_its_journal_a_database_knows_less_and_nothing_wrong(
    project: Any, proven: Callable[..., None]
) -> None:
    story.set_up(project)
    project.merkl("build", "-q")
    # Who has it open and is killed leaves the journal of the next build behind.
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT count(*) FROM blob').fetchone();"
            "print('open', flush=True); time.sleep(600)",
            str(story.database(project)),
        ],
        stdout=subprocess.PIPE,
    )
    assert reader.stdout is not None
    reader.stdout.readline()
    try:
        project.merkl("build", "-q", "n=2")
    finally:
        reader.send_signal(signal.SIGKILL)
        reader.wait()
        reader.stdout.close()
    journal = Path(f"{story.database(project)}-wal")
    assert journal.stat().st_size > 0
    journal.unlink()
    remove_outputs(project)

    assert project.build("n=2") == ["both"]
    proven()


@pytest.mark.parametrize(
    "how",
    [
        "in place",
        pytest.param("through a hard link", marks=pytest.mark.full),
        pytest.param("moved away and linked back", marks=pytest.mark.full),
    ],
)
def test_row_33_writing_to_an_output_leaves_the_store_as_it_was(
    built: Any, proven: Callable[..., None], how: str
) -> None:
    remove_outputs(built)
    built.build()
    good = outputs(built)
    for name in MAKERS:
        path = built.path / name
        assert path.stat().st_nlink == 1
        if how == "through a hard link":
            os.link(path, built.path / "other name")
            path = built.path / "other name"
        elif how == "moved away and linked back":
            path.rename(built.path / "other name")
            os.link(built.path / "other name", path)
        with path.open("ab") as file:
            file.write(b"mine\n")
        (built.path / "other name").unlink(missing_ok=True)

    built.merkl("fsck")
    notes, ran = notes_and_ran(built)

    assert ran == [] and notes == []
    assert outputs(built) == good
    proven()


def appended(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def renamed_over(path: Path, data: bytes) -> None:
    """As vim and emacs save: a new file takes the name."""
    new = path.with_name(".new~")
    new.write_bytes(path.read_bytes() + data)
    new.rename(path)


def emptied_and_written(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def same_size_and_time(path: Path, data: bytes) -> None:
    before = path.stat()
    old = path.read_bytes()
    path.write_bytes(data.ljust(len(old), b"x")[: len(old)])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "save",
    [
        pytest.param(appended, marks=pytest.mark.full),
        renamed_over,
        pytest.param(emptied_and_written, marks=pytest.mark.full),
        same_size_and_time,
    ],
)
def test_row_34_an_edited_output_is_kept_before_it_is_replaced(
    built: Any, proven: Callable[..., None], save: Callable[[Path, bytes], None]
) -> None:
    for name in ("build/little.txt", "build/large.txt"):
        path = built.path / name
        good = path.read_bytes()
        save(path, b"mine\n")
        edited = path.read_bytes()
        assert edited != good

        done = built.merkl("build")

        assert f"saved your edited {name} before replacing it" in done.stdout
        assert f"merkl restore {name}" in done.stdout
        assert path.read_bytes() == good
        built.merkl("restore", name)
        assert path.read_bytes() == edited
    proven()

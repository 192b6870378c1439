"""Tracking data beside git: what `track` and `untrack` keep, change and refuse, with git as the judge."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from merkl.cli.options import Options
from merkl.engine.project import Project
from merkl.engine.tracking import refresh, track
from merkl.errors import InputMissing, StoreError, UsageError
from merkl.workspace.sidecar import read_sidecar

pytestmark = pytest.mark.needs("git")


def git(root, *words, code=0):
    done = subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", *words],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def is_ignored(root, path):
    return subprocess.run(["git", "check-ignore", "-q", "--", path], cwd=root, check=False).returncode == 0


@pytest.fixture
def beside_git(inside):
    """A project in a git repository whose Merklfile must never be run."""
    git(inside.path, "init", "-q")
    inside.write("Merklfile.py", "open('canary', 'w').close()\nraise SystemExit('it was loaded')\n")
    yield inside
    assert not (inside.path / "canary").exists()


def settle():
    """Wait until what was just written has a stamp that can be believed."""
    time.sleep(0.05)


def opened(root):
    return Project(Options(directory=str(root)).config())


def stored(root, digest):
    project = opened(root)
    try:
        return project.store.read(digest)
    finally:
        project.close()


# ---- what it does ------------------------------------------------------------------------------------------------------


def test_a_tracked_file_is_in_the_store_and_only_its_sidecar_in_git(beside_git):
    beside_git.write("data/points.csv", "1,2\n")

    said = beside_git.merkl("track", "data/points.csv").stdout

    sidecar = read_sidecar(str(beside_git.path), "data/points.csv")
    assert stored(beside_git.path, sidecar.digest) == b"1,2\n"
    assert sidecar.key is None
    assert sidecar.modified_ns == (beside_git.path / "data/points.csv").stat().st_mtime_ns
    assert said == (
        "tracked data/points.csv (4 bytes)\n"
        "git now ignores data/points.csv: see data/.gitignore\n"
        "  hint: git add data/points.csv.merkl data/.gitignore\n"
    )
    git(beside_git.path, "add", "--all")
    assert git(beside_git.path, "ls-files").split() == [
        "Merklfile.py", "data/.gitignore", "data/points.csv.merkl",
    ]  # fmt: skip
    assert (beside_git.path / "data/points.csv").read_bytes() == b"1,2\n"


def test_tracking_twice_changes_nothing(beside_git):
    beside_git.write("a", "1")
    beside_git.merkl("track", "a")
    before = [(beside_git.path / name).read_bytes() for name in (".gitignore", "a.merkl")]
    os.utime(beside_git.path / "a", ns=(1, 1))

    assert beside_git.merkl("track", "a").stdout == "unchanged a (1 byte)\n"

    assert [(beside_git.path / name).read_bytes() for name in (".gitignore", "a.merkl")] == before


def test_changed_data_gets_a_new_sidecar_when_it_is_tracked_again(beside_git):
    beside_git.write("a", "old")
    beside_git.merkl("track", "a")
    old = read_sidecar(str(beside_git.path), "a")
    beside_git.write("a", "newer")

    assert "updated a (5 bytes)" in beside_git.merkl("track", "a").stdout

    new = read_sidecar(str(beside_git.path), "a")
    assert [stored(beside_git.path, each.digest) for each in (old, new)] == [b"old", b"newer"]


def test_without_a_path_all_that_was_changed_is_tracked_again(beside_git):
    for name in "abc":
        beside_git.write(name, name)
    beside_git.merkl("track", "a", "b", "c")
    beside_git.write("b", "changed")
    (beside_git.path / "c").unlink()

    assert beside_git.merkl("track").stdout.splitlines()[0] == "updated b (7 bytes)"
    assert beside_git.merkl("track").stdout == "nothing that is tracked was changed\n"
    assert read_sidecar(str(beside_git.path), "c").size == 1


def test_the_executable_bit_is_a_change(beside_git):
    beside_git.write("tool", "#!/bin/sh\n")
    beside_git.merkl("track", "tool")
    (beside_git.path / "tool").chmod(0o755)

    assert "updated tool" in beside_git.merkl("track").stdout
    assert read_sidecar(str(beside_git.path), "tool").executable


def test_a_pattern_means_the_files_that_match_and_git_does_not_keep(beside_git):
    for name in ("data/a.csv", "data/b.csv", "data/readme", "data/kept.csv"):
        beside_git.write(name, name)
    git(beside_git.path, "add", "data/kept.csv")

    said = beside_git.merkl("track", "data/*.csv", "--json").stdout

    assert [json.loads(line)["path"] for line in said.splitlines()] == ["data/a.csv", "data/b.csv"]
    assert beside_git.merkl("track", "data/*.csv").stdout.splitlines() == [
        "unchanged data/a.csv (10 bytes)", "unchanged data/b.csv (10 bytes)",
    ]  # fmt: skip
    assert "no file to track matches *.txt" in beside_git.merkl("track", "*.txt", code=2).stderr


def test_what_a_shell_makes_of_a_star_may_hold_the_sidecars(beside_git):
    beside_git.write("data/a", "1")
    beside_git.write("data/b", "1")
    beside_git.merkl("track", "data/a")

    said = beside_git.merkl("track", "data/a", "data/a.merkl", "data/b").stdout

    assert said.startswith("unchanged data/a (1 byte)\ntracked data/b (1 byte)\n")


def test_names_that_git_and_shells_read_otherwise(beside_git):
    names = ["#hash", "!not", " lead", "trail ", "*", "[a]", "new\nline", "-dash", os.fsdecode(b"\xff")]
    for name in names:
        beside_git.write(name, "x")

    beside_git.merkl("track", *[f"./{name}" for name in names])

    git(beside_git.path, "add", "--all")
    raw = subprocess.run(
        ["git", "ls-files", "-z"], cwd=beside_git.path, capture_output=True, check=True
    ).stdout
    assert {os.fsdecode(each) for each in raw.split(b"\0") if each} == {
        ".gitignore", "Merklfile.py", *(f"{name}.merkl" for name in names),
    }  # fmt: skip
    assert beside_git.merkl("untrack", *[f"./{name}" for name in names]).stdout.count("untracked") == len(
        names
    )
    assert not (beside_git.path / ".gitignore").exists()


def test_what_follows_two_dashes_is_a_path(beside_git):
    beside_git.write("-dash", "x")

    assert beside_git.merkl("track", "--", "-dash").stdout.startswith("tracked -dash (1 byte)\n")
    assert is_ignored(beside_git.path, "./-dash")
    assert beside_git.merkl("untrack", "--", "-dash").stdout.startswith("untracked -dash\n")
    assert beside_git.merkl("restore", "--", "-dash", code=2).stderr.startswith("nothing of -dash was saved")


def test_outside_a_repository_there_is_nothing_to_say_to_git(inside):
    inside.write("merkl.yaml", "jobs: 1\n")
    inside.write("a", "1")

    assert inside.merkl("track", "a").stdout == "tracked a (1 byte)\n"
    assert sorted(os.listdir(inside.path)) == [".merkl", "a", "a.merkl", "merkl.yaml"]


def test_a_sidecar_that_git_ignores_is_spoken_of(beside_git):
    beside_git.write(".gitignore", "*.merkl\n")
    beside_git.write("a", "1")

    assert (
        "note: git ignores the sidecar a.merkl too: .gitignore:1: *.merkl"
        in beside_git.merkl("track", "a").stderr
    )


def test_a_dry_run_writes_nothing(beside_git):
    beside_git.write("a", "1")

    assert beside_git.merkl("track", "a", "--dry-run").stdout == "would track a\n"
    assert sorted(os.listdir(beside_git.path)) == [".git", ".merkl", "Merklfile.py", "a"]


# ---- directories -------------------------------------------------------------------------------------------------------


def test_a_directory_is_one_with_all_that_is_in_it(beside_git):
    beside_git.write("d/a", "1")
    beside_git.write("d/sub/tool", "22").chmod(0o755)
    (beside_git.path / "d/empty").mkdir()
    (beside_git.path / "d/link").symlink_to("sub/tool")

    beside_git.merkl("track", "d")
    git(beside_git.path, "add", "--all")
    assert git(beside_git.path, "ls-files").split() == [".gitignore", "Merklfile.py", "d.merkl"]
    sidecar = read_sidecar(str(beside_git.path), "d")
    assert (sidecar.kind, sidecar.size) == ("dir", 3)

    project = opened(beside_git.path)
    try:
        assert project.index.look("d").digest == sidecar.digest
    finally:
        project.close()


def test_one_changed_file_costs_one_reading_and_one_blob(beside_git):
    for n in range(300):
        beside_git.write(f"d/{n % 7}/{n}", f"{n}")
    settle()
    project = opened(beside_git.path)
    try:
        track(project, ["d"])
        assert project.index.hashed == 300
    finally:
        project.close()
    beside_git.write("d/3/3", "changed")
    settle()
    project = opened(beside_git.path)
    try:
        blobs = "SELECT count(*) FROM blob"
        before = project.store.database.read(lambda c: c.execute(blobs).fetchone()[0])

        assert [each.path for each in refresh(project).tracked] == ["d"]

        assert project.index.hashed == 1
        after = project.store.database.read(lambda c: c.execute(blobs).fetchone()[0])
        assert after == before + 2, "the file, and the tree that names it"
        assert refresh(project).tracked == ()
        assert project.index.hashed == 1
    finally:
        project.close()


def test_bytes_that_the_store_lost_are_stored_again(beside_git):
    for n in range(20):
        beside_git.write(f"d/{n}", f"{n}")
    beside_git.write("d/large", os.urandom(200_000))
    settle()
    beside_git.merkl("track", "d")
    subprocess.run(["rm", "-r", beside_git.path / ".merkl/store"], check=True)

    beside_git.merkl("track", "d")

    beside_git.merkl("track", "--move", "d")
    beside_git.merkl("pull", "d")
    assert (beside_git.path / "d/large").stat().st_size == 200_000
    assert beside_git.read("d/7") == "7"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda d: os.mkfifo(d / "pipe"), "d/pipe is a fifo, so d cannot be tracked"),
        (lambda d: (d / "out").symlink_to("/etc"), "d/out is a symbolic link to /etc, an absolute path"),
        (lambda d: (d / "gone").symlink_to("nowhere"), "d/gone is a symbolic link to nowhere, which does not exist"),
        (lambda d: (d / ".git").mkdir(), "d/.git belongs to version control or to merkl"),
        (lambda d: (d / "x.merkl").touch(), "in it there is d/x.merkl"),
    ],
)  # fmt: skip
def test_a_directory_that_could_not_be_pulled_is_refused(beside_git, make, says):
    beside_git.write("d/a", "1")
    make(beside_git.path / "d")

    error = beside_git.merkl("track", "d", code=2).stderr

    assert says in error
    assert "hint:" in error
    assert not (beside_git.path / "d.merkl").exists()
    assert not (beside_git.path / ".gitignore").exists()


# ---- moving ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"small", os.urandom(300_000), b""], ids=["small", "large", "empty"])
def test_what_is_moved_is_in_the_store_only_until_it_is_pulled(beside_git, content):
    beside_git.write("a", content)
    beside_git.write("d/inner", content)
    (beside_git.path / "d/tool").write_bytes(content)
    (beside_git.path / "d/tool").chmod(0o755)
    when = (beside_git.path / "a").stat().st_mtime_ns

    said = beside_git.merkl("track", "--move", "a", "d").stdout

    assert "now in the store only" in said
    assert not (beside_git.path / "a").exists()
    assert not (beside_git.path / "d").exists()
    assert "missing" in beside_git.merkl("status", "a", "d").stdout
    beside_git.merkl("pull", "a", "d")
    assert [(beside_git.path / name).read_bytes() for name in ("a", "d/inner", "d/tool")] == [content] * 3
    assert (beside_git.path / "a").stat().st_mtime_ns == when
    assert os.access(beside_git.path / "d/tool", os.X_OK)
    assert beside_git.merkl("status", "--check", "a", "d").returncode == 0


@pytest.mark.needs("strace")
@pytest.mark.parametrize("what", ["a", "d"])
def test_everything_is_on_the_disk_before_the_original_goes(project, what):
    git(project.path, "init", "-q")
    project.write("merkl.yaml", "jobs: 1\n")
    project.write("a", os.urandom(200_000))
    project.write("d/large", os.urandom(200_000))
    project.write("d/small", "1")
    trace = project.path.parent / "trace"
    subprocess.run(
        ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat", "-o", trace,
         sys.executable, "-m", "merkl", "track", "--move", what],
        cwd=project.path, check=True, capture_output=True,
    )  # fmt: skip

    calls = [line.split(" ", 1)[1].strip() for line in trace.read_text().splitlines()]
    root = str(project.path)

    def first(*words):
        return next(n for n, call in enumerate(calls) if all(word in call for word in words))

    synced = [n for n, call in enumerate(calls) if call.startswith(("fsync", "fdatasync"))]
    sidecar = first("rename", f'{what}.merkl"')
    # A file goes by being renamed into the store, a directory by getting another name.
    goes = first("rename", f'"{root}/a"') if what == "a" else first("rename", '"d"')
    assert sidecar < goes
    assert [n for n in synced if sidecar < n < goes], "the directory of the sidecar"
    assert [n for n in synced if n < sidecar], "the sidecar"
    blobs = [n for n in synced if "/.merkl/store/incoming/" in calls[n] or f"{root}/a>" in calls[n]]
    assert blobs
    assert min(blobs) < goes
    if what == "d":
        databases = [n for n in synced if "/.merkl/store/store-" in calls[n]]
        assert [n for n in databases if n < sidecar], "the small files and the tree"


def write_once_synced(monkeypatch, project, sidecar, path):
    """Write to ``path`` as soon as its sidecar is on the disk, and so before the original goes."""
    sync = os.fsync

    def synced(fd):
        sync(fd)
        if (project.path / sidecar).exists():
            monkeypatch.setattr(os, "fsync", sync)
            project.write(path, "precious")

    monkeypatch.setattr(os, "fsync", synced)


def test_a_directory_that_changes_while_it_is_moved_stays(beside_git, monkeypatch):
    beside_git.write("d/a", "1")
    project = opened(beside_git.path)
    write_once_synced(monkeypatch, beside_git, "d.merkl", "d/late")
    try:
        with pytest.raises(InputMissing, match="d changed while it was moved"):
            track(project, ["d"], move=True)
    finally:
        project.close()

    assert beside_git.read("d/late") == "precious"
    assert sorted(os.listdir(beside_git.path)) == [
        ".git",
        ".gitignore",
        ".merkl",
        "Merklfile.py",
        "d",
        "d.merkl",
    ]


def test_a_file_that_changes_while_it_is_moved_is_what_the_sidecar_says(beside_git, monkeypatch):
    beside_git.write("a", "1")
    project = opened(beside_git.path)
    write_once_synced(monkeypatch, beside_git, "a.merkl", "a")
    try:
        track(project, ["a"], move=True)
        sidecar = read_sidecar(str(beside_git.path), "a")
        assert project.store.read(sidecar.digest) == b"precious"
        assert sidecar.size == 8
    finally:
        project.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")
@pytest.mark.parametrize("path", ["small", "large", "d/small", "d/large"])
@pytest.mark.parametrize("name", ["", "link"], ids=["by its name", "by another name"])
def test_a_file_that_somebody_still_writes_to_is_not_moved(beside_git, path, name):
    beside_git.write(path, b"a" * (300_000 if path.endswith("large") else 1))
    written = beside_git.path / path
    if name:
        os.link(written, beside_git.path / name)
        written = beside_git.path / name
    top = path.split("/")[0]
    with open(written, "ab") as writer:
        error = beside_git.merkl("track", "--move", top, code=2).stderr
        writer.write(b"precious")

    assert f"{top} is being written by another process\n  hint: it is still there" in error
    assert (beside_git.path / path).read_bytes().endswith(b"aprecious")
    assert (beside_git.path / f"{top}.merkl").exists() is (top == "d"), "a file is not in the store yet"
    beside_git.merkl("track", "--move", top)
    beside_git.merkl("pull", top)
    assert (beside_git.path / path).read_bytes().endswith(b"aprecious")
    assert beside_git.merkl("fsck").stdout.endswith(": nothing is wrong\n")


def test_a_full_store_moves_nothing(beside_git, monkeypatch):
    beside_git.write("a", "precious")
    beside_git.write("d/a", "precious")
    project = opened(beside_git.path)
    pages = project.store.database.read(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    project.store.database.read(lambda c: c.execute(f"PRAGMA max_page_count = {pages}"))
    try:
        for n in range(200):
            beside_git.write(f"d/{n}", os.urandom(5000))
        with pytest.raises(StoreError):
            track(project, ["d"], move=True)
    finally:
        project.close()

    assert len(os.listdir(beside_git.path / "d")) == 201
    assert not (beside_git.path / "d.merkl").exists()


# ---- refusals ----------------------------------------------------------------------------------------------------------


def listening(path):
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


REFUSED = [
    ("../outside", lambda root: (root.parent / "outside").touch(), "it is outside the project"),
    (".", lambda _: None, "it is the project itself"),
    (".git/config", lambda _: None, ".git belongs to version control"),
    (".merkl", lambda _: None, ".merkl belongs to version control or to merkl"),
    ("Merklfile.py", lambda _: None, "merkl would run or obey it"),
    ("Merklfile.yaml", lambda root: (root / "Merklfile.yaml").touch(), "merkl would run or obey it"),
    ("merkl.yaml", lambda root: (root / "merkl.yaml").touch(), "merkl would run or obey it"),
    (".gitignore", lambda root: (root / ".gitignore").touch(), "git and merkl obey it"),
    ("x.merkl", lambda root: (root / "x.merkl").touch(), "x.merkl is a sidecar"),
    ("pipe", lambda root: os.mkfifo(root / "pipe"), "pipe cannot be tracked: it is a fifo"),
    ("socket", lambda root: listening(root / "socket"), "socket cannot be tracked: it is a socket"),
    ("link", lambda root: (root / "link").symlink_to("Merklfile.py"), "it is a symbolic link to Merklfile.py"),
    ("dangling", lambda root: (root / "dangling").symlink_to("no"), "it is a symbolic link to no"),
    ("linked/a", lambda root: ((root / "real").mkdir(), (root / "real/a").touch(), (root / "linked").symlink_to("real")),
     "a symbolic link leads there"),
    ("nothing", lambda _: None, "nothing does not exist"),
    ("kept", lambda root: ((root / "kept").touch(), git(root, "add", "kept")), "kept is kept by git already"),
    ("holds", lambda root: ((root / "holds").mkdir(), (root / "holds/kept").touch(), git(root, "add", "holds/kept")),
     "git keeps holds/kept, which is in holds"),
    ("inner/a", lambda root: ((root / "inner").mkdir(), (root / "inner/merkl.yaml").touch(), (root / "inner/a").touch()),
     "inner/a belongs to another project"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "make", "says"), REFUSED, ids=[each[0] for each in REFUSED])
def test_what_cannot_be_tracked_is_refused_and_nothing_else_is_done(beside_git, path, make, says):
    make(beside_git.path)
    beside_git.write("good", "1")

    error = beside_git.merkl("track", "good", path, code=2).stderr

    assert says in error
    assert os.path.basename(path) in error
    assert "  hint: " in error
    assert not (beside_git.path / "good.merkl").exists()


def test_what_is_in_a_tracked_directory_belongs_to_it(beside_git):
    beside_git.write("d/a", "1")
    beside_git.merkl("track", "d")

    assert "d/a is in d, which is tracked as a whole\n  hint: `merkl track d`" in (
        beside_git.merkl("track", "d/a", code=2).stderr
    )
    assert "d/a is not tracked" in beside_git.merkl("untrack", "d/a", code=2).stderr
    beside_git.write("e/a", "1")
    assert "name one of the two" in beside_git.merkl("track", "e", "e/a", code=2).stderr


MADE = """
    @target(default=True)
    def made():
        bash_task("echo hello > {out_file_arg('out', '.txt')}", name="hello")() > "out/hello.txt"
"""


def test_an_output_is_not_data_to_track(inside):
    git(inside.path, "init", "-q")
    inside.merklfile(MADE)
    inside.build()

    for path in ("out/hello.txt", "out"):
        error = inside.merkl("track", path, code=2).stderr
        assert "an output of the target made, and not data to track" in error
        assert "sidecar=True" in error


def test_an_output_whose_target_is_gone_is_data(inside):
    git(inside.path, "init", "-q")
    inside.merklfile(MADE)
    inside.build()
    inside.merklfile("@target\ndef other(): pass\n")
    inside.merkl("list")

    assert "tracked out/hello.txt" in inside.merkl("track", "out/hello.txt").stdout
    assert inside.merkl("status", "--check", "out/hello.txt").returncode == 0


def test_what_git_brought_is_not_undone_by_tracking_old_data(beside_git):
    beside_git.write("a", "old")
    beside_git.merkl("track", "a")
    old = (beside_git.path / "a.merkl").read_bytes()
    beside_git.write("a", "new")
    beside_git.merkl("track", "a")
    new = (beside_git.path / "a.merkl").read_bytes()
    (beside_git.path / "a.merkl").write_bytes(old)  # As `git checkout` does.

    error = beside_git.merkl("track", "a", code=2).stderr
    assert "a is older than a.merkl" in error
    assert "`merkl pull a`" in error
    assert "a is left as it is" in beside_git.merkl("track").stderr
    assert (beside_git.path / "a.merkl").read_bytes() == old

    beside_git.write("a", "something else")
    assert "a was changed here, and a.merkl somewhere else" in beside_git.merkl("track", "a", code=2).stderr

    beside_git.merkl("untrack", "a")
    assert "tracked a" in beside_git.merkl("track", "a").stdout
    assert (beside_git.path / "a.merkl").read_bytes() not in (old, new)


def test_a_sidecar_that_is_none_is_not_overwritten(beside_git):
    beside_git.write("a", "1")
    beside_git.write("a.merkl", "merkl: 1\nrubbish\n")

    error = beside_git.merkl("track", "a", code=2).stderr

    assert "a.merkl:2: not a sidecar" in error
    assert beside_git.read("a.merkl") == "merkl: 1\nrubbish\n"


def test_tracking_resolves_a_conflict_by_what_is_in_place(beside_git):
    beside_git.write("a", "mine")
    beside_git.merkl("track", "a")
    text = beside_git.read("a.merkl")
    beside_git.write("a.merkl", f"<<<<<<< ours\n{text}=======\n{text}>>>>>>> theirs\n")

    beside_git.merkl("track", "a")

    assert beside_git.read("a.merkl") == text


# ---- untracking --------------------------------------------------------------------------------------------------------


def test_untracked_data_is_as_before(beside_git):
    beside_git.write(".gitignore", "*.o\n")
    beside_git.write("a", "1")
    beside_git.write("d/b", "1")
    beside_git.merkl("track", "a", "d")
    assert is_ignored(beside_git.path, "a")

    beside_git.merkl("untrack", "a", "d.merkl")

    assert beside_git.read(".gitignore") == "*.o\n"
    assert beside_git.read("a") == beside_git.read("d/b") == "1"
    assert not list(beside_git.path.glob("*.merkl"))[1:], "only the state is left"
    assert beside_git.merkl("status").stdout == "nothing is tracked or placed here\n"


def test_what_is_only_in_the_store_is_not_untracked(beside_git):
    beside_git.write("a", "1")
    beside_git.merkl("track", "--move", "a")

    error = beside_git.merkl("untrack", "a", code=2).stderr

    assert "a is not here, and without a.merkl nothing would name it" in error
    assert "merkl pull a" in error
    assert (beside_git.path / "a.merkl").exists()


def test_what_has_no_sidecar_is_not_tracked(beside_git):
    beside_git.write("a", "1")

    assert "a is not tracked: it has no sidecar\n  hint: `merkl status`" in (
        beside_git.merkl("untrack", "a", code=2).stderr
    )


# ---- sidecars of outputs ---------------------------------------------------------------------------------------------


def test_an_output_with_a_sidecar_is_kept_out_of_git(inside):
    git(inside.path, "init", "-q")
    inside.merklfile(MADE.replace("default=True", "default=True, sidecar=True"))

    said = inside.merkl("build").stdout + inside.merkl("build").stdout

    assert said.count("git now ignores out/hello.txt, and keeps the sidecar: see out/.gitignore") == 1
    git(inside.path, "add", "--all")
    kept = git(inside.path, "ls-files").split()
    assert kept == ["Merklfile.py", "out/.gitignore", "out/hello.txt.merkl"]


def test_an_output_with_a_sidecar_is_built_where_git_reads_no_gitignore(inside):
    git(inside.path, "init", "-q")
    inside.write("rules", "")
    (inside.path / ".gitignore").symlink_to("rules")
    inside.merklfile(MADE.replace("default=True", "default=True, sidecar=True"))

    assert "git may take in outputs" in inside.merkl("build").stdout
    assert inside.read("out/hello.txt") == "hello\n"


def test_a_build_settles_a_conflict_in_the_sidecar_of_an_output(inside):
    git(inside.path, "init", "-q")
    inside.merklfile(MADE.replace("default=True", "default=True, sidecar=True"))
    inside.build()
    text = inside.read("out/hello.txt.merkl")
    inside.write("out/hello.txt.merkl", f"<<<<<<< ours\n{text}=======\n{text}>>>>>>> theirs\n")

    inside.build()

    assert inside.read("out/hello.txt.merkl") == text


def test_usage(beside_git):
    assert "--move needs a PATH" in beside_git.merkl("track", "--move", code=2).stderr
    with pytest.raises(UsageError):
        project = opened(beside_git.path)
        try:
            track(project, ["nothing"])
        finally:
            project.close()

"""What strace writes is read back as accesses."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from merkl.tracing.accesses import Access, settled
from merkl.tracing.strace import find_strace
from merkl.tracing.trace import accesses

ODD_NAMES = [
    b"a b",
    b'quo"te',
    b"back\\slash",
    b"new\nline",
    b"<angle>",
    b"a = 3<b) = 5",
    b"\xff\x01\x7f",
    "é".encode(),
    b"O_CREAT",
    b"...",
]


def trace_of(folder: Path, *argv: str) -> list[Access]:
    """The accesses inside ``folder`` of a program that runs there."""
    strace, lack = find_strace()
    assert strace is not None, lack
    trace = os.fsencode(folder.parent / "trace")
    subprocess.run(
        [*strace.prefix(trace), *map(os.fsencode, argv)], cwd=folder, check=True, stdin=subprocess.DEVNULL
    )
    inside = os.fsencode(folder) + b"/"
    return [each for each in accesses(trace, os.fsencode(folder)) if each.path.startswith(inside)]


def told(folder: Path, found: Sequence[Access]) -> list[tuple[str, str]]:
    return [(each.deed, os.path.relpath(os.fsdecode(each.path), folder)) for each in settled(found)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.mark.needs("strace")
def test_any_name_of_a_file_comes_back_as_it_is(folder: Path) -> None:
    for name in ODD_NAMES:
        (folder / os.fsdecode(name)).write_bytes(b"x")

    found = trace_of(
        folder, "/bin/sh", "-c", 'cat -- ./* "$@" > /dev/null', "sh", *map(os.fsdecode, ODD_NAMES)
    )

    assert {os.path.basename(each.path) for each in found if each.deed == "read"} == set(ODD_NAMES)
    assert not [each for each in found if each.deed == "wrote"]


@pytest.mark.needs("strace")
def test_a_name_starts_from_where_its_process_is(folder: Path) -> None:
    for name in ("one/x", "two/x", "two/three/x", "y"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    script = """
import os, threading
def move(): os.chdir("two")                  # A thread: the directory is that of all of them.
thread = threading.Thread(target=move); thread.start(); thread.join()
os.rename("x", "moved")
child = os.fork()
if child == 0:                               # A process of its own.
    os.chdir("three"); os.rename("x", "moved"); os._exit(0)
os.waitpid(child, 0)
os.symlink("moved", "link")
fd = os.open("../one", os.O_RDONLY)
os.rename("x", "moved", src_dir_fd=fd, dst_dir_fd=fd)
os.fchdir(fd); os.unlink("moved"); os.link("../y", "z")
"""

    found = [each for each in trace_of(folder, sys.executable, "-c", script) if not os.path.isdir(each.path)]

    assert told(folder, [each for each in found if each.deed not in ("examined", "sought", "listed")]) == [
        ("removed", "two/x"), ("wrote", "two/moved"), ("removed", "two/three/x"), ("wrote", "two/three/moved"), ("wrote", "two/link"),
        ("removed", "one/x"), ("read", "y"), ("wrote", "one/z"),
    ]  # fmt: skip


def test_calls_of_several_processes_that_overlap_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("""\
10    clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD <unfinished ...>
11    chdir("sub" <unfinished ...>
10    <... clone resumed>, child_tidptr=0x7f) = 11
11    <... chdir resumed>)             = 0
11    rename("a",  <unfinished ...>
10    openat(AT_FDCWD</p>, "b", O_RDONLY <unfinished ...>
11    <... rename resumed>"c")         = 0
10    <... openat resumed>)            = 3</p/real>
10    openat(AT_FDCWD</p>, "gone", O_RDONLY) = 4</p/gone>(deleted)
11    +++ exited with 0 +++
10    openat(AT_FDCWD</p>, "none", O_RDONLY) = -1 ENOENT (No such file or directory)
10    openat(AT_FDCWD</p>, "denied", O_RDONLY) = -1 EACCES (Permission denied)
10    connect(4<socket:[32]>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}, 16) = 0
10    connect(4<socket:[32]>, {sa_family=AF_UNIX, sun_path="/run/x"}, 16) = 0
10    openat(AT_FDCWD</p>, "cut o""")

    found = [(each.deed, each.path) for each in accesses(os.fsencode(tmp_path / "trace"), b"/p")]

    assert found == [
        ("removed", b"/p/sub/a"), ("wrote", b"/p/sub/c"), ("read", b"/p/real"), ("read", b"/p/gone"), ("sought", b"/p/none"),
        ("connected", b"192.0.2.1:443"),
    ]  # fmt: skip


def test_names_with_dots_and_more_slashes_than_they_need_are_put_in_order(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("""\
10    openat(AT_FDCWD</>, "a", O_RDONLY) = -1 ENOENT (No such file or directory)
10    rename("//b/", "/")              = 0
10    unlink("./c//../.d/.")           = 0
10    chdir("/")                       = 0
10    unlink("e")                      = 0
10    mkdir("//", 0777)                = 0
""")

    found = [path for _, path in deeds_of(tmp_path / "trace")]

    assert found == [b"/a", b"/b", b"/", b"/p/.d", b"/e", b"/"]
    assert list(settled(Access("read", path) for path in (b"//x", b"/", b"", b"name")))


def deeds_of(trace: Path) -> list[tuple[str, bytes]]:
    return [(each.deed, each.path) for each in accesses(os.fsencode(trace), b"/p")]


def test_a_trace_that_is_not_there_tells_of_nothing(tmp_path: Path) -> None:
    assert list(accesses(os.fsencode(tmp_path / "none"), b"/")) == []


def deeds(*done: tuple[str, str]) -> list[tuple[str, str]]:
    found = settled(Access(deed, path.encode()) for deed, path in done)  # type: ignore[arg-type]
    return [(each.deed, each.path.decode()) for each in found]


def test_what_was_made_and_removed_again_is_nothing() -> None:
    assert deeds(("sought", "/a"), ("wrote", "/a"), ("read", "/a"), ("removed", "/a")) == []
    assert deeds(("made", "/d"), ("wrote", "/d/a"), ("removed", "/d"), ("wrote", "/e")) == [("wrote", "/e")]
    assert deeds(("wrote", "/d"), ("removed", "/d/a")) == [("wrote", "/d")]


def test_what_was_there_before_is_told_whatever_happens_then() -> None:
    assert deeds(("read", "/a"), ("wrote", "/a"), ("removed", "/a")) == [
        ("read", "/a"),
        ("wrote", "/a"),
        ("removed", "/a"),
    ]
    assert deeds(("removed", "/a"), ("wrote", "/a")) == [("wrote", "/a")]
    assert deeds(("wrote", "/a"), ("read", "/a")) == [("wrote", "/a")]
    assert deeds(("examined", "/a"), ("read", "/a")) == [("read", "/a")]
    assert deeds(("ran", "/a"), ("read", "/a")) == [("ran", "/a")]


def test_strace_that_is_not_there_or_does_not_work_is_told_apart(tmp_path: Path) -> None:
    assert find_strace(str(tmp_path)) == (
        None,
        "strace is not on PATH" if sys.platform == "linux" else "there is strace for Linux only",
    )
    (tmp_path / "strace").write_text("#!/bin/sh\necho 'ptrace: Operation not permitted' >&2\nexit 1\n")
    (tmp_path / "strace").chmod(0o755)
    if sys.platform == "linux":
        assert find_strace(str(tmp_path)) == (
            None,
            "strace does not work here: ptrace: Operation not permitted",
        )

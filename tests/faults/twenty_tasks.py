"""A project of twenty tasks of every kind, and what must hold of it just after merkl was killed, and after the next build."""

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

MERKLFILE = """
    part = bash_task(
        "{ cat {file_arg('text', '.txt')}; echo part {arg('n')}; } > {out_file_arg('out', '.txt')}; echo made {arg('n')}"
    )
    join = bash_task("cat {files_arg('parts')} > {out_file_arg('out', '.txt')}")
    large = bash_task("{ printf '%0150000d' {arg('n', type=int)}; cat {file_arg('text', '.txt')}; } > {out_file_arg('out', '.bin')}")
    tree = bash_task('''
        mkdir -p {out_dir_arg('made')}/sub/empty
        cp {file_arg('text', '.txt')} {out_dir_arg('made')}/sub/copy
        printf '%0120000d' 7 > {out_dir_arg('made')}/large
        ln -s sub/copy {out_dir_arg('made')}/link
    ''')
    compiled = bash_task('''
        cat {file_arg('source', '.c')} part.h > {out_file_arg('object', '.o')}
        echo "object: part.h" > {depfile_arg('deps')}
    ''')
    program = bash_task('''
        { echo '#!/bin/sh'; cat {files_arg('objects')}; } > {out_file_arg('run')}; chmod +x {out_file_arg('run')}
    ''')
    told = bash_task("wc -c < {file_arg('text', '.txt')}")

    @task
    def words(path):
        with open(path) as file:
            return file.read().split()

    @task
    def summed(lists):
        return sorted(word for each in lists for word in each)

    @target(default=True)
    def everything():
        parts = [part(f"in/{n % 3}.txt", n=n) for n in range(6)]
        for n, each in enumerate(parts):
            each > f"build/parts/{n}.txt"
        halves = [join(parts[:3]), join(parts[3:])]
        halves[0] > "build/half.txt"
        whole = join(halves)
        whole >> "build/whole.txt"
        large(1, "in/0.txt") >> "build/large.bin"
        large(2, whole) > "build/deep/er/large.bin"
        tree("in/1.txt") >> "build/tree"
        program([compiled("in/a.c"), compiled("in/b.c")]) > "build/run"
        told(whole) > "build/told.txt"
        counts = [words(each) for each in (parts[0], halves[0], whole)]
        counts[2] > "build/words.json"
        summed(counts) >> "build/sum.json"
"""
TARGETS = (
    *(f"build/parts/{n}.txt" for n in range(6)),
    "build/half.txt", "build/whole.txt", "build/large.bin", "build/deep/er/large.bin", "build/tree", "build/run",
    "build/told.txt", "build/words.json", "build/sum.json",
    *(f"build/{name}.merkl" for name in ("whole.txt", "large.bin", "tree", "sum.json")),
)  # fmt: skip
SOURCES = ("in/0.txt", "in/1.txt", "in/2.txt", "in/a.c", "part.h")

_HALF_PLACED = re.compile(rb"\.merkl-tmp-")
_WHEN = re.compile(rb"^modified: .*$", re.MULTILINE)


def write(project: Any) -> None:
    """Write the project as it is first."""
    project.merklfile(MERKLFILE)
    for name in (*SOURCES, "in/b.c"):
        project.write(name, f"first {name}\n")


def things(root: Path, *names: str) -> dict[str, Any]:
    """What is at each of some paths: nothing, a file, a link, or a directory with all it holds."""
    return {name: _thing(os.fsencode(root / name)) for name in names}


def _thing(path: bytes) -> Any:
    if os.path.islink(path):
        return ("link", os.readlink(path))
    if os.path.isdir(path):
        return {name: _thing(os.path.join(path, name)) for name in sorted(os.listdir(path))}
    if not os.path.lexists(path):
        return None
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(b".merkl"):
        data = _WHEN.sub(b"modified:", data)  # The one thing that two clean builds do not share.
    return ("file", bool(os.stat(path).st_mode & 0o100), data)


def expect_whole(root: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Every target is what it was, or the complete new thing."""
    now = things(root, *TARGETS)
    mixed = [name for name in TARGETS if now[name] not in (old[name], new[name])]
    assert not mixed, f"neither old nor new: {mixed}"


def expect_nothing_left(root: Path, store: Path | None = None) -> None:
    """No process, no lock, no temporary file: only what a build keeps on purpose."""
    state, store = root / ".merkl", store or root / ".merkl/store"
    for folder in ("stage", "run", "builds", "drafts", "view/.new", "view/.aside"):
        assert _names(state / folder) == [], folder
    for folder in ("incoming", "holders", "trash", "quarantine"):
        assert _names(store / folder) == [], folder
    assert [name for name in _names(store) if name.startswith("new-")] == []
    assert (state / ".gitignore").read_text() == "*\n"
    assert (store / "locks").stat().st_size == 0
    for folder, folders, files in os.walk(os.fsencode(root)):
        assert [name for name in folders + files if _HALF_PLACED.search(name)] == [], folder
    assert none_left(root)


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


def processes_in(root: Path) -> list[str]:
    """The command lines of other processes than this one that work in a directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            inside = os.readlink(entry / "cwd").startswith(os.path.realpath(root))
            if inside and int(entry.name) != os.getpid():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def none_left(root: Path, within: float = 10.0) -> bool:
    """Whether no process works in the directory; one that has just been killed may take a moment."""
    deadline = time.monotonic() + within
    while processes_in(root) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not processes_in(root)


def built_cleanly(project: Any, where: Path) -> dict[str, Any]:
    """What the targets are after a build of the project's sources elsewhere, with an empty store."""
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir()
    shutil.copy(project.path / "Merklfile.py", where)
    shutil.copy(project.path / "part.h", where)
    shutil.copytree(project.path / "in", where / "in")
    project.merkl("build", "-j1", cwd=where)
    return things(where, *TARGETS)

"""A small project with every kind of output, for faults of the disk, and what is known of its files and its store."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MERKLFILE = """
    large = bash_task("seq {arg('n')} > {out_file_arg('out', '.txt')}")
    little = bash_task("echo {arg('word')} > {out_file_arg('out', '.txt')}")
    program = bash_task('''
        out={out_file_arg('out', '.sh')}
        (printf '#!/bin/sh\\necho made by "$1"\\n'; seq 40000 | sed 's/^/# /') > "$out"
        chmod +x "$out"
    ''')
    folder = bash_task('''
        out={out_dir_arg('out')}
        mkdir -p "$out/sub"
        seq 50000 > "$out/long"; seq 3 > "$out/sub/short"; ln -s long "$out/link"
    ''')
    both = bash_task('''
        out={out_file_arg('out', '.txt')} tree={dir_arg('tree')}
        {file_arg('tool', '.sh')} {arg('n')} > "$out"
        cat {file_arg('text', '.txt')} "$tree/link" "$tree/sub/short" >> "$out"
    ''')
    bare = bash_task("wc -c < {file_arg('input')}; seq 30000")  # What it prints is its value, and large.

    @task
    def total(text):
        return [sum(map(int, open(text))), 'x' * 200_000]

    @target(default=True)
    def all(n: int = 1):
        text, tool, tree = large(40_000), program(), folder()
        text > "build/large.txt"
        little("hello") > "build/little.txt"
        tool > "build/tool.sh"
        tree > "build/folder"
        both(n=n, text=text, tool=tool, tree=tree) > "build/both.txt"
        total(text) > "build/total.json"
        bare("input.txt") > "build/bare.txt"
"""
INPUT = "an input\n" * 100
TASKS = ["bare", "both", "folder", "large", "little", "program", "total"]


def set_up(project: Any) -> None:
    """Write the project."""
    project.merklfile(MERKLFILE)
    project.write("input.txt", INPUT)


def database(project: Any) -> Path:
    """The store's database."""
    (path,) = (project.path / ".merkl/store").glob("store-*.db")
    return Path(path)


def blobs(project: Any) -> list[Path]:
    """The files of the store's large contents."""
    return sorted((project.path / ".merkl/store/blobs").glob("*/*"))


def views(project: Any) -> list[Path]:
    """The files that commands read."""
    found = (project.path / ".merkl/view").rglob("*")
    hidden = {".new", ".aside", ".clock"}
    return sorted(p for p in found if p.is_file() and not p.is_symlink() and not hidden.intersection(p.parts))


def small_contents(project: Any) -> list[bytes]:
    """The digests of the contents that are inside the database."""
    with sqlite3.connect(database(project)) as connection:
        rows = connection.execute(
            "SELECT digest FROM blob WHERE bytes IS NOT NULL ORDER BY digest"
        ).fetchall()
    connection.close()
    return [row[0] for row in rows]


def overwrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file's bytes in place, whatever its mode says."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    data = change(path.read_bytes())
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()
    path.chmod(mode)


def flipped(data: bytes, at: int, mask: int = 1) -> bytes:
    """The same with one byte changed."""
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def let_settle(project: Any) -> None:
    """Make the files of the store and the views so old that merkl believes their stamps, as it does in daily life."""
    for path in [*blobs(project), *views(project)]:
        os.utime(path, ns=(10**18, 10**18))


def unmount(where: Path) -> None:
    """Take a file system away; what it hid is there again."""
    subprocess.run(["umount", "-l", str(where)], check=True)


def no_traceback(done: Any) -> bool:
    """Whether a command said what was wrong as one that knows."""
    said = done.stdout + done.stderr
    return "Traceback" not in said and "bug in merkl" not in said


def with_errors(
    project: Any, calls: str, error: str, path: Path | str, *words: str, when: str = "1+"
) -> subprocess.CompletedProcess[str]:
    """Run merkl while its own system calls ``calls`` on ``path`` fail with ``error``, those of its tasks not."""
    strace = [
        "strace", "-qq", "-o", os.devnull, "-P", str(path), "-e", f"trace={calls}",
        "-e", f"inject={calls}:error={error}:when={when}",
    ]  # fmt: skip
    return subprocess.run(
        [*strace, sys.executable, "-m", "merkl", *words],
        cwd=project.path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

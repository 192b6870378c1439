"""merkl under strace: the system calls it makes itself, and merkl killed just before one of them.

Without ``-f`` strace follows merkl alone, so tasks and workers run untouched.
"""

import collections
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

# Every system call by which a process changes a file system, or begins to.
CALLS = (
    "write",
    "pwrite64",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "fsync",
    "fdatasync",
    "unlink",
    "unlinkat",
    "openat",
    "ftruncate",
)
FULL = bool(os.environ.get("MERKL_FULL"))
SEED = int(
    os.environ["MERKL_FAULT_SEED"]
)  # Set by the tests' own conftest if the user has not; read at import.

_CALL = re.compile(rb"(\w+)\(")


def chances(*names: object) -> random.Random:
    """A source of chance for one test, from the seed of the whole run."""
    return random.Random(repr((SEED, *names)))


def quick_start(bytecode: Path) -> dict[str, str]:
    """An environment in which merkl's modules are compiled once, so that every later run makes the same calls."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return env | {"PYTHONPYCACHEPREFIX": str(bytecode)}


def calls_of(project: Any, *words: str, env: dict[str, str], path: Path | str = "") -> dict[str, int]:
    """How often each of ``CALLS`` is made by ``merkl WORDS``, which is run; only those on ``path`` if it is given."""
    log = project.path.parent / "calls"
    done = _strace(project, words, env, ["-o", str(log), *_on(path), "-e", f"trace={','.join(CALLS)}"])
    assert done.returncode == 0, done.stdout
    counts = collections.Counter(
        m[1].decode() for line in log.read_bytes().splitlines() if (m := _CALL.match(line))
    )
    log.unlink()
    return dict(counts)


def killed_at(
    project: Any, *words: str, call: str, number: int, env: dict[str, str], path: Path | str = ""
) -> bool:
    """Run ``merkl WORDS`` and kill it at the ``number``-th ``call``, on ``path`` if it is given.

    False if it did not come to that, and ended as it should.
    """
    inject = [
        "-o",
        os.devnull,
        *_on(path),
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:signal=KILL:when={number}",
    ]
    done = _strace(project, words, env, inject)
    assert done.returncode in (0, -9), f"{call} {number}: exit {done.returncode}\n{done.stdout}"
    return done.returncode == -9


def _on(path: Path | str) -> list[str]:
    return ["-P", str(path)] if path else []


def _strace(
    project: Any, words: tuple[str, ...], env: dict[str, str], options: list[str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["strace", "-qq", *options, sys.executable, "-m", "merkl", *words],
        cwd=project.path,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=120,
    )

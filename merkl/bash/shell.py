"""Which bash runs bash tasks, and whether it is new enough.

It decides that by the version: merkl's scripts need ``inherit_errexit``, which came with 4.4.  macOS has 3.2 first on its
PATH, so a newer one further back is taken.

The invariant: a bash that is too old runs nothing.
"""

import functools
import os
from typing import Final

from merkl.errors import TaskFailed
from merkl.pattern import pattern

OLDEST: Final = (4, 4)
INSTALL: Final = (
    "install a newer bash and put it on PATH: brew install bash (macOS), apt-get install bash (Debian)"
)
# As what(1) looks for; every bash since 2.0 has it.
_EMBEDDED: Final = pattern(rb"@\(#\)Bash version (\d+)\.(\d+)")
_SAID: Final = pattern(rb"version (\d+)\.(\d+)")
_PATIENCE_S: Final = 10.0


def bash_on(path: str) -> str | None:
    """The first bash on a PATH that is new enough, absolute; None if there is no bash at all.

    Raises:
        TaskFailed: all that are there are too old.
    """
    old = []
    for directory in path.split(os.pathsep):
        program = os.path.abspath(os.path.join(directory or os.curdir, "bash"))
        if not os.path.isfile(program) or not os.access(program, os.X_OK):
            continue
        version = version_of(program)
        # One that does not say its version is the user's own affair.
        if version is None or version >= OLDEST:
            return program
        old.append(f"{program} is {version[0]}.{version[1]}")
    if old:
        raise TaskFailed(f"bash is too old: {', '.join(old)}, and bash tasks need 4.4 or newer", hint=INSTALL)
    return None


@functools.lru_cache(maxsize=16)
def version_of(program: str) -> tuple[int, int] | None:
    """The version of a bash, None if it cannot be found out."""
    try:
        with open(program, "rb") as file:  # A tenth of what it costs to start it.
            match = _EMBEDDED.search(file.read())
    except OSError:
        match = None
    match = match or _SAID.search(_says(program))
    return None if match is None else (int(match[1]), int(match[2]))


def _says(program: str) -> bytes:
    import subprocess  # Only for a wrapper around the real one.

    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return b""
    return done.stdout

"""What git says of the project's files.

It decides nothing: it asks the ``git`` program, if there is one.

The invariant: nothing but the repository's own configuration is ever changed, and that only by ``configure``; no answer (None, or nothing) means that git is not there or does not answer.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence

from merkl.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class IgnoredBy:
    """The rule by which git ignores something: its file, or what git calls it, and its line."""

    file: str
    line: str
    pattern: str


def listed(directory: str) -> list[str] | None:
    """The paths that git keeps in an absolute directory, relative to it; None if it is in no repository."""
    done = _git(directory, ["ls-files", "-z"])
    return None if done is None else [os.fsdecode(each) for each in done.split(b"\0") if each]


def ignored(directory: str, paths: Sequence[str]) -> dict[str, IgnoredBy]:
    """Which of some paths, relative to an absolute directory, git ignores, and why."""
    asked = b"".join(os.fsencode(path) + b"\0" for path in paths)
    done = _git(directory, ["check-ignore", "-z", "-v", "--stdin"], asked, allowed=(0, 1))
    fields = [os.fsdecode(each) for each in (done or b"").split(b"\0")[:-1]]
    rows = zip(fields[::4], fields[1::4], fields[2::4], fields[3::4], strict=False)
    return {path: IgnoredBy(file, line, rule) for file, line, rule, path in rows if not rule.startswith("!")}


def configure(directory: str, name: str, value: str) -> bool:
    """Set a variable of the repository that an absolute directory is in; whether git did."""
    return _git(directory, ["config", "--local", name, value]) is not None


def _git(
    directory: str, words: Sequence[str], given: bytes = b"", allowed: Sequence[int] = (0,)
) -> bytes | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run([git, *words], cwd=directory, input=given, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode in allowed else None

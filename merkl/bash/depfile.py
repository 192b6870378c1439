"""Discovered inputs: what a compiler's depfile says, as a set that a later build can compare.

It decides which of the files in a depfile count.  The depfile is make's form, ``target: prerequisite …`` with backslashes
(GCC manual, "Options Controlling the Preprocessor", ``-MD``).
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from merkl.digest import Digest
from merkl.store.base import Discovered

MOST_ABSENT: Final = 20_000  # Paths that must stay absent, kept per node; a bound on the size of a record.
_WORD: Final = re.compile(rb"(?:\\[ \t#\\:%]|\$\$|[^\s\\]|\\(?![\r\n]))+")
_INCLUDE: Final = re.compile(
    r"(?:^|\s)-(?:I|iquote|isystem|idirafter)\s*('(?:[^']*)'|\"(?:[^\"]*)\"|[^\s'\"]+)"
)


def parse_depfile(data: bytes) -> list[bytes]:
    """The prerequisites of every rule in a depfile, in order, each once."""
    joined = re.sub(rb"\\\r?\n", b" ", data)
    found: dict[bytes, None] = {}
    for line in joined.splitlines():
        words = _WORD.findall(line)
        colon = next((i for i, word in enumerate(words) if word.endswith(b":")), None)
        if colon is None:
            continue
        for word in words[colon + 1 :]:
            found[_plain(word)] = None
    return list(found)


def _plain(word: bytes) -> bytes:
    """A word without make's quoting: ``\\ ``, ``\\#`` and ``$$``."""
    return re.sub(rb"\\([ \t#:%])", rb"\1", word).replace(b"$$", b"$")


def include_dirs(command: str) -> list[str]:
    """The directories that ``-I`` words of a command name, in order."""
    return [os.path.normpath(word.strip("'\"")) for word in _INCLUDE.findall(command)]


def discovered_set(
    paths: Iterable[str], searched: Sequence[str], digest_of: Callable[[str], Digest | None]
) -> Discovered:
    """What ``paths`` (relative to the project, else absolute) are now, and where none of them must appear first.

    For every path found below a searched directory, the same relative path must stay absent from the other searched
    directories inside the project and from the directories of the other files.
    """
    files: dict[str, Digest | None] = {path: digest_of(path) for path in paths}
    inside = [directory for directory in searched if not directory.startswith(("/", ".."))]
    around = list(
        dict.fromkeys([*inside, *(os.path.dirname(path) for path in files if not path.startswith("/"))])
    )
    absent: dict[str, Digest | None] = {}
    for path in files:
        for base in around:
            if base and not path.startswith(base + "/"):
                continue
            name = path[len(base) + 1 :] if base else path
            for other in around:
                candidate = os.path.normpath(os.path.join(other, name))
                if candidate not in files and len(absent) < MOST_ABSENT and digest_of(candidate) is None:
                    absent[candidate] = None
    return Discovered(files={**files, **absent}, listings={})

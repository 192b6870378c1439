"""Discovered inputs: what a compiler's depfile says, as a set that a later build can compare.

It decides which files must be as they were, and which must stay away.  The depfile is make's form, ``target: prerequisite …``
with backslashes (GCC manual, "Options Controlling the Preprocessor", ``-MD``).

The invariant: a file that appears where the compiler looked before it found one of the set, or where it looked in vain,
is a path of the set, as are the directories in which such a file could lie and that are not there.
"""

import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Final, Protocol

from merkl.bash.includes import Asked
from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.errors import InputChanged
from merkl.pattern import pattern
from merkl.store.base import Discovered

MOST_ABSENT: Final = 20_000  # Paths that must stay absent, kept per node; a bound on the size of a record.
DEEPEST: Final = 3  # Parts of a name in an include, for a file outside whose include directory is not known.
# A space after 2N+1 backslashes stands for N of them and a space; after 2N, which stand for N, a word ends.
_WORD: Final = pattern(rb"(?:(?:\\\\)*\\[ \t]|(?:\\\\)+(?=\s|$)|\\+(?![\\\s])|[^\s\\])+")
_QUOTED: Final = r"(?:'[^']*'|\"(?:[^\"\\]|\\.)*\"|\\.|[^\s'\"\\;|&()<>])+"
_INCLUDE: Final = pattern(rf"(?:^|(?<=\s))-(I|iquote|isystem|idirafter)\s*(?P<dir>{_QUOTED})")
_ORDER: Final = ("iquote", "I", "isystem", "idirafter")  # As they are searched.


class Look(Protocol):
    """What discovery asks of the project's files."""

    def digest(self, path: str) -> Digest | None:
        """The digest of a file that is there, None of anything else."""

    def is_there(self, path: str) -> bool:
        """Whether something is at a path, be it a link that leads nowhere."""

    def changed(self, path: str) -> bool:
        """Whether it may have changed since the command began."""

    def asked(self, path: str) -> Iterable[Asked]:
        """The names that the text of a file asks for; nothing, if there is no text."""


def parse_depfile(data: bytes) -> list[bytes]:
    """The prerequisites of every rule in a depfile, in order, each once."""
    joined = re.sub(rb"\\\r?\n", b" ", data)
    found: dict[bytes, None] = {}
    for line in joined.split(b"\n"):
        words = _WORD.findall(line)
        colon = next((i for i, word in enumerate(words) if word.endswith(b":")), None)
        if colon is None:
            continue
        for word in words[colon + 1 :]:
            found[_plain(word)] = None
    return list(found)


def _plain(word: bytes) -> bytes:
    """A word without make's quoting: ``\\ ``, ``\\#`` and ``$$``."""
    word = re.sub(rb"(\\+)([ \t]|$)", lambda found: found[1][: len(found[1]) // 2] + found[2], word)
    return re.sub(rb"\\([#:%])", rb"\1", word).replace(b"$$", b"$")


def include_dirs(command: str, *, for_angled: bool = False) -> list[str]:
    """The directories that ``-I`` words of a command and their kin name, in the order in which they are searched.

    ``for_angled`` leaves out those that are searched for names in quotes only.
    """
    found = [(match[1], _unquoted(match["dir"])) for match in _INCLUDE.finditer(command)]
    found.sort(key=lambda each: _ORDER.index(each[0]))  # Stable.
    return list(
        dict.fromkeys(
            os.path.normpath(folder) for kind, folder in found if not for_angled or kind != "iquote"
        )
    )


def _unquoted(word: str) -> str:
    import shlex

    try:
        return "".join(shlex.split(word))
    except ValueError:
        return word


@dataclass(frozen=True, slots=True)
class Searched:
    """The directories that are searched, in their order: for names in quotes, and for those in angle brackets."""

    quoted: Sequence[str]
    angled: Sequence[str]


def discovered_set(
    paths: Iterable[str], searched: Searched, look: Look, task: str, *, views: Iterable[str] = ()
) -> Discovered:
    """What ``paths`` (relative to the project, else absolute) are now, and what must not appear before them.

    ``views`` are files that were read and cannot change; what their texts ask for counts.

    Raises:
        InputChanged: one was edited, or appeared, while the command ran, so nobody knows what it read.
    """
    files: dict[str, Digest | None] = {}
    for path in paths:
        digest = look.digest(path)
        if look.changed(path):  # Asked last.
            raise InputChanged(path, task)
        if digest is not None or not look.is_there(path):
            files[path] = digest  # A directory, or a device, is not read as a file is.
    absent: dict[str, None] = {}
    tested: dict[str, Digest | None] = {}
    texts = [*(path for path in files if _is_ours(path)), *views]
    earlier = ((path, False) for path in _candidates(list(files), searched.quoted))
    for path, matters in (*earlier, *_asked_candidates(texts, files, searched, look)):
        if path in files or path in absent or path in tested:
            continue
        if look.is_there(path):
            if look.changed(path):
                raise InputChanged(path, task)
            if matters:
                tested[path] = look.digest(path)
            continue  # Otherwise it was there before, and was not what the command looked for.
        absent[_first_absent(path, look)] = None
        if len(absent) >= MOST_ABSENT:
            break
    there = {path: digest for path, digest in tested.items() if digest is not None}
    return Discovered(files={**files, **there, **dict.fromkeys(absent)})


def _asked_candidates(
    texts: Iterable[str], files: Container[str], searched: Searched, look: Look
) -> Iterator[tuple[str, bool]]:
    """Where the compiler looks for what the texts ask for, up to where there is something, inside the project.

    With each path, whether its being there matters although the compiler did not read it.
    """
    for text in texts:
        for asked in look.asked(text):
            folders = [os.path.dirname(text), *searched.quoted] if asked.quoted else searched.angled
            for folder in folders:
                path = os.path.normpath(os.path.join(folder, asked.name))
                found = path in files or look.is_there(path)
                if _is_ours(path):
                    yield path, asked.tested
                if found:
                    break


def _candidates(files: Sequence[str], searched: Sequence[str]) -> Iterable[str]:
    """Where the compiler may have looked for each file before it found it, inside the project.

    That is beside the file that includes it, then in the searched directories in their order.
    """
    inside = [folder for folder in searched if _is_ours(folder)]
    beside = list(dict.fromkeys(os.path.dirname(path) for path in files if _is_ours(path)))
    for path in files:
        bases = [base for base in searched if _below(path, base)]
        for base in bases:
            name = path if base == "." else path[len(base) + 1 :]
            earlier = [folder for folder in searched[: searched.index(base)] if _is_ours(folder)]
            for folder in dict.fromkeys([*beside, *earlier]):
                yield os.path.normpath(os.path.join(folder, name))
        if not bases and path.startswith("/"):
            parts = path.split("/")
            for count in range(1, min(DEEPEST, len(parts) - 1) + 1):
                name = "/".join(parts[-count:])
                for folder in dict.fromkeys([*beside, *inside]):
                    yield os.path.normpath(os.path.join(folder, name))


def _is_ours(path: str) -> bool:
    """Whether it is in the project, where a file may appear, and not in merkl's own directory, where none does."""
    return not path.startswith(("/", "../", ".merkl/"))


def _below(path: str, base: str) -> bool:
    return not path.startswith("/") if base == "." else path.startswith(base + "/")


def _first_absent(path: str, look: Look) -> str:
    """The path, or the directory furthest up that would have to appear before it could."""
    above = os.path.dirname(path)
    while above and not look.is_there(above):
        path, above = above, os.path.dirname(above)
    return path

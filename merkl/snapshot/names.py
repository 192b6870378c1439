"""Which names in a directory matter to those who listed it.

It decides when a name that comes or goes changes nothing: nobody asked for such a name.  It reads one directory at a time.

The invariant: who listed a directory without saying what for has asked for every name.
"""

import marshal
import os
import sys
from typing import Any, Final

from merkl.pattern import names_like
from merkl.snapshot.answer import STATE, checksum
from merkl.snapshot.recording import Recording, active

_RULES: Final = (".merklignore", ".gitignore")
_SIDECAR: Final = ".merkl"

Entry = tuple[bytes, bool, bool, bool]
"""A name in a directory, and whether it is a link, a directory and a file, without following links."""
Asked = tuple[tuple[str, ...], tuple[tuple[str, bool], ...]]
"""Modules that were looked for, and parts of patterns, with whether each is a pattern's last."""


def entries_of(directory: str) -> bytes:
    """What is in a directory, in few bytes.

    Raises:
        OSError: it cannot be listed.
    """
    with os.scandir(directory) as found:
        return marshal.dumps([
            (os.fsencode(each.name), each.is_symlink(), each.is_dir(follow_symlinks=False), each.is_file(follow_symlinks=False))
            for each in found
        ], 2)  # fmt: skip


def entries_in(listed: bytes) -> list[Entry]:
    """What ``entries_of`` found."""
    entries: list[Entry] = marshal.loads(listed)
    return entries


def sum_of_names(listed: bytes, asked: Asked | None = None) -> bytes:
    """A checksum of the names, and of what kind each is; of those that were asked for, or of all."""
    entries = entries_in(listed)
    if asked is not None:
        matters = _Matters(asked)
        entries = [entry for entry in entries if matters(entry)]
    return checksum(marshal.dumps(sorted(entries), 2))


class _Matters:
    def __init__(self, asked: Asked) -> None:
        modules, parts = asked
        self._modules: Final = {
            name.casefold() for name in modules
        }  # Some file systems do not tell cases apart.
        self._last: Final = [names_like("*" if part == "**" else part) for part, last in parts if last]
        self._above: Final = [names_like("*" if part == "**" else part) for part, last in parts if not last]

    def __call__(self, entry: Entry) -> bool:
        raw, is_link, is_directory, _ = entry
        name = os.fsdecode(raw)
        if name.partition(".")[0].casefold() in self._modules:
            return True
        if not (self._last or self._above):
            return False
        if (
            name in _RULES
            or (name.endswith(_SIDECAR) and name != STATE)
            or any(fits(name) for fits in self._last)
        ):
            return True
        return (is_link or is_directory) and any(fits(name) for fits in self._above)


def asks_for(directory: str, part: str, *, last: bool) -> None:
    """A pattern's ``part`` is compared with the names in a directory, which have been listed for that."""
    if (recording := active()) is not None:
        recording.parts.setdefault(directory, set()).add((part, last))


def asked_of(recording: Recording, directory: str) -> Asked | None:
    """What was asked of the names in a directory; None if all of them may have been."""
    if directory in recording.listed_freely or directory not in recording.entries:
        return None
    modules, parts = recording.modules.get(directory, ()), recording.parts.get(directory, ())
    return tuple(sorted(modules)), tuple(sorted(parts))


class Finder:
    """What looks for modules in directories, telling a recording for which."""

    kind: Final[Any] = sys.modules["_frozen_importlib_external"].FileFinder

    def __init__(self, recording: Recording) -> None:
        original = self.kind.find_spec

        def find_spec(finder: Any, fullname: str, target: Any = None) -> Any:
            if not recording.paused:
                recording.modules.setdefault(finder.path, set()).add(fullname.rpartition(".")[2])
            return original(finder, fullname, target)

        self.find_spec: Final = find_spec

"""What a process did to files, as values, and what of it counts in the end.

It decides nothing about what is allowed.

The invariant: what a task made, used and removed again is no access; nor is reading what it wrote itself.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

from merkl.dataclass import dataclass, field

Deed: TypeAlias = Literal[
    "read", "ran", "wrote", "made", "removed", "listed", "sought", "examined", "connected", "variable"
]
"""What was done.  ``made`` is said of a directory; ``sought`` of what was not there; ``examined`` is all but reading."""
FAINT: Final = frozenset({"sought", "examined", "connected"})
"""Deeds that can matter and cannot be declared, or that programs do to files that do not matter to them."""


@dataclass(frozen=True, slots=True)
class Access:
    """One deed.  ``path`` is absolute; of ``connected`` an address, of ``variable`` a name.

    ``at`` is the line of Python that did it, ``file:line``, if that is known.  With ``by_python`` it was a Python
    interpreter, which lists every directory that it imports from.
    """

    deed: Deed
    path: bytes
    at: str = ""
    by_python: bool = False


@dataclass(slots=True)
class _File:
    deeds: dict[Deed, Access] = field(default_factory=dict)
    own: bool = False  # It was written before anything else was done to it.
    gone: bool = False


def settled(accesses: Iterable[Access]) -> Iterator[Access]:
    """What is left of accesses in the order in which they happened: each deed to each path once."""
    files: dict[bytes, _File] = {}
    for access in accesses:
        if access.path not in files:
            files[access.path] = _File(own=_is_inside_own(access.path, files))
        file = files[access.path]
        if access.deed == "removed":
            for path in _below(access.path, files) if "made" in file.deeds else ():
                files[path].gone = True
            file.gone = True
        elif access.deed in ("wrote", "made"):
            file.own = file.own or not file.deeds or set(file.deeds) <= FAINT
            file.gone = False
        elif file.own and access.deed not in FAINT:
            continue  # Its own work.
        _add(file, access)
    for file in files.values():
        if not (file.own and file.gone):
            yield from _told(file)


def _is_inside_own(path: bytes, files: dict[bytes, _File]) -> bool:
    """Whether a directory above was made here."""
    end = path.rfind(b"/")
    while end > 0:
        if (file := files.get(path[:end])) is not None and file.own:
            return True
        end = path.rfind(b"/", 0, end)
    return False


def _below(path: bytes, files: dict[bytes, _File]) -> list[bytes]:
    return [other for other in files if other.startswith(path + b"/")]


def _add(file: _File, access: Access) -> None:
    known = file.deeds.get(access.deed)
    if known is None or (access.at and not known.at) or (known.by_python and not access.by_python):
        file.deeds[access.deed] = access


def _told(file: _File) -> Iterator[Access]:
    """What is worth telling of one file: not that something looked for it which then used it, or looked at it."""
    strong = [access for deed, access in file.deeds.items() if deed not in FAINT]
    if "removed" in file.deeds and not file.gone:
        strong = [access for access in strong if access.deed != "removed"]
    if "ran" in file.deeds:
        # An interpreter reads the script it runs.
        strong = [access for access in strong if access.deed != "read"]
    yield from strong or file.deeds.values()

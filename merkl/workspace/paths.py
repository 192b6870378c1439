"""Spelling of paths: one for each file, and which of them merkl may write.

It decides by the letters of a path alone, and knows nothing of what is on the disk; links are followed, and judged, by
``merkl.workspace.place``.

The invariant: ``normalise`` gives a path inside the project as relative and any other as absolute, without ``.``,
``..`` or doubled slashes, so that equal paths are equal strings.
"""

import functools
import os
import re
from typing import Final

from merkl.errors import PlacementError, UsageError
from merkl.nodes import PathLike
from merkl.pattern import pattern

NAME_MAX: Final = 255  # bytes
PATH_MAX: Final = 4095  # bytes
GITIGNORE: Final = ".gitignore"  # Git's file.

_RESERVED: Final = frozenset({".git", "git~1", ".hg", ".svn", ".bzr", ".jj", ".merkl"})
_CONFIGURES: Final = frozenset({"merklfile.py", "merklfile.yaml", "merkl.yaml"})
_TEMPORARY: Final = pattern(rb"\..*\.merkl-tmp-([0-9a-f]{8})(?:[0-9a-f]{8})?", re.DOTALL)
# Code points that HFS+ leaves out when it compares names: ".g\u200cit" is ".git" there.
_IGNORED: Final = dict.fromkeys(
    [*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF]
)
_FIRST: Final = frozenset(b".gG")


def normalise(path: PathLike, base: str, root: str) -> str:
    """The one spelling of ``path``: relative to ``root`` if it lies inside, else absolute.

    ``base`` is the absolute directory that a relative path starts from.  It is a matter of letters: ``a/../b`` is
    ``b`` even where ``a`` is a link, and a link is not replaced by what it leads to.

    Raises:
        UsageError: the path is empty, or holds a NUL byte.
    """
    text = os.fsdecode(path)
    if not text:
        raise UsageError("a path is empty")
    if "\0" in text:
        raise UsageError(f"a path cannot hold a NUL byte: {text!r}")
    if base == root and text[0] not in "/." and text[-1] != "/" and "//" not in text and "/." not in text:
        return text  # As all that follows would say, in a twentieth of the time.
    whole = os.path.normpath(os.path.join(base, text))
    # POSIX lets two leading slashes mean something else; on our systems they do not.
    if whole.startswith("//"):
        whole = whole[1:]
    for top in (root, _real(root)):
        if whole == top:
            return "."
        prefix = top if top.endswith("/") else top + "/"
        if whole.startswith(prefix):
            return whole[len(prefix) :]
    return whole


@functools.lru_cache(maxsize=16)
def _real(root: str) -> str:
    return os.path.realpath(root)


def absolute(path: str, root: str) -> str:
    """Where a normalised path is on the disk."""
    if path == ".":
        return root
    return path if path.startswith("/") else f"{root.rstrip('/')}/{path}"


def reserved(name: bytes) -> bool:
    """Whether a file of this name belongs to version control or to merkl, on any file system that may be under it."""
    if not name or (name[0] not in _FIRST and name[0] < 0x80):
        return False
    return os.fsdecode(name).translate(_IGNORED).casefold() in _RESERVED


def temporary(name: bytes) -> bool:
    """Whether the name is one that a half-placed output has."""
    return _TEMPORARY.fullmatch(name) is not None


def tag_of(name: bytes) -> bytes | None:
    """The tag in a name that a half-placed output has; None if it is no such name."""
    match = _TEMPORARY.fullmatch(name)
    return match and match[1]


def temporary_name(name: bytes, tag: bytes = b"") -> bytes:
    """A fresh name beside ``name``, hidden, and short enough for any file system; ``tag``, eight digits, is in it."""
    tail = b".merkl-tmp-" + tag + os.urandom(4).hex().encode()
    return b"." + name[: NAME_MAX - len(tail) - 1] + tail


def placeable(path: str) -> None:
    """Check that merkl may write an output at a normalised path.

    Raises:
        PlacementError: it is outside the project, or the project itself; belongs to version control or to merkl; would
            be read as a Merklfile, as configuration or as a sidecar; or is longer than a file system takes.
    """
    reason = unplaceable(path)
    if reason:
        problem, hint = reason
        shown = path if len(path) < 200 else f"{path[:90]}…{path[-90:]}"
        raise PlacementError(f"cannot place an output at {shown!r}: {problem}", hint=hint)


def unplaceable(path: str) -> tuple[str, str] | None:
    """Why nothing may be placed at ``path``, and what to do instead; None if it may."""
    return _why_not(os.fsencode(path))


def _why_not(raw: bytes) -> tuple[str, str] | None:
    inside = "give a path inside the project"
    if not raw or raw == b".":
        return "it is the project's own directory" if raw else "the path is empty", inside
    if b"\0" in raw:
        return "it holds a NUL byte", inside
    if raw.startswith(b"/"):
        return "it is outside the project", inside
    if len(raw) > PATH_MAX:
        return f"the path has {len(raw)} bytes, and {PATH_MAX} is the limit", "choose a shorter one"
    folder, slash, name = raw.rpartition(b"/")
    problem = (_why_not_below(folder) if slash else None) or _why_not_named(name)
    if problem is not None:
        return problem
    last = os.fsdecode(name).casefold()
    if last in _CONFIGURES:
        return "merkl would run or obey it", "choose another name"
    if last.endswith(".merkl"):
        return (
            "names that end in .merkl are sidecars",
            "choose another name; `future >> path` writes a sidecar",
        )
    return None


@functools.lru_cache(maxsize=256)
def _why_not_below(folder: bytes) -> tuple[str, str] | None:
    """As ``_why_not``, of a directory, which many outputs share."""
    return next((problem for part in folder.split(b"/") if (problem := _why_not_named(part))), None)


def _why_not_named(part: bytes) -> tuple[str, str] | None:
    if part in (b"", b".", b".."):
        return "it is not the plain spelling of a path inside the project", "give a path inside the project"
    if len(part) > NAME_MAX:
        return f"a name in it has {len(part)} bytes, and {NAME_MAX} is the limit", "choose a shorter one"
    if reserved(part):
        return f"{os.fsdecode(part)} belongs to version control or to merkl", "choose another directory"
    return None

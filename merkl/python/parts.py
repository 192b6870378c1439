"""The code behind a value: its digest, and the parts that make it up.

The invariant: two codes with one digest have the same parts, by name and by digest; texts and line
numbers are for people and are in no digest.
"""

import enum

from merkl.dataclass import dataclass, field
from merkl.digest import Digest


class Reading(enum.Enum):
    """What counts of a text."""

    PLAIN = enum.auto()  # What it says: its normal form.
    DOCUMENTED = enum.auto()  # Its docstrings as well, since something reads docstrings.
    RAW = enum.auto()  # Every character.


@dataclass(frozen=True, slots=True)
class CodePart:
    """One definition or variable that code reaches.

    ``name`` is the module's label and the qualified name, ``lib/stats.py:mean``; ``source`` the text, with
    what its names stand for as comments behind it, for ``merkl why`` to compare; ``where`` the first line,
    ``lib/stats.py:12``.
    """

    name: str
    digest: Digest
    source: str = field(compare=False)
    where: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Code:
    """All that a value runs, or as much of it as its hash mode counts; parts are sorted by name.

    ``foreign`` are the dotted names from other packages that it refers to; they are no part of the digest.
    """

    digest: Digest
    parts: tuple[CodePart, ...]
    foreign: tuple[str, ...] = field(default=(), compare=False)

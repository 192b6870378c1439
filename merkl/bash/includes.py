"""What the text of C files asks a compiler to look for: the names in ``#include`` and ``__has_include``.

It decides by the text alone: a name in code that is left out counts, one that a macro makes does not.  A depfile has only
what was found; what was looked for and not found (by ``__has_include``, or in the directories before the one that had it)
stands nowhere but in the text.

The invariant: the same bytes give the same names, so they may be remembered by the digest of the bytes.
"""

import os
import re
from typing import Final

from merkl.dataclass import dataclass
from merkl.pattern import pattern

LARGEST_TEXT: Final = 8_000_000  # Bytes; a larger file is data.
_NAME: Final = rb'[ \t]*(?:"(?P<quoted>[^"\n]+)"|<(?P<angled>[^>\n]+)>)'
_INCLUDE: Final = pattern(
    rb"^[ \t]*(?:#|%:)[ \t]*(?:include|include_next|import|embed)" + _NAME, re.MULTILINE
)
_TEST: Final = pattern(rb"__has_(?:include|include_next|embed)[ \t]*\(" + _NAME)


@dataclass(frozen=True, slots=True)
class Asked:
    """A name that is looked for: beside the file that has it too if it is ``quoted``; ``tested`` asks only whether it is there."""

    name: str
    quoted: bool
    tested: bool = False


def asked_for(text: bytes) -> tuple[Asked, ...]:
    """The names in a text, each once."""
    found: dict[Asked, None] = {}
    for named, tested in ((_INCLUDE, False), (_TEST, True)):
        for match in named.finditer(text):
            name = match["quoted"] or match["angled"]
            found[Asked(os.fsdecode(name), match["quoted"] is not None, tested)] = None
    return tuple(found)

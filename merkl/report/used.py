"""What a task used and did not declare, as lines for people.

It decides how many of them are worth reading.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from merkl.events import Use
from merkl.report.words import one_line

_WORDS: Final = {
    "sought": "looked for",
    "examined": "looked at",
    "connected": "connected to",
    "variable": "read variable",
}
_MOST: Final = 20


def told(uses: Sequence[Use]) -> Iterator[str]:
    """A line for each use, and one for those that are too many."""
    for use in uses[:_MOST]:
        at = f" ({use.at})" if use.at else ""
        advice = f": {use.advice}" if use.advice else ""
        yield one_line(f"{_WORDS.get(use.deed, use.deed)} {use.path}{at}{advice}")
    if len(uses) > _MOST:
        yield f"and {len(uses) - _MOST} more, which --json shows"

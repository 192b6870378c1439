"""Regular expressions that are compiled when they are first used: most processes use few of the many there are.

It decides nothing.  The invariant: but for when it is compiled, and that it is no ``re.Pattern`` to ``isinstance``, such a
pattern is what ``re.compile`` makes.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, cast, overload


class _Late:
    def __init__(self, text: str | bytes, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(self._text, self._flags), name)
        setattr(self, name, found)  # From now on it is found without coming here.
        return found


@overload
def pattern(text: str, flags: int = 0) -> re.Pattern[str]: ...
@overload
def pattern(text: bytes, flags: int = 0) -> re.Pattern[bytes]: ...
def pattern(text: str | bytes, flags: int = 0) -> Any:
    """As ``re.compile``, later."""
    return cast(Any, _Late(text, flags))


@functools.lru_cache(maxsize=256)
def names_like(part: str) -> Callable[[str], bool]:
    """Whether a name is one that ``part`` of a pattern for paths stands for; a dot at its beginning has to be spelt."""
    import fnmatch

    matches = re.compile(fnmatch.translate(part.replace("[^", "[!"))).match
    dotted = part.startswith(".")
    return lambda name: (dotted or not name.startswith(".")) and matches(name) is not None

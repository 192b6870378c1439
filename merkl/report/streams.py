"""Streams that stand for those of the terminal while a block is drawn on it.

It decides nothing.  The invariant: once ``Instead`` has ended, ``sys.stdout`` and ``sys.stderr`` are what they were.
"""

import io
import sys
from collections.abc import Sequence
from typing import TextIO

from merkl.report.screen import Screen


class Above(io.TextIOBase):
    """What is written here stays above the block; in all else it is as ``stream``."""

    def __init__(self, screen: Screen, stream: TextIO) -> None:
        self._screen = screen
        self._stream = stream

    def write(self, text: str) -> int:
        """Add text; it can be seen from the next frame on, once its line is whole."""
        self._screen.add(text)
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True

    def isatty(self) -> bool:
        """It is one."""
        return True

    def fileno(self) -> int:
        """The terminal's own; what is written there spoils the frame until the next."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The terminal's."""
        return self._stream.encoding


class Instead:
    """Puts streams in the place of others, for whoever prints in this process, such as a callback of the user's."""

    def __init__(self, pairs: Sequence[tuple[TextIO, TextIO]]) -> None:
        self._pairs = pairs

    def begin(self) -> None:
        """Put the second of each pair where the first is."""
        self._swap(self._pairs)

    def end(self) -> None:
        """Put the first of each pair back, where somebody else's is not there by now.  Idempotent."""
        self._swap([(new, old) for old, new in self._pairs])

    def _swap(self, pairs: Sequence[tuple[TextIO, TextIO]]) -> None:
        for name in ("stdout", "stderr"):
            present = getattr(sys, name)
            for old, new in pairs:
                if present is old:
                    setattr(sys, name, new)

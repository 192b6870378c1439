"""Where news of changes comes from: the protocol, and looking again and again, which works everywhere.

It decides nothing about what matters.

The invariant: after ``watch`` has returned, each change in a watched directory is heard of sooner or later, or it is heard
that something was missed.
"""

from collections.abc import Set
from typing import Final, Protocol

from merkl.dataclass import dataclass, field
from merkl.events import Note

POLL_S: Final = 1.0  # How often is looked where nothing brings news.


@dataclass(slots=True)
class Heard:
    """What came since the last time.  All paths are absolute.

    ``paths`` may have changed; in the directories ``listed`` a name came or went; the directories ``moved`` came, went or
    are other ones now.  ``missed``: news was lost, so that anything may have changed.
    """

    paths: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    missed: bool = False


class Source(Protocol):
    """Brings news of directories.  Used by one thread."""

    notes: list[Note]
    """What the user should know; the reader empties it."""

    def fileno(self) -> int:
        """A descriptor that can be read when there is news; -1 if there is none to wait for."""

    @property
    def look_every(self) -> float | None:
        """How many seconds may pass until somebody must look by himself; None if all news comes by itself."""

    def watch(self, directories: Set[str]) -> set[str]:
        """Listen to these absolute directories and to no others; those that are new to it, of which nothing was heard yet."""

    def again(self, directory: str) -> None:
        """Forget a directory, and all below it, that came or went: it is new to the next ``watch``."""

    def hear(self) -> Heard:
        """What has come; does not wait."""

    def close(self) -> None:
        """Stop listening.  Idempotent."""


class Looking:
    """A source that brings nothing: whoever waits must look by himself."""

    def __init__(self, every: float = POLL_S) -> None:
        self.notes: list[Note] = []
        self._every = every
        self._watched: set[str] = set()

    def fileno(self) -> int:
        """See ``Source``."""
        return -1

    @property
    def look_every(self) -> float | None:
        """See ``Source``."""
        return self._every

    def watch(self, directories: Set[str]) -> set[str]:
        """See ``Source``."""
        new = set(directories - self._watched)
        self._watched = set(directories)
        return new

    def again(self, directory: str) -> None:
        """See ``Source``."""
        inside = directory.rstrip("/") + "/"
        self._watched = {each for each in self._watched if each != directory and not each.startswith(inside)}

    def hear(self) -> Heard:
        """See ``Source``."""
        return Heard()

    def close(self) -> None:
        """See ``Source``."""

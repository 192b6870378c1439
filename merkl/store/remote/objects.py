"""The contract of a place that several machines share: bytes under names.

It decides nothing about what the names mean.

The invariant: an object is there whole or not at all, and what was created once is not created again.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, Protocol

from merkl.dataclass import dataclass

REFRESH_S: Final = 3 * 86_400.0  # What is older is stored again by who relies on it: see ``collect``.


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing; ``size`` in bytes, ``modified`` in seconds since the epoch, by the place's own clock."""

    name: str
    size: int
    modified: float


class Objects(Protocol):
    """Named bytes.  Names are ASCII letters, digits, ``-``, ``_`` and ``.``, in parts joined by slashes.

    Safe to share between threads and processes.  No method raises merely because something is not there.

    Raises, all methods:
        RemoteError: the place cannot be reached or used.
        StoreFull: there is no room.
    """

    url: str
    width: int
    """How many requests at once are worth while."""
    squeezes: bool
    """Whether it is so far away that contents are squeezed for the way."""

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes | None:
        """The bytes of an object, or ``length`` of them from ``start``; None if it is not there."""

    def open(self, name: str) -> BinaryIO | None:
        """A reader of an object's bytes, to be closed; None if it is not there."""

    def put(self, name: str, data: "bytes | BinaryIO") -> None:
        """Store an object, instead of one that is there; a file is read from where it stands to its end."""

    def create(self, name: str, data: bytes) -> bool:
        """Store an object unless there is one of that name; whether it was stored."""

    def size(self, name: str) -> int | None:
        """How many bytes an object has, or None."""

    def look(self, name: str) -> Listed | None:
        """What a listing says of one object, or None: one request."""

    def names(self, prefix: str) -> Iterator[Listed]:
        """All objects below ``prefix/``, in no order."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are gone already."""

    def move(self, name: str, to: str) -> None:
        """Give an object another name, instead of one that has it; nothing if it is not there."""

    def sweep(self) -> None:
        """Remove what writers that died a while ago left behind, as far as one may."""

    def close(self) -> None:
        """Let go of connections.  Idempotent."""

"""What a look at a program leaves behind: where it led, and what was seen on the way.

It decides whether an earlier look still holds.  It knows nothing of what the things seen mean.

The invariant: a look that holds would find the same again, but for a large value changed in place.
"""

from collections.abc import Callable
from types import CellType
from typing import TYPE_CHECKING, Any, Final

from merkl.dataclass import dataclass, field
from merkl.python.owners import Namespace
from merkl.python.parts import Reading
from merkl.python.sources import Source

if TYPE_CHECKING:
    from merkl.python.definitions import Definition

ABSENT: Final = object()  # No such name; None is a value.
# Bytes of encoded value, about 0.1 ms: what is larger is taken as it was first seen.
RECHECKED: Final = 16_384


@dataclass(frozen=True, slots=True)
class Lead:
    """Something that code reaches: a function, class or module, a variable, or the function around a closure.

    ``about`` is the thing itself; with ``name`` it is the namespace that holds the variable.
    """

    about: Any
    name: str = ""
    source: Source | None = None
    namespace: Namespace | None = None

    def identity(self) -> tuple[int, str]:
        """Equal for the same thing, as long as it lives."""
        return (id(self.about), self.name)


@dataclass(slots=True)
class Watch:
    """What was looked at: if all of it is as it was, so is what was made of it.

    Each entry keeps its object alive, so that the identities used as keys stay its own.
    """

    reading: Reading
    names: dict[tuple[int, str], tuple[Namespace, str, object]] = field(default_factory=dict)
    cells: dict[int, tuple[CellType, object]] = field(default_factory=dict)
    mutable: dict[int, tuple[object, bytes]] = field(default_factory=dict)

    def name(self, namespace: Namespace, name: str) -> object:
        """Look a name up, or find it ``ABSENT``."""
        value = namespace.get(name, ABSENT)
        self.names[id(namespace), name] = (namespace, name, value)
        return value

    def cell(self, cell: CellType) -> object:
        """Look at what a closure variable holds; ``ABSENT`` if nothing yet, or no longer."""
        value = contents(cell)
        self.cells[id(cell)] = (cell, value)
        return value

    def value(self, value: object, encoded: bytes) -> None:
        """Note how a value that can change in place was encoded."""
        if len(encoded) <= RECHECKED:
            self.mutable[id(value)] = (value, encoded)

    def add(self, other: "Watch") -> None:
        """Watch what ``other`` watches as well."""
        self.names.update(other.names)
        self.cells.update(other.cells)
        self.mutable.update(other.mutable)

    @property
    def sees_anything(self) -> bool:
        """Whether there is anything that could change."""
        return bool(self.names or self.cells or self.mutable)

    def holds(self, encoder: Callable[[], Callable[[object], bytes]]) -> bool:
        """Whether names and cells hold the same objects, and small mutable values the same contents."""
        return self.unmoved() and (not self.mutable or self.unchanged(encoder()))

    def unmoved(self) -> bool:
        """Whether names and cells hold the same objects."""
        for namespace, name, value in self.names.values():
            if namespace.get(name, ABSENT) is not value:
                return False
        if self.cells:
            for cell, value in self.cells.values():
                if contents(cell) is not value:
                    return False
        return True

    def unchanged(self, encode: Callable[[object], bytes]) -> bool:
        """Whether small mutable values have the same contents."""
        return all(encode(value) == before for value, before in self.mutable.values())


@dataclass(frozen=True, slots=True)
class Place:
    """Where names are looked up: a module's globals, and what a closure has captured."""

    namespace: Namespace
    source: Source | None
    cells: dict[str, CellType] = field(default_factory=dict)
    within: "Definition | None" = None


def contents(cell: CellType) -> object:
    """What a closure variable holds, or ``ABSENT``."""
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT

"""What is written down of a node in a kept graph, and read again.

It decides the form.  The invariant: what is read is what was written, or nothing is written.
"""

import marshal
from collections.abc import Iterable, Mapping
from typing import Any, Final

from merkl.bash.calls import is_bash_call
from merkl.bash.slots import FromDep, FromSource, Plain, Slot, Slots
from merkl.dataclass import dataclass
from merkl.engine.placement import Placement
from merkl.nodes import Node
from merkl.store.base import Record

Found = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What is written down of a node, beside its key and the numbers of what it reads.

    ``task`` is the number of a bash task, or -1, ``python`` that of a Python call, or -1; ``deps`` has of each dependency the
    output and the file name; ``placements`` what is asked of ``Placement`` after the Future, by output; ``seconds`` is what its run took, ``found`` what it
    found, with digests, or None where nothing may be.
    """

    label: str
    task: int
    python: int
    slots: tuple[Any, ...]
    subject: str
    tools: tuple[tuple[str, str], ...]
    static: bytes
    deps: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[Any, ...], ...]
    place: tuple[str, int]
    serial: int
    cache: bool
    discovers: bool
    open: bool
    placements: tuple[tuple[Any, ...], ...]
    seconds: float
    found: Found

    @property
    def name(self) -> str:
        """The task's name, which a label begins with."""
        return self.label.partition(" ")[0]


def said_of(
    node: Node,
    label: str,
    task: int,
    python: int,
    placements: Iterable[Placement],
    seconds: float,
    found: Found,
) -> bytes:
    """What is to be written down of a node, the numbers as in ``Said``.

    Raises:
        ValueError: a plain argument has no form that can be read back.
    """
    call = node.call if task >= 0 else None
    own: tuple[Any, ...] = ((), "", ())
    if is_bash_call(call):
        own = _written(call.slots), call.subject, call.tools
    placed = [
        (p.future.output, p.path, p.sidecar, p.target, (p.place.file, p.place.line), p.serial) for p in placements
    ]  # fmt: skip
    return marshal.dumps((
        label, task, python, *own, node.static, tuple((dep.future.output, dep.name) for dep in node.deps),
        tuple((o.name, o.kind, o.filename, o.form, o.holds) for o in node.outputs), (node.place.file, node.place.line),
        node.serial, node.cache, node.discovers, node.open, tuple(placed), seconds, found,
    ))  # fmt: skip


def found_by(record: Record | None) -> Found:
    """What a run found, with digests."""
    found = record.discovered.files if record is not None and record.discovered is not None else {}
    return tuple((str.__str__(path), digest and bytes(digest)) for path, digest in found.items())


def _written(slots: Slots) -> tuple[Any, ...]:
    return tuple(
        (name, tuple(map(_one_written, slot)) if isinstance(slot, tuple) else _one_written(slot), isinstance(slot, tuple))
        for name, slot in slots.items()
    )  # fmt: skip


def _one_written(slot: Slot) -> tuple[str, object]:
    return ("plain", slot.value) if isinstance(slot, Plain) else (type(slot).__name__, slot.index)


_READ: Final[Mapping[str, Any]] = {"plain": Plain, "FromSource": FromSource, "FromDep": FromDep}


def slots_of(written: tuple[Any, ...]) -> Slots:
    """The slots of a bash call, from how they are written down."""
    return {
        name: tuple(_READ[form](value) for form, value in slot) if several else _READ[slot[0]](slot[1])
        for name, slot, several in written
    }

"""Where an argument of a call comes from, and what of that enters the key.

It decides nothing else.  The invariant: two calls with one ``shape`` differ, if at all, in sources and dependencies.
"""

import functools
from collections.abc import Mapping
from typing import TypeAlias, assert_never

from merkl.dataclass import dataclass
from merkl.digest import encode, encoded_dict, encoded_text


@dataclass(frozen=True, slots=True)
class Plain:
    """An argument that is a value."""

    value: object


@dataclass(frozen=True, slots=True)
class FromSource:
    """An argument that is a file or directory of the project: the node's source at ``index``."""

    index: int


@dataclass(frozen=True, slots=True)
class FromDep:
    """An argument that another node makes: the node's dependency at ``index``."""

    index: int


@functools.lru_cache(maxsize=256)
def from_source(index: int) -> FromSource:
    """The argument that is the source at ``index``: one object for all calls."""
    return FromSource(index)


Slot: TypeAlias = Plain | FromSource | FromDep
Slots: TypeAlias = Mapping[str, Slot | tuple[Slot, ...]]


def shape(slot: Slot | tuple[Slot, ...]) -> object:
    """A slot as a value that can be encoded; of many files in a row, short."""
    if isinstance(slot, tuple):
        first = slot[0].index if slot and isinstance(slot[0], FromSource) else -1
        if all(isinstance(item, FromSource) and item.index == first + i for i, item in enumerate(slot)):
            return ("sources", first, len(slot))
        return [shape(item) for item in slot]
    match slot:
        case Plain(value):
            return ("value", value)
        case FromSource(index):
            return ("source", index)
        case FromDep(index):
            return ("dep", index)
        case other:
            assert_never(other)


def encoded(slots: Slots) -> bytes:
    """The encoding of the slots' shapes by name."""
    return encoded_dict({encoded_text(name): _encoded(slot) for name, slot in slots.items()})


def _encoded(slot: Slot | tuple[Slot, ...]) -> bytes:
    return _from_source(slot.index) if isinstance(slot, FromSource) else encode(shape(slot))


@functools.lru_cache(maxsize=64)
def _from_source(index: int) -> bytes:
    return encode(("source", index))


@functools.lru_cache(maxsize=256)
def _of_shape(shape: tuple[tuple[str, FromSource | FromDep], ...]) -> Slots:
    return dict(shape)


def shared(slots: Slots) -> Slots:
    """The same slots; of calls that pass nothing but files and results, one mapping for all: there may be many calls."""
    if all(type(slot) is FromSource or type(slot) is FromDep for slot in slots.values()):
        return _of_shape(tuple(slots.items()))
    return slots


def shown_plain_values(slots: Slots) -> str:
    """The plain arguments of a call in one short line, for people."""
    text = ", ".join(
        f"{name}={slot.value!r}"
        for name, slot in slots.items()
        if isinstance(slot, Plain) and slot.value is not None
    )
    return text if len(text) <= 60 else f"{text[:59]}…"

"""What the objects of a class of fields do: how they are made, shown, compared and kept from being changed.

It decides when an ``__init__`` is compiled: for a class of which many objects are made; which class gets which of these, ``merkl.dataclass`` decides.
"""

import operator
import reprlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

FROZEN: Final = "__merkl_frozen__"  # The attribute of a class that says whether its objects are frozen.
OWN: Final = "__merkl_fields__"  # The one that has its fields, as ``Field``.
_FEW: Final = 20  # So many objects of a class are made without a compiled ``__init__``.
NOTHING: Final = object()  # In place of a default.

Field = tuple[str, Any, Any, Any, bool, bool, bool]
"""Its name, its annotation, its default, what makes one; and whether it is compared, shown and hashed."""


class _Factory:
    """The default of a field that is made anew for each object."""

    def __repr__(self) -> str:
        return "<factory>"


_factory = _Factory()

# ---- making ----------------------------------------------------------------------------------------------------


def late_init(cls: type, met: list[type], fields: Sequence[Field]) -> Any:
    """An ``__init__`` that compiles the real one after a few objects, and makes room for it.

    To compile takes as long as to make fifty objects, and a small build makes fewer than that of nearly all classes.
    """
    names = [each[0] for each in fields]
    left = [_FEW]  # Objects.

    def late(self: Any, *args: Any, **named: Any) -> None:
        left[0] -= 1
        values = dict(zip(names, args, strict=False))
        values.update(named)
        if left[0] < 0 or len(values) != len(args) + len(named) or not _completed(values, fields):
            _init(met[0])(self, *args, **named)  # If something is wrong, this says what.
            return
        put = object.__setattr__ if met[0].__dict__[FROZEN] else setattr
        for name in names:
            put(self, name, values[name])

    late.__name__, late.__qualname__ = "__init__", f"{cls.__qualname__}.__init__"
    late.__annotations__ = {**{each[0]: each[1] for each in fields}, "return": None}
    return late


def _completed(values: dict[str, Any], fields: Sequence[Field]) -> bool:
    """Add the defaults of what is not among the values; whether each field has one now, and nothing else."""
    for name, _, default, factory, *_ in fields:
        if name not in values:
            if factory is not None:
                values[name] = factory()
            elif default is not NOTHING:
                values[name] = default
            else:
                return False
    return len(values) == len(fields)


class Signature:
    """The signature of a class whose ``__init__`` may not be compiled yet."""

    def __get__(self, instance: object, cls: Any) -> Any:
        import inspect

        made = next(each for each in cls.__mro__ if "__signature__" in each.__dict__)
        if cls.__init__ is not made.__init__:
            raise AttributeError("__signature__")  # A subclass has one of its own.
        signature = inspect.signature(_init(made))
        return signature.replace(parameters=list(signature.parameters.values())[1:])


def _init(cls: Any) -> Any:
    """Compile the ``__init__`` of a class, and give it to that."""
    frozen = cls.__dict__[FROZEN]
    values: dict[str, Any] = {}
    given, lines = ["self"], []
    for name, _, default, factory, *_ in getattr(cls, OWN):
        value = name
        if factory is not None:
            values[f"_make_{name}"] = factory
            given.append(f"{name}=_factory")
            value = f"_make_{name}() if {name} is _factory else {name}"
        elif default is not NOTHING:
            values[f"_default_{name}"] = default
            given.append(f"{name}=_default_{name}")
        else:
            given.append(name)
        slot: Any = getattr(cls, name, None)
        if frozen and hasattr(slot, "__set__"):
            values[f"_set_{name}"] = slot.__set__
            lines.append(f"_set_{name}(self, {value})")
        elif frozen:
            values["_set"] = object.__setattr__
            lines.append(f"_set(self, {name!r}, {value})")
        else:
            lines.append(f"self.{name} = {value}")
    values["_factory"] = _factory
    body = "\n  ".join(lines or ["pass"])
    text = (
        f"def _create({', '.join(values)}):\n def __init__({', '.join(given)}):\n  {body}\n return __init__"
    )
    module = sys.modules.get(cls.__module__)
    made: dict[str, Any] = {}
    exec(text, {} if module is None else module.__dict__, made)
    init = made["_create"](**values)
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = cls.__init__.__annotations__
    cls.__init__ = init
    return init


# ---- what objects do -------------------------------------------------------------------------------------------


def getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes the values of those fields, as a tuple."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    if not names:
        return lambda _: ()
    one = operator.attrgetter(names[0])
    return lambda self: (one(self),)


@reprlib.recursive_repr()
def represented(self: Any) -> str:
    """The ``repr`` of an object."""
    shown = ", ".join(f"{each[0]}={getattr(self, each[0])!r}" for each in getattr(self, OWN) if each[5])
    return f"{self.__class__.__qualname__}({shown})"


def comparison(compare: Callable[[Any, Any], bool], get: Callable[[Any], object]) -> Any:
    """A method that compares what ``get`` takes, of objects of one class."""

    def compared(self: object, other: object) -> bool:
        return compare(get(self), get(other)) if other.__class__ is self.__class__ else NotImplemented

    return compared


def hash_of(get: Callable[[Any], object]) -> Callable[[Any], int]:
    """A ``__hash__`` of what ``get`` takes."""
    return lambda self: hash(get(self))


def refusals(met: list[type], names: frozenset[str]) -> tuple[Any, Any]:
    """A ``__setattr__`` and a ``__delattr__`` for objects that do not change; ``met`` has their class."""

    def set_one(self: Any, name: str, value: object) -> None:
        cls: Any = met[0]
        if type(self) is cls or name in names:
            raise _frozen_error(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def delete(self: Any, name: str) -> None:
        cls: Any = met[0]
        if type(self) is cls or name in names:
            raise _frozen_error(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return set_one, delete


def _frozen_error(text: str) -> Exception:
    from dataclasses import FrozenInstanceError

    return FrozenInstanceError(text)


def state(names: Sequence[str]) -> Callable[[object], list[Any]]:
    """What is pickled of an object with slots."""
    get = getter(names)
    return lambda self: list(get(self))


def set_state(names: Sequence[str]) -> Callable[[object, Sequence[Any]], None]:
    """What fills such an object again."""

    def fill(self: object, state: Sequence[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return fill

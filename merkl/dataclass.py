"""``dataclass`` as in the standard library, for less: a process of merkl's makes some hundreds of these classes as it starts.

It decides when a method is compiled: ``__init__`` when the first object is made, as most processes never make one of most
classes.  The other methods are closures, not texts to be compiled.  What fields there are, and slots, is the standard
library's, so ``fields``, ``replace`` and ``asdict`` do what they always do.

The invariant: but for ``__post_init__``, ``InitVar`` and fields that are for keywords only or not for ``__init__``, none of
which is taken, no program can tell such a class from the standard library's by what its objects do.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # To those who check types it is the standard library's.
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
else:
    import contextlib
    import dataclasses
    import operator
    import reprlib
    import sys
    from dataclasses import MISSING, field, fields

    __all__ = ["dataclass", "field"]

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True, order=False):
        """Make a class one of fields; with the options of the standard library's that are of use here."""

        def make(cls):
            own = dict(cls.__dict__)
            with _thawed(cls):  # Never ``frozen`` there: that would be compiled.
                made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
            _finish(made, own, frozen=frozen, slots=slots, eq=eq, order=order)
            return made

        return make if cls is None else make(cls)

    @contextlib.contextmanager
    def _thawed(cls):
        """Let a class be made from frozen ones as if they were not."""
        bases = [each.__dict__.get("__dataclass_params__") for each in cls.__mro__[1:]]
        frozen = [params for params in bases if params is not None and params.frozen]
        for params in frozen:
            params.frozen = False
        try:
            yield
        finally:
            for params in frozen:
                params.frozen = True

    def _finish(cls, own, *, frozen, slots, eq, order):
        here = fields(cls)
        if any(each.kw_only or not each.init for each in here) or hasattr(cls, "__post_init__"):
            raise TypeError(f"{cls.__qualname__}: of these only the standard library's dataclass can be made")
        names = tuple(each.name for each in here)
        params = cls.__dataclass_params__
        params.init, params.repr, params.eq, params.order, params.frozen = True, True, eq, order, frozen
        if "__init__" not in own:
            cls.__init__ = _late_init(cls)
        if "__repr__" not in own:
            cls.__repr__ = _repr
        compared = _getter([each.name for each in here if each.compare])
        if eq:
            if "__eq__" not in own:
                cls.__eq__ = _comparison(operator.eq, compared)
            if own.get("__hash__") is None:
                hashed = _getter([n.name for n in here if (n.compare if n.hash is None else n.hash)])
                cls.__hash__ = _hash(hashed) if frozen else None
        if order:
            for name in ("__lt__", "__le__", "__gt__", "__ge__"):
                setattr(cls, name, _comparison(getattr(operator, name), compared))
        if frozen:
            cls.__setattr__, cls.__delattr__ = _refusals(cls, frozenset(names))
            if slots and "__getstate__" not in own:
                cls.__getstate__ = _state(_getter(names))
                cls.__setstate__ = _set_state(names)

    class _Factory:
        """The default of a field that is made anew for each object."""

        def __repr__(self):
            return "<factory>"

    _factory = _Factory()

    # ---- making ----------------------------------------------------------------------------------------------------

    def _late_init(cls):
        """An ``__init__`` that compiles the real one, and makes room for it."""

        def late(self, *args, **named):
            _init(cls)(self, *args, **named)

        late.__name__, late.__qualname__ = "__init__", f"{cls.__qualname__}.__init__"
        late.__annotations__ = {each.name: each.type for each in fields(cls)} | {"return": None}
        cls.__signature__ = _Signature()
        return late

    class _Signature:
        """The signature of a class whose ``__init__`` may not be compiled yet."""

        def __get__(self, instance, cls):
            import inspect

            made = next(each for each in cls.__mro__ if "__signature__" in each.__dict__)
            if cls.__init__ is not made.__init__:
                raise AttributeError("__signature__")  # A subclass has one of its own.
            signature = inspect.signature(_init(made))
            return signature.replace(parameters=list(signature.parameters.values())[1:])

    def _init(cls):
        """Compile the ``__init__`` of a class, and give it to that."""
        values, given, lines = {}, ["self"], []
        frozen = cls.__dataclass_params__.frozen
        for each in fields(cls):
            name, value = each.name, each.name
            if each.default_factory is not MISSING:
                values[f"_make_{name}"] = each.default_factory
                given.append(f"{name}=_factory")
                value = f"_make_{name}() if {name} is _factory else {name}"
            elif each.default is not MISSING:
                values[f"_default_{name}"] = each.default
                given.append(f"{name}=_default_{name}")
            else:
                given.append(name)
            slot = getattr(cls, name, None)
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
        text = f"def _create({', '.join(values)}):\n def __init__({', '.join(given)}):\n  {body}\n return __init__"
        module = sys.modules.get(cls.__module__)
        made = {}
        exec(text, {} if module is None else module.__dict__, made)
        init = made["_create"](**values)
        init.__qualname__ = f"{cls.__qualname__}.__init__"
        init.__annotations__ = cls.__init__.__annotations__
        cls.__init__ = init
        return init

    # ---- what objects do -------------------------------------------------------------------------------------------

    def _getter(names):
        """What takes the values of those fields, as a tuple."""
        if len(names) > 1:
            return operator.attrgetter(*names)
        if not names:
            return lambda _: ()
        one = operator.attrgetter(names[0])
        return lambda self: (one(self),)

    @reprlib.recursive_repr()
    def _repr(self):
        shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
        return f"{self.__class__.__qualname__}({shown})"

    def _comparison(compare, get):
        def compared(self, other):
            return compare(get(self), get(other)) if other.__class__ is self.__class__ else NotImplemented

        return compared

    def _hash(get):
        return lambda self: hash(get(self))

    def _refusals(cls, names):
        def set_one(self, name, value):
            if type(self) is cls or name in names:
                raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
            super(cls, self).__setattr__(name, value)

        def delete(self, name):
            if type(self) is cls or name in names:
                raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
            super(cls, self).__delattr__(name)

        return set_one, delete

    def _state(get):
        return lambda self: list(get(self))

    def _set_state(names):
        def set_state(self, state):
            for name, value in zip(names, state, strict=True):
                object.__setattr__(self, name, value)

        return set_state

"""``dataclass`` as in the standard library, for less: a process of merkl's makes some hundreds of these classes as it starts.

It decides when a method is compiled: ``__init__`` after the first objects, as most processes make none or few of most
classes.  The other methods are closures, not texts to be compiled.  The standard library's module, which takes longer to import
than all these classes to make, is asked when somebody asks what fields there are, and for a class whose fields only it understands;
so ``fields``, ``asdict`` and its own ``replace`` do what they always do.  A small build takes a twentieth less time for that:
14 ms of processor time were measured where it took 280, of them 6 for the import, 3 for the classes and 5 for ``__init__``.

The invariant: but for ``__post_init__``, ``InitVar`` and fields that are for keywords only or not for ``__init__``, none of
which is taken, no program can tell such a class from the standard library's by what its objects do.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # To those who check types it is the standard library's.
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace

    def field_names(cls: type) -> tuple[str, ...]: ...

else:
    import abc
    import operator
    import sys
    from types import MemberDescriptorType as _Slot
    from typing import ClassVar

    from merkl.fieldmethods import (
        FROZEN,
        NOTHING,
        OWN,
        Signature,
        comparison,
        getter,
        hash_of,
        late_init,
        refusals,
        represented,
        set_state,
        state,
    )

    __all__ = ["dataclass", "field", "field_names", "replace"]

    _PLAIN = frozenset(
        {bool, bytes, float, frozenset, int, str, tuple, type(None)}
    )  # Types of most defaults.
    _REFUSAL = "of these only the standard library's dataclass can be made"
    _USUAL = {"default", "default_factory", "compare", "repr", "hash"}  # Options of a field.

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True, order=False):
        """Make a class one of fields; with the options of the standard library's that are of use here."""

        def make(cls):
            if hasattr(cls, "__post_init__"):
                raise TypeError(f"{cls.__qualname__}: {_REFUSAL}")
            fields = _fields_of(cls)
            late = fields is not None
            if not late:
                cls = _by_library(cls)
                fields = getattr(cls, OWN)
            met = []  # The class, once it is there.
            members = _members(cls, fields, late, met, frozen=frozen, slots=slots, eq=eq, order=order)
            made = _slotted(cls, members) if slots else _extended(cls, members)
            met.append(made)
            if "__abstractmethods__" in made.__dict__:
                abc.update_abstractmethods(made)
            return made

        return make if cls is None else make(cls)

    class field:  # noqa: N801
        """What is said of a field, with the options of the standard library's ``field``."""

        def __init__(self, **options):
            self.options = options

    def field_names(cls):
        """The names of the fields of a class that was made here, in order."""
        return tuple([each[0] for each in getattr(cls, OWN)])

    def replace(one, /, **changes):
        """The same with some fields changed, as by the standard library's ``replace``."""
        known = getattr(type(one), OWN, None)
        if known is None:
            from dataclasses import replace as replaced

            return replaced(one, **changes)
        for name, *_ in known:
            if name not in changes:
                changes[name] = getattr(one, name)
        return one.__class__(**changes)

    # ---- fields ----------------------------------------------------------------------------------------------------

    def _field_of(name, kind, default=NOTHING, default_factory=None, compare=True, repr=True, hash=None):
        """A field: its name, its annotation, its default, what makes one, and where it counts."""
        return name, kind, default, default_factory, compare, repr, compare if hash is None else hash

    def _fields_of(cls):
        """The fields of a class, in order; None if only the standard library can tell."""
        known = {}
        for base in cls.__mro__[-1:0:-1]:
            if OWN in base.__dict__:
                known.update((each[0], each) for each in base.__dict__[OWN])
            elif "__dataclass_fields__" in base.__dict__:
                return None
        own, above = cls.__dict__, len(cls.__mro__) > 2
        for name, kind in cls.__annotations__.items():
            if kind is ClassVar or getattr(kind, "__origin__", None) is ClassVar:
                continue
            default = getattr(cls, name, NOTHING) if above else own.get(name, NOTHING)
            made = _field_said(name, kind, default)
            if made is None:
                return None
            known[name] = made
        return None if cls.__doc__ is None else tuple(known.values())

    def _field_said(name, kind, default):
        """A field of a class, by what is said there; None if only the standard library understands that."""
        if (
            ("Var" in kind or "KW_ONLY" in kind)
            if type(kind) is str
            else getattr(kind, "__module__", None) == "dataclasses"
        ):
            return None
        of = type(default)
        if of is _Slot:  # Of a class above.
            return name, kind, NOTHING, None, True, True, True
        if of is field:
            return _field_of(name, kind, **default.options) if default.options.keys() <= _USUAL else None
        usual = default is NOTHING or of in _PLAIN
        if not usual and (of.__hash__ is None or of.__module__ == "dataclasses" or hasattr(of, "__set__")):
            return None
        return name, kind, default, None, True, True, True

    # ---- classes ---------------------------------------------------------------------------------------------------

    def _extended(cls, members):
        """A class with more members."""
        for name, value in [*cls.__dict__.items()]:
            if type(value) is field and value.options.get("default", NOTHING) is NOTHING:
                delattr(cls, name)
        for name, value in members.items():
            setattr(cls, name, value)
        return cls

    def _slotted(cls, members):
        """The same class with slots, and more members; all at once, as to give a class one by one takes longer."""
        if "__slots__" in cls.__dict__:
            raise TypeError(f"{cls.__name__} already specifies __slots__")
        names = [each[0] for each in members[OWN]]
        above = {slot for base in cls.__mro__[1:-1] for slot in _slots_of(base)}
        every = {**cls.__dict__, **members, "__slots__": tuple([name for name in names if name not in above])}
        for name in (*names, "__dict__", "__weakref__"):
            every.pop(name, None)
        made = type(cls)(cls.__name__, cls.__bases__, every)
        made.__qualname__ = cls.__qualname__
        return made

    def _slots_of(cls):
        slots = cls.__dict__.get("__slots__", ())
        return (slots,) if isinstance(slots, str) else slots

    class _Late:
        """What the standard library keeps of a class, made when somebody asks for it."""

        def __init__(self, name, fields, options):
            self._name, self._fields, self._options = name, fields, options

        def __get__(self, instance, cls):
            import dataclasses

            members = {"__annotations__": {each[0]: each[1] for each in self._fields}}
            for name, _, default, factory, compare, shown, hashed in self._fields:
                wanted = {"compare": compare, "repr": shown, "hash": None if hashed == compare else hashed}
                if factory is not None:
                    members[name] = dataclasses.field(default_factory=factory, **wanted)
                elif default is not NOTHING:
                    members[name] = dataclasses.field(default=default, **wanted)
                elif wanted != {"compare": True, "repr": True, "hash": None}:
                    members[name] = dataclasses.field(**wanted)
            made = dataclasses.dataclass(init=False, repr=False, eq=False)(type("_", (), members))
            params = made.__dataclass_params__
            params.init, params.repr = True, True
            for key in ("eq", "order", "frozen"):
                setattr(params, key, self._options[key])
            owner = next(each for each in cls.__mro__ if each.__dict__.get(self._name) is self)
            setattr(owner, self._name, getattr(made, self._name))
            return getattr(made, self._name)

    def _by_library(cls):
        """The class, with the fields that the standard library finds."""
        import dataclasses

        for name, value in [*cls.__dict__.items()]:
            if type(value) is field:
                setattr(cls, name, dataclasses.field(**value.options))
        frozen = [
            each.__dataclass_params__ for each in cls.__mro__[1:] if "__dataclass_params__" in each.__dict__
        ]
        frozen = [params for params in frozen if params.frozen]
        for (
            params
        ) in frozen:  # A class can be made from frozen ones only if it is frozen: that would be compiled.
            params.frozen = False
        try:
            made = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
        finally:
            for params in frozen:
                params.frozen = True
        found, none = dataclasses.fields(made), dataclasses.MISSING
        if any(each.kw_only or not each.init for each in found):
            raise TypeError(f"{cls.__qualname__}: {_REFUSAL}")
        fields = [
            _field_of(
                each.name, each.type, NOTHING if each.default is none else each.default,
                None if each.default_factory is none else each.default_factory, each.compare, each.repr, each.hash,
            )
            for each in found
        ]  # fmt: skip
        setattr(made, OWN, tuple(fields))
        return made

    def _members(cls, fields, late, met, **options):
        """What a class gets besides its slots; ``late`` if the standard library has not seen it, ``met`` will have the class."""
        own, frozen = cls.__dict__, options["frozen"]
        names = tuple([each[0] for each in fields])
        _require_order(fields)
        members = {OWN: fields, FROZEN: frozen}
        if late:
            members["__dataclass_fields__"] = _Late("__dataclass_fields__", fields, options)
            members["__dataclass_params__"] = _Late("__dataclass_params__", fields, options)
            if "__match_args__" not in own:
                members["__match_args__"] = names
            if sys.version_info >= (3, 13):
                members["__replace__"] = replace
            members.update(
                [(each[0], each[2]) for each in fields if each[0] in own and each[2] is not NOTHING]
            )
        else:
            params = own["__dataclass_params__"]
            params.init, params.repr, params.frozen = True, True, frozen
            params.eq, params.order = options["eq"], options["order"]
        if "__init__" not in own:
            members["__init__"] = late_init(cls, met, fields)
            members["__signature__"] = Signature()
        if "__repr__" not in own:
            members["__repr__"] = represented
        _add_comparisons(members, own, fields, options)
        if frozen:
            members["__setattr__"], members["__delattr__"] = refusals(met, frozenset(names))
            if options["slots"] and "__getstate__" not in own:
                members["__getstate__"] = state(names)
                members["__setstate__"] = set_state(names)
        return members

    def _require_order(fields):
        optional = False
        for name, _, default, factory, *_ in fields:
            if default is not NOTHING or factory is not None:
                optional = True
            elif optional:
                raise TypeError(f"non-default argument {name!r} follows default argument")

    def _add_comparisons(members, own, fields, options):
        compared = getter([each[0] for each in fields if each[4]])
        if options["eq"]:
            if "__eq__" not in own:
                members["__eq__"] = comparison(operator.eq, compared)
            if own.get("__hash__") is None:
                hashed = hash_of(getter([each[0] for each in fields if each[6]]))
                members["__hash__"] = hashed if options["frozen"] else None
        if options["order"]:
            for name in ("__lt__", "__le__", "__gt__", "__ge__"):
                members[name] = comparison(getattr(operator, name), compared)

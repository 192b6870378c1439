"""What code finds behind the names it uses, written as bytes.

It decides how a name counts: a function or class of the project by its definition and by what it has
captured, another package's by reference, data by value, and what has no stable value by the
statements that made it.  It notes where each leads, but does not go there.

The invariant: equal bytes mean that the name stands for the same thing, given that all it leads to is
the same as well.
"""

import os
import sys
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from merkl.digest import Encoder, Unencodable, encode, tagged, type_name
from merkl.python import owners
from merkl.python.kinds import is_code, is_section, is_settled, parts_of
from merkl.python.owners import wrapped_in
from merkl.python.parts import Reading
from merkl.python.project import Project
from merkl.python.trail import ABSENT, Lead, Watch

NOT_MEMBERS: Final = frozenset(
    {
        "__module__",
        "__qualname__",
        "__dict__",
        "__weakref__",
        "__doc__",
        "__firstlineno__",
        "__static_attributes__",
    }
)


class Describer:
    """Describes values, and collects where they lead and what was looked at on the way."""

    def __init__(self, project: Project, *, reading: Reading) -> None:
        self.project = project
        self.reading = reading
        self.leads: dict[tuple[int, str], Lead] = {}
        self.watch = Watch(reading)
        self.foreign: set[str] = set()  # Dotted names of other packages, and of Python's own.
        self._open: set[int] = set()  # Being described: met again, they are named only.

    def value(self, value: object) -> bytes:
        """Encode a value, functions and classes included.

        Raises:
            Unencodable: it, or something inside, is neither data nor code that can be found again.
        """
        if isinstance(value, str) and (rooted := self._rooted(value)) is not None:
            return rooted
        try:
            encoded = Encoder(self._hook, self._class_name).value(value)
        except RecursionError:
            raise Unencodable(value, "contains itself") from None
        if not is_settled(value):
            self.watch.value(value, encoded)
        return encoded

    def state(self, value: object) -> bytes:
        """As ``value``, but what cannot be encoded counts by its class."""
        if isinstance(value, ModuleType):
            return say("module", self.project.module_label(vars(value)))
        try:
            return self.value(value)
        except Unencodable:
            kind = value if isinstance(value, type) else type(value)
            self.foreign.add(kind.__module__)
            try:
                return tagged(b"C", self._class(kind) if self.is_own(kind) else encode(type_name(kind)))
            except Unencodable:
                return say("opaque", self._class_name(kind))

    def _rooted(self, value: str) -> bytes | None:
        """A path inside the project is the same path wherever the project lies."""
        root = self.project.root
        if value.startswith(root) and value[len(root) :][:1] in ("", os.sep):
            return say("in the project", value[len(root) + 1 :])
        return None

    def _hook(self, value: Any) -> bytes | None:
        self.foreign.add(type(value).__module__)
        if isinstance(value, os.PathLike) and type(value).__module__.startswith("pathlib"):
            return self._rooted(os.fspath(value))
        if isinstance(value, ModuleType):
            return self._whole_module(value)
        if is_section(value):
            return self.value(value.plain())
        if isinstance(value, type):
            return self._class(value) if self.is_own(value) else self._referred(value)
        if (parts := parts_of(value)) is not None:
            return tagged(b"C", encode(type(value).__name__) + b"".join(map(self.state_or_code, parts)))
        if is_code(value):
            return self._callable(value)
        if self.is_own(type(value)) and owners.classes_of(type(value)):
            self._class(type(value))
        return None

    def state_or_code(self, value: object) -> bytes:
        """As ``value`` for code, which must be followed; as ``state`` for all else."""
        return self.value(value) if is_code(value) else self.state(value)

    def _whole_module(self, module: ModuleType) -> bytes:
        """A module handed about as a value may be used in any way, so all of its text counts."""
        if not self.project.owns_module(vars(module)):
            self.foreign.add(module.__name__)
            return say("reference", module.__name__)
        if (native := owners.native_digest(module)) is not None:
            return say("native", self.project.module_label(vars(module)), native.hex())
        self.lead(Lead(module))
        return say("module", self.project.module_label(vars(module)))

    def _callable(self, value: Any) -> bytes:
        if isinstance(value, FunctionType) and owners.owns_function(self.project, value):
            return self._function(value)
        if isinstance(value, MethodType):
            return tagged(b"C", self.value(value.__func__) + self._instance(value.__self__))
        if isinstance(value, BuiltinFunctionType) and not isinstance(
            value.__self__, (ModuleType, type(None))
        ):
            return tagged(b"C", encode(value.__name__) + self.value(value.__self__))
        registry = getattr(value, "registry", None) if isinstance(value, FunctionType) else None
        if registry is not None and hasattr(value, "dispatch"):
            cases = sorted(self.value(kind) + self.value(case) for kind, case in registry.items())
            return tagged(b"C", b"single dispatch" + b"".join(cases))
        if (inner := wrapped_in(value)) is not None:
            if not isinstance(value, FunctionType):
                return tagged(b"C", self._held(value) if self.is_own(type(value)) else self.value(inner))
            outer = say("wrapper", str(value.__globals__.get("__name__")), value.__code__.co_qualname)
            kept = [self._cell(cell) for cell in value.__closure__ or ()]
            # What the wrapper was told may be held in objects without a value: then the text says it.
            kept += [say(form.hex()) for form in owners.decorators_of(inner)]
            return tagged(b"C", outer + self.value(inner) + b"".join(kept))
        return self._referred(value) or b""

    def _referred(self, value: Any) -> bytes | None:
        if isinstance(value, type) and value.__module__ == "builtins":
            return None
        text = owners.reference(value)
        module = sys.modules.get(str(getattr(value, "__module__", None)))
        own = module is not None and self.project.owns_module(vars(module))
        if own and module is not None and (native := owners.native_digest(module)) is not None:
            return say("native", self.project.module_label(vars(module)), native.hex(), str(text))
        if text is None:
            of = getattr(value, "__objclass__", None)  # A method of a class written in C.
            if of is None:
                raise Unencodable(value, "cannot be found by its name")
            text = f"{type_name(of)}.{value.__name__}"
        self.foreign.add(text.replace(":", "."))
        return say("reference", text)

    def _function(self, function: FunctionType) -> bytes:
        self.lead(Lead(function))
        code = function.__code__
        definition = owners.definition_of(function)
        syntax = definition.digest(self.reading) if definition else owners.bytecode(code)
        name = say(owners.function_label(self.project, function), code.co_qualname, syntax.hex())
        if id(function) in self._open:
            return name
        self._open.add(id(function))
        try:
            parts = [self._cell(cell) for cell in function.__closure__ or ()]
            parts += [self.state(value) for value in function.__defaults__ or ()]
            parts += [encode(n) + self.state(v) for n, v in sorted((function.__kwdefaults__ or {}).items())]
            if (inner := wrapped_in(function)) is not None:
                parts.append(self.state(inner))
        finally:
            self._open.discard(id(function))
        return tagged(b"C", name + b"".join(tagged(b"C", part) for part in parts))

    def _cell(self, cell: CellType) -> bytes:
        value = self.watch.cell(cell)
        return say("unbound") if value is ABSENT else self.state(value)

    def _class(self, cls: type) -> bytes:
        definitions = owners.classes_of(cls)
        if not definitions and owners.has_methods(cls):
            return self.members(cls)
        if not definitions:
            raise Unencodable(cls, "has no text that defines it")
        self.lead(Lead(cls))
        syntax = [d.digest(self.reading).hex() for d in definitions]
        name = say("class", self._class_name(cls), *syntax)
        if id(cls) in self._open:
            return name
        self._open.add(id(cls))
        try:
            return tagged(b"C", name + b"".join(map(self._cell, class_cells(cls).values())))
        finally:
            self._open.discard(id(cls))

    def members(self, cls: type) -> bytes:
        """A class without a text: what it is made of."""
        if id(cls) in self._open:
            return say("again")
        self._open.add(id(cls))
        try:
            held = {n: m for n, m in sorted(vars(cls).items()) if n not in NOT_MEMBERS}
            if issubclass(cls, tuple) and "_fields" in held:  # The rest was made from these, by Python.
                held = {name: held[name] for name in ("_fields", "_field_defaults")}
            parts = [encode(name) + self.state(member) for name, member in held.items()]
            parts += [self.state(base) for base in cls.__bases__]
            return tagged(b"C", say("class", self._class_name(cls)) + b"".join(parts))
        finally:
            self._open.discard(id(cls))

    def _instance(self, value: object) -> bytes:
        """The object that a method is bound to: its class and, as far as it encodes, its state."""
        if isinstance(value, type) or id(value) in self._open:
            return self.state(value)
        try:
            return self.value(value)
        except Unencodable:
            return self._held(value)

    def _held(self, value: object) -> bytes:
        if id(value) in self._open:
            return say("again")
        self._open.add(id(value))
        try:
            held = getattr(value, "__dict__", {})
            names = [n for n in sorted(held) if not n.startswith("__") or n == "__wrapped__"]
            fields = [encode(name) + self.state(held[name]) for name in names]
            return tagged(b"C", self.state(type(value)) + b"".join(fields))
        finally:
            self._open.discard(id(value))

    def lead(self, lead: Lead | None) -> None:
        if lead is not None:
            self.leads.setdefault(lead.identity(), lead)

    def is_own(self, value: object) -> bool:
        if isinstance(value, FunctionType):
            return owners.owns_function(self.project, value)
        if not isinstance(value, type):
            return False
        namespace = owners.namespace_of(value)
        return namespace is not None and self.project.owns_module(namespace)

    def _class_name(self, cls: type) -> str:
        namespace = owners.namespace_of(cls)
        if namespace is None or not self.project.owns_module(namespace):
            self.foreign.add(cls.__module__)
            return owners.reference(cls) or type_name(cls)
        return f"{self.project.module_label(namespace)}:{cls.__qualname__}"


def class_cells(cls: type) -> dict[str, CellType]:
    """What the methods of a class made inside a function have captured."""
    found: dict[str, CellType] = {}
    for member in list(vars(cls).values()):
        function = owners.plain_function(member)
        if function is not None and function.__code__.co_qualname.startswith(cls.__qualname__ + "."):
            found.update(zip(function.__code__.co_freevars, function.__closure__ or ()))
    found.pop("__class__", None)
    return dict(sorted(found.items()))


def say(*words: str) -> bytes:
    """What needs no more than words."""
    return tagged(b"C", encode(words))

"""All that a function runs, as far as the project's own code goes.

It decides how far code reaches: from definition to definition, along the names each one uses.  What a
single name stands for is decided in ``values``.

The invariant: the parts are a set.  They do not depend on the order in which they are found, and a
cycle of definitions needs no care, for a part holds its own text and what its names stand for, never
the parts that those lead to.
"""

import sys
import threading
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from merkl.dataclass import dataclass
from merkl.digest import Digest, Unencodable, encode
from merkl.python import owners
from merkl.python.definitions import definitions_in
from merkl.python.kinds import shown
from merkl.python.lookup import Lookup
from merkl.python.names import Import, Use
from merkl.python.parts import CodePart, Reading
from merkl.python.project import Project
from merkl.python.sources import Source, source_of_module
from merkl.python.trail import ABSENT, Lead, Place, Watch
from merkl.python.values import Describer, class_cells

if TYPE_CHECKING:
    import ast

    from merkl.python.definitions import Definition


@dataclass(frozen=True, slots=True)
class Reached:
    """What a value means, the parts it reaches, what was looked at to find them, and what of other packages it names."""

    description: bytes
    parts: tuple[CodePart, ...]
    watch: Watch
    foreign: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """One definition or variable: its part, and where that leads."""

    lead: Lead  # Keeps the thing alive, so that its identity stays its own.
    part: CodePart | None
    leads: tuple[Lead, ...]
    watch: Watch
    reads_docstrings: bool
    foreign: frozenset[str]


def reach(project: Project, value: object, *, raw: bool = False) -> Reached:
    """Find all that ``value`` reaches.

    Docstrings count only if something that is reached looks at one; if ``raw``, every character counts.

    Raises:
        Unencodable: ``value`` is no function, class, module or value with an encoding.
    """
    with _lock:
        if raw:
            return _walk(project, value, reading=Reading.RAW)[0]
        reached, reads_docstrings = _walk(project, value, reading=Reading.PLAIN)
        return _walk(project, value, reading=Reading.DOCUMENTED)[0] if reads_docstrings else reached


_lock = threading.RLock()
_pieces: dict[tuple[Project, Reading, int, str], _Piece] = {}
_KEPT = 20_000  # Pieces; beyond that the functions they keep alive are let go.


def _walk(project: Project, value: object, *, reading: Reading) -> tuple[Reached, bool]:
    describer = Describer(project, reading=reading)
    try:
        is_module = isinstance(value, ModuleType)
        description = describer.value(value) if is_module else describer.state_or_code(value)
    except Unencodable:
        if not isinstance(value, type):
            raise
        description = describer.members(value)
    watch, parts, foreign = describer.watch, set[CodePart](), describer.foreign
    todo = list(describer.leads.values())
    seen = set(describer.leads)
    reads_docstrings = False
    while todo:
        piece = _piece(project, todo.pop(), reading)
        watch.add(piece.watch)
        reads_docstrings |= piece.reads_docstrings
        foreign |= piece.foreign
        if piece.part is not None:
            parts.add(piece.part)
        fresh = [lead for lead in piece.leads if lead.identity() not in seen]
        seen.update(lead.identity() for lead in fresh)
        todo += fresh
    ordered = tuple(sorted(parts, key=lambda part: (part.name, part.digest)))
    return Reached(description, ordered, watch, _of_others(foreign, project)), reads_docstrings


def _of_others(names: set[str], project: Project) -> tuple[str, ...]:
    """The dotted names that do not lead into the project's own modules, sorted."""
    found = []
    for name in names:
        module = name
        while module and module not in sys.modules:
            module = module.rpartition(".")[0]
        if not module or not project.owns_module(vars(sys.modules[module])):
            found.append(name)
    return tuple(sorted(found))


def _piece(project: Project, lead: Lead, reading: Reading) -> _Piece:
    key = (project, reading, *lead.identity())
    known = _pieces.get(key)
    if known is not None and known.watch.holds(lambda: Describer(project, reading=reading).value):
        return known
    if len(_pieces) >= _KEPT:
        _pieces.clear()
    _pieces[key] = made = _Maker(project, lead, reading).piece()
    return made


class _Maker:
    """Makes one piece."""

    def __init__(self, project: Project, lead: Lead, reading: Reading) -> None:
        self._project = project
        self._lead = lead
        self._reading = reading
        self._describer = Describer(project, reading=reading)
        self._lookup = Lookup(self._describer)
        self._reads_docstrings = False

    def piece(self) -> _Piece:
        """The piece that the lead names."""
        about = self._lead.about
        part: CodePart | None
        if self._lead.name:
            part = self._variable(about, self._lead.name, self._lead.source)
        elif isinstance(about, FunctionType):
            part = self._function(about)
        elif isinstance(about, type):
            part = self._class(about)
        elif isinstance(about, ModuleType):
            part = self._module(about)
        else:
            place = Place(self._lead.namespace or {}, self._lead.source)
            label = self._label(place.namespace, place.source)
            part = self._defined(label, [about], place)
        leads = tuple(self._describer.leads.values())
        foreign = frozenset(self._describer.foreign)
        return _Piece(self._lead, part, leads, self._describer.watch, self._reads_docstrings, foreign)

    def _label(self, namespace: owners.Namespace, source: Source | None) -> str:
        known = {**namespace, "__file__": source.filename} if source else namespace
        return self._project.module_label(known)

    def _function(self, function: FunctionType) -> CodePart:
        definition = owners.definition_of(function)
        code, namespace = function.__code__, function.__globals__
        cells = dict(zip(code.co_freevars, function.__closure__ or ()))
        for value in function.__annotations__.values():
            self._annotation(value)
        label = owners.function_label(self._project, function)
        if definition is None:
            return self._without_text(label, function, Place(namespace, None, cells))
        notes = [
            f"# {name} = {shown(value, self._project)}\n"
            for name, value in zip(reversed(_positional(function)), reversed(function.__defaults__ or ()))
        ]
        for name, _ in definition.decorators:  # One that gives the function back leaves no other trace.
            decorator = namespace.get(name)
            module = getattr(
                decorator, "__name__" if isinstance(decorator, ModuleType) else "__module__", None
            )
            if isinstance(module, str):
                self._describer.foreign.add(module)
        place = Place(namespace, definition.source, cells, definition.within)
        return self._defined(label, [definition], place, notes=notes)

    def _annotation(self, value: Any) -> None:
        """A class of the project in a signature matters to whoever reads the signature."""
        if isinstance(value, type):
            self._describer.state(value)
        for inside in getattr(value, "__args__", ()):
            self._annotation(inside)

    def _class(self, cls: type) -> CodePart | None:
        definitions = owners.classes_of(cls)
        if not definitions:
            return None
        namespace = owners.namespace_of(cls) or {}
        source = definitions[0].source
        return self._defined(
            self._label(namespace, source), definitions, Place(namespace, source, class_cells(cls))
        )

    def _module(self, module: ModuleType) -> CodePart | None:
        namespace = vars(module)
        source = source_of_module(namespace)
        label = self._label(namespace, source)
        if source is None:  # A package without a text of its own.
            return None
        return self._defined(label, [definitions_in(source).module], Place(namespace, source))

    def _variable(self, namespace: owners.Namespace, name: str, source: Source | None) -> CodePart | None:
        value = self._describer.watch.name(namespace, name)
        label = self._label(namespace, source)
        definition = definitions_in(source).variable(name) if source else None
        where = f"{label}:{definition.line}" if definition else label
        try:
            encoded = self._describer.value(value)
        except Unencodable:
            return self._by_statements(label, name, value, Place(namespace, source))
        self._reads_docstrings |= name == "__doc__"
        text = f"{name} = {shown(value, self._project) if len(encoded) < 100_000 else type(value)}\n"
        return CodePart(f"{label}:{name}", Digest.of(encoded), text, where)

    def _by_statements(self, label: str, name: str, value: object, place: Place) -> CodePart:
        """A variable that is no value: a logger, a client.  It counts by the text that makes it."""
        definitions = definitions_in(place.source) if place.source else None
        found = definitions.variable(name) if definitions else None
        made = [
            self._import(statement, alias.name, name, place)
            for statement in (definitions.imported(name) if definitions else ())
            for alias in statement.names
            if alias.name == "*" or name == (alias.asname or alias.name)
        ]
        if found is not None:
            return self._defined(label, [found], place, meant=made)
        made.append(
            self._describer.members(value) if isinstance(value, type) else self._describer.state(value)
        )
        digest = Digest.of(encode("made elsewhere") + b"".join(made))
        return CodePart(f"{label}:{name}", digest, f"{name}: {type(value)}\n", label)

    def _import(self, statement: "ast.ImportFrom", member: str, name: str, place: Place) -> bytes:
        origin = Import(statement.module or "", statement.level, name if member == "*" else member)
        return self._lookup.use(Use((), origin), place)[0]

    def _defined(
        self,
        label: str,
        found: "list[Definition]",
        place: Place,
        *,
        notes: Iterable[str] = (),
        meant: Iterable[bytes] = (),
    ) -> CodePart:
        """A part made of syntax, and of what the names in it stand for."""
        bound, said = list(meant), list(notes)
        self._reads_docstrings |= any(d.reads_docstrings for d in found)
        for use in sorted({use for d in found for use in d.uses}, key=Use.order):
            encoded, note = self._lookup.use(use, place)
            bound.append(encode((use.chain, str(use.origin or ""))) + encoded)
            if note and use.chain:
                said.append(f"# {use.chain[0]} = {note}\n")
        syntax = [d.digest(self._reading).hex() for d in found]
        digest = Digest.of(encode(("definition", *syntax)) + b"".join(bound))
        text = "".join(d.text for d in found) + "".join(sorted(set(said)))
        return CodePart(f"{label}:{found[0].qualname}", digest, text, f"{label}:{found[0].line}")

    def _without_text(self, label: str, function: FunctionType, place: Place) -> CodePart:
        code = function.__code__
        names = sorted(_names(code))
        bound = []
        for name in names:
            value = place.namespace.get(name, ABSENT)
            if value is ABSENT and name not in place.cells:
                continue
            members = [m for m in names if isinstance(value, ModuleType) and hasattr(value, m)]
            chains: list[tuple[str, ...]] = [(name, member) for member in members]
            for chain in chains or [(name,)]:
                bound.append(encode(chain) + self._lookup.use(Use(chain), place)[0])
        digest = Digest.of(encode(("bytecode", owners.bytecode(code).hex())) + b"".join(bound))
        text = f"# {code.co_qualname}: no text, compiled by Python {sys.version.split()[0]}\n"
        return CodePart(f"{label}:{code.co_qualname}", digest, text, f"{label}:{code.co_firstlineno}")


def _positional(function: FunctionType) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def _names(code: Any) -> set[str]:
    """All names that code and the code inside it read; attributes among them."""
    inner = (const for const in code.co_consts if type(const) is type(code))
    return {*code.co_names, *code.co_freevars}.union(*map(_names, inner))

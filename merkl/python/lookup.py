"""What a name in the code stands for.

It decides how a chain such as ``m.sub.f`` is followed, from a global, a closure variable or an import inside
a function, through the modules of the project, to what it ends in.  What that means is decided in
``values``.

The invariant: a name that is not there counts as well; once it is there, the code is another.
"""

import builtins
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from types import CellType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from merkl.digest import Unencodable, encode, tagged
from merkl.python import owners
from merkl.python.definitions import definitions_in
from merkl.python.kinds import FIXED, is_code, is_section, shown
from merkl.python.owners import wrapped_in
from merkl.python.sources import source_of_module
from merkl.python.trail import ABSENT, Lead, Place
from merkl.python.values import Describer, say

if TYPE_CHECKING:
    from merkl.python.names import Import, Use

BY_NAME: Final = frozenset({"__name__", "__file__", "__spec__", "__package__", "__builtins__", "__loader__"})


class Lookup:
    """Looks names up on behalf of one describer."""

    def __init__(self, describer: Describer) -> None:
        self._describer = describer
        self._project = describer.project

    def use(self, use: "Use", place: Place) -> tuple[bytes, str]:
        """What one use stands for: as bytes, and for people (empty where the text says it all)."""
        if use.origin is not None:
            return self._imported(use.origin, use.chain, place)
        name, *rest = use.chain
        if name in place.cells:
            return self._captured(place.cells[name], rest, place)
        namespace = place.namespace
        if name in BY_NAME:
            return say("module", name), ""
        value = self._describer.watch.name(namespace, name)
        lead = Lead(namespace, name, place.source)
        if value is not ABSENT:
            return self._follow(value, rest, lead, "from")
        if (later := self._not_yet(lead)) is not None:
            return later, ""
        return say("built in" if hasattr(builtins, name) else "unbound", name), ""

    def _captured(self, cell: CellType, rest: list[str], place: Place) -> tuple[bytes, str]:
        value = self._describer.watch.cell(cell)
        if value is ABSENT:
            return say("unbound"), ""
        if isinstance(value, ModuleType):
            return self._follow(value, rest, None, "")
        try:
            return self._describer.value(value), shown(value, self._project)
        except Unencodable:
            if place.within is not None:  # Then it counts by the text of the function that made it.
                self._describer.lead(Lead(place.within, "", place.source, place.namespace))
            return self._describer.state(value), ""

    def _imported(self, origin: "Import", rest: Iterable[str], place: Place) -> tuple[bytes, str]:
        chain = [*([origin.member] if origin.member else []), *rest]
        dots = "." * origin.level
        package = (
            place.namespace.get("__package__") or str(place.namespace.get("__name__")).rpartition(".")[0]
        )
        try:
            name = importlib.util.resolve_name(dots + origin.module, package)
            module = self._module(name)
        except Exception:  # noqa: BLE001  # Importing runs the user's code, which may raise anything.
            return say("unbound", dots + origin.module, *chain), ""
        if module is None:
            self._describer.foreign.add(".".join((name, *chain)))
            return say("reference", ".".join((name, *chain))), ""
        return self._follow(module, chain, None, "")

    def _module(self, name: str) -> ModuleType | None:
        """A module of the project, imported if need be; None for another's, which is not imported."""
        if name not in sys.modules:
            top = name.partition(".")[0]
            spec = importlib.util.find_spec(top)
            places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
            place = next((p for p in places if p is not None and p != "namespace"), None)
            if not self._project.owns(place, top) and not self._project.owns(None, name):
                return None
            importlib.import_module(name)
        module = sys.modules[name]
        return module if self._project.owns_module(vars(module)) else None

    def _follow(self, value: object, rest: list[str], lead: Lead | None, how: str) -> tuple[bytes, str]:
        """Go along a chain of attributes, through the project's modules, to what it ends in."""
        while isinstance(value, ModuleType):
            if not self._project.owns_module(vars(value)):
                text = ".".join((value.__name__, *rest))
                self._describer.foreign.add(text)
                return say("reference", text), text if how and not rest else ""
            if (native := owners.native_digest(value)) is not None:
                return say("native", self._project.module_label(vars(value)), native.hex(), *rest), ""
            if not rest:
                return self._describer.value(value), ""
            module, (name, *rest) = value, rest
            value = self._member(module, name)
            lead = Lead(vars(module), name, source_of_module(vars(module)))
            if value is ABSENT:
                later = self._not_yet(lead)
                return later or say("unbound", self._project.module_label(vars(module)), name), ""
        if rest and is_section(value):
            return self._parameter(value, rest)
        return self._end(value, rest, lead)

    def _parameter(self, value: Any, rest: list[str]) -> tuple[bytes, str]:
        """Of a section of parameters, only what is asked for counts."""
        while rest and is_section(value) and rest[0] in value:
            value = value[rest.pop(0)]
        return self._describer.value(value), shown(value, self._project)

    def _member(self, module: ModuleType, name: str) -> object:
        namespace = vars(module)
        if name not in namespace:
            try:
                if "__path__" in namespace:
                    importlib.import_module(f"{module.__name__}.{name}")
            except ImportError:
                pass
        if name not in namespace and (lazy := namespace.get("__getattr__")) is not None:
            self._describer.value(lazy)
            try:
                return getattr(module, name)
            except Exception:  # noqa: BLE001  # The user's code.
                return ABSENT
        return self._describer.watch.name(namespace, name)

    def _end(self, value: object, rest: list[str], lead: Lead | None) -> tuple[bytes, str]:
        if is_code(value) or lead is None:
            try:
                return self._code(value, rest, lead)
            except Unencodable:
                if lead is None:
                    return self._describer.state(value), ""
        return self._variable(lead), ""

    def _variable(self, lead: Lead) -> bytes:
        self._describer.lead(lead)
        place = {**lead.about, "__file__": lead.source.filename} if lead.source else lead.about
        return say("variable", self._project.module_label(place), lead.name)

    def _not_yet(self, lead: Lead) -> bytes | None:
        """A name that its module's text binds further down: it will be there when the code runs."""
        bound = lead.source is not None and definitions_in(lead.source).variable(lead.name) is not None
        return self._variable(lead) if bound else None

    def _code(self, value: object, rest: list[str], lead: Lead | None) -> tuple[bytes, str]:
        own = self._describer.is_own(value)
        if not own and lead is not None:
            text = owners.imported_reference(self._project, lead.about, lead.source, lead.name)
            if text is not None and wrapped_in(value) is None:
                self._describer.foreign.add(text.replace(":", "."))
                return say("reference", text), text
        described = self._describer.value(value)
        if rest and own:
            holders = value.__mro__ if isinstance(value, type) else (value,)
            read = next((vars(h)[rest[0]] for h in holders if rest[0] in vars(h)), None)
            if type(read) in FIXED:  # The text may say ``LIMIT = read_it_somewhere()``.
                described = tagged(b"C", described + encode(read))
        return described, "" if own else (owners.reference(value) or "")

"""Targets: names for what a Merklfile can be asked for, and calls of them.

It decides when a target's function runs: once for each set of arguments in a session, however many targets call it.
It knows neither the Merklfile that declares a target nor the command line.

The invariant: whatever a target's function does, it does in the scope of that target.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Final, Generic, ParamSpec, TypeVar

from merkl.dataclass import dataclass, field
from merkl.digest import Encoder, Hook, Unencodable, tagged
from merkl.errors import MerklfileError
from merkl.lending import lend_to_threads, lent
from merkl.nodes import Future, Place, Scope, Session, calling_place, session, within
from merkl.python.unfit import unfit

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Required:
    """Stands where a default would: the parameter has none."""


REQUIRED: Final = Required()


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a target can be told.

    ``hint`` is its type as text, empty if there is none.  ``several`` says that it is ``*args``, and takes any number.
    """

    name: str
    hint: str
    default: object = REQUIRED
    several: bool = False

    @property
    def required(self) -> bool:
        """Whether a request must give it."""
        return self.default is REQUIRED


@dataclass(frozen=True, slots=True)
class Declared:
    """What a Merklfile says of a target.

    ``name`` begins with ``prefix``, the one of the file that declares it.  ``base`` is the directory that relative paths
    in its function start from.  ``after`` are names, targets and Futures that must have ended before its own tasks start.
    """

    name: str
    doc: str
    place: Place
    default: bool = False
    always: bool = False
    sidecar: bool = False
    after: tuple[object, ...] = ()
    base: str = ""
    prefix: str = ""


@dataclass(slots=True, eq=False)
class Made:
    """One call of a target, and the calls of others inside it, in order.  ``identity`` is None if no two calls are alike."""

    target: "Target[..., Any]"
    identity: bytes | None
    value: Any = None
    inside: list["Made"] = field(default_factory=list)


_making: ContextVar[tuple[Made, ...]] = ContextVar("merkl_making", default=())


class Target(Generic[P, R]):
    """A function with a name that ``merkl build`` knows; call it for what it returns.

    Calling it again with equal arguments gives the same objects and runs nothing.  Targets in what the function returns
    are called, and what it yields is collected into a list.
    """

    def __init__(self, function: Callable[P, R], declared: Declared) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.declared = declared
        self._memo: tuple[Session | None, dict[bytes, Made]] = (None, {})

    def __repr__(self) -> str:
        return f"<target {self.name}>"

    @property
    def name(self) -> str:
        """Its full name, such as ``lib/test``."""
        return self.declared.name

    @property
    def doc(self) -> str:
        """One line that describes it; may be empty."""
        return self.declared.doc

    @property
    def place(self) -> Place:
        """Where it is declared."""
        return self.declared.place

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The function's own signature."""
        return inspect.signature(self.function)

    @functools.cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """What can be set by name, in the order of the function.  ``**options`` is left out."""
        return tuple(
            Parameter(
                each.name, _hint_text(each.annotation), _default(each), each.kind is each.VAR_POSITIONAL
            )
            for each in self.signature.parameters.values()
            if each.kind is not each.VAR_KEYWORD
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the function returns.

        Raises:
            CallError: it does not take these arguments.
            MerklfileError: it is being called with these arguments already.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError:
            place = calling_place()
            raise unfit(
                self.name, self.signature, args, kwargs, at=place, defined=self.place, what="the target "
            ) from None
        value: R = self.made(bound).value
        return value

    def made(self, bound: inspect.BoundArguments) -> Made:
        """The call with these arguments, made now unless this session has it."""
        bound.apply_defaults()
        identity = _identity(bound.arguments)
        current = session()
        if self._memo[0] is not current:
            self._memo = (current, {})
        made = None if identity is None else self._memo[1].get(identity)
        making = _making.get() or lent(_making) or ()
        if made is None:
            self._refuse_cycle(making, identity)
            made = self._make(bound, identity, making)
            if identity is not None:
                self._memo[1][identity] = made
        if making:
            making[-1].inside.append(made)
        return made

    def _make(self, bound: inspect.BoundArguments, identity: bytes | None, making: tuple[Made, ...]) -> Made:
        made = Made(self, identity)
        token = _making.set((*making, made))
        try:
            with within(Scope(self.declared.base, self.name)), lend_to_threads():
                value: Any = self.function(*bound.args, **bound.kwargs)
                if inspect.isgenerator(value):
                    value = list(value)
                made.value = _with_targets_called(value)
        finally:
            _making.reset(token)
        return made

    def _refuse_cycle(self, making: tuple[Made, ...], identity: bytes | None) -> None:
        for index, made in enumerate(making):
            if made.target is self and (identity is None or made.identity == identity):
                names = [*(each.target.name for each in making[index:]), self.name]
                raise MerklfileError(
                    f"the target {self.name} calls itself: {' → '.join(names)}",
                    hint="a target can call only what it needs first",
                )


def _default(parameter: inspect.Parameter) -> object:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return ()
    return REQUIRED if parameter.default is parameter.empty else parameter.default


def _hint_text(annotation: object) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _identity(arguments: dict[str, Any]) -> bytes | None:
    try:
        return Encoder(_future_hook).value(dict(arguments))
    except Unencodable:
        return None


def _future(value: object) -> bytes | None:
    if not isinstance(value, Future):
        return None
    return tagged(b"F", bytes(value.node.key) + value.output.encode("utf-8", "surrogatepass"))


_future_hook: Final[Hook] = _future


def _with_targets_called(value: Any) -> Any:
    """``value`` with every target in its lists, tuples and dicts replaced by what it returns without arguments."""
    if isinstance(value, Target):
        return value()
    kind = type(value)
    if kind is list or kind is tuple:
        return kind([_with_targets_called(item) for item in value])
    if kind is dict:
        return {name: _with_targets_called(item) for name, item in value.items()}
    return value


def futures_in(value: object) -> list[Future[Any]]:
    """The Futures anywhere in ``value``, each once, in order; what is no Future and no container is passed over.

    Lists, tuples, dicts (their values), sets and dataclass instances are containers.
    """
    found: dict[Future[Any], None] = {}
    been: dict[int, object] = {}  # A container may hold itself.
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, Future):
            found.setdefault(item)
        elif id(item) not in been and (members := _members(item)) is not None:
            been[id(item)] = item
            todo += reversed(list(members))
    return list(found)


def _members(value: Any) -> Iterable[object] | None:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, (set, frozenset)):
        # The order of the code, since a set's own differs from run to run.
        return sorted(value, key=lambda member: member.node.serial if isinstance(member, Future) else -1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return (getattr(value, each.name, None) for each in dataclasses.fields(value))
    return None


def everything_inside(made: Made) -> Iterator[Made]:
    """``made`` and all calls inside it, each once, inner ones first."""
    done: set[int] = set()
    todo = [(made, False)]
    while todo:
        each, expanded = todo.pop()
        if id(each) in done:
            continue
        if expanded:
            done.add(id(each))
            yield each
            continue
        todo.append((each, True))
        todo += [(inner, False) for inner in reversed(each.inside)]

"""One call of a Python task: arguments frozen with the Futures taken out, and put back as values when it runs.

It decides what of an argument is a dependency or a source.

The invariant: what is frozen cannot be changed through the caller's lists, dicts and sets.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from merkl.dataclass import dataclass
from merkl.digest import Encoder, Unencodable, encode, tagged
from merkl.errors import TaskError, UnhashableArgument
from merkl.execute.secrets import Secret
from merkl.nodes import Dep, Future, Source, session
from merkl.python.code import CodeHook
from merkl.python.foreign import Reducer, can_change, foreign_encoding
from merkl.python.forms import Written, any_registered, written_argument
from merkl.workspace.refs import DirRef, FileRef


@dataclass(frozen=True, slots=True)
class FromDep:
    """Stands where a Future was: the node's dependency at ``index``."""

    index: int

    def __repr__(self) -> str:
        return f"<input {self.index}>"

    def encoded(self) -> bytes:
        """What it is in a key: the dependencies themselves follow."""
        return tagged(b"D", self.index.to_bytes(4, "big"))


class Unchanged:
    """Stands for an argument that its owner could still change in place; it travels only if nobody did."""

    __slots__ = ("_code_hook", "_encoded", "value")

    def __init__(self, value: Any, code_hook: CodeHook) -> None:
        self.value = value
        self._code_hook = code_hook
        self._encoded = b""

    def __repr__(self) -> str:
        return repr(self.value)

    def encode(self, encode: Callable[[object], bytes]) -> bytes:
        """What the value is in a key."""
        self._encoded = encode(self.value)
        return self._encoded

    def __reduce__(self) -> Any:
        # A file inside counts by its place among the call's files, which is not known here; its change is noticed anyway.
        again = Freezer(self._code_hook)
        if again.encoded(self.value) != self._encoded and self._encoded and not again.sources:
            raise TaskError(
                f"an argument of type {type(self.value).__qualname__} was changed after the task was called with it",
                hint="pass a copy, or change it before the call",
            )
        return _itself, (self.value,)


def _itself(value: Any) -> Any:
    return value


class _Froms(dict[int, FromDep]):
    """What stands in the arguments for a Future, shared by all calls."""

    def __missing__(self, index: int) -> FromDep:
        made = self[index] = FromDep(index)
        return made


_FROMS: Final = _Froms()


def unpacked(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The frozen arguments of a call, from how its node keeps them: behind a number that has a bit for each Future.

    So a tuple of plain values and Futures refers to nothing that the garbage collector has to look at, of a hundred
    thousand.
    """
    bits, *values = arguments
    if bits:
        values = [_FROMS[each] if bits >> at & 1 else each for at, each in enumerate(values)]
    return tuple(values)


class Freezer:
    """Takes one call's arguments apart; collects its dependencies, after those there are already, and sources."""

    def __init__(
        self, code_hook: CodeHook, deps: list[Dep] | None = None, sources: list[Source] | None = None
    ) -> None:
        self.deps: list[Dep] = deps or []
        self.sources: list[Source] = sources or []
        # By what two Futures have in common that are equal: they tell whoever may be listening that they are hashed.
        self._index = {(dep.future.node.key, dep.future.output): at for at, dep in enumerate(self.deps)}
        self._encoder = Encoder(self._hook, last=Reducer(self._inner))
        self._code_hook = code_hook

    def encode(self, value: object, task: str, parameter: str) -> bytes:
        """An encoding of a frozen argument.

        Raises:
            UnhashableArgument: naming the task, the parameter, the type and the place inside.
        """
        try:
            return self._encoder.value(value)
        except Unencodable as error:
            raise UnhashableArgument(
                f"{task}: the argument {parameter!r} holds a value of type {error.type.replace(':', '.')}, which {error.reason}",
                inside=(parameter + error.where)[:80] if error.where else None,
                hint="pass plain values, dataclasses, arrays, frames, paths, a FileRef or a Future; serializers= writes others",
            ) from None

    def freeze(self, value: Any, task: str, parameter: str) -> Any:
        """An argument with its containers copied and its Futures replaced by ``FromDep``.

        Raises:
            UnhashableArgument: it contains itself, or is nested too deep.
        """
        try:
            return self._frozen(value)
        except RecursionError:
            self.encode(value, task, parameter)  # Refuses it, and says which part.
            raise

    def _frozen(self, value: Any) -> Any:
        kind = type(value)
        if kind in (str, int, float, bool, bytes, type(None)):
            return value
        if isinstance(value, Future):
            return FromDep(self.dep(value))
        if kind is Secret:
            return value
        if any_registered() and (written := written_argument(value)) is not value:
            return written
        frozen = rebuilt(value, self._frozen)
        return Unchanged(value, self._code_hook) if frozen is value and can_change(value) else frozen

    def dep(self, future: Future[Any]) -> int:
        """The place of a Future among the dependencies."""
        at = self._index.setdefault((future.node.key, future.output), len(self.deps))
        if at == len(self.deps):
            self.deps.append(Dep(future))
        return at

    def _hook(self, value: object) -> bytes | None:
        if isinstance(value, FromDep):
            return value.encoded()
        if type(value) is Secret:
            return tagged(b"X", encode(value.name))
        if isinstance(value, Written):
            return value.encoded()
        if isinstance(value, (FileRef, DirRef)):
            self.sources.append(session().source(value, "dir" if isinstance(value, DirRef) else "file"))
            return tagged(b"S", len(self.sources).to_bytes(4, "big"))
        if isinstance(value, Unchanged):
            return value.encode(self._inner)
        encoded = self._code_hook(value, self._inner)
        return foreign_encoding(value, self._inner) if encoded is None else encoded

    def _inner(self, value: object) -> bytes:
        return self._encoder.value(value)

    def encoded(self, value: object) -> bytes:
        """The encoding of a value that had one before; empty if it has none any more."""
        try:
            return self._inner(value)
        except (Unencodable, RecursionError):
            return b""


def rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    """A container with ``change`` applied to its members; whatever is no container as it is.

    Lists, tuples, named tuples, dicts (values), sets and dataclass instances are containers.
    """
    kind = type(value)
    if kind is list:
        return [change(item) for item in value]
    if kind is tuple:
        return tuple(change(item) for item in value)
    if kind is dict:
        return {name: change(item) for name, item in value.items()}
    if kind is set or kind is frozenset:
        return kind(change(item) for item in value)
    if isinstance(value, dict) and hasattr(value, "plain"):  # A section of a parameters file.
        return {name: change(item) for name, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return kind(*(change(item) for item in value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        changed = {name: new for name in names if (new := change(old := getattr(value, name))) is not old}
        return _copied(value, changed) if changed else value
    return value


def _copied(value: Any, changed: Mapping[str, Any]) -> Any:
    """A shallow copy with some fields set, without running ``__init__`` or ``__post_init__`` again."""
    import copy

    new = copy.copy(value)
    for name, item in changed.items():
        object.__setattr__(new, name, item)
    return new


def filled(value: Any, values: Sequence[Any]) -> Any:
    """The opposite of ``Freezer.freeze``: with the values of dependencies and secrets put in."""
    if isinstance(value, FromDep):
        return values[value.index]
    if type(value) is Secret:
        return value.value
    if type(value) in (str, int, float, bool, bytes, type(None)):
        return value
    return rebuilt(value, lambda item: filled(item, values))


def secrets_in(value: Any) -> tuple[str, ...]:
    """The names of the secrets in frozen arguments."""
    found: dict[str, None] = {}

    def see(each: Any) -> Any:
        if type(each) is Secret:
            found[each.name] = None
        elif isinstance(each, Unchanged):
            see(each.value)
        elif type(each) not in (str, int, float, bool, bytes, type(None), FromDep):
            if type(each) is dict:
                for name in each:
                    see(name)
            if rebuilt(each, see) is each and not dataclasses.is_dataclass(each):
                _see_inside(each, found)
        return each

    see(value)
    return tuple(found)


def _see_inside(value: Any, found: dict[str, None]) -> None:
    """Add the names of the secrets in an object: where pickle comes, they are found.  Arrays are not read."""
    import cloudpickle

    class Finder(cloudpickle.Pickler):  # type: ignore[misc]
        def persistent_id(self, each: Any) -> str | None:
            if type(each) is not Secret:
                return None
            found[each.name] = None
            return each.name

    # What cannot be pickled was refused, or comes from a serializer of its own.
    with contextlib.suppress(Exception):
        Finder(_Nowhere(), protocol=5, buffer_callback=lambda _: None).dump(value)


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        """Take it."""
        return len(data)


def standing_in(value: Any) -> Any:
    """``value`` with a text for every secret, which is what the function gets."""
    if type(value) is Secret:
        return ""
    if type(value) in (str, int, float, bool, bytes, type(None)) or isinstance(value, Future):
        return value
    return rebuilt(value, standing_in)

"""Which serializer an output or an argument of a task has: by option, by type, by type hint.

It decides what of a serializer is in a key: its name with its version, or with its code if it has no version.

The invariant: the worker that writes a value and the build that reads it mean the same serializer by one label.
"""

import io
import pickle
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

from merkl.dataclass import dataclass, field
from merkl.digest import Digest, Encoder, Unencodable, encode, tagged, type_name
from merkl.errors import SerializationError, TaskError, did_you_mean
from merkl.nodes import Place, calling_place, session
from merkl.python.code import encode_hook
from merkl.python.foreign import Reducer
from merkl.python.hints import Hints
from merkl.python.outs import Captured, Outs
from merkl.python.project import Project
from merkl.python.settings import Settings
from merkl.store.serializers import Serializer, is_builtin, learn, learned, named

Labelled: TypeAlias = tuple[str, Serializer]

_registered: dict[object, Serializer] = {}  # By type or hint.
_generation: list[int] = [0]  # How often that changed.
_labels: dict[int, tuple[Serializer, tuple[str, ...], str]] = {}


def register_serializer(serializer: Serializer | str, *kinds: object) -> None:
    """Keep values of these types, and outputs and parameters with these hints, in the serializer's form.

    A type is meant exactly, without those derived from it.  It holds for calls made from now on, in workers too.

    Raises:
        TaskError: it is no serializer, or no types are named.
    """
    if not kinds:
        raise TaskError(
            "register_serializer needs the types that the serializer is for",
            hint="register_serializer(serializer, MyType)",
            at=calling_place(),
        )
    found = named(serializer)
    for kind in kinds:
        if not isinstance(kind, type) and type(kind).__module__ == "builtins":
            raise TaskError(
                f"register_serializer takes types, and {kind!r:.80} is none",
                hint="register_serializer(serializer, MyType)",
                at=calling_place(),
            )
    for kind in kinds:
        if isinstance(kind, type):  # The class of a Merklfile that was loaded before takes its place no more.
            for old in [
                it for it in _registered if isinstance(it, type) and type_name(it) == type_name(kind)
            ]:
                del _registered[old]
        _registered[kind] = found
    learn(found.name, found)
    _generation[0] += 1
    for task in list(_asked):
        task.forget_forms()


def label_of(serializer: Serializer) -> str:
    """What a serializer is in keys and records.

    Raises:
        TaskError: it has no version, and its code or state cannot be told from others'.
    """
    if is_builtin(serializer):
        return serializer.name
    if version := getattr(serializer, "version", ""):
        if not isinstance(version, str):
            raise TaskError(
                f"the version of the serializer {serializer.name!r} is no string: {version!r}",
                hint='version = "1"',
            )
        return learn(f"{serializer.name}@{version}", serializer)
    current = session()
    project = (current.root, *current.project_modules)
    known = _labels.get(id(serializer))
    if known is None or known[0] is not serializer or known[1] != project:
        digest = _code_of(serializer, Project(current.root, current.project_modules))
        known = _labels[id(serializer)] = (serializer, project, f"{serializer.name}#{digest.hex()[:16]}")
    return learn(known[2], serializer)


def _code_of(serializer: Serializer, project: Project) -> Digest:
    """A digest of a serializer's class and state, with the code of the project's functions in it."""
    code = encode_hook(project)

    def value(value: object) -> bytes:
        return Encoder(code, last=reducer).value(value)

    reducer = Reducer(value, checked=False)
    try:
        return Digest.of(value(type(serializer)) + value(dict(vars(serializer))))
    except (Unencodable, TypeError) as error:
        raise TaskError(
            f"the serializer {serializer.name!r} has no version, and what it is made of has no encoding: {error}",
            hint=f'give it a version: {type(serializer).__name__}.version = "1"',
        ) from None


# ---- of one task ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forms:
    """The serializers of one task's outputs and parameters, with their labels; ``default`` is of outputs not named."""

    outs: Mapping[str, Labelled] = field(default_factory=dict)
    default: Labelled | None = None
    parameters: Mapping[str, Labelled] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """What is in the key of a call; nothing if the task has none."""
        if not self.outs and self.default is None:
            return b""
        outs = {name: label for name, (label, _) in self.outs.items()}
        return encode(("serializers", outs, self.default[0] if self.default is not None else None))

    def labels(self) -> str:
        """Which outputs and parameters have which, for people."""
        if not self.outs and self.default is None and not self.parameters:
            return ""
        named = [*self.outs.items(), *self.parameters.items()]
        shown = [] if self.default is None else [self.default[0]]
        return ", ".join([*shown, *(f"{name or 'result'}: {label}" for name, (label, _) in named)])

    def arguments(self) -> dict[str, Callable[[Any], Any]]:
        """What makes of an argument what stands for it, by parameter."""
        return {
            name: lambda value, label=label, it=it: Written(value, label, it)  # type: ignore[misc]
            for name, (label, it) in self.parameters.items()
        }

    def of(self, output: str) -> Labelled | None:
        """The serializer of an output, if it has one."""
        return self.outs.get(output, self.default)


NONE: Final = Forms()


class Task(Protocol):
    """What is asked of a task here."""

    name: str
    settings: Settings
    place: Place

    @property
    def outs(self) -> Outs: ...
    @property
    def parameters(self) -> tuple[str, ...]: ...
    @property
    def hints(self) -> Hints: ...
    def forget_forms(self) -> None: ...


_asked: "weakref.WeakSet[Task]" = weakref.WeakSet()


def forms_of(task: Task) -> Forms:
    """The serializers that the options and hints of a task say.

    Raises:
        TaskError: an option names what is neither an output nor a parameter, or is both.
    """
    settings = task.settings
    _asked.add(task)
    if settings.serializer is None and not settings.serializers and not _registered:
        return NONE
    dynamic = callable(settings.outs)
    outs_of = None if dynamic else task.outs
    names = outs_of.result_names if isinstance(outs_of, Captured) else outs_of.names if outs_of else ()
    outs: dict[str, Labelled] = {}
    parameters: dict[str, Labelled] = {}
    for name, serializer in settings.serializers.items():
        _check_name(task, name, names, task.place, dynamic=dynamic)
        (parameters if name in task.parameters else outs)[name] = label_of(serializer), serializer
    default = settings.serializer
    if _registered:
        for name in names if default is None else ():
            of = outs_of.inner(name) if isinstance(outs_of, Captured) else name
            if name not in outs and (by_hint := _by_hint(task.hints.output(of))) is not None:
                outs[name] = label_of(by_hint), by_hint
        for name in task.parameters:
            if name not in parameters and (by_hint := _by_hint(task.hints.parameter(name))) is not None:
                parameters[name] = label_of(by_hint), by_hint
    return Forms(outs, None if default is None else (label_of(default), default), parameters)


def _by_hint(hint: object) -> Serializer | None:
    try:
        return _registered.get(hint)
    except TypeError:  # Not every hint can be hashed.
        return None


def _check_name(task: Task, name: str, names: tuple[str, ...], place: Place, *, dynamic: bool) -> None:
    both = [name in task.parameters, name in names]
    if all(both):
        raise TaskError(
            f"{task.name}: serializers names {name!r}, which is a parameter and an output",
            hint="rename one of them",
            at=place,
        )
    if not any(both) and not dynamic:
        known = [*task.parameters, *filter(None, names)]
        hint = did_you_mean(name, known, f"there are {', '.join(known)}; serializer= is for the only output")
        raise TaskError(
            f"{task.name}: serializers names {name!r}, which is no parameter and no output",
            hint=hint,
            at=place,
        )


# ---- arguments -----------------------------------------------------------------------------------------------------


class Written:
    """Stands for an argument that a serializer writes: in keys as what that is, and so it travels."""

    __slots__ = ("data", "label", "serializer", "value")

    def __init__(self, value: Any, label: str, serializer: Serializer) -> None:
        buffer = io.BytesIO()
        _check_accepted(serializer, value, "as an argument")
        serializer.dump(value, buffer)
        self.value = value
        self.label = label
        self.serializer = serializer
        self.data = buffer.getvalue()

    def __repr__(self) -> str:
        return repr(self.value)

    def __reduce__(self) -> Any:
        return _read, (self.serializer, self.data)

    def encoded(self) -> bytes:
        """What it is in a key."""
        return tagged(b"V", encode((self.label, bytes(Digest.of(self.data)))))


def _read(serializer: Serializer, data: bytes) -> Any:
    return serializer.load(io.BytesIO(data))


def _check_accepted(serializer: Serializer, value: object, where: str) -> None:
    accepts = getattr(serializer, "accepts", None)
    if accepts is not None and not accepts(value):
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise SerializationError(
            f"the serializer {serializer.name!r} does not take a value of type {kind} {where}",
            hint="name another serializer, or change the value",
        )


def written_argument(value: Any) -> Any:
    """The argument, as ``Written`` if a serializer is registered for its type."""
    serializer = _registered.get(type(value))
    return value if serializer is None else Written(value, label_of(serializer), serializer)


def any_registered() -> bool:
    """Whether any type has a serializer of its own."""
    return bool(_registered)


# ---- results -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """What a worker needs to know of serializers: those of the call's outputs, by type, and all that wrote inputs."""

    forms: Forms
    types: Mapping[type, Labelled]
    known: Mapping[str, Serializer]

    def serializer_of(self, output: str, value: object) -> Labelled | None:
        """The serializer that an output is written with, if it is one of the project's or was asked for.

        Raises:
            SerializationError: it does not take the value.
        """
        asked = self.forms.of(output)
        if asked is not None:
            _check_accepted(asked[1], value, "as a result")
            return asked
        found = self.types.get(type(value))
        if found is None:
            return None
        accepts = getattr(found[1], "accepts", None)
        return found if accepts is None or accepts(value) else None


_unpacked: dict[bytes, Sent] = {}
_packed: dict[tuple[int, int, int], tuple[Forms, bytes]] = {}


def packed(forms: Forms) -> bytes:
    """What a call of a task with these forms is sent with; empty if there is nothing to know."""
    if forms is NONE and not _registered and not learned():
        return b""
    key = id(forms), _generation[0], len(learned())
    if key not in _packed:
        if len(_packed) > 100:
            _packed.clear()
        _packed[key] = forms, _pack(forms)
    return _packed[key][1]


def _pack(forms: Forms) -> bytes:
    types = {kind: (label_of(it), it) for kind, it in _registered.items() if isinstance(kind, type)}
    import cloudpickle

    data: bytes = cloudpickle.dumps(Sent(forms, types, learned()))
    return data


def unpacked(data: bytes) -> Sent | None:
    """The same in a worker, which from then on knows all serializers that may have written its inputs."""
    if not data:
        return None
    sent = _unpacked.get(data)
    if sent is None:
        if len(_unpacked) > 100:
            _unpacked.clear()
        sent = _unpacked[data] = pickle.loads(data)
    here = learned()
    for label, serializer in sent.known.items():
        if label not in here:
            learn(label.removeprefix("pickle+"), serializer)
    return sent

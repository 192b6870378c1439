"""The graph: nodes, the Futures of their outputs, and the two keys of each.

It decides what a node's key is made of.  It knows no templates, functions, files or stores: a node carries
its ``Call`` for the package that made it, and the engine hands it back.

The invariant: a node is frozen when it is made and can only name nodes made before it, so a graph has no
cycles and a key is known before anything runs.
"""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, NoReturn, Protocol, TypeAlias, TypeVar, cast

from blake3 import blake3

from merkl.digest import (
    CONTENT_DOMAIN,
    KEY_DOMAIN,
    Digest,
    Key,
    encode,
    encoded_text,
    encoded_tuple,
    tagged,
)
from merkl.errors import FutureAccessError
from merkl.stamp import Stamp

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Kind: TypeAlias = Literal["file", "dir", "value"]
PathLike: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """A file or directory that no node makes, as it was when it was named.

    ``path`` is relative to the project, or absolute if it lies outside; ``stamp`` was read just before ``digest``
    was computed, and is the directory's own for a directory (its tree digest covers what is inside).
    """

    path: str
    kind: Literal["file", "dir"]
    digest: Digest
    executable: bool
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Output:
    """One output that a node declares.

    ``name`` is empty when it is the only one.  ``filename`` is the file's last name as the command sees it.
    ``form`` says how a value is kept: ``str``, ``bytes``, ``lines``, ``json`` for a stream, else empty.
    """

    name: str
    kind: Kind
    filename: str = ""
    form: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a node really produced for one output.

    ``digest`` is of the file's bytes, of the serialized value, or of a directory's tree blob; ``size`` in bytes
    (for a directory, of all files in it); ``serializer`` names the form a value was written in.
    """

    kind: Kind
    digest: Digest
    size: int
    executable: bool = False
    serializer: str = ""
    filename: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that entered a key, for people: ``merkl why`` compares parts of one name, ``merkl show`` lists them.

    ``group`` is one of ``template``, ``option``, ``argument``, ``file``, ``input``, ``code``, ``environment``, ``tool``,
    ``parameter``, ``system``; ``text`` is what to show, of several lines for code; ``digest`` tells two values apart
    whose text is cut short.
    """

    group: str
    name: str
    text: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the user's: shown in messages, never in a key."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def relative_to(self, root: str) -> "Place":
        """The same place, by a path relative to ``root`` if it lies inside."""
        return Place(self.file.removeprefix(root.rstrip(os.sep) + os.sep), self.line)


class Call(Protocol):
    """One call of one task, as the package that made it knows it."""

    @property
    def task_name(self) -> str:
        """The task's name, for people."""

    @property
    def retries(self) -> int:
        """How often a failed attempt is repeated."""

    @property
    def interactive(self) -> bool:
        """Whether it gets the terminal, and so runs alone."""

    @property
    def needs(self) -> tuple[tuple[str, int], ...]:
        """What it takes of the machine's resources while it runs."""

    @property
    def subject(self) -> str:
        """What tells this call from others of the same task, for people: its first file, or its arguments, shortened."""

    def parts(self) -> list[Part]:
        """What entered the static part of the key, in an order that does not change from call to call.

        Sources and dependencies are the node's own and are left out.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Dep:
    """A Future that a call names, and under which file name it will see it (empty for a Python value)."""

    future: "Future[Any]"
    name: str = ""


_serial = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One call of one task.

    ``static`` is a digest of code and arguments, with each dependency replaced by its position in ``deps``.
    ``cache`` False means that it runs once in every build that reaches it.  ``discovers`` means that it finds inputs
    while it runs.  ``open`` means that something outside the key can decide the result: of this node, or of one it
    needs.  ``serial`` rises in the order of the code.  ``given`` are artifacts known from the start, of a node that was
    loaded from a sidecar and cannot run.
    """

    call: Call
    key: Key
    static: Digest
    deps: tuple[Dep, ...]
    sources: tuple[Source, ...]
    outputs: tuple[Output, ...]
    place: Place
    cache: bool = True
    discovers: bool = False
    open: bool = False
    serial: int = field(default_factory=lambda: next(_serial))
    given: Mapping[str, Artifact] | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self.call.task_name

    def __repr__(self) -> str:
        return f"<node {self.name} {self.key.short}>"

    def output(self, name: str) -> Output:
        """The declared output of that name."""
        return next(output for output in self.outputs if output.name == name)


def make_node(
    call: Call,
    static: bytes,
    *,
    deps: Sequence[Dep] = (),
    sources: Sequence[Source] = (),
    outputs: Sequence[Output],
    place: Place,
    cache: bool = True,
    discovers: bool = False,
) -> Node:
    """Freeze a call into a node and compute its key.

    ``static`` is an encoding of everything that is no dependency and no source; it must be injective by itself.
    Sources are in both keys as they are (kind, digest, executable bit, path).
    """
    known = encoded_tuple(*map(_encoded_source, sources))
    frozen = _new(Digest, blake3(known + static).digest())
    named = tuple([(dep.future.node.key, dep.future.output, dep.name) for dep in deps])
    return Node(
        call=call,
        key=_new(Key, blake3(KEY_DOMAIN + frozen + _encode_names(named)).digest()),
        static=frozen,
        deps=tuple(deps),
        sources=tuple(sources),
        outputs=tuple(outputs),
        place=place,
        cache=cache,
        discovers=discovers,
        open=discovers or not cache or any(dep.future.node.open for dep in deps),
    )


_new: Final = bytes.__new__  # Without a look at the length, which is BLAKE3's.
_KINDS: Final = {kind: encode(kind) for kind in ("file", "dir")}
_EXECUTABLE: Final = {executable: encode(executable) for executable in (False, True)}


def _encoded_source(source: Source) -> bytes:
    """The encoding of ``(kind, digest, executable, path)``."""
    digest = tagged(b"y", source.digest)
    return encoded_tuple(
        _KINDS[source.kind], digest, _EXECUTABLE[source.executable], encoded_text(source.path)
    )


def content_key(node: Node, inputs: Sequence[Artifact]) -> Key:
    """The key of ``node`` with each dependency replaced by what it really produced, in the order of ``node.deps``."""
    seen = tuple(
        (artifact.kind, bytes(artifact.digest), artifact.executable, artifact.serializer, dep.name)
        for dep, artifact in zip(node.deps, inputs, strict=True)
    )
    return Key(blake3(CONTENT_DOMAIN + node.static + encode(seen)).digest())


def _encode_names(named: tuple[tuple[Key, str, str], ...]) -> bytes:
    return encode(tuple((bytes(key), output, name) for key, output, name in named)) if named else b""


def walk(roots: "Iterable[Future[Any] | Node]") -> Iterator[Node]:
    """Yield every node ``roots`` need, each key once, dependencies first, otherwise in the order of ``roots``."""
    done: set[Key] = set()
    nodes = [root if isinstance(root, Node) else root.node for root in roots]
    stack = [(node, False) for node in reversed(nodes)]
    while stack:
        node, expanded = stack.pop()
        if node.key in done:
            continue
        if expanded:
            done.add(node.key)
            yield node
            continue
        stack.append((node, True))
        stack += [(dep.future.node, False) for dep in reversed(node.deps) if dep.future.node.key not in done]


class Session(Protocol):
    """What stands behind a Future: the project, its store and the build that is going on.

    Relative paths are taken from ``scope().base``.
    """

    root: str
    project_modules: tuple[str, ...]

    def made(self, node: Node) -> None:
        """Hear of every node that is made, with ``scope().target`` as its target."""

    def source(self, path: PathLike, kind: Literal["file", "dir", "any"] = "any") -> Source:
        """Stamp and hash a file or directory that is named as an input.

        Raises:
            InputMissing: it is not there, or is of another kind, or is no regular file or directory.
        """

    def place(self, future: "Future[Any]", path: PathLike, sidecar: bool) -> None:
        """Ask for ``future`` to appear at ``path``.

        Raises:
            PlacementError: the path is not one that merkl may write.
        """

    def environment(self, name: str) -> str | None:
        """An environment variable that enters a key; None if it is not set."""

    def tool(self, spec: str) -> str:
        """What stands in a key for a program: the digest of the one that PATH finds, or, for a ``spec`` with arguments
        (``gcc --version``), what it prints.

        Raises:
            InputMissing: PATH has no such program, or it failed.
        """

    def evaluate(self, futures: "Sequence[Future[Any]]") -> list[Any]:
        """Build what is missing and return the values, in the order asked for."""

    def artifact(self, future: "Future[Any]") -> Artifact | None:
        """What is known of a Future without running anything, or None."""

    def clear(self, futures: "Sequence[Future[Any]]") -> None:
        """Forget the records of the nodes that made ``futures``, and nothing else."""

    def from_file(self, path: PathLike) -> "Future[Any]":
        """The Future that a sidecar describes.

        Raises:
            SidecarError: there is none, or it cannot be read, or does not come from a node.
        """

    def when_done(self, future: "Future[Any]", callback: "Callable[[Future[Any]], object]") -> None:
        """Call back in this process once ``future`` is done, at once if it already is."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the code that is running belongs.

    ``base`` is the directory that its relative paths are taken from, relative to the project's root (empty: the root
    itself) or absolute; ``target`` is the name of the target that is being made, empty outside one.
    """

    base: str = ""
    target: str = ""


_scope: ContextVar[Scope] = ContextVar("merkl_scope", default=Scope())  # noqa: B039 - it is frozen


def scope() -> Scope:
    """The scope of the code that is running."""
    return _scope.get()


@contextlib.contextmanager
def within(inner: Scope) -> Iterator[Scope]:
    """Run the code inside in another scope."""
    token = _scope.set(inner)
    try:
        yield inner
    finally:
        _scope.reset(token)


_current: ContextVar[Session | None] = ContextVar("merkl_session", default=None)
_default: list[Callable[[], Session]] = []


def session() -> Session:
    """The session of the code that is running; outside a build, one for the current directory's project."""
    current = _current.get()
    if current is None:
        current = _default[-1]()
        _current.set(current)
    return current


def set_default_session(make: Callable[[], Session]) -> None:
    """Say how a session is made where there is none: the engine's part, installed by ``merkl/__init__``."""
    _default[:] = [make]


_picture: list[Callable[["Future[Any]"], str]] = []


def set_picture(make: "Callable[[Future[Any]], str]") -> None:
    """Say how a notebook shows a Future: installed by ``merkl/__init__`` too."""
    _picture[:] = [make]


@contextlib.contextmanager
def using(current: Session) -> Iterator[Session]:
    """Make ``current`` the session of the code inside."""
    token = _current.set(current)
    try:
        yield current
    finally:
        _current.reset(token)


_OURS: Final = os.path.dirname(__file__) + os.sep


def calling_place() -> Place:
    """The nearest line of the stack that is not merkl's."""
    frame = sys._getframe(2)  # Whoever asks is merkl.
    while True:
        file = (
            frame.f_code.co_filename
        )  # Once each: a look at the code of a frame is an event for audit hooks.
        if frame.f_back is None or not file.startswith(_OURS):
            return Place(file, frame.f_lineno)
        frame = frame.f_back


_ACCESS_HINT: Final = (
    "a Future has no value before it has run: pass it to a task, or call .eval() to run it now"
)


class Future(Generic[T_co]):
    """One output of a node, which may not have run yet.

    It can be called with (``future | task``), placed (``future > "path"``, with a sidecar ``future >> "path"``), compared
    with ``==`` (same key, same output), used as a dictionary key, and evaluated.  Whatever else would need its value
    raises ``FutureAccessError``.
    """

    __slots__ = ("__weakref__", "node", "output")

    def __init__(self, node: Node, output: str = "") -> None:
        self.node: Final = node
        self.output: Final = output

    @property
    def hash(self) -> str:
        """The key of the node, as hexadecimal text."""
        return self.node.key.hex()

    def eval(self) -> T_co:
        """Run what is missing and return the value; for a file, a ``FileRef`` to it."""
        return cast(T_co, session().evaluate([self])[0])

    @property
    def v(self) -> T_co:
        """The same as ``eval()``."""
        return self.eval()

    def in_cache(self) -> bool:
        """Whether the value could be had without running anything."""
        return session().artifact(self) is not None

    def clear_cache(self) -> None:
        """Forget the result of the node, so that it runs again when it is next needed."""
        session().clear([self])

    def on_completed(self, callback: "Callable[[Future[Any]], object]") -> "Future[T_co]":
        """Call ``callback(self)`` in the building process once the value is known; at once if it already is."""
        session().when_done(self, callback)
        return self

    @staticmethod
    def from_file(path: PathLike) -> "Future[Any]":
        """The Future whose output was placed at ``path``, from the sidecar beside it."""
        return session().from_file(path)

    def __or__(self, task: Callable[..., Any]) -> Any:
        if not callable(task):
            return NotImplemented
        return task(self)

    def __gt__(self, path: PathLike) -> "Future[T_co]":
        session().place(self, _checked_path(path, ">"), False)
        return self

    def __rshift__(self, path: PathLike) -> "Future[T_co]":
        session().place(self, _checked_path(path, ">>"), True)
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Future) and self.node.key == other.node.key and self.output == other.output

    def __hash__(self) -> int:
        return hash((self.node.key, self.output))

    def __repr__(self) -> str:
        output = f".{self.output}" if self.output else ""
        return f"<Future {self.node.name}{output} {self.node.key.short}>"

    def _repr_html_(self) -> str | None:
        """As a notebook shows it; None leaves it to ``repr``."""
        return _picture[-1](self) if _picture else None

    def __bool__(self) -> bool:
        raise FutureAccessError(
            f"{self!r} has no truth value yet",
            hint=f'{_ACCESS_HINT}. To place it at two paths write two statements: f > "x" and then f > "y"',
        )


class Placeable:
    """What tasks share: ``task > "path"`` is a task whose Future is placed, since ``f | g > "x"`` needs both orders."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __gt__(self, path: PathLike) -> "PlacedTask":
        return PlacedTask(self, _checked_path(path, ">"), sidecar=False)

    def __rshift__(self, path: PathLike) -> "PlacedTask":
        return PlacedTask(self, _checked_path(path, ">>"), sidecar=True)


class PlacedTask:
    """A task whose one output is placed at a path when it is called."""

    __slots__ = ("_path", "_sidecar", "_task")

    def __init__(self, task: Placeable, path: PathLike, *, sidecar: bool) -> None:
        self._task = task
        self._path = path
        self._sidecar = sidecar

    def __call__(self, *args: Any, **kwargs: Any) -> Future[Any]:
        made = self._task(*args, **kwargs)
        if not isinstance(made, Future):
            raise TypeError(
                f"only one output can be placed at {os.fsdecode(self._path)!r}; this task has several"
            )
        return made >> self._path if self._sidecar else made > self._path


def _checked_path(path: object, operator: str) -> PathLike:
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"`future {operator} path` takes a path, not {type(path).__name__}")
    return path


def _refusal(use: str) -> Callable[..., NoReturn]:
    def refuse(self: Future[Any], *_: object) -> NoReturn:
        raise FutureAccessError(f"{self!r} was used as if it were its value ({use})", hint=_ACCESS_HINT)

    return refuse


_NEEDS_VALUE: Final[Mapping[str, str]] = {
    **{f"__{name}__": f"{name}()" for name in ("len", "iter", "next", "reversed", "int", "float", "index", "abs", "round")},
    "__str__": "str() or an f-string", "__format__": "an f-string", "__contains__": "in",
    "__getitem__": "[…]", "__setitem__": "[…] =", "__lt__": "<", "__le__": "<=", "__ge__": ">=", "__neg__": "-",
    **{f"__{side}{name}__": sign for side in ("", "r") for name, sign in (
        ("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/"), ("floordiv", "//"), ("mod", "%"), ("pow", "**"),
        ("matmul", "@"), ("and", "&"), ("xor", "^"), ("lshift", "<<"), ("divmod", "divmod()"))},
}  # fmt: skip

for _name, _use in _NEEDS_VALUE.items():
    setattr(Future, _name, _refusal(_use))

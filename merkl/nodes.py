"""The graph: nodes, the Futures of their outputs, and the two keys of each.

It decides what a node's key is made of.  It knows no templates, functions, files or stores: a node carries
its ``Call`` for the package that made it, and the engine hands it back.

The invariant: a node is frozen when it is made and can only name nodes made before it, so a graph has no
cycles and a key is known before anything runs.
"""

import contextlib
import functools
import itertools
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import CodeType
from typing import (
    IO,
    Any,
    BinaryIO,
    Final,
    Generic,
    Literal,
    NoReturn,
    Protocol,
    TextIO,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    overload,
)

from blake3 import blake3

from merkl.dataclass import dataclass
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
from merkl.errors import FutureAccessError, FutureAttributeError, MerklError, NoPathError, PlacementError
from merkl.lending import LENT, lent
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
    ``form`` says how a value is kept: ``str``, ``bytes``, ``lines``, ``json`` for a stream, else empty.  ``holds`` says
    what of it has a name of its own: the ``files`` of what is, or may turn out to be, a directory; the ``items`` of many
    outputs that are kept together; the items of a ``list`` or a ``dict``.
    """

    name: str
    kind: Kind
    filename: str = ""
    form: str = ""
    holds: Literal["", "files", "items", "list", "dict"] = ""


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
        return _relative(self.file, self.line, root)


@functools.lru_cache(maxsize=256)  # One object for all that one line places.
def _relative(file: str, line: int, root: str) -> Place:
    return Place(file.removeprefix(root.rstrip(os.sep) + os.sep), line)


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
    def eager(self) -> bool:
        """Whether it is started when it is called."""

    @property
    def secrets(self) -> Sequence[str]:
        """The environment variables whose values it gets and nobody is to see."""

    @property
    def needs(self) -> tuple[tuple[str, int], ...]:
        """What it takes of the machine's resources while it runs."""

    @property
    def target(self) -> str:
        """The executor of merkl.yaml it is to run on: empty if it names none, ``local`` for this machine whatever others do."""

    @property
    def subject(self) -> str:
        """What tells this call from others of the same task, for people: its first file, or its arguments, shortened."""

    def parts(self) -> list[Part]:
        """What entered the static part of the key, in an order that does not change from call to call.

        Sources and dependencies are the node's own and are left out.
        """


class Dep:
    """A Future that a call names, and under which file name it will see it (empty for a Python value)."""

    __slots__ = ("future", "name")

    # Written out, as in ``Node``: a frozen dataclass takes three times as long to make, and there are a hundred thousand.
    def __init__(self, future: "Future[Any]", name: str = "") -> None:
        self.future: Final = future
        self.name: Final = name


Inputs: TypeAlias = Union["Future[Any]", "tuple[Future[Any], ...]"]
"""Futures that a call names, under no file names: one, or several."""


def as_deps(inputs: Inputs | None) -> list[Dep]:
    """Futures that a call names, as its dependencies."""
    if inputs is None:
        return []
    return [Dep(future) for future in (inputs if type(inputs) is tuple else (cast("Future[Any]", inputs),))]


_serial = itertools.count()


class CallMaker(Protocol):
    """Makes a node's call out of its arguments when somebody asks for it: of most nodes of a large graph nobody does.

    ``own`` is what the call would say of itself.
    """

    @property
    def own(self) -> object:
        """What the task asks for besides the project's store; None if nothing."""

    def __call__(self, arguments: tuple[Any, ...], /) -> Call:
        """The call."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What many nodes have in common, such as all calls of a task.

    ``cache`` False means that it runs once in every build that reaches it.  ``discovers`` means that it finds inputs
    while it runs.  ``given`` are artifacts known from the start, of a node that was loaded from a sidecar and cannot run.
    """

    cache: bool = True
    discovers: bool = False
    given: Mapping[str, Artifact] | None = None
    maker: CallMaker | None = None


class Node:
    """One call of one task.  Nothing of it is ever set again.

    ``static`` is a digest of code and arguments, with each dependency replaced by its position in ``deps``.  ``open`` means
    that something outside the key can decide the result: of this node, or of one it needs.  ``serial`` rises in the order
    of the code.

    Where there is a ``maker``, ``call`` is made of what it was given instead, and ``deps`` of the Futures: when somebody asks,
    since a graph of a hundred thousand is made faster the fewer objects it has, and the less there is in each to look at for
    Python's garbage collector.
    """

    __slots__ = (
        "_call",
        "_needs",
        "key",
        "open",
        "outputs",
        "place",
        "serial",
        "shared",
        "sources",
        "static",
    )

    def __init__(
        self,
        call: Call | tuple[Any, ...],
        key: Key,
        static: bytes,
        needs: tuple[Dep, ...] | Inputs,
        sources: tuple[Source, ...],
        outputs: tuple[Output, ...],
        place: Place,
        shared: Shared,
        open: bool = False,
    ) -> None:
        self._call = call
        self.key: Final = key
        self.static: Final = static
        self._needs = needs
        self.sources: Final = sources
        self.outputs: Final = outputs
        self.place: Final = place
        self.shared: Final = shared
        self.open: Final = open
        self.serial: Final = next(_serial)

    @property
    def deps(self) -> tuple[Dep, ...]:
        """What it needs."""
        needs: Any = self._needs  # Asked for so often that even to say what it is takes too long.
        if type(needs) is not tuple or (needs and type(needs[0]) is not Dep):
            needs = self._needs = tuple(as_deps(needs))
        return needs  # type: ignore[no-any-return]

    @property
    def call(self) -> Call:
        """The call."""
        call: Any = self._call  # As for ``deps``.
        if type(call) is tuple and self.shared.maker is not None:
            call = self._call = self.shared.maker(call)
        return call  # type: ignore[no-any-return]

    @property
    def cache(self) -> bool:
        """Whether its result is kept."""
        return self.shared.cache

    @property
    def discovers(self) -> bool:
        """Whether it finds inputs while it runs."""
        return self.shared.discovers

    @property
    def given(self) -> Mapping[str, Artifact] | None:
        """What is known of a node that cannot run."""
        return self.shared.given

    @property
    def name(self) -> str:
        """The task's name."""
        return self.call.task_name

    def __repr__(self) -> str:
        return f"<node {self.name} {self.key.short}>"

    def output(self, name: str) -> Output:
        """The declared output of that name, or what is known of one that lies inside a declared one."""
        inside = inside_of(self, name)
        if inside is None:
            return next(output for output in self.outputs if output.name == name)
        items = self.output(inside[0]).holds in ("items", "list", "dict")
        return Output(name, "value") if items else Output(name, "file", os.path.basename(name))


def inside_of(node: Node, name: str) -> tuple[str, str] | None:
    """The declared output that an output of ``node`` lies inside, and its name there; None if it is declared itself."""
    if not name:
        return None
    if len(node.outputs) == 1 and not node.outputs[0].name:
        return "", name
    return inside_named({output.name for output in node.outputs}, name) if "/" in name else None


def inside_named(declared: Collection[str], name: str) -> tuple[str, str] | None:
    """As ``inside_of``, where the names of the ``declared`` outputs are known."""
    if name in declared:
        return None
    if "" in declared:
        return "", name
    outer = name
    while outer and outer not in declared:
        outer = outer.rpartition("/")[0]
    return None if not outer or outer == name else (outer, name[len(outer) + 1 :])


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
    known = encoded_tuple(*map(_encoded_source, sources)) if sources else _NO_SOURCES
    frozen = blake3(known + static).digest()
    key, is_open = _key_of(frozen, deps)
    return Node(
        call,
        key,
        frozen,
        tuple(deps),
        tuple(sources),
        tuple(outputs),
        place,
        _shared(cache, discovers),
        is_open or discovers or not cache,
    )


_shared: Final = functools.lru_cache(Shared)


def plain_node(
    arguments: tuple[Any, ...],
    static: bytes,
    shared: Shared,
    inputs: Inputs | None,
    outputs: tuple[Output, ...],
    place: Place,
) -> Node:
    """As ``make_node``, of a call of nothing but plain values and Futures: most calls of a large graph are such."""
    frozen = blake3(_NO_SOURCES + static).digest()
    is_open = not shared.cache
    if inputs is None:
        key = _new(Key, blake3(KEY_DOMAIN + frozen).digest())
        return Node(arguments, key, frozen, (), (), outputs, place, shared, is_open)
    named = b""  # As in ``_key_of``, of Futures under no file names.
    several: tuple[Future[Any], ...] = inputs if type(inputs) is tuple else (inputs,)  # type: ignore[assignment]
    for future in several:
        node = future.node
        if future.output:
            before, after = _around(future.output, "")
            named += before + node.key + after
        else:
            named += _BEFORE_NAMELESS + node.key + _AFTER_NAMELESS
        if node.open:
            is_open = True
    key = _new(Key, blake3(KEY_DOMAIN + frozen + _TUPLES[len(named)] + named).digest())
    return Node(arguments, key, frozen, inputs, (), outputs, place, shared, is_open)


def with_call(node: Node, call: Call) -> Node:
    """The same node with another call, which says more of it, and nothing else than the key does."""
    import copy

    made = copy.copy(node)
    made._call = call
    return made


def with_deps(node: Node, call: Call, deps: Sequence[Dep]) -> Node:
    """The node of the same call with other dependencies in their places; ``call`` is how it is shown."""
    key, is_open = _key_of(node.static, deps)
    return Node(
        call,
        key,
        node.static,
        tuple(deps),
        node.sources,
        node.outputs,
        node.place,
        node.shared,
        is_open or node.discovers or not node.cache,
    )


def _key_of(frozen: bytes, deps: Sequence[Dep]) -> tuple[Key, bool]:
    """The key of a node, and whether something it needs is open."""
    if not deps:
        return _new(Key, blake3(KEY_DOMAIN + frozen).digest()), False
    is_open = False
    named = b""
    for dep in deps:
        future = dep.future
        node = future.node
        before, after = _around(future.output, dep.name) if future.output or dep.name else _AROUND_NAMELESS
        named += before + node.key + after
        is_open = is_open or node.open
    return _new(Key, blake3(KEY_DOMAIN + frozen + tagged(b"t", named)).digest()), is_open


class _Tuples(dict[int, bytes]):
    """What stands before the encoding of a tuple's items, by their length."""

    def __missing__(self, length: int) -> bytes:
        whole = tagged(b"t", bytes(length))
        made = whole[: len(whole) - length]
        if len(self) < 1_000:
            self[length] = made
        return made


_TUPLES: Final = _Tuples()


@functools.lru_cache(maxsize=4096)
def _around(output: str, name: str) -> tuple[bytes, bytes]:
    """What stands before and after a node's key in the encoding of ``(key, output, name)``."""
    whole = encode((bytes(32), output, name))
    at = whole.index(bytes(32), 17)
    return whole[:at], whole[at + 32 :]


_AROUND_NAMELESS: Final = _around("", "")
_BEFORE_NAMELESS, _AFTER_NAMELESS = _AROUND_NAMELESS
_NO_SOURCES: Final = encoded_tuple()
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
    seen: list[bytes] = []
    for dep, artifact in zip(node.deps, inputs, strict=True):
        before, after = _around_digest(artifact.kind, artifact.executable, artifact.serializer, dep.name)
        seen += before, artifact.digest, after
    return _new(Key, blake3(CONTENT_DOMAIN + node.static + tagged(b"t", b"".join(seen))).digest())


@functools.lru_cache(maxsize=256)
def _around_digest(kind: str, executable: bool, serializer: str, name: str) -> tuple[bytes, bytes]:
    """What stands before and after the digest in the encoding of a row of ``(kind, digest, executable, serializer, name)``."""
    whole = encode((kind, _NO_DIGEST, executable, serializer, name))
    at = whole.index(_NO_DIGEST)
    return whole[:at], whole[at + len(_NO_DIGEST) :]


_NO_DIGEST: Final = bytes(range(0x80, 0xA0))  # Of as many bytes, and no part of any text.


def walk(roots: "Iterable[Future[Any] | Node]") -> Iterator[Node]:
    """Yield every node ``roots`` need, each key once, dependencies first, otherwise in the order of ``roots``."""
    done: set[Key] = set()
    stack = [root if isinstance(root, Node) else root.node for root in roots]
    stack.reverse()
    while stack:
        node = stack[-1]
        if node.key in done:
            stack.pop()
            continue
        waiting: list[Node] = []
        for dep in node.deps:
            below = dep.future.node
            if below.key in done:
                continue
            if waiting or below.deps:
                waiting.append(below)
            else:  # Most nodes of a wide graph: nothing is before it, so it need not wait for its turn.
                done.add(below.key)
                yield below
        if waiting:
            waiting.reverse()
            stack += waiting  # It is looked at again after these.
            continue
        stack.pop()
        done.add(node.key)
        yield node


class Construction(Protocol):
    """One call of a pipeline, as the package that made it knows it.

    ``key`` is None, and ``reason`` says why, if no two calls can be told to be alike; ``inputs`` are the Futures that it was
    given.
    """

    @property
    def name(self) -> str:
        """The pipeline's name."""

    @property
    def key(self) -> Key | None:
        """What it is known by."""

    @property
    def reason(self) -> str:
        """Why it has no key."""

    @property
    def inputs(self) -> "Sequence[Future[Any]]":
        """The Futures that it was given."""

    @property
    def place(self) -> Place:
        """Where it is called."""

    def run(self) -> Any:
        """Run the pipeline's function."""


class Session(Protocol):
    """What stands behind a Future: the project, its store and the build that is going on.

    Relative paths are taken from ``scope().base``.
    """

    root: str
    project_modules: tuple[str, ...]

    def made(self, node: Node, called: "tuple[Sequence[Any], Mapping[str, Any]] | None" = None) -> None:
        """Hear of every node that is made, with ``scope().target`` as its target, and what its task was called with."""

    def begin(self, nodes: Sequence[Node]) -> None:
        """Start what one call made: now, in other processes, or, inside ``Eval``, run it to its end."""

    def construct(self, construction: Construction) -> Any:
        """What a pipeline returns: by running it, or from what is remembered of that."""

    def first(self, futures: "Sequence[Future[Any]]") -> None:
        """Let what is made from now on, in the pipeline that is running, start only after these have ended well."""

    def looked(self, kind: Literal["file", "files", "params"], path: str, answer: object) -> None:
        """Hear of what the running code asked of the project's files, and what it was told."""

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

    def open(self, future: "Future[Any]", mode: str, encoding: str | None, newline: str | None) -> IO[Any]:
        """Build what is missing and return a reader of the bytes.

        Raises:
            FutureAccessError: it is no file, and neither bytes nor text.
        """

    def artifact(self, future: "Future[Any]") -> Artifact | None:
        """What is known of a Future without running anything, or None."""

    def metadata(self, future: "Future[Any]") -> dict[str, Any]:
        """What is recorded of a node's run besides its results; empty if there is no record."""

    def keep_briefly(self, future: "Future[Any]") -> None:
        """Let the result of a node go when a build that has to do with it ends."""

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


_scope: ContextVar[Scope] = ContextVar("merkl_scope")
_NOWHERE: Final = Scope()


def scope() -> Scope:
    """The scope of the code that is running."""
    return _scope.get(None) or (lent(_scope) if LENT else None) or _NOWHERE


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
        current = lent(_current)
        if current is None:
            current = _default[-1]()
            _current.set(current)
    return current


def current_session() -> Session | None:
    """The same, but None where nothing has needed one yet."""
    return _current.get() or lent(_current)


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


_evaluating: ContextVar[tuple[bool, ...]] = ContextVar("merkl_evaluating", default=())  # The last one holds.


def evaluating() -> bool:
    """Whether calls are evaluated when they are made: see ``Eval``."""
    told = _evaluating.get()
    return told[-1] if told else False


@contextlib.contextmanager
def gathering() -> Iterator[None]:
    """Let calls inside evaluate nothing by themselves, whatever holds outside."""
    token = _evaluating.set((*_evaluating.get(), False))
    try:
        yield
    finally:
        _evaluating.reset(token)


class Eval:
    """``with Eval():`` evaluates each call of a task inside when it is made.

    The calls return the same Futures as outside, with the same keys, but what they stand for is there; a task that fails
    raises at its call.  One object may be used by several threads, and inside itself: it remembers nothing.
    """

    __slots__ = ()

    def __enter__(self) -> "Eval":
        _evaluating.set((*_evaluating.get(), True))
        return self

    def __exit__(self, *exc: object) -> None:
        _evaluating.set(_evaluating.get()[:-1])


_OURS: Final = os.path.dirname(__file__) + os.sep


# By code and instruction; the code is kept, for its id.
_places: dict[tuple[int, int], tuple[CodeType, Place]] = {}
_KEPT: Final = 10_000


def calling_place() -> Place:
    """The nearest line of the stack that is not merkl's; one object for all calls from one place."""
    frame = sys._getframe(2)  # Whoever asks is merkl.
    while True:
        code = frame.f_code  # Once each: a look at it is an event for audit hooks.
        at = id(code), frame.f_lasti
        known = _places.get(at)
        if known is not None and known[0] is code:
            return known[1]
        file = code.co_filename
        if not file.startswith(_OURS):
            if len(_places) >= _KEPT:
                _places.clear()
            place = Place(file, frame.f_lineno)
            _places[at] = code, place
            return place
        if frame.f_back is None:
            return Place(file, frame.f_lineno)
        frame = frame.f_back


def shorten_places(error: MerklError, root: str) -> None:
    """Let the places in an error's details be relative to ``root``."""
    for name, value in error.details.items():
        if isinstance(value, Place):
            error.details[name] = value.relative_to(root)


_TWO_PLACES: Final = 'To place it at two paths write two statements: f > "x" and then f > "y"'
_ACCESS_HINT: Final = (
    "a Future has no value before it has run: pass it to a task, or call .eval() to run it now"
)


_GETITEM_HINT: Final = (
    f"{_ACCESS_HINT}. A directory's files can be named: of a Python task that says that it returns one (-> DirRef), and of "
    "an out_dir_arg"
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
        value: T_co = session().evaluate([self])[0]
        return value

    @overload
    def open(self, mode: Literal["rb"]) -> BinaryIO: ...
    @overload
    def open(
        self, mode: Literal["r", "rt"] = ..., *, encoding: str | None = ..., newline: str | None = ...
    ) -> TextIO: ...
    def open(self, mode: str = "r", *, encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        """Run what is missing and return a reader of the result: a file, bytes or text.  It is not loaded into memory.

        Text is UTF-8 unless ``encoding`` says otherwise.
        """
        if mode not in ("r", "rt", "rb"):
            raise FutureAccessError(
                f"{self!r} can be opened to be read, as 'r' or 'rb', and not as {mode!r}",
                hint="merkl_open opens an output in a task",
            )
        return session().open(self, mode, encoding, newline)

    @property
    def v(self) -> T_co:
        """The same as ``eval()``."""
        return self.eval()

    def in_cache(self) -> bool:
        """Whether the value could be had without running anything."""
        return session().artifact(self) is not None

    @property
    def metadata(self) -> dict[str, Any]:
        """What the task said of its run with ``merkl.metadata``, from the record of the node; empty if there is none."""
        return session().metadata(self)

    def cache_temporarily(self) -> "Future[T_co]":
        """Keep the result of the node only until the build that makes or uses it has ended; the Future itself."""
        session().keep_briefly(self)
        return self

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
            raise FutureAccessError(
                f"`future | task` calls a task, and {task!r:.60} is none",
                hint="write `future | task`, or task(future, …) to pass more; " + _ACCESS_HINT,
            )
        return task(self)

    def __gt__(self, path: PathLike) -> "Future[T_co]":
        session().place(self, _checked_path(path, ">"), False)
        return self

    def __rshift__(self, path: PathLike) -> "Future[T_co]":
        session().place(self, _checked_path(path, ">>"), True)
        return self

    @overload
    def __getitem__(self: "Future[Mapping[str, T]]", name: str) -> "Future[T]": ...
    @overload
    def __getitem__(self, name: str | int) -> "Future[Any]": ...
    def __getitem__(self, name: str | int) -> "Future[Any]":
        """One file of the directory that this is, by its path inside; an item of a list by its number, of a dict by name.

        Raises:
            FutureAccessError: this is no directory and has no items, as far as can be known, or that is no path inside one.
        """
        if (form := items_form(self)) and type(name) is (str if form == "dict" else int):
            return Future(self.node, item_name(self.output, name))
        if isinstance(name, str) and inside_of(self.node, self.output) is None:
            output = self.node.output(self.output)
            if output.kind == "dir" or output.holds == "files":
                return Future(self.node, _path_inside(self, str.__str__(name)))
        hint = f"its items are named by {'text' if form == 'dict' else 'numbers'}" if form else _GETITEM_HINT
        raise FutureAccessError(
            f"{self!r} was used as if it were its value ([…])", made=self.node.place, hint=hint
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Future) and self.node.key == other.node.key and self.output == other.output

    def __hash__(self) -> int:
        return hash(self.node.key) ^ hash(self.output)

    def __copy__(self) -> "Future[T_co]":
        return self  # Nothing of it ever changes; and the graph behind it may be large, and deep.

    def __deepcopy__(self, memo: object) -> "Future[T_co]":
        return self

    def __repr__(self) -> str:
        output = f".{self.output}" if self.output else ""
        return f"<Future {self.node.name}{output} {self.node.key.short}>"

    def _repr_html_(self) -> str | None:
        """As a notebook shows it; None leaves it to ``repr``."""
        return _picture[-1](self) if _picture else None

    def __array_ufunc__(self, ufunc: Any, method: str, *_: object, **__: object) -> bool:
        # What numpy asks for ``array == future``, which it would answer by taking the Future for a value.
        if method == "__call__" and ufunc.__name__ in ("equal", "not_equal"):
            return bool(ufunc.__name__ == "not_equal")
        raise FutureAccessError(
            f"{self!r} was used as if it were its value ({ufunc.__name__})",
            made=self.node.place,
            hint=_ACCESS_HINT,
        )

    def __bool__(self) -> bool:
        raise FutureAccessError(
            f"{self!r} has no truth value yet",
            made=self.node.place,
            hint=f"{_ACCESS_HINT}. {_TWO_PLACES}",
        )


def items_form(future: Future[Any]) -> str:
    """Whether a Future is a ``list`` or a ``dict`` of items that are kept one by one; empty if it is neither."""
    for output in future.node.outputs:
        if output.name == future.output:
            return output.holds if output.holds in ("list", "dict") else ""
    return ""


def item_name(output: str, item: object) -> str:
    """The output that is an item of the output ``output``: of a list by its number, of a dict by its name."""
    return f"{output}/{item}" if output else f"{item}"


class Placeable:
    """What tasks share: ``task > "path"`` is a task whose Future is placed, since ``f | g > "x"`` needs both orders."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __gt__(self, path: PathLike) -> "PlacedTask":
        return PlacedTask(self, _checked_path(path, ">"), sidecar=False)

    def __rshift__(self, path: PathLike) -> "PlacedTask":
        return PlacedTask(self, _checked_path(path, ">>"), sidecar=True)


class PlacedTask(Placeable):
    """A task whose one output is placed at a path when it is called; it can be placed at another one as well."""

    __slots__ = ("_path", "_sidecar", "_task")

    def __init__(self, task: Placeable, path: PathLike, *, sidecar: bool) -> None:
        self._task = task
        self._path = path
        self._sidecar = sidecar

    def __call__(self, *args: Any, **kwargs: Any) -> Future[Any]:
        made = self._task(*args, **kwargs)
        if not isinstance(made, Future):
            raise PlacementError(
                f"only one output can be placed at {os.fsdecode(self._path)!r}, and this task has several",
                hint="call it, and place each of the Futures that it returns",
            )
        return made >> self._path if self._sidecar else made > self._path

    def __bool__(self) -> bool:
        raise FutureAccessError(
            f"`task > path` has no truth value (at {os.fsdecode(self._path)!r})", hint=_TWO_PLACES
        )


def _path_inside(future: Future[Any], name: str) -> str:
    """The name of the output that is the file ``name`` of a directory."""
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise FutureAccessError(
            f"{name!r} is no path of a file inside {future!r}", hint='such as "part-0", or "sub/part-0"'
        )
    whole = f"{future.output}/{name}" if future.output else name
    if inside_of(future.node, whole) != (future.output, name):
        raise FutureAccessError(
            f"{name!r} inside {future!r} has the name of another output, {whole!r}",
            hint="give one of them another name",
        )
    return whole


def _checked_path(path: object, operator: str) -> PathLike:
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise NoPathError(
            f"`future {operator} path` takes a path, not {path!r:.60}",
            hint=f'{operator} "name.json" places the value; to compare it, pass the Future to a task',
        )
    return path


def _refusal(use: str) -> Callable[..., NoReturn]:
    def refuse(self: Future[Any], *_: object, **__: object) -> NoReturn:
        raise FutureAccessError(
            f"{self!r} was used as if it were its value ({use})", made=self.node.place, hint=_ACCESS_HINT
        )

    return refuse


_NEEDS_VALUE: Final[Mapping[str, str]] = {
    **{f"__{name}__": f"{name}()" for name in (
        "len", "next", "reversed", "int", "float", "complex", "abs", "round", "bytes")},
    "__iter__": "a loop, list() or unpacking", "__index__": "as a number, or in range()",
    **{f"__{name}__": f"math.{name}()" for name in ("trunc", "floor", "ceil")},
    "__str__": "str() or an f-string", "__format__": "an f-string", "__contains__": "in",
    "__setitem__": "[…] =", "__delitem__": "del […]", "__array__": "as an array",
    "__lt__": "<", "__le__": "<=", "__ge__": ">=", "__neg__": "-", "__pos__": "+", "__invert__": "~",
    "__ror__": "|", "__rrshift__": ">>",
    **{f"__{side}{name}__": sign for side in ("", "r") for name, sign in (
        ("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/"), ("floordiv", "//"), ("mod", "%"), ("pow", "**"),
        ("matmul", "@"), ("and", "&"), ("xor", "^"), ("lshift", "<<"), ("divmod", "divmod()"))},
}  # fmt: skip

for _name, _use in _NEEDS_VALUE.items():
    setattr(Future, _name, _refusal(_use))


def _no_attribute(self: Future[Any], name: str) -> NoReturn:
    if name.startswith("_"):  # Asked for by copy, pickle, numpy, notebooks, … to see whether it is there.
        raise AttributeError(name)
    raise FutureAttributeError(
        f"{self!r} was used as if it were its value (.{name})", made=self.node.place, hint=_ACCESS_HINT
    )


setattr(Future, "__getattr__", _no_attribute)  # noqa: B010 - mypy shall go on knowing which attributes there are.

"""A project and its state: what stands behind every Future, and what the commands work on.

It decides how paths, tools and variables that user code names become parts of keys.  It knows no schedule: a build is
given to it by ``set_builder``.

The invariant: index and store are opened when something first needs them, so that loading a Merklfile that names no file
touches neither.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Literal

from merkl.config import Config
from merkl.digest import Digest, Key
from merkl.errors import InputMissing
from merkl.events import Note
from merkl.nodes import (
    Artifact,
    Construction,
    Future,
    Node,
    PathLike,
    Place,
    Source,
    calling_place,
    scope,
    walk,
)
from merkl.snapshot.recorder import vouching
from merkl.workspace.drafts import end_drafts
from merkl.workspace.index import FileIndex
from merkl.workspace.paths import normalise, placeable
from merkl.workspace.refs import DirRef, FileRef

if TYPE_CHECKING:  # `merkl list` needs no store.
    from merkl.engine.constructing import Constructing
    from merkl.engine.shelter import Shelter
    from merkl.engine.yields import Ordered
    from merkl.store.answers import Answer
    from merkl.store.base import Discovered, Record, Store
    from merkl.store.builds import BuildLease
    from merkl.store.layered import Layered
    from merkl.store.local import LocalStore
    from merkl.store.remote.remote import Remote
    from merkl.store.views import Views


_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Placement:
    """A wish that a Future's output appear at ``path``, relative to the project; ``target`` is the one that placed it.

    ``serial`` rises in the order of placing.  ``joint``, in a selection, are all that make the file at ``path`` together.
    """

    future: Future[Any]
    path: str
    sidecar: bool
    target: str
    place: Place
    serial: int = field(default_factory=lambda: next(_serial))
    joint: tuple[Future[Any], ...] = field(default=(), compare=False)


Builder = Callable[["Project", Sequence[Future[Any]]], list[Any]]


class Project:
    """One project of one process; implements ``nodes.Session``."""

    def __init__(self, config: Config, *, base: str = "") -> None:
        self.config = config
        self.root = config.root
        self.project_modules = config.project_modules
        self.placements: list[Placement] = []
        self.effects: dict[
            str, list[Node]
        ] = {}  # By target: nodes that are run for what they do, not for an output.
        self.base = base or config.root  # Where relative paths begin outside a Merklfile.
        self.builder: Builder | None = None
        self.lease: BuildLease | None = None
        self.make_pipelines: Callable[[Project], Constructing] | None = None  # Else they are run and no more.
        self.pipelines: Constructing | None = None  # Once one was called.
        self.notes: list[Note] = []
        self.verbose = False  # Say what only who asks for all details wants to know.
        self.only_looks = False  # For a command that runs nothing.
        self._tools: dict[str, str] = {}
        self._outside: dict[str, Digest | None] = {}
        self._callbacks: dict[Key, list[tuple[Future[Any], Callable[[Future[Any]], object]]]] = {}

    # ---- state ---------------------------------------------------------------------------------------------------

    @cached_property
    def index(self) -> FileIndex:
        """What is remembered of the workspace's files."""
        self._make_state()
        return FileIndex(self.root, self.config.state, rehash=self.config.rehash)

    @cached_property
    def store(self) -> "LocalStore":
        """Records and blobs of this machine."""
        from merkl.store.local import LocalStore

        self._make_state()
        store = LocalStore(self.config.store)
        state = os.path.realpath(self.config.state)
        if not os.path.realpath(store.directory).startswith(state + os.sep):
            store.enter_user(state)
        return store

    @cached_property
    def remote(self) -> "Remote | None":
        """The store that others use too, if the project has one.  Not asked for anything yet."""
        if self.config.remote is None:
            return None
        from merkl.store.remote.remote import Remote, open_objects

        objects = open_objects(self.config.remote.url, self.root)
        return Remote(objects, os.path.join(self.config.state, "remote"))

    @cached_property
    def results(self) -> "Store":
        """Records and blobs of this machine, and behind them those of the remote, if there is one."""
        settings = self.config.remote
        return self.store if settings is None else self.over_remote(required=settings.required)

    def over_remote(self, *, required: bool) -> "Layered":
        """The store of this machine over the remote, which there must be; ``required``: a fault of that is an error."""
        from merkl.store.layered import Layered

        settings = self.config.remote
        assert settings is not None and self.remote is not None
        accepts = _any if settings.pickles else _without_pickles
        return Layered(self.store, self.remote, accepts=accepts, required=required)

    @cached_property
    def shelter(self) -> "Shelter":
        """The store, and beside it what it cannot take."""
        from merkl.engine.shelter import Shelter

        name = f"{self.lease.id if self.lease is not None else os.getpid()}-kept"
        return Shelter(self.results, os.path.join(self.config.state, "run", name))

    @cached_property
    def views(self) -> "Views":
        """Read-only paths to blobs; those made during a build are safe from gc while it lives."""
        return self._views_of(self.store)

    @cached_property
    def sheltered_views(self) -> "Views":
        """The same for what the store could not take."""
        return self._views_of(self.shelter.own())

    def _views_of(self, store: "LocalStore") -> "Views":
        from merkl.store.views import Views

        return Views(store, os.path.join(self.config.state, "view"), self.lease)

    def view(self, artifact: Artifact, name: bytes) -> bytes:
        """The absolute path of a read-only view of an artifact, called ``name``.

        Raises:
            StoreCorrupt: its bytes are gone or damaged.
        """
        self.shelter.bring([artifact])
        self.shelter.alone(artifact)
        views = self.sheltered_views if self.shelter.sheltered(artifact.digest) else self.views
        if artifact.kind == "dir":
            return views.tree(artifact.digest, name)
        return views.path(artifact.digest, name, artifact.executable)

    def damaged(self, paths: Sequence[bytes]) -> list[Digest]:
        """Which of the views at ``paths`` were changed since they were handed out."""
        opened = [self.__dict__[name] for name in ("views", "sheltered_views") if name in self.__dict__]
        return [digest for views in opened for digest in views.check(paths)]

    def hold(self, lease: "BuildLease | None") -> None:
        """Say which build uses the project from now on.  What a build could not store is kept until the next begins."""
        self.lease = lease
        self._outside.clear()
        for name in ("views", "sheltered_views"):
            self.__dict__.pop(name, None)
        if lease is not None:
            self._leave_shelter()

    def _leave_shelter(self) -> None:
        shelter = self.__dict__.pop("shelter", None)
        if shelter is not None:
            shelter.close()

    def _make_state(self) -> None:
        state = self.config.state
        try:
            os.makedirs(state, exist_ok=True)
            ignore = os.path.join(state, ".gitignore")
            # Empty if an earlier process was killed while it wrote it.
            if not os.path.exists(ignore) or os.path.getsize(ignore) == 0:
                with open(ignore, "w", encoding="ascii") as file:
                    file.write("*\n")
        except OSError:
            pass  # A read-only project: the index and the store say what follows from it.

    def close(self) -> None:
        """Write back what is remembered and close the databases.  Idempotent."""
        self._leave_shelter()
        for name in ("index", "results", "store", "remote"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()
        end_drafts(self.root)
        for name in ("views", "sheltered_views"):
            self.__dict__.pop(name, None)

    def take_notes(self) -> list[Note]:
        """What index and store have to say to the user since the last call."""
        notes: list[Note] = []
        if "index" in self.__dict__:
            notes += self.index.notes
            self.index.notes.clear()
        for name in ("results", "store"):
            if name in self.__dict__:
                notes += self.__dict__[name].take_notes()
        if "shelter" in self.__dict__:
            notes += self.shelter.notes
            self.shelter.notes.clear()
        notes += self.notes
        self.notes.clear()
        return notes

    # ---- nodes.Session -------------------------------------------------------------------------------------------

    def made(self, node: Node, called: "tuple[Sequence[Any], Mapping[str, Any]] | None" = None) -> None:
        """Remember nodes that are run for what they do: those without declared outputs, made inside a target."""
        if self.pipelines is not None and self.pipelines.did(node, called):
            return
        target = scope().target
        if target and (not node.cache or all(each.kind == "value" and each.form for each in node.outputs)):
            known = self.effects.setdefault(target, [])
            if known and known[-1].key == node.key:
                known.pop()  # The same call, which is told again as part of its batch.
            known.append(node)

    def source(self, path: PathLike, kind: Literal["file", "dir", "any"] = "any") -> Source:
        """Stamp and hash a named input."""
        return self.index.source(self.path(path), kind)

    def path(self, path: PathLike) -> str:
        """The one spelling of a path: relative to the project, or absolute outside it."""
        if isinstance(path, (FileRef, DirRef)):
            return normalise(path, self.root, self.root)  # It was made relative to the project already.
        base = scope().base
        return normalise(path, os.path.join(self.root, base) if base else self.base, self.root)

    def place(self, future: Future[Any], path: PathLike, sidecar: bool) -> None:
        """Remember that an output is to appear at a path."""
        where = self.path(path)
        placeable(where)
        placement = Placement(future, where, sidecar, scope().target, calling_place())
        if self.pipelines is None or not self.pipelines.did(placement):
            self.placements.append(placement)

    @property
    def ordered(self) -> "Ordered":
        """Nodes with what has to have ended before, as pipelines say."""
        return () if self.pipelines is None else self.pipelines.ordered

    def construct(self, construction: Construction) -> Any:
        """What a pipeline returns."""
        if self.pipelines is None and self.make_pipelines is not None:
            self.pipelines = self.make_pipelines(self)
        return construction.run() if self.pipelines is None else self.pipelines.construct(construction)

    def first(self, futures: Sequence[Future[Any]]) -> None:
        """Let what is made from now on, in the pipeline that is running, wait for these."""
        if self.pipelines is not None:
            self.pipelines.first(futures)

    def looked(self, kind: Literal["file", "files", "params"], path: str, answer: object) -> None:
        """Tell pipelines that are running what they were told of the project's files."""
        if self.pipelines is not None:
            self.pipelines.looked(kind, path, answer)

    def environment(self, name: str) -> str | None:
        """A variable of the environment merkl was started in."""
        return os.environ.get(name)

    def tool(self, spec: str) -> str:
        """A program's digest, or what a command line that asks for its version prints."""
        known = self._tools.get(spec)
        if known is None:
            known = self._tools[spec] = self._look_at_tool(spec)
        return known

    def tool_files(self) -> list[str]:
        """The programs behind the tools that were asked about, as absolute paths without links."""
        import shutil

        found = (shutil.which(spec.split()[0]) for spec in self._tools)
        return sorted({os.path.realpath(path) for path in found if path is not None})

    def _look_at_tool(self, spec: str) -> str:
        import shutil
        import subprocess

        words = spec.split()
        found = shutil.which(words[0]) if words else None
        if found is None:
            raise InputMissing(
                f"the tool {words[0] if words else spec!r} is not on PATH",
                hint="install it, or take it out of tools=",
            )
        if len(words) == 1:
            return self.index.source(os.path.realpath(found), "file").digest.hex()
        try:
            with vouching(found):
                done = subprocess.run(
                    [found, *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise InputMissing(f"the tool {spec!r} did not say its version: {error}") from None
        return (done.stdout or done.stderr).decode("utf-8", "replace").strip()

    def evaluate(self, futures: Sequence[Future[Any]]) -> list[Any]:
        """Build what is missing and return the values; what the store answers at once is not worth a build."""
        if len(futures) == 1 and (found := self._answer(futures[0])) is not None and found.checked():
            return [self._value_of(found)]
        return self._built(futures)

    @cached_property
    def _value_of(self) -> "Callable[[Answer], Any]":
        from merkl.engine.answered import value_of

        return value_of

    def _built(self, futures: Sequence[Future[Any]]) -> list[Any]:
        build = self.builder
        assert build is not None
        if self.pipelines is not None:
            return self.pipelines.evaluate(futures, lambda: build(self, futures))
        return build(self, futures)

    def open(self, future: Future[Any], mode: str, encoding: str | None, newline: str | None) -> IO[Any]:
        """Build what is missing and return a reader."""
        from merkl.engine.reading import Reading
        from merkl.python.opened import reading

        reader = self._built([Reading(future.node, future.output)])[0]
        return reading(reader, mode, encoding, newline)

    def artifact(self, future: Future[Any]) -> Artifact | None:
        """What is known without running anything; None also if the bytes are gone."""
        from merkl.engine.contained import NotThere
        from merkl.engine.judge import Judge

        self._asked("asks whether a result is there")
        if (answer := self._answer(future)) is not None:
            return answer.artifact()
        judge = Judge(self.results, self.first_change)
        judge.want([future.node])
        judge.require([future])
        judge.want([])
        found = judge.artifact(future)
        return None if isinstance(found, NotThere) else found

    def _answer(self, future: Future[Any]) -> "Answer | None":
        """What the store of this machine says of a Future at once, where a build would ask and do nothing else."""
        node = future.node
        if (
            node.open
            or type(future) is not Future
            or future.output
            or len(node.outputs) != 1
            or node.given is not None
            or self.config.remote is not None
            or (self.pipelines is not None and self.pipelines.running)
            or node.key in self._callbacks
            or ("shelter" in self.__dict__ and self.shelter.holds_some)
            or (self.placements and self._concerned(node))
        ):
            return None
        return self.store.answer(node.key, len(node.deps))

    def _concerned(self, node: Node) -> bool:
        """Whether building a node would place something."""
        placed = {placement.future.node.key for placement in self.placements}
        return any(each.key in placed for each in walk([node]))

    def clear(self, futures: Sequence[Future[Any]]) -> None:
        """Forget the records of these nodes, and nothing else."""
        self._asked("forgets results")
        self.forget(future.node for future in futures)

    def _asked(self, what: str) -> None:
        """Tell pipelines that are running what they did that cannot be done again from what is remembered."""
        if self.pipelines is not None:
            self.pipelines.asked(what)

    def forget(self, nodes: Iterable[Node]) -> int:
        """Forget what is recorded of some nodes, under all their names; how many records went."""
        from merkl.engine.judge import Judge

        nodes = list(nodes)
        judge = Judge(self.store, self.first_change)
        judge.want(nodes)
        keys = [key for node in nodes for key in (node.key, judge.steps[node.key].content) if key is not None]
        records = self.store.by_key([node.key for node in nodes])
        return self.store.forget([*keys, *(record.content_key for record in records.values())])

    def from_file(self, path: PathLike) -> Future[Any]:
        """The Future that a sidecar describes; its result must be in the store, or at the path."""
        from merkl.engine.sidecars import loaded

        self._asked("loads a Future from a sidecar")
        return loaded(self.results, self.index, self.path(path))

    def when_done(self, future: Future[Any], callback: Callable[[Future[Any]], object]) -> None:
        """Call back once a Future is done."""
        self._asked("asks to be called back")
        if future.in_cache():
            callback(future)
        else:
            self._callbacks.setdefault(future.node.key, []).append((future, callback))

    def call_back(self, key: Key) -> None:
        """Tell those who asked that a node is done."""
        for future, callback in self._callbacks.pop(key, []):
            callback(future)

    # ---- discovered inputs ---------------------------------------------------------------------------------------

    def digest_at(self, path: str) -> Digest | None:
        """The digest of the file at a normalised path now, or None if there is no regular file."""
        try:
            return self.index.source(path, "file").digest
        except InputMissing:
            return None

    def _digest_outside(self, path: str) -> Digest | None:
        """As ``digest_at``, asked once a build: a thousand C files name the same system headers."""
        if path not in self._outside:
            self._outside[path] = self.digest_at(path)
        return self._outside[path]

    def first_change(self, discovered: "Discovered") -> str | None:
        """The first path of a discovered set that is no longer what it was, or None."""
        for path, digest in discovered.files.items():
            if digest is None:
                changed = has_files(os.path.join(self.root, path))
            elif path.startswith("/"):
                changed = self._digest_outside(path) != digest
            else:
                changed = self.digest_at(path) != digest
            if changed:
                return str(path)
        return None


def _any(_: "Record") -> bool:
    return True


def _without_pickles(record: "Record") -> bool:
    """Whether what a record from elsewhere promises can be read without running anybody's code."""
    return all("pickle" not in artifact.serializer for artifact in record.outputs.values())


def has_files(path: str) -> bool:
    """Whether something is at a path that could be read: a directory counts only if there is a file in it."""
    if not os.path.lexists(path):
        return False
    if os.path.islink(path):
        return True
    try:
        with os.scandir(path) as entries:
            return any(has_files(entry.path) for entry in entries)
    except FileNotFoundError:
        return False
    except OSError:  # No directory, or one that cannot be read.
        return True

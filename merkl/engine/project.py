"""A project and its state: what stands behind every Future, and what the commands work on.

It decides how paths, tools and variables that user code names become parts of keys.  It knows no schedule: a build is
given to it by ``set_builder``.

The invariant: index and store are opened when something first needs them, so that loading a Merklfile that names no file
touches neither.
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Literal

from merkl.config import Config
from merkl.digest import Digest, Key
from merkl.engine.starting import Starting, runs_again
from merkl.errors import InputMissing, MerklError, MerklfileError, UsageError
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
    evaluating,
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
    from merkl.engine.owncaches import OwnCaches
    from merkl.engine.shelter import Shelter
    from merkl.engine.yields import Ordered
    from merkl.store.answers import Answer
    from merkl.store.base import Discovered, Record, Store
    from merkl.store.builds import BuildLease
    from merkl.store.caches import OwnCache
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
        self.first_made: dict[str, Node] = {}  # By target or function: the first of the nodes that it made.
        self.has_run = False  # Whether what runs while targets are called ran tasks.
        self.verbose = False  # Say what only who asks for all details wants to know.
        self.caches: OwnCaches | None = None  # Once a task has one of its own.
        self.passing: dict[Key, Record] = {}  # What interrupted tasks returned; it holds until a build ends.
        self._values: dict[Key, dict[str, Any]] = {}  # By node and output, of tasks that want it so.
        self.brief: dict[Key, Node] = {}  # Nodes whose results go when what needs them has ended.
        self.clear_brief: Callable[[Project], None] | None = None  # Once there was a build.
        self.only_looks = False  # For a command that runs nothing.
        self.make_begun: Callable[[Project], Starting] | None = None  # Else nothing is started.
        self.begun: Starting | None = None  # Once something was.
        self._evaluated: dict[Future[Any], Any] = {}  # By ``Eval``, of what no store answers for.
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
        if self.caches is not None:
            from merkl.store.layered import Layered

            return Layered(self.store, self.caches, required=settings is not None and settings.required)
        return self.store if settings is None else self.over_remote(required=settings.required)

    def _brings(self, node: Node, own: "OwnCache") -> None:
        """Hear of a node whose task asks for more than the store."""
        if own.in_memory and not node.open:
            self._values.setdefault(node.key, {})
        if own.cache is None or not node.cache:
            return
        if self.caches is None:
            from merkl.engine.owncaches import OwnCaches

            settings = self.config.remote
            accepts = _any if settings is None or settings.pickles else _without_pickles
            self.caches = OwnCaches(self.remote, accepts)
            self.__dict__.pop("results", None)  # From now on there is more behind the store.
        self.caches.heed(node, node.key)

    def heed(self, node: Node, key: Key) -> None:
        """Hear under which content key a node is asked for."""
        if self.caches is not None:
            self.caches.heed(node, key)

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
        directory = os.path.join(self.config.state, "run", name)
        return Shelter(self.results, directory, self.caches, self.passing)

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
        """Write back what is remembered and close the databases; what was started ends before, at once after an error.
        Idempotent."""
        if self.begun is not None:
            self.begun.close(at_once=sys.exc_info()[0] is not None)
        self._end_brief()
        self.brief.clear()
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
        own: OwnCache | None = getattr(node.call, "own", None)
        if own is not None:
            self._brings(node, own)
        target = scope().target
        if target and target not in self.first_made:
            self.first_made[target] = node
        if self.pipelines is not None and self.pipelines.did(node, called):
            return
        if target and (not node.cache or all(each.kind == "value" and each.form for each in node.outputs)):
            known = self.effects.setdefault(target, [])
            if known and known[-1].key == node.key:
                known.pop()  # The same call, which is told again as part of its batch.
            known.append(node)

    def begin(self, nodes: Sequence[Node]) -> None:
        """Start what one call made, or run it to its end; nothing in a command, or a build, that runs nothing."""
        self.has_run = True
        aside = self.pipelines is not None and self.pipelines.is_aside
        if aside or self.only_looks or self.config.frozen or self.builder is None:
            return
        if evaluating():
            self._evaluate_now([Future(node, output.name) for node in nodes for output in node.outputs])
            return
        if self.begun is None and self.make_begun is not None:
            self.begun = self.make_begun(self)
        if self.begun is not None:
            with self._beside_pipelines():
                self.begun.start(nodes)

    def _evaluate_now(self, futures: Sequence[Future[Any]]) -> None:
        build = self.builder
        assert build is not None
        with self._beside_pipelines():
            self._wait_for(futures)
            values = build(self, futures)
        self._evaluated.update(
            (future, value) for future, value in zip(futures, values, strict=True) if runs_again(future.node)
        )

    def _beside_pipelines(self) -> AbstractContextManager[None]:
        """Run code inside that is no pipeline's, though one may be running."""
        return self.pipelines.not_running() if self.pipelines is not None else nullcontext()

    def failure_of(self, node: Node) -> MerklError | None:
        """How a call failed that was started when it was made."""
        return None if self.begun is None else self.begun.error_of(node)

    def goes_on(self, node: Node) -> bool:
        """Whether a call that was started when it was made has not ended."""
        return self.begun is not None and self.begun.goes_on(node)

    def _wait_for(self, futures: Sequence[Future[Any]]) -> None:
        if self.begun is not None:
            self.begun.wait(futures)

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
        placement = Placement(future, where, sidecar, scope().target, calling_place().relative_to(self.root))
        if self.pipelines is None or not self.pipelines.did(placement):
            self.placements.append(placement)
            if evaluating() and future not in self._evaluated:  # To run it again for that would be too much.
                self.begin([future.node])

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
        self.has_run = True
        if not self._values:
            return self._values_of(futures)
        if len(futures) == 1 and self._is_plain(futures[0]):
            kept = self._values.get(futures[0].node.key, {})
            if futures[0].output in kept:
                return [kept[futures[0].output]]
        values = self._values_of(futures)
        for future, value in zip(futures, values, strict=True):
            if future.node.key in self._values:
                self._values[future.node.key][future.output] = value
        return values

    def _values_of(self, futures: Sequence[Future[Any]]) -> list[Any]:
        if len(futures) == 1 and (found := self._answer(futures[0])) is not None and found.checked():
            return [self._value_of(found)]
        if self.begun is not None or self._evaluated:
            self._wait_for(futures)
            kept = [self._kept_value(future) for future in futures]
            if all(each is not None for each in kept):
                return [value for each in kept if each is not None for value in each]
        return self._built(futures)

    def _kept_value(self, future: Future[Any]) -> tuple[Any] | None:
        """The value of a call that was run when it was made, and that no store answers for."""
        if future in self._evaluated:
            return (self._evaluated[future],)
        if self.begun is None or self._concerned(future.node):
            return None
        return self.begun.value_of(future)

    @cached_property
    def _value_of(self) -> "Callable[[Answer], Any]":
        from merkl.engine.answered import value_of

        return value_of

    def _built(self, futures: Sequence[Future[Any]]) -> list[Any]:
        build = self.builder
        assert build is not None
        try:
            if self.pipelines is not None:
                return self.pipelines.evaluate(futures, lambda: build(self, futures))
            return build(self, futures)
        finally:
            self._end_brief()

    def keep_briefly(self, future: Future[Any]) -> None:
        """Let the result of a node go when what is being built has ended."""
        self._asked("keeps a result for a while only")
        self.brief[future.node.key] = future.node

    def _end_brief(self) -> None:
        if self.brief and self.clear_brief is not None and self.lease is None:
            self.clear_brief(self)

    def metadata(self, future: Future[Any]) -> dict[str, Any]:
        """What is recorded of a node's run besides its results."""
        from merkl.engine.judge import Judge

        self._asked("asks what is recorded of a result")
        judge = Judge(self.results, self.first_change, heed=self.heed)
        judge.want([future.node])
        record = judge.steps[future.node.key].record
        return {} if record is None else dict(record.metadata)

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
        judge = Judge(self.results, self.first_change, heed=self.heed)
        judge.want([future.node])
        judge.require([future])
        judge.want([])
        found = judge.artifact(future)
        return None if isinstance(found, NotThere) else found

    def _answer(self, future: Future[Any]) -> "Answer | None":
        """What the store of this machine says of a Future at once, where a build would ask and do nothing else."""
        node = future.node
        if (
            future.output
            or len(node.outputs) != 1
            or node.given is not None
            or self.config.remote is not None
            or ("shelter" in self.__dict__ and self.shelter.holds_some)
            or not self._is_plain(future)
        ):
            return None
        return self.store.answer(node.key, len(node.deps))

    def _is_plain(self, future: Future[Any]) -> bool:
        """Whether nothing but its value is wanted of a Future, and that depends on nothing but the key."""
        node = future.node
        return not (
            node.open
            or type(future) is not Future
            or (self.pipelines is not None and self.pipelines.running)
            or node.key in self._callbacks
            or node.key in self.brief
            or (self.placements and self._concerned(node))
        )

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
        for node in nodes:
            self.passing.pop(node.key, None)
        judge = Judge(self.store, self.first_change)
        judge.want(nodes)
        keys = [key for node in nodes for key in (node.key, judge.steps[node.key].content) if key is not None]
        records = self.store.by_key([node.key for node in nodes])
        for node in nodes:
            if self._values.get(node.key):
                self._values[node.key].clear()
        if self.caches is not None:
            for node in nodes:
                if (content := judge.steps[node.key].content) is not None:
                    self.caches.heed(node, content)
            self.caches.forget(keys)
        return self.store.forget([*keys, *(record.content_key for record in records.values())])

    def from_file(self, path: PathLike) -> Future[Any]:
        """The Future that a sidecar describes; its result must be in the store, or at the path."""
        from merkl.engine.sidecars import loaded

        self._asked("loads a Future from a sidecar")
        return loaded(self.results, self.index, self.path(path))

    def when_done(self, future: Future[Any], callback: Callable[[Future[Any]], object]) -> None:
        """Call back once a Future is done."""
        if not callable(callback):
            raise UsageError(f"on_completed takes a function of a Future, not {callback!r:.60}")
        self._asked("asks to be called back")
        if future.in_cache():
            callback(future)
        else:
            self._callbacks.setdefault(future.node.key, []).append((future, callback))

    def call_back(self, key: Key) -> None:
        """Tell those who asked that a node is done."""
        for future, callback in self._callbacks.pop(key, []):
            try:
                callback(future)
            except MerklError:
                raise
            except Exception as error:
                raise _raised_when_done(future, error, self.root) from error

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


def _raised_when_done(future: Future[Any], error: Exception, root: str) -> MerklfileError:
    """What ends a build if a function that was given to ``on_completed`` raised."""
    trace = error.__traceback__ and error.__traceback__.tb_next  # Below the call of it.
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return MerklfileError(
        f"what was to be called on the completion of {future.node.name} raised {type(error).__name__}: {error}",
        at=Place(trace.tb_frame.f_code.co_filename, trace.tb_lineno).relative_to(root) if trace else None,
        hint="correct it; the result is kept",
    )


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

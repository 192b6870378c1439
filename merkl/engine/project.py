"""A project in one process: what stands behind every Future, and what the commands work on.

It decides how paths, tools and variables that user code names become parts of keys, and what is asked for a value before a
build is.  It knows no schedule: ``builder`` builds.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Literal

from merkl.config import Config
from merkl.digest import Key
from merkl.engine.callbacks import Callbacks
from merkl.engine.placement import Placement
from merkl.engine.state import ProjectState
from merkl.errors import MerklError, UsageError
from merkl.nodes import (
    Artifact,
    Construction,
    Future,
    Node,
    PathLike,
    Source,
    calling_place,
    evaluating,
    scope,
    walk,
)
from merkl.snapshot import recorder
from merkl.workspace.paths import normalise, placeable

if TYPE_CHECKING:  # `merkl list` needs no store.
    from merkl.engine.constructing import Constructing
    from merkl.engine.starting import Starting
    from merkl.engine.tools import Tools
    from merkl.engine.yields import Ordered
    from merkl.store.answers import Answer
    from merkl.store.caches import OwnCache


Builder = Callable[["Project", Sequence[Future[Any]]], list[Any]]


class Project(ProjectState):
    """One project of one process; implements ``nodes.Session``."""

    def __init__(self, config: Config, *, base: str = "") -> None:
        super().__init__(config)
        self.project_modules = config.project_modules
        self.placements: list[Placement] = []
        # By target: nodes that are run for what they do, not for an output.
        self.effects: dict[str, list[Node]] = {}
        self.base = base or config.root  # Where relative paths begin outside a Merklfile.
        self.builder: Builder | None = None
        self.make_pipelines: Callable[[Project], Constructing] | None = None  # Else they are run and no more.
        self.pipelines: Constructing | None = None  # Once one was called.
        self.first_made: dict[str, Node] = {}  # By target or function: the first of the nodes that it made.
        self.has_run = False  # Whether what runs while targets are called ran tasks.
        self.verbose = False  # Say what only who asks for all details wants to know.
        self._values: dict[Key, dict[str, Any]] = {}  # By node and output, of tasks that want it so.
        self.brief: dict[Key, Node] = {}  # Nodes whose results go when what needs them has ended.
        self.clear_brief: Callable[[Project], None] | None = None  # Once there was a build.
        self.only_looks = False  # For a command that runs nothing.
        self.make_begun: Callable[[Project], Starting] | None = None  # Else nothing is started.
        self.begun: Starting | None = None  # Once something was.
        # What takes tasks to other machines.
        self.make_away: Callable[[Project], object] | None = None
        self._evaluated: dict[Future[Any], Any] = {}  # By ``Eval``, of what no store answers for.
        self._callbacks = Callbacks(config.root)

    def close(self) -> None:
        """As of ``ProjectState``; what was started ends before, at once after an error."""
        try:
            if self.begun is not None:
                self.begun.close(at_once=sys.exc_info()[0] is not None)
            self._end_brief()
            self.brief.clear()
        finally:
            super().close()

    # ---- nodes.Session -------------------------------------------------------------------------------------------

    def made(self, node: Node, called: "tuple[Sequence[Any], Mapping[str, Any]] | None" = None) -> None:
        """Remember nodes that are run for what they do: those without declared outputs, made inside a target."""
        own: OwnCache | None = getattr(node.shared.maker or node.call, "own", None)
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

    def _brings(self, node: Node, own: "OwnCache") -> None:
        """Hear of a node whose task asks for more than the store."""
        if own.in_memory and not node.open:
            self._values.setdefault(node.key, {})
        if own.cache is None or not node.cache:
            return
        if self.caches is None:
            from merkl.engine.owncaches import OwnCaches

            self.caches = OwnCaches(self.remote)
            self.__dict__.pop("results", None)  # From now on there is more behind the store.
        self.caches.heed(node, node.key)

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
        from merkl.engine.starting import runs_again

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
        from merkl.workspace.refs import DirRef, FileRef

        if isinstance(path, (FileRef, DirRef)):
            return normalise(path.path, self.root, self.root)  # It was made relative to the project already.
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
        """Tell pipelines that are running what they were told of the project's files, and the index what may be read."""
        if kind == "files" and isinstance(answer, tuple):
            self.index.expect(answer)
        if self.pipelines is not None:
            self.pipelines.looked(kind, path, answer)

    def environment(self, name: str) -> str | None:
        """A variable of the environment merkl was started in."""
        return os.environ.get(name)

    @cached_property
    def tools(self) -> "Tools":
        """What programs that tasks name have answered."""
        from merkl.engine.tools import Tools

        return Tools(lambda: self.index)

    def tool(self, spec: str) -> str:
        """A program's digest, or what a command line that asks for its version prints."""
        return self.tools.answer(spec)

    def evaluate(self, futures: Sequence[Future[Any]]) -> list[Any]:
        """Build what is missing and return the values; what the store answers at once is not worth a build."""
        self.has_run = True
        if not self._values:
            if len(futures) != 1:
                return self._values_waited_for(futures)
            found = self._answer(futures[0])
            return self._values_waited_for(futures) if found is None else [self._value_of(found)]
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
        if len(futures) == 1 and (found := self._answer(futures[0])) is not None:
            return [self._value_of(found)]
        return self._values_waited_for(futures)

    def _values_waited_for(self, futures: Sequence[Future[Any]]) -> list[Any]:
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
        if future.node.given is not None:  # From a sidecar: there is nothing to judge.
            found = self.results.by_key([future.node.key]).get(future.node.key)
            return {} if found is None else dict(found.metadata)
        judge = Judge(self.results, self.first_change, heed=self.heed)
        judge.want([future.node])
        record = judge.steps[future.node.key].record
        return {} if record is None else dict(record.metadata)

    def open(self, future: Future[Any], mode: str, encoding: str | None, newline: str | None) -> IO[Any]:
        """Build what is missing and return a reader."""
        from merkl.engine.reading import Reading
        from merkl.python.opened import reading

        self.has_run = True
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
        return self.store.answer(node.key)

    def _is_plain(self, future: Future[Any]) -> bool:
        """Whether nothing but its value is wanted of a Future, and that depends on nothing but the key."""
        node = future.node
        return not (
            node.open
            or type(future) is not Future
            or (self.pipelines is not None and self.pipelines.running)
            or node.key in self._callbacks.waiting
            or (self.brief and node.key in self.brief)
            or (self.placements and self._concerned(node))
        )

    def _concerned(self, node: Node) -> bool:
        """Whether building a node would place something."""
        placed = {placement.future.node.key for placement in self.placements}
        return any(each.key in placed for each in walk([node]))

    def clear(self, futures: Sequence[Future[Any]]) -> None:
        """Forget the records of these nodes, and nothing else."""
        from merkl.engine.forgetting import forget

        self._asked("forgets results")
        for future in futures:
            if future.node.key in self._values:
                self._values[future.node.key].clear()
        forget(self, [future.node for future in futures])

    def _asked(self, what: str) -> None:
        """Tell pipelines that are running what they did that cannot be done again from what is remembered.

        Nor can what else is being loaded, which got an answer that is another one after the next build.
        """
        if (recording := recorder.active()) is not None:
            recording.keep_no_graph(f"the Merklfile {what}")
        if self.pipelines is not None:
            self.pipelines.asked(what)

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
            self._callbacks.add(future, callback)

    def call_back(self, key: Key) -> None:
        """Tell those who asked that a node is done."""
        self._callbacks.call(key)

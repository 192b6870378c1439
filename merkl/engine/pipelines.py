"""The pipelines of a session: which are running, and what is remembered of those that ran.

It decides whether a pipeline's function runs: only if no construction answers that still holds, or a result it leads to
was there and is gone.  What a construction is made of is ``constructions``' to say.

The invariant: whatever is in doubt, the function runs, which is always right.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from merkl.digest import Digest, Key, content_key_of, key_of
from merkl.engine.constructions import (
    SERIALIZER,
    Called,
    Deed,
    Evaluated,
    Recording,
    Yielded,
)
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.remaking import Remade, artifacts, remade
from merkl.engine.select import plain_label
from merkl.errors import NotYetKnown, SerializationError, StoreCorrupt, TaskError
from merkl.events import Note
from merkl.nodes import Artifact, Construction, Future, Node, evaluating, scope
from merkl.python.pipeline_looks import not_watching, watching
from merkl.store.base import Record

_DEEP: Final = "a pipeline can call itself only with other arguments, and not without end"


class Pipelines:
    """What a project knows of pipelines; asked by ``Project`` whenever something is made, placed or evaluated."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.ordered: list[tuple[Node, tuple[Node, ...]]] = []  # With what must have ended before.
        self.keys: dict[Key, str] = {}  # Of the constructions that were used or made, and their targets.
        # Of nodes, if they are only looked at: see ``Constructing``.
        self.groups: dict[Key, tuple[str, ...]] = {}
        self._inside: tuple[str, ...] = ()
        self._calls: Counter[str] = Counter()
        self.evaluated: list[Node] = []
        # Files that they read by themselves: digests, None if not there.
        self.opened: dict[str, str | None] = {}
        self._fresh: list[Record] = []
        self._running: list[tuple[Key | None, Recording]] = []
        self._before: tuple[Node, ...] = ()
        self._aside: list[Node] | None = None

    @property
    def running(self) -> bool:
        """Whether the function of one is running."""
        return bool(self._running)

    @property
    def is_aside(self) -> bool:
        """Whether what is made now is only compared with what was made before."""
        return self._aside is not None

    # ---- a call --------------------------------------------------------------------------------------------------

    def construct(self, construction: Construction) -> Any:
        """What the call returns.

        Raises:
            TaskError: it calls itself.
        """
        key = self._key(construction)
        if key is not None and any(other == key for other, _ in self._running):
            raise TaskError(
                f"the pipeline {construction.name} calls itself with the same arguments",
                hint=_DEEP,
                at=construction.place,
            )
        before, outside = self._before, self._inside
        self._inside = (*outside, self._called(construction.name))
        try:
            again = self._recalled(key, construction) if key is not None else None
            return self._run(key, construction) if again is None else self._redo(again)
        except RecursionError:
            if self._running:
                raise
            raise TaskError(
                f"pipelines call each other too deep, from {construction.name}",
                hint=_DEEP,
                at=construction.place,
            ) from None
        finally:
            self._before, self._inside = before, outside

    def _called(self, name: str) -> str:
        """A name for one call, which no other call has."""
        self._calls[name] += 1
        return name if self._calls[name] == 1 else f"{name} #{self._calls[name]}"

    def _key(self, construction: Construction) -> Key | None:
        if construction.key is None:
            return None
        return key_of("construction", bytes(construction.key), self.project.path("."))

    def _run(self, key: Key | None, construction: Construction) -> Any:
        recording = Recording(self.project, construction, len(self._inside))
        self._running.append((key, recording))
        started, began = time.time_ns(), time.monotonic()
        try:
            with watching(recording.looks):
                value = construction.run()
        finally:
            self._running.pop()
            self.opened.update(recording.looks.files)
        data = recording.written(value) if key is not None else None
        for _, outer in self._running:
            if recording.looks.spoiled:
                outer.looks.spoil(f"{construction.name}: {recording.looks.spoiled}")
        if data is None or key is None:
            if recording.looks.spoiled and self.project.verbose:
                self.project.notes.append(
                    Note(f"the pipeline {construction.name} is not remembered: {recording.looks.spoiled}")
                )
        elif not self.project.only_looks:
            self._keep(key, construction.name, data, started, time.monotonic() - began)
        return value

    # ---- the store -----------------------------------------------------------------------------------------------

    def _keep(self, key: Key, name: str, data: bytes, started_ns: int, seconds: float) -> None:
        """File a construction, in the place of one that no longer holds."""
        store = self.project.results
        digest = Digest.of(data)
        made = Artifact("value", digest, len(data), serializer=SERIALIZER)
        content = content_key_of("construction", bytes(key))
        record = Record(key, content, name, {"": made}, (), seconds, started_ns)
        if key in store.by_key([key]):
            self.project.store.forget([key])
        self.project.shelter.publish([(record, True)], {digest: data})
        self.keys[key] = scope().target
        self._fresh.append(record)

    def take_fresh(self) -> list[Record]:
        """The constructions that were filed since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def _recalled(self, key: Key, construction: Construction) -> Remade | None:
        """The construction that is filed, done again, if it still holds and its results are there."""
        record = self.project.results.by_key([key]).get(key)
        artifact = record.outputs.get("") if record is not None else None
        if artifact is None or artifact.serializer != SERIALIZER:
            return None
        try:
            self.project.shelter.bring([artifact])
            with self.project.shelter.reader(artifact.digest) as file:
                data = file.read()
        except StoreCorrupt:
            return None
        try:
            again = remade(self.project, data, construction.inputs, self._call_aside)
        except Exception:  # noqa: BLE001  # A task that is gone, or takes other arguments now: the function tells it better.
            return None
        if again is None or not self._holds(again):
            return None
        self.keys[key] = scope().target
        return again

    def _holds(self, again: Remade) -> bool:
        evaluated, outputs = again.evaluated(), again.outputs()
        known = artifacts(self.project, [*(each.future for each in evaluated), *outputs])
        if any(each.future not in known or known[each.future].digest != each.digest for each in evaluated):
            return False
        missing = [future.node.key for future in outputs if future not in known]
        return not missing or not self.project.index.have_run(missing)  # Those that have are gone.

    def _call_aside(self, call: Callable[[], Any]) -> list[Node]:
        made: list[Node] = []
        before, self._aside = self._aside, made
        try:
            call()
        finally:
            self._aside = before
        return made

    def _redo(self, again: Remade) -> Any:
        """Let everybody hear of what was done again."""
        for kind, path, digest in again.asked:
            if kind == "open":
                self.opened[path] = digest
            for _, recording in self._running:
                if kind == "env":
                    recording.looks.variables.setdefault(path)
                elif kind == "open":
                    recording.looks.files.setdefault(path, digest)
                else:
                    recording.asked.setdefault((kind, path), digest)
        inside, names = self._inside, dict[tuple[str, int], str]()
        for deed in again.deeds:
            match deed:
                case Placement():
                    if not self.did(deed):
                        self.project.placements.append(deed)
                case Yielded(futures):
                    self.first(futures)
                case Evaluated():
                    self.did(deed)
                case node:
                    inner = again.within.get(node.key, ())
                    for each in inner:
                        if each not in names:
                            names[each] = self._called(each[0])
                    self._inside = (*inside, *(names[each] for each in inner))
                    self.project.made(node, again.called[node.key])
                    self._inside = inside
        made = [deed for deed in again.deeds if isinstance(deed, Node)]
        if begun := [node for node in made if node.call.eager or evaluating()]:
            self.project.begin(begun)
        return again.value

    # ---- what happens in the meantime ----------------------------------------------------------------------------

    def did(self, deed: Deed, called: Called | None = None) -> bool:
        """Hear of something that was done; whether it was done aside, and does not count.

        Raises:
            SerializationError: a pipeline called a task that keeps no results.
        """
        if self._aside is not None:
            if isinstance(deed, Node):
                self._aside.append(deed)
            return True
        if isinstance(deed, Node):
            self._check(deed)
            if self._inside and self.project.only_looks:
                self.groups.setdefault(deed.key, self._inside)
            if self._before:
                self.ordered.append((deed, self._before))
        elif isinstance(deed, Evaluated):
            self.evaluated.append(deed.future.node)
        for _, recording in self._running:
            recording.did(deed, called, self._inside)
        return False

    def _check(self, node: Node) -> None:
        strict = next((r.construction for _, r in self._running if r.strict), None)
        if strict is not None and not node.cache:
            raise SerializationError(
                f"the pipeline {strict.name} calls {node.name}, which keeps no results (cache=None or False)",
                hint=f"let {node.name} keep them, or declare @pipeline(cache=False), which runs it whenever it is called",
                at=node.place,
            )

    def first(self, futures: Sequence[Future[Any]]) -> None:
        """Let what is made from now on start only after these have ended."""
        self.did(Yielded(tuple(futures)))
        known = {node.key for node in self._before}
        self._before += tuple({f.node.key: f.node for f in futures if f.node.key not in known}.values())
        if target := scope().target:  # A target stands for them, whether something follows or not.
            self.project.effects.setdefault(target, []).extend(future.node for future in futures)

    def looked(self, kind: str, path: str, answer: object) -> None:
        """Hear what the code was told of the project's files."""
        if self._aside is None:
            for _, recording in self._running:
                recording.looked(kind, path, answer)

    def asked(self, what: str) -> None:
        """Hear of something that cannot be asked again."""
        for _, recording in self._running:
            recording.looks.spoil(f"it {what}")

    def evaluate(self, futures: Sequence[Future[Any]], build: Callable[[], list[Any]]) -> list[Any]:
        """The values of some Futures, which decide what a pipeline does.

        Raises:
            NotYetKnown: nothing may run, and something would have to.
        """
        if not self._running:
            return build()
        if self.project.only_looks:
            known = artifacts(self.project, futures)
            unknown = [future for future in futures if future not in known]
            if unknown:
                running = self._running[0][1].construction.name
                raise NotYetKnown(running, plain_label(unknown[0].node), list(futures))
        with self.not_running():
            values = build()
        known = artifacts(self.project, futures)
        for future in futures:
            if future in known:
                self.did(Evaluated(future, known[future].digest))
            else:
                self.asked("evaluates what could not be kept")
        return values

    @contextlib.contextmanager
    def not_running(self) -> Iterator[None]:
        """Run code inside that is not a pipeline's."""
        running, self._running = self._running, []
        before, self._before = self._before, ()
        try:
            with not_watching():
                yield
        finally:
            self._running, self._before = running, before

"""Which nodes must run: the two keys, early cutoff and the open-node rule, as far as can be known at each moment.

It decides for every node that something needs whether the store answers for it, and when it may start.  It runs nothing
and touches no file: the store is asked through ``Lookup``, and the schedule says what has ended.

The invariant: a node is known only with artifacts that follow from those its dependencies have in this build; a key record
made from other inputs never answers.

A plan is a judge to which nothing has been reported yet; a build is the same judge, told what happens.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from merkl.digest import Key
from merkl.engine.contained import Contents, NotThere, held
from merkl.engine.known import Known
from merkl.engine.lookup import FindChange, Further, Heed, Lookup
from merkl.engine.step import (
    ENDED,
    NO_ARTIFACTS,
    Cached,
    CutOff,
    Forced,
    FoundChanged,
    NeverRan,
    OutputGone,
    Runs,
    RunsAlways,
    State,
    Step,
    Verdict,
)
from merkl.nodes import Artifact, Future, Node, content_key, inside_of
from merkl.python.calls import is_mapped
from merkl.store.base import Record

if TYPE_CHECKING:
    from merkl.engine.lists import Lists

_NEVER_RAN: Final = NeverRan()  # One for all.


class Judge(Known):
    """The steps of one build.

    ``roots`` must become known; those in ``placed`` with their bytes.  ``forced`` run whatever the store knows.  ``after``
    maps a node to others that must have ended well before it starts, without data.  ``further`` is asked where records
    were found whose discovered inputs have all changed; ``heed`` is told of content keys.  Nodes that run ``elsewhere`` are
    not among the ready ones but among those that are to be sent.
    """

    def __init__(
        self,
        lookup: Lookup,
        find_change: FindChange,
        *,
        force_all: bool = False,
        forced: frozenset[Key] = frozenset(),
        after: Mapping[Key, Sequence[Node]] | None = None,
        further: Further = lambda _: {},
        heed: Heed = lambda *_: None,
        elsewhere: Callable[[Node], bool] = lambda _: False,
    ) -> None:
        super().__init__(lookup)
        self._heed = heed
        self._elsewhere = elsewhere
        self._further = further
        self.find_change = find_change
        self._force_all = force_all
        self._forced = forced
        self._after = dict(after or {})
        self._ranks: Mapping[Key, int] = {}
        self._readers: dict[Key, list[Step]] = {}  # By node, the steps that name it as a dependency.
        self._judgeable: list[Step] = []
        self._ready: list[tuple[int, Key]] = []
        self._ready_elsewhere: list[tuple[int, Key]] = []
        self._lists: Lists | None = None  # Once there is one.
        self.to_join: list[Step] = []  # Lists whose items are all there, for whoever puts them together.
        self.newly_known: dict[Key, Step] = {}  # For whoever places and reports; emptied by them.
        self.newly_skipped: list[tuple[Step, Node]] = []  # With what failed; likewise.

    # ---- asking ------------------------------------------------------------------------------------------------

    def want(self, nodes: Iterable[Node], *, needs_bytes: bool = False) -> None:
        """Make ``nodes`` needed, and judge as much as can be judged."""
        nodes = list(nodes)
        self.need(nodes)
        if needs_bytes:
            self.require_bytes(nodes)
        self._settle()

    @property
    def lists(self) -> "Lists":
        """The mapped tasks, and the items that come."""
        if self._lists is None:
            from merkl.engine.lists import Lists  # Few builds have some.

            self._lists = Lists(self)
        return self._lists

    def wait_for(self, after: Mapping[Key, Sequence[Node]]) -> None:
        """Let nodes that are not wanted yet start only after others have ended well."""
        for key, nodes in after.items():
            self._after[key] = [*self._after.get(key, ()), *nodes]

    def require_bytes(self, nodes: Iterable[Node]) -> None:
        """Say that the bytes of ``nodes``' outputs are needed here."""
        steps = [self.steps[node.key] for node in nodes]
        known = [step for step in steps if step.state is State.KNOWN and not step.needs_bytes]
        for step in steps:
            step.needs_bytes = True
        self._check_bytes(known)

    def require(self, futures: "Iterable[Future[Any]]") -> None:
        """Say that the bytes of these outputs are needed here; of one inside another, only its own."""
        whole: dict[Key, Node] = {}
        for future in futures:
            step = self.steps[future.node.key]
            if inside_of(future.node, future.output) is None:
                whole[future.node.key] = future.node
                continue
            step.contents = step.contents or Contents()
            step.contents.wanted.add(future.output)
            if step.state is State.KNOWN and not step.ran:
                self._check_inside(step, [future.output])
        self.require_bytes(whole.values())

    def need(self, nodes: Iterable[Node]) -> None:
        """Let ``nodes`` have steps, with all that what the store cannot answer of them is made from."""
        self._recheck(self._demand(nodes))

    def _demand(self, nodes: Iterable[Node]) -> list[Step]:
        """Ask the store for the keys of ``nodes``, and of the dependencies of those it cannot answer, wave by wave."""
        fresh: list[Step] = []
        wave = self._new_steps(nodes)
        while wave:
            fresh += wave
            wave = [step for step in wave if not self._is_given(step)]
            asked = [s for s in wave if not s.node.open and not self._must_run(s.node)]
            records = self.lookup.by_key([step.node.key for step in asked]) if asked else {}
            unanswered: list[Step] = []
            for step in wave:
                record = records.get(step.node.key)
                if record is not None and is_complete(step.node, record):
                    step.record, step.by_key = record, True
                    self._know(step, Cached(record), record.outputs)
                else:
                    unanswered.append(step)
            wave = self._new_steps(dep.future.node for step in unanswered for dep in step.node.deps)
            for step in unanswered:
                self._wait_for_deps(step)
        return fresh

    def _is_given(self, step: Step) -> bool:
        """Whether what a step makes is known from the start; then it is known now, unless its bytes were lost."""
        node = step.node
        if node.given is None or step.rerun is not None:
            return False
        step.record = Record(node.key, node.key, node.name, node.given, [], 0.0, 0)
        self._know(step, Cached(step.record), node.given)
        return True

    def _new_steps(self, nodes: Iterable[Node]) -> list[Step]:
        made = []
        for node in nodes:
            if node.key not in self.steps:
                step = self.steps[node.key] = Step(node)
                made.append(step)
                for dep in node.deps:
                    self._readers.setdefault(dep.future.node.key, []).append(step)
        return made

    def runs_regardless(self, node: Node) -> bool:
        """Whether a node runs whatever the store knows."""
        return self._must_run(node) is not None

    def _must_run(self, node: Node) -> Runs | None:
        if self._force_all or node.key in self._forced:
            return Forced()
        return None if node.cache else RunsAlways()

    def _wait_for_deps(self, step: Step) -> None:
        """Make ``step`` judgeable once all its dependencies, which have steps, are known."""
        step.state = State.WAITING
        step.by_key = False
        for dep in step.node.deps:
            if not self.has(dep):
                self.let_wait(step, self.steps[dep.future.node.key])
        if not step.missing:
            self._judgeable.append(step)

    def let_wait(self, step: Step, other: Step) -> None:
        """Let ``step`` be judged, or started, only once ``other`` has ended well."""
        if other.state is State.KNOWN or other is step or other.node.key in step.missing:
            return
        if other.state in (State.FAILED, State.SKIPPED):
            self._skip(step, other.node)
            return
        step.wait_for(other)

    def _recheck(self, fresh: Sequence[Step]) -> None:
        """Hold back answers by key whose dependencies are needed by others too, and may get other digests in this build.

        Or have got others already: of a task whose results vary, the first counts, and this answer may rest on another.
        """
        doubtful = [step for step in fresh if step.by_key and step.node.deps and step.state is State.KNOWN]
        for step in sorted(doubtful, key=lambda step: step.node.serial):  # Dependencies first.
            needed = [
                other
                for dep in step.node.deps
                if (other := self.steps.get(dep.future.node.key)) is not None and not self.has(dep)
            ]
            unsettled = [other for other in needed if other.state not in ENDED]
            if unsettled:
                self._take_back(step)
                for other in unsettled:
                    self.let_wait(step, other)
            elif step.record is not None and not self.agrees(step.node, step.record):
                self._take_back(step)
                self._judgeable.append(step)

    def _hold_readers(self, step: Step) -> None:
        """Take back the answers that rest on a step that is to run again, unless they have been acted on already."""
        stack = [step]
        while stack:
            unsettled = stack.pop()
            for reader in self._readers.get(unsettled.node.key, ()):
                if reader.state is State.KNOWN and reader.node.key in self.newly_known:
                    self._take_back(reader)
                    self.let_wait(reader, unsettled)
                    stack.append(reader)

    def _take_back(self, step: Step) -> None:
        step.state = State.WAITING
        step.artifacts = NO_ARTIFACTS
        if step.contents is not None:
            step.contents.forget()
        self.newly_known.pop(step.node.key, None)

    # ---- judging -----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Judge every step whose dependencies are known, until none is left."""
        while self._judgeable or (self._lists is not None and self._lists.has_news):
            if self._lists is not None:
                self._lists.hear()
            batch, self._judgeable = self._judgeable, []
            to_ask: list[Step] = []
            for step in batch:
                if step.state is not State.WAITING or step.missing:
                    continue
                if step.by_key and step.record is not None:
                    self._confirm(step, step.record)
                elif not self._deps_known(step) or not self._deps_open(step):
                    self._wait_for_deps(step)
                else:
                    step.content = content_key(step.node, self.inputs(step.node))
                    self._heed(step.node, step.content)
                    reason = step.rerun or self._must_run(step.node)
                    if reason is None:
                        to_ask.append(step)
                    else:
                        self._will_run(step, reason)
            found = self.lookup.by_content_key([s.content for s in to_ask if s.content]) if to_ask else {}
            reasons = {step.node.key: self._judge(step, found) for step in to_ask}
            changed = [step for step in to_ask if isinstance(reasons[step.node.key], FoundChanged)]
            more = self._further([s.content for s in changed if s.content]) if changed else {}
            for step in to_ask:
                reason = reasons[step.node.key]
                if reason is not None and (step.content not in more or self._judge(step, more) is not None):
                    self._will_run(step, reason)

    def _deps_known(self, step: Step) -> bool:
        return all(map(self.has, step.node.deps))

    def _deps_open(self, step: Step) -> bool:
        """Whether it can be told what every dependency really is; if not, what holds it is to be made again."""
        for dep in step.node.deps:
            other = self.steps[dep.future.node.key]
            if other.state is State.KNOWN and self.artifact_of(other, dep.future.output) is None:
                self.lost(other, dep.future.output)
        return self._deps_known(step)

    def _confirm(self, step: Step, record: Record) -> None:
        """Take a held-back answer by key if the dependencies known now are those it was made from."""
        if self.agrees(step.node, record):
            self._know(step, Cached(record), record.outputs)
            return
        step.by_key, step.record = False, None
        self.need(dep.future.node for dep in step.node.deps)
        self._wait_for_deps(step)

    def _judge(self, step: Step, found: Mapping[Key, Sequence[Record]]) -> Runs | None:
        """Let a record of what was found answer for ``step``, or say why none does."""
        reason: Runs = _NEVER_RAN
        for record in found.get(step.content, ()) if step.content else ():
            if not is_complete(step.node, record):
                continue
            changed = self.find_change(record.discovered) if record.discovered else None
            if changed is None:
                self.answer(step, record)
                return None
            reason = FoundChanged(changed, record)
        return reason

    def answer(self, step: Step, record: Record) -> None:
        """Let ``record``, found by content key, answer for ``step``."""
        step.record = record
        same = step.node.open or record.key == step.node.key
        self._know(step, Cached(record) if same else CutOff(record), record.outputs)

    def _will_run(self, step: Step, reason: Runs) -> None:
        step.verdict = reason
        if is_mapped(step.node.call):
            self.lists.spread(step, step.node.call)
        self.require(dep.future for dep in step.node.deps)
        needed = [dep.future.node for dep in step.node.deps if not self.has(dep)]
        for node in (*needed, *self._after.get(step.node.key, ())):
            if node.key in self.steps:
                self.let_wait(step, self.steps[node.key])
        if step.state is State.WAITING and not step.missing:
            self._make_ready(step)

    def _make_ready(self, step: Step) -> None:
        step.state = State.READY
        if is_mapped(step.node.call):
            self.to_join.append(step)
            return
        heap = self._ready_elsewhere if self._elsewhere(step.node) else self._ready
        heapq.heappush(heap, (self.rank(step.node), step.node.key))

    def _check_bytes(self, known: Sequence[Step]) -> None:
        """Send steps whose bytes are needed and gone back to run."""
        known = [step for step in known if not step.ran]
        if not known:
            return
        present = self.lookup.present(held(a) for step in known for a in step.artifacts.values())
        for step in known:
            for name, artifact in step.artifacts.items():
                if held(artifact).digest not in present:
                    self.lost(step, name)
                    break

    def _check_inside(self, step: Step, names: Iterable[str]) -> None:
        """As ``_check_bytes``, for outputs inside others."""
        assert step.contents is not None
        present = step.contents.present
        for name in names:
            made = self.artifact_of(step, name)
            if isinstance(made, NotThere):
                continue
            if made is None or (held(made).digest not in present and not self.lookup.present([held(made)])):
                self.lost(step, name)
                return
            present.add(held(made).digest)

    def lost(self, step: Step, output: str) -> None:
        """Take back an answer whose bytes turned out to be gone, or damaged; the node runs again."""
        step.rerun = step.verdict = OutputGone(output)
        step.ran = False
        step.early = None
        self._take_back(step)
        self._hold_readers(step)
        self.need(dep.future.node for dep in step.node.deps)
        self._wait_for_deps(step)

    def judge_again(self, step: Step) -> None:
        """Something that a step is made from is not what it was."""
        if step.state is State.KNOWN:
            self._take_back(step)
            step.ran = False
        if step.state in (State.WAITING, State.READY):
            step.record = None
            self._wait_for_deps(step)

    def judge_soon(self, step: Step) -> None:
        """Judge a step that has all it waited for."""
        self._judgeable.append(step)

    # ---- being told --------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Let go of all that is known, once nobody asks any more: it takes memory."""
        self.steps.clear()
        self._readers.clear()
        self.newly_known.clear()

    def first_ready(self) -> Step | None:
        """The ready step of the lowest rank."""
        return self._first(self._ready)

    def _first(self, heap: list[tuple[int, Key]]) -> Step | None:
        while heap:
            step = self.steps[heap[0][1]]
            if step.state is State.READY and self._deps_known(step):
                return step
            heapq.heappop(heap)
            if step.state is State.READY:
                self._wait_for_deps(step)
        return None

    def next_ready(self) -> Step | None:
        """Take the ready step of the lowest rank."""
        step = self.first_ready()
        if step is not None:
            heapq.heappop(self._ready)
            step.state = State.RUNNING
        return step

    def next_elsewhere(self) -> Step | None:
        """Take the step of the lowest rank of those that could start now and run elsewhere."""
        step = self._first(self._ready_elsewhere)
        if step is not None:
            heapq.heappop(self._ready_elsewhere)
            step.state = State.RUNNING
        return step

    def rank(self, node: Node) -> int:
        """A node's place in the order of starting; without others, its place in the code."""
        return self._ranks.get(node.key, node.serial)

    def reorder(self, ranks: Mapping[Key, int]) -> None:
        """Let ready steps be taken by these ranks, the lowest first; one that has none comes after, by its place in the code."""
        self._ranks = ranks
        for heap in (self._ready, self._ready_elsewhere):
            heap[:] = [(self.rank(self.steps[key].node), key) for _, key in heap]
            heapq.heapify(heap)

    def can_start(self, step: Step) -> bool:
        """Whether a step that was taken still has all it needs; if not, ``put_back`` judges it again."""
        return self._deps_known(step)

    def has_ready(self) -> bool:
        """Whether some step could start now."""
        return self._any(self._ready)

    def has_elsewhere(self) -> bool:
        """Whether some step could start now that runs elsewhere."""
        return self._any(self._ready_elsewhere)

    def _any(self, heap: list[tuple[int, Key]]) -> bool:
        while heap and self.steps[heap[0][1]].state is not State.READY:
            heapq.heappop(heap)
        return bool(heap)

    def put_back(self, step: Step) -> None:
        """Judge a step again that was taken and not started."""
        step.state = State.WAITING
        self._wait_for_deps(step)
        self._settle()

    def streamed(self, step: Step, items: Mapping[str, Artifact]) -> None:
        """A step that runs has made some items of its one output, and goes on."""
        self.lists.arrived(step, dict(items))
        self._settle()

    def finished(self, step: Step, record: Record) -> None:
        """A step ran, with these outputs."""
        step.record, step.ran, step.by_key, step.rerun = record, True, False, None
        verdict = step.verdict
        assert verdict is not None
        self._know(step, verdict, record.outputs)
        self._settle()

    def answered_elsewhere(self, step: Step, record: Record) -> None:
        """Another build ran the node while this one waited."""
        self.answer(step, record)
        self._settle()

    def interrupted(self, step: Step) -> None:
        """A running step was stopped: what needs it is skipped."""
        self.failed(step)

    def failed(self, step: Step) -> None:
        """A step ended badly: what needs it is skipped."""
        step.state = State.FAILED
        self._skip_waiters(step, step.node)
        self._settle()

    def skip_rest(self, because: Node) -> None:
        """Nothing more will be started."""
        for step in list(self.steps.values()):
            if step.state in (State.WAITING, State.READY):
                self._skip(step, because)

    def _skip(self, step: Step, because: Node) -> None:
        if step.state in (State.WAITING, State.READY):
            step.state = State.SKIPPED
            self.newly_skipped.append((step, because))
            self._skip_waiters(step, because)

    def _skip_waiters(self, step: Step, because: Node) -> None:
        stack = [step]
        while stack:
            ended = stack.pop()
            waiters, ended.waiters = ended.waiters, ()
            for waiter in waiters:
                waiter.ended(ended.node.key)
                if waiter.state not in (State.WAITING, State.READY):
                    continue
                if waiter.by_key:  # Held back only in case this one gave other bytes; it gave none.
                    if not waiter.missing:
                        self._judgeable.append(waiter)
                    continue
                waiter.state = State.SKIPPED
                self.newly_skipped.append((waiter, because))
                stack.append(waiter)

    def _know(self, step: Step, verdict: Verdict, artifacts: Mapping[str, Artifact]) -> None:
        step.state = State.KNOWN
        step.verdict = verdict
        step.artifacts = artifacts
        self.newly_known[step.node.key] = step
        if self._lists is not None:
            self._lists.made(step)
        waiters, step.waiters = step.waiters, ()
        for waiter in waiters:
            waiter.ended(step.node.key)
            if not waiter.missing and waiter.state is State.WAITING:
                self._judgeable.append(waiter)
        if step.needs_bytes and not step.ran:
            self._check_bytes([step])
        if step.contents is not None and step.state is State.KNOWN and not step.ran:
            self._check_inside(step, step.contents.wanted)


def is_complete(node: Node, record: Record) -> bool:
    """Whether a record has every output that the node declares; a foreign or damaged one may not."""
    return len(record.inputs) == len(node.deps) and all(o.name in record.outputs for o in node.outputs)

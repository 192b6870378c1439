"""Batches of one build: items that miss are gathered, and run together by one call of the batch function.

It decides when a batch has all its items, and which of them one run gets: those whose run lock is free and that nobody has
answered meanwhile.  That a node must run at all is the judge's to say.

The invariant: an item that was gathered is run once, answered, failed, or given back to the judge.
"""

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from merkl import events
from merkl.dataclass import dataclass
from merkl.digest import Digest, Key
from merkl.engine.attempt import Attempt, Attempts, share_of
from merkl.engine.explain import reason
from merkl.engine.holding import Held
from merkl.engine.judge import Judge
from merkl.engine.meanwhile import filed_meanwhile
from merkl.engine.placing import Workspace
from merkl.engine.shares import Grant
from merkl.engine.shelter import Shelter
from merkl.engine.step import State, Step
from merkl.errors import InputChanged, MerklError, StoreCorrupt, TaskFailed
from merkl.events import Reporter, Together
from merkl.execute.base import Ended, Job
from merkl.nodes import Artifact, Node
from merkl.python.calls import batch_of
from merkl.resources import Needs
from merkl.store.base import Record, RunLock

if TYPE_CHECKING:
    from merkl.python.batch import BatchRun


@dataclass(frozen=True, slots=True)
class Acts:
    """What the schedule does for a batch as for any node."""

    may_start: Callable[[Step], bool]
    hold: Callable[[Step], None]
    settle: Callable[[], None]
    count_try: Callable[[Step], int]
    take: Callable[[Needs], Grant | None]
    give_back: Callable[[Grant], None]
    prepare: Callable[[Attempt], Job]
    is_inline: Callable[[Job], bool]
    start: Callable[[Attempt, Job], int]
    release: Callable[[Attempt, bool], None]
    lost: Callable[[Sequence[Step], StoreCorrupt], None]
    retry: Callable[[Sequence[Step], int], float | None]
    fail: Callable[[Step, MerklError, float, str, Together], None]
    stop: Callable[[Node], None]


@dataclass(slots=True)
class _Gathered:
    """A batch on its way: the items that are to run, and the keys of those that are not judged yet."""

    steps: dict[Key, Step]
    unjudged: deque[Key]


@dataclass(slots=True)
class _Running:
    """A batch that runs; ``locks`` are in the order of ``steps``."""

    label: str
    steps: list[Step]
    locks: list[RunLock]

    def told(self, index: int, seconds: float = 0.0) -> Together:
        """What people are told with an event of the step at ``index``: with that of the last what is said of all."""
        return Together(self.label, seconds) if index == len(self.steps) - 1 else Together()


@dataclass(frozen=True, slots=True)
class Part:
    """What one item of a batch made."""

    step: Step
    attempt: Attempt
    record: Record


class Batches:
    """The batches of one build."""

    def __init__(
        self,
        judge: Judge,
        shelter: Shelter,
        held: Held,
        attempts: Attempts,
        workspace: Workspace,
        reporter: Reporter,
        labels: dict[Key, str],
        told: dict[Key, Together],
        acts: Acts,
    ) -> None:
        self._judge = judge
        self._shelter = shelter
        self._held = held
        self._attempts = attempts
        self._workspace = workspace
        self._reporter = reporter
        self._labels = labels
        self._acts = acts
        self._gathered: dict[BatchRun, _Gathered] = {}
        self._running: dict[int, _Running] = {}
        self._told = told  # Of items that have run and were not reported yet.

    def __bool__(self) -> bool:
        return bool(self._gathered)

    # ---- gathering -------------------------------------------------------------------------------------------------

    def gather(self, step: Step) -> bool:
        """Keep a step that was taken, if it is an item of a batch."""
        run = batch_of(step.node)
        if run is None:
            return False
        gathered = self._gathered.get(run)
        if gathered is None:
            gathered = self._gathered[run] = _Gathered({}, deque(run.counts))
        gathered.steps[step.node.key] = step
        return True

    def _is_whole(self, run: "BatchRun", gathered: _Gathered) -> bool:
        """Whether no item can be added any more."""
        unjudged = gathered.unjudged
        while unjudged:
            step = self._judge.steps.get(unjudged[0])
            mine = step is not None and batch_of(step.node) is run
            if mine and step is not None and step.state in (State.WAITING, State.READY):
                return False
            unjudged.popleft()
        return True

    def start_whole(self) -> bool | None:
        """Start a batch that has all its items; None if one has, and there is no room for it."""
        for run, gathered in self._gathered.items():
            if self._is_whole(run, gathered):
                return self._start_if_room(run)
        return False

    def start_any(self) -> bool:
        """Start a batch without those that are not judged, since they wait for it: an item may be an input of another."""
        return bool(self._gathered) and bool(self._start_if_room(next(iter(self._gathered))))

    def give_back(self) -> None:
        """Let the judge have what was gathered: nothing is started any more."""
        gathered, self._gathered = self._gathered, {}
        for each in gathered.values():
            for step in each.steps.values():
                self._judge.put_back(step)

    # ---- starting --------------------------------------------------------------------------------------------------

    def _start_if_room(self, run: "BatchRun") -> bool | None:
        steps = sorted(self._gathered[run].steps.values(), key=lambda step: step.node.serial)
        if not self._acts.may_start(steps[0]) or (grant := self._acts.take(steps[0].node.call.needs)) is None:
            return None
        del self._gathered[run]
        lacking = [step for step in steps if not self._judge.can_start(step)]
        for step in lacking:  # The bytes of an input were lost meanwhile.
            self._judge.put_back(step)
        if lacking:
            self._acts.give_back(grant)
            for step in steps:
                if step.state is State.RUNNING:
                    self.gather(step)
            return True
        self._start(run, grant, *self._locked(steps))
        return True

    def _locked(self, steps: list[Step]) -> tuple[list[Step], list[RunLock]]:
        """Those that nobody else runs or has answered, and their locks."""
        locked: list[tuple[Step, RunLock]] = []
        for step in steps:
            assert step.content is not None
            lock = self._held.try_lock(step.content, step.node.name)
            if lock is None:
                self._acts.hold(step)
            else:
                locked.append((step, lock))
        filed = filed_meanwhile(self._judge, self._shelter, [step for step, _ in locked])
        for step, lock in locked:
            if (record := filed.get(step.node.key)) is not None:
                self._held.release(lock)
                self._judge.answered_elsewhere(step, record)
        self._acts.settle()
        free = [(step, lock) for step, lock in locked if step.node.key not in filed]
        return [step for step, _ in free], [lock for _, lock in free]

    def _start(self, run: "BatchRun", grant: Grant, steps: list[Step], locks: list[RunLock]) -> None:
        if not steps:
            self._acts.give_back(grant)
            return
        from merkl.python.batch import whole_of

        whole = whole_of(run, [step.node for step in steps])
        running = _Running(f"{run.task.name} [{whole.call.subject}]", steps, locks)
        self._labels[whole.key] = running.label
        number = max(map(self._acts.count_try, steps))
        attempt: Attempt | None = None
        try:
            attempt = self._attempts.open(whole, self._inputs(whole, steps), Key(whole.key), number, None)
            attempt.grant = grant
            job = self._acts.prepare(attempt)
        except MerklError as error:
            self._let_go(running, attempt, discard=True)
            if attempt is None:
                self._acts.give_back(grant)
            if isinstance(error, StoreCorrupt):
                self._acts.lost(steps, error)
            else:
                self._fail(running, error, 0.0, "")
            return
        self._tell_started(running, attempt, inline=self._acts.is_inline(job))
        self._running[self._acts.start(attempt, job)] = running

    def _inputs(self, whole: Node, steps: Sequence[Step]) -> list[Artifact]:
        """What the dependencies of all items are, in the order of the whole."""
        known = {
            dep.future: artifact
            for step in steps
            for dep, artifact in zip(step.node.deps, self._judge.inputs(step.node), strict=True)
        }
        return [known[dep.future] for dep in whole.deps]

    def _tell_started(self, running: _Running, attempt: Attempt, *, inline: bool) -> None:
        for index, step in enumerate(running.steps):
            together = running.told(index)
            used = bool(step.waiters) or step.needs_bytes or self._workspace.places(step.node)
            label, log = self._labels[step.node.key], os.fsdecode(attempt.place.log)
            why = reason(step)
            self._reporter.report(
                events.Started(step.node, label, log, attempt.number, why, inline, used, together)
            )

    # ---- ending ----------------------------------------------------------------------------------------------------

    def has(self, ticket: int) -> bool:
        """Whether it is a batch that has that ticket."""
        return ticket in self._running

    def recalled(self, ticket: int, attempt: Attempt) -> None:
        """A batch was taken back before it began."""
        running = self._stopped(ticket, attempt)
        for step in running.steps:
            self._judge.put_back(step)

    def interrupted(self, ticket: int, attempt: Attempt) -> str:
        """A batch was stopped because the user asked; its label."""
        running = self._stopped(ticket, attempt)
        self._acts.stop(running.steps[0].node)
        for step in running.steps:
            self._judge.interrupted(step)
        return running.label

    def _stopped(self, ticket: int, attempt: Attempt) -> _Running:
        running = self._running.pop(ticket)
        self._let_go(running, attempt, discard=True)
        for step in running.steps:
            self._reporter.report(events.Interrupted(step.node, self._labels[step.node.key]))
        return running

    def taken_in(self, attempt: Attempt, ended: Ended) -> tuple[list[Part], Mapping[Digest, bytes]]:
        """What each item made, and the small blobs of all; nothing if it did not end well, and the judge has been told."""
        running = self._running.pop(ended.ticket)
        log = os.fsdecode(attempt.place.log)
        try:
            record, blobs = self._attempts.take_in(attempt, ended)
            return self._parts(running, attempt, record), blobs
        except InputChanged as error:
            self._let_go(running, attempt, discard=True)
            self._fail(running, error, ended.seconds, "")
        except TaskFailed as error:
            again = not ended.interrupted and self._retries(running, attempt, error)
            self._let_go(running, attempt, discard=again)
            if not again:
                self._fail(running, error, ended.seconds, log)
        except MerklError as error:
            self._let_go(running, attempt, discard=False)
            self._fail(running, error, ended.seconds, log)
        return [], {}

    def _parts(self, running: _Running, attempt: Attempt, record: Record) -> list[Part]:
        """The record of the whole taken apart, by ``"position:output"``; each has its share of the time it took."""
        seconds = record.seconds / len(running.steps)
        outputs: list[dict[str, Artifact]] = [{} for _ in running.steps]
        for name, artifact in record.outputs.items():
            position, _, output = name.partition(":")
            outputs[int(position)][output] = artifact
        parts: list[Part] = []
        staged = dict(attempt.staged)
        for index, (step, lock) in enumerate(zip(running.steps, running.locks, strict=True)):
            assert step.content is not None
            last = index == len(running.steps) - 1
            # A file can be moved to one place only, whoever made another with the same bytes.
            own = {a.digest: staged.pop(a.digest) for a in outputs[index].values() if a.digest in staged}
            part = Attempt(
                step.node, self._judge.inputs(step.node), step.content, attempt.place, attempt.number, lock,
                staged=own, shared=not last,
                originals=[(path, made) for path, made in attempt.originals if made in outputs[index].values()],
            )  # fmt: skip
            self._told[step.node.key] = running.told(index, record.seconds)
            parts.append(Part(step, part, share_of(record, part, outputs[index], seconds)))
        return parts

    def _retries(self, running: _Running, attempt: Attempt, error: TaskFailed) -> bool:
        """Let a failed batch be gathered again after a while, if that is wanted; whether it is."""
        delay = self._acts.retry(running.steps, attempt.number)
        if delay is None:
            return False
        for index, step in enumerate(running.steps):
            together = running.told(index)
            label, number = self._labels[step.node.key], attempt.number
            self._reporter.report(events.Retrying(step.node, label, number, delay, error.headline, together))
        return True

    def _fail(self, running: _Running, error: MerklError, seconds: float, log: str) -> None:
        """All items end badly, with one message."""
        for index, step in enumerate(running.steps):
            self._acts.fail(step, error, seconds / len(running.steps), log, running.told(index, seconds))

    def _let_go(self, running: _Running, attempt: Attempt | None, *, discard: bool) -> None:
        for lock in running.locks:
            self._held.release(lock)
        if attempt is not None:
            self._acts.release(attempt, discard)

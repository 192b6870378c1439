"""Running a build: starting what the judge calls ready, and telling it what ended.

It decides when a node starts: in the order of the judge's ranks, while there are slots and resources, when no other build
is running it; an interactive one when nothing else runs.  Whether it must run at all is the judge's.

The invariant: each node of the build ends in exactly one of ran, cached, cut off, failed, skipped; a run lock and a share
of the resources are held only while their node runs, or it holds the lock and waits for the share of a brief one before it;
while an interactive node runs, no other does.
"""

import heapq
import math
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from merkl import events
from merkl.digest import Digest, Key
from merkl.engine.attempt import Attempt, Attempts, no_room
from merkl.engine.batches import Acts, Batches
from merkl.engine.explain import reason
from merkl.engine.growing import Growing
from merkl.engine.judge import Judge
from merkl.engine.originals import remove_originals
from merkl.engine.passing import Passing
from merkl.engine.placing import Workspace
from merkl.engine.project import Project
from merkl.engine.shares import Shares
from merkl.engine.step import Cached, CutOff, State, Step
from merkl.engine.waiting import WaitingSteps
from merkl.errors import InputChanged, MerklError, OutOfDate, StoreCorrupt, TaskFailed, WorkspaceError
from merkl.events import Reporter, Together
from merkl.execute.base import Ended, Executor, Exited, Job, Raised, Returned, WorkerDied
from merkl.nodes import Node, Place
from merkl.python.task import PythonCall
from merkl.resources import USUAL, Needs
from merkl.store.base import Record, RunLock

if TYPE_CHECKING:  # Only with a remote.
    from merkl.engine.pushing import Pushing

PATIENCE: float = 2.0  # Seconds after Ctrl-C until the tasks that still run are named.
POLL: float = 0.05  # Seconds between looks at a lock that another build holds.
TICK: float = 0.1  # Seconds between ticks of the reporter.
TOGETHER: float = 0.005  # Seconds that a result waits at most for others to be stored with.
MOST_TOGETHER: int = 32
BRIEF: float = (
    0.005  # Seconds: of tasks that end so soon some wait in a worker, so that it need not wait for us.
)
MOST_LOSSES: int = 3  # A disk that damages what was just written is not to be argued with.


@dataclass(slots=True)
class Outcome:
    """How a build ended, in numbers and names."""

    ran: int = 0
    cached: int = 0
    cutoff: int = 0
    failed: int = 0
    skipped: int = 0
    saved: float = 0.0
    interrupted: list[str] = None  # type: ignore[assignment]
    errors: list[BaseException] = None  # type: ignore[assignment]


class Feed(Protocol):
    """Gives a build more to do while it goes on."""

    def feed(self, schedule: "Schedule") -> None:
        """Add what has come; called again and again."""

    def is_over(self) -> bool:
        """Whether a build that has nothing to do is to end; then nothing more is added."""


@dataclass(frozen=True, slots=True)
class Made:
    """An attempt that ended well, and what is to be stored of it: ``record`` if it is ``kept``, and the small ``blobs``."""

    step: Step
    attempt: Attempt
    record: Record
    blobs: Mapping[Digest, bytes]
    kept: bool


class Schedule:
    """One build in progress."""

    def __init__(
        self,
        project: Project,
        judge: Judge,
        executor: Executor,
        workspace: Workspace,
        attempts: Attempts,
        reporter: Reporter,
        labels: dict[Key, str],
        *,
        shares: Shares,
        keep_going: bool,
        pushing: "Pushing | None" = None,
        feed: "Feed | None" = None,
    ) -> None:
        self.project = project
        self.judge = judge
        self.executor = executor
        self.workspace = workspace
        self.attempts = attempts
        self.reporter = reporter
        self.labels = labels
        self.keep_going = keep_going
        self.pushing = pushing
        self._feed = feed
        self.outcome = Outcome(interrupted=[], errors=[])
        self.running: dict[int, Attempt] = {}
        self._behind: dict[int, Attempt] = {}  # Those that have no share yet; they wait in a worker.
        self._usual: dict[str, float] = {}  # How long the calls of a Python task took lately, in seconds.
        self.shares = shares
        self.waiting = WaitingSteps(judge, shares)
        self._tries: dict[Key, int] = {}
        self._locks: set[RunLock] = set()  # Those of what was started.
        self._held: list[tuple[Step, Key]] = []  # Run by another build; looked at again every POLL seconds.
        self._told: set[Key] = set()
        self._told_of_started = False
        self._logs: dict[Key, str] = {}  # Where to read what a node that has just ended printed.
        self._losses: dict[Key, int] = {}  # How often a step could not start because an input was damaged.
        self._delayed: list[tuple[float, int, Step]] = []
        self._made: list[Made] = []  # Taken in, and about to be stored.
        self._made_at = math.inf  # When (monotonic) the first of them was.
        self._next: Step | None = None  # Taken; it is interactive and waits until nothing else runs.
        self._stopping: Node | None = None
        self.signals = 0  # How many times the user asked to stop; set by a signal handler.
        self._obeyed = 0
        self._impatient_at = math.inf  # When (monotonic) to say that interrupted tasks still run.
        self.inline = False  # A call runs in this process, so a signal's handler may do what it likes.
        self.between: Callable[[], None] | None = None  # To be done next; set by a signal handler.
        self.growing = Growing(project, judge)
        self.passing = Passing(judge.steps, project.passing)
        self._total = len(judge.steps)  # As told.
        self.batches = Batches(
            judge, project.shelter, attempts, workspace, reporter, labels, self._acts_for_batches()
        )

    # ---- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run until nothing is left to do."""
        self._settle()
        while True:
            self._obey_signals()
            if self._feed is not None and self._stopping is None:
                self._feed.feed(self)
            self._wake_delayed()
            if not self._made:
                self._start_ready()
                self._start_behind(math.inf, ())
            if not (self.running or self._made or self._held or self._delayed or self._more()):
                if self._stopping is None and self.batches:
                    self.batches.start_any()
                elif self._stopping is not None or self._feed is None or self._feed.is_over():
                    break
            ended_now = self.executor.wait(self._timeout())
            self._take_items()
            self._step_aside()
            self._name_the_stubborn()
            for ended in ended_now:
                self._made += self._all_taken_in(ended)
            self._start_meanwhile(self._made)
            self._publish_together()
            self._look_at_held()
            self.reporter.tick()
        self._check_nothing_left()
        return self.outcome

    def add(self, nodes: Sequence[Node], after: Mapping[Key, Sequence[Node]]) -> None:
        """Build these too; ``after`` as in ``Judge``."""
        self.judge.wait_for(after)
        self.judge.want(nodes)
        self._settle()

    def _name_the_stubborn(self) -> None:
        if time.monotonic() >= self._impatient_at:
            self._impatient_at = math.inf
            names = [self.labels[attempt.node.key] for attempt in self.running.values()]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            if names:
                text = f"interrupted, and still running: {', '.join(names[:3])}{more}"
                self.reporter.report(events.Note(text, "Ctrl-C again ends them"))

    def _take_items(self) -> None:
        if emitted := self.executor.take_emitted():
            self.growing.take(emitted, self.running)
            self._settle()

    def _step_aside(self) -> None:
        if self.between is not None:
            aside, self.between = self.between, None
            aside()

    def _more(self) -> bool:
        return self._stopping is None and (
            self._next is not None or bool(self.waiting) or self.judge.has_ready()
        )

    def _publish_together(self) -> None:
        """Store what has ended, but as long as that keeps no slot empty wait a moment for what ends right after it."""
        if not self._made:
            return
        now = time.monotonic()
        self._made_at = min(self._made_at, now)
        if (
            self._full()
            and len(self._made) < MOST_TOGETHER
            and now - self._made_at < TOGETHER
            and not self.signals
        ):
            return
        made, self._made, self._made_at = self._made, [], math.inf
        self._publish(made)

    def _timeout(self) -> float:
        if self._made:
            return max(0.0, min(TICK, self._made_at + TOGETHER - time.monotonic()))
        if self._held:
            return POLL
        if self._delayed:
            return max(0.0, min(TICK, self._delayed[0][0] - time.monotonic()))
        return TICK

    def _start_ready(self) -> None:
        while self._stopping is None and not self.signals and not self._full():
            if (started := self.batches.start_whole()) is None:
                return  # Nothing overtakes a batch that is waited for by so many.
            if started:
                continue
            step = self._next or self.waiting.first()
            if step is None or not self.executor.has_room():
                return
            if self._next is None and not self.waiting.take(step):
                continue
            self._next = None
            if (error := self.shares.refusal(step.node)) is not None:
                self._fail(step, error, 0.0, "")
                continue
            if not self._may_start(step):
                self._next = step  # Nothing overtakes it: one who sits at the terminal waits for it.
                return
            self._start(step)

    def _start_meanwhile(self, made: Sequence[Made]) -> None:
        """Fill the slots before the results of ``made`` are stored, with what comes before all that waits for them.

        With one slot tasks run one after another, each when what the last one made is in its place.
        """
        if self.executor.slots == 1:
            return
        waiters = [waiter.node for one in made for waiter in one.step.waiters]
        before = min(map(self.judge.rank, waiters), default=math.inf)
        same = {one.step.content for one in made}  # Their records answer these.
        while self._stopping is None and not self.signals and self._next is None:
            step = self.waiting.first()
            if step is None or self.judge.rank(step.node) > before or step.content in same:
                break
            if not self._may_start(step):
                break
            if self.waiting.take(step):
                self._start(step)
        self._start_behind(before, same)

    def _start_behind(self, before: float, same: Container[Key | None]) -> None:
        """Send calls of brief tasks ahead to workers that are busy with such, in order, if they come before ``before``.

        Only what needs one slot and nothing else, while all slots are taken: it gets the share of one that ends.
        """
        while self._stopping is None and not self.signals and self._next is None and not self.waiting:
            if not self._full() or not self.executor.has_room_behind():
                return
            step = self.judge.first_ready()
            if step is None or self.judge.rank(step.node) > before or step.content in same:
                return
            call = step.node.call
            if not self._is_brief(step.node) or call.needs != USUAL or call.interactive:
                return
            if self.waiting.take(step):
                self._start(step)

    def _full(self) -> bool:
        """Whether each slot has its job."""
        return len(self.running) - len(self._behind) >= self.executor.slots

    def _is_brief(self, node: Node) -> bool:
        """Whether a call probably ends within milliseconds, in a worker that others use too."""
        return (
            self.executor.slots > 1
            and self._usual.get(node.name, math.inf) <= BRIEF
            and isinstance(node.call, PythonCall)
            and not node.call.task.settings.nice
        )

    def _may_start(self, step: Step) -> bool:
        """Whether there is room for it, and nobody is or would be disturbed at the terminal."""
        if self.shares.short(step.node.call.needs, {}):
            return False
        if step.node.call.interactive:
            return not self.running
        alone = any(attempt.node.call.interactive for attempt in self.running.values())
        return not alone and not self._full() and self.executor.has_room()

    def _check_nothing_left(self) -> None:
        if self._next is not None:
            self.judge.put_back(self._next)
        for step in self.waiting.clear():
            self.judge.put_back(step)
        self.batches.give_back()
        if self._stopping is not None:
            self.judge.skip_rest(self._stopping)
            self._settle()
        left = [step for step in self.judge.steps.values() if step.state in (State.WAITING, State.READY)]
        assert not left or self.outcome.interrupted, (
            f"{len(left)} nodes were left waiting, such as {left[0].node}"
        )

    # ---- starting --------------------------------------------------------------------------------------------------

    def _start(self, step: Step) -> None:
        node = step.node
        assert step.content is not None
        if self.project.config.frozen:  # The store has lost something since it was planned.
            error = OutOfDate(f"{node.name} would run, and the build is frozen", why=reason(step))
            self._fail(step, error, 0.0, "")
            return
        if self.project.goes_on(node):
            self._hold_started(step)
            return
        if (failed := self.project.failure_of(node)) is not None:
            self._fail(step, failed, 0.0, "")
            return
        if self.batches.gather(step):
            return
        lock = self.project.shelter.try_lock(step.content, node.name)
        if lock is None:
            self._hold(step)
            return
        self._locks.add(lock)
        record = self._answer(step)
        if record is not None:
            self._locks.discard(lock)
            lock.release()
            self.judge.answered_elsewhere(step, record)
            self._settle()
            return
        number = self._tries[node.key] = self._tries.get(node.key, 0) + 1
        try:
            attempt = self.attempts.open(node, self.judge.inputs(node), step.content, number, lock)
        except MerklError as error:
            self._locks.discard(lock)
            lock.release()
            self._fail(step, error, 0.0, "")
            return
        behind = self._full()
        if not behind:
            attempt.grant = self.shares.take(node.call.needs)
        try:
            self.attempts.check_sources(node)
            job = self.attempts.job(attempt)
        except StoreCorrupt as error:
            self._release(attempt, discard=True)
            self._input_lost([step], error)
            return
        except MerklError as error:
            self._release(attempt, discard=True)
            self._fail(step, error, 0.0, "")
            return
        log, inline = _text(attempt.place.log), self.executor.is_inline(job)
        used = bool(step.waiters) or step.needs_bytes or self.workspace.places(node)
        self.reporter.report(
            events.Started(node, self.labels[node.key], log, number, reason(step), inline, used)
        )
        self.inline = inline
        ticket = self.executor.start(job, self._is_brief(node))
        self.inline = False
        self.running[ticket] = attempt
        if behind:
            self._behind[ticket] = attempt

    def _answer(self, step: Step) -> Record | None:
        """A record that another build on this machine filed since this step was judged."""
        if step.rerun is not None or self.judge.runs_regardless(step.node) or step.content is None:
            return None
        for record in self.project.shelter.filed_here(step.content):
            if record.discovered is None or self.judge.find_change(record.discovered) is None:
                return record
        return None

    def _hold_started(self, step: Step) -> None:
        """Wait for a call that was started when it was made; who reads it is told of the first."""
        assert step.content is not None
        self._held.append((step, step.content))
        if not self._told_of_started:
            self._told_of_started = True
            holder = "this process, since it was called"
            self.reporter.report(events.Waiting(step.node, self.labels[step.node.key], holder))

    def _hold(self, step: Step) -> None:
        assert step.content is not None
        self._held.append((step, step.content))
        if any(attempt.content == step.content for attempt in self.running.values()):
            return  # It is this build that runs it, as another of its calls.
        if step.node.key not in self._told:
            self._told.add(step.node.key)
            holder = self.project.shelter.holder(step.content)
            self.reporter.report(events.Waiting(step.node, self.labels[step.node.key], holder))

    def _look_at_held(self) -> None:
        held, self._held = self._held, []
        for step, _ in held:
            if self._stopping is None and not self.signals and self._next is None and self._may_start(step):
                self._start(step)
            else:
                self._held.append((step, step.content))  # type: ignore[arg-type]
        if self._stopping is not None:
            for step, _ in self._held:
                self.judge.put_back(step)
            self._held = []

    def _input_lost(self, steps: Sequence[Step], error: StoreCorrupt) -> None:
        """An input's bytes were damaged: make it again, then come back; but not for ever."""
        self.reporter.report(events.Note(error.headline, error.hint))
        for step in steps:
            losses = self._losses[step.node.key] = self._losses.get(step.node.key, 0) + 1
            if losses > MOST_LOSSES:
                self._fail(step, error, 0.0, "")
                continue
            inputs = self.judge.inputs(step.node) if self.judge.can_start(step) else ()
            for dep, artifact in zip(step.node.deps, inputs, strict=False):
                other = self.judge.steps[dep.future.node.key]
                if other.state is State.KNOWN and not self.project.shelter.readable(artifact):
                    self.judge.lost(other, dep.future.output)
            self.judge.put_back(step)
        self._settle()

    # ---- ending ----------------------------------------------------------------------------------------------------

    def _all_taken_in(self, ended: Ended) -> list[Made]:
        """What a job made, of one node or of many."""
        if not self.batches.has(ended.ticket):
            made = self._taken_in(ended)
            return [] if made is None else [made]
        attempt = self.running.pop(ended.ticket)
        self._give_back(attempt)
        if ended.interrupted and not self.running:
            self._obeyed = max(self._obeyed, 1)
        if ended.interrupted and _was_stopped(ended, interactive=False):
            self.outcome.interrupted.append(self.batches.interrupted(ended.ticket, attempt))
            return []
        parts, blobs = self.batches.taken_in(attempt, ended)
        if ended.interrupted and not parts:
            self._did_not_go_on(attempt.node)
        return [
            Made(part.step, part.attempt, part.record, blobs, self.passing.is_kept(part.step.node, ended))
            for part in parts
        ]

    def _taken_in(self, ended: Ended) -> Made | None:
        """What a job made that ended well; None if it did not end well, and the judge has been told."""
        attempt = self.running.pop(ended.ticket)
        self._behind.pop(ended.ticket, None)
        self._give_back(attempt)
        if isinstance(attempt.node.call, PythonCall):
            name = attempt.node.name
            self._usual[name] = 0.8 * self._usual.get(name, ended.seconds) + 0.2 * ended.seconds
        step = self.judge.steps[attempt.node.key]
        if self.signals and attempt.node.call.interactive:
            ended = replace(ended, interrupted=True)  # The terminal told it before we could.
        if ended.interrupted and not self.running:
            self._obeyed = max(self._obeyed, 1)  # A call right here heard of it by itself.
        if ended.interrupted and _was_stopped(ended, interactive=attempt.node.call.interactive):
            self._release(attempt, discard=True)
            label = self.labels[attempt.node.key]
            self.outcome.interrupted.append(label)
            self.reporter.report(events.Interrupted(attempt.node, label))
            self._stop(attempt.node)
            self.judge.interrupted(step)
            return None
        try:
            record, blobs = self.attempts.take_in(attempt, ended)
            return Made(step, attempt, record, blobs, self.passing.is_kept(step.node, ended))
        except InputChanged as error:
            self._release(attempt, discard=True)
            self._fail(step, error, ended.seconds, "")
        except TaskFailed as error:
            self._release(attempt, discard=False)
            self._failed_attempt(step, attempt, error, ended)
        except StoreCorrupt as error:  # A value that it read: only the call itself looks into it.
            self._release(attempt, discard=True)
            self._input_lost([step], error)
        except MerklError as error:
            self._release(attempt, discard=False)
            self._fail(step, error, ended.seconds, _text(attempt.place.log))
        if ended.interrupted:
            self._did_not_go_on(attempt.node)
        return None

    def _did_not_go_on(self, node: Node) -> None:
        """A task that was interrupted ended with an error: then no other is to begin, and what it said was shown."""
        self.outcome.interrupted.append(self.labels[node.key])
        self._stop(node)

    def _publish(self, made: Sequence[Made]) -> None:
        """Store what has ended since the last look, in one transaction, and let those go on that wait for it."""
        if not made:
            return
        results = [(one.record, self.passing.has_key(one.step.node)) for one in made if one.kept]
        # Once each: those of a batch have theirs in common.
        each = {id(one.blobs): one.blobs for one in made}.values()
        blobs = {digest: data for some in each for digest, data in some.items()}
        try:
            self.project.shelter.publish(results, blobs)
        except MerklError as error:
            for one in made:
                self._release(one.attempt, discard=False)
                self._fail(one.step, error, one.record.seconds, _text(one.attempt.place.log))
            return
        for one in made:
            self._unlock(one.attempt)
            if not one.kept:
                self.passing.keep(one.record)
        if self.pushing is not None:
            for record, by_key in results:
                self.pushing.give(record, [record.key] if by_key else [])
        for one in made:
            self._finish(one)

    def _finish(self, one: Made) -> None:
        attempt = one.attempt
        self._logs[one.step.node.key] = self.attempts.log(attempt, one.record)
        self.workspace.offer(attempt.staged)
        self.judge.finished(one.step, one.record)
        self._settle()
        self.workspace.offer({})
        if one.kept and attempt.originals:
            remove_originals(self.project, attempt.content, attempt.originals)
        self.attempts.discard(attempt)

    def _unlock(self, attempt: Attempt) -> None:
        if attempt.lock is not None:
            self._locks.discard(attempt.lock)
            attempt.lock.release()
            attempt.lock = None

    def let_go(self) -> None:
        """Release what is locked still, as after an error nobody expected: who waits for it would wait for ever."""
        for attempt in list(self.running.values()):
            self._unlock(attempt)
        while self._locks:
            self._locks.pop().release()

    def _give_back(self, attempt: Attempt) -> None:
        if attempt.grant is not None:
            self.shares.give_back(attempt.grant)
            attempt.grant = None
        while self._behind and not self._full() and not self.shares.short(USUAL, {}):
            first = next(iter(self._behind))
            self._behind.pop(first).grant = self.shares.take(USUAL)

    def _release(self, attempt: Attempt, *, discard: bool) -> None:
        self._unlock(attempt)
        self._give_back(attempt)
        if discard:
            self.attempts.discard(attempt)
        else:
            self.attempts.keep(attempt)

    def _failed_attempt(self, step: Step, attempt: Attempt, error: TaskFailed, ended: Ended) -> None:
        retries = 0 if ended.interrupted else attempt.node.call.retries  # It was asked to end.
        label = self.labels[step.node.key]
        if attempt.number <= retries and self._stopping is None:
            delay = min(60.0, 0.5 * 2 ** (attempt.number - 1))
            self.reporter.report(events.Retrying(step.node, label, attempt.number, delay, error.headline))
            self.attempts.discard(attempt)
            heapq.heappush(self._delayed, (time.monotonic() + delay, step.node.serial, step))
            return
        self._fail(step, error, ended.seconds, _text(attempt.place.log))

    def _wake_delayed(self) -> None:
        while self._delayed and (self._stopping is not None or self._delayed[0][0] <= time.monotonic()):
            self.judge.put_back(heapq.heappop(self._delayed)[2])
            self._settle()

    def _fail(
        self, step: Step, error: MerklError, seconds: float, log: str, together: Together | None = None
    ) -> None:
        for name, value in error.details.items():
            if isinstance(value, Place):
                error.details[name] = value.relative_to(self.project.root)
        self.outcome.failed += 1
        if together is None or together.label:
            self.outcome.errors.append(error)
        self.workspace.failed(step, self.labels[step.node.key], log)
        self.reporter.report(
            events.Failed(step.node, self.labels[step.node.key], error, seconds, log, together)
        )
        self.judge.failed(step)
        if not self.keep_going:
            self._stop(step.node)
        self._settle()

    def _stop(self, because: Node) -> None:
        """Start nothing more; what runs may end."""
        if self._stopping is None:
            self._stopping = because
            self._recall()

    def _recall(self) -> None:
        """Take back what was sent ahead and has not begun."""
        for ticket in self.executor.recall():
            attempt = self.running.pop(ticket)
            if self.batches.has(ticket):
                self.batches.recalled(ticket, attempt)
                continue
            self._behind.pop(ticket, None)
            self._tries[attempt.node.key] -= 1
            self._release(attempt, discard=True)
            self.reporter.report(events.Interrupted(attempt.node, self.labels[attempt.node.key]))
            self.judge.put_back(self.judge.steps[attempt.node.key])

    # ---- batches ---------------------------------------------------------------------------------------------------

    def _acts_for_batches(self) -> Acts:
        return Acts(
            may_start=self._may_start,
            hold=self._hold,
            settle=self._settle,
            count_try=self._count_try,
            prepare=self._prepare,
            is_inline=self.executor.is_inline,
            start=self._start_whole,
            release=lambda attempt, discard: self._release(attempt, discard=discard),
            lost=self._input_lost,
            retry=self._retry,
            fail=self._fail,
            stop=self._stop,
        )

    def _count_try(self, step: Step) -> int:
        number = self._tries[step.node.key] = self._tries.get(step.node.key, 0) + 1
        return number

    def _prepare(self, attempt: Attempt, needs: Needs) -> Job:
        attempt.grant = self.shares.take(needs)
        self.attempts.check_sources(attempt.node)
        return self.attempts.job(attempt)

    def _start_whole(self, attempt: Attempt, job: Job) -> int:
        self.inline = self.executor.is_inline(job)
        ticket = self.executor.start(job, False)
        self.inline = False
        self.running[ticket] = attempt
        return ticket

    def _retry(self, steps: Sequence[Step], number: int) -> float | None:
        """Start steps again after a while, if they have attempts left; how long that is."""
        if number > steps[0].node.call.retries or self._stopping is not None:
            return None
        delay: float = min(60.0, 0.5 * 2 ** (number - 1))
        for step in steps:
            heapq.heappush(self._delayed, (time.monotonic() + delay, step.node.serial, step))
        return delay

    # ---- telling ---------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Report and place what has become known, and report what is skipped."""
        self._tell_growth()
        while self.judge.newly_known or self.judge.newly_skipped or self.judge.to_join:
            joining, self.judge.to_join = self.judge.to_join, []
            for step in joining:
                self._join(step)
            known, self.judge.newly_known = self.judge.newly_known, {}
            skipped, self.judge.newly_skipped = self.judge.newly_skipped, []
            for step, because in skipped:
                self.outcome.skipped += 1
                self.reporter.report(
                    events.Skipped(step.node, self.labels[step.node.key], self.labels[because.key])
                )
            for step in known.values():
                self._known(step)

    def _tell_growth(self) -> None:
        if len(self.judge.steps) > self._total:
            self._total = len(self.judge.steps)
            self.reporter.report(events.Grown(self._total))

    def _join(self, step: Step) -> None:
        """Put together a list whose items are all there, and let those go on that wait for it."""
        if step.state is not State.READY:
            return
        step.state = State.RUNNING
        try:
            record = self.growing.whole(step)
            kept, by_key = self.passing.is_whole(step), self.passing.has_key(step.node)
            self.project.shelter.publish([(record, by_key)] if kept else [], {})
        except (MerklError, OSError) as error:
            self._fail(step, error if isinstance(error, MerklError) else no_room(error), 0.0, "")
            return
        if not kept:
            self.passing.keep(record)
        elif self.pushing is not None:
            self.pushing.give(record, [record.key] if by_key else [])
        self.judge.finished(step, record)

    def _known(self, step: Step) -> None:
        try:
            if not self.workspace.place(step, self.judge):
                self.judge.want([])  # Its bytes are gone; it will be made again.
                return
        except MerklError as error:
            self._fail_placing(step, error)
            return
        except OSError as error:  # Somebody else is at work in the same place.
            what = f"cannot place what {step.node.name} makes: {error.strerror}"
            self._fail_placing(step, WorkspaceError(what, at=error.filename, hint="build again"))
            return
        label, node, record = self.labels[step.node.key], step.node, step.record
        assert record is not None
        if step.ran:
            self.outcome.ran += 1
            log = self._logs.pop(node.key, "")
            together = self.batches.told.pop(node.key, None)
            self.reporter.report(events.Ran(node, label, record.seconds, log, record.exit_code, together))
        elif isinstance(step.verdict, CutOff):
            self.outcome.cutoff += 1
            self.outcome.saved += record.seconds
            if self.passing.has_key(node):
                self.project.shelter.alias(node.key, record)
                if self.pushing is not None:
                    self.pushing.give(record, [node.key])
            self.reporter.report(events.CutOff(node, label, record.seconds))
        else:
            assert isinstance(step.verdict, Cached), step.verdict
            self.outcome.cached += 1
            self.outcome.saved += record.seconds
            self.reporter.report(events.Cached(node, label, record.seconds))
        self.workspace.done(step, label)
        self.project.call_back(node.key)

    def _fail_placing(self, step: Step, error: MerklError) -> None:
        self.outcome.failed += 1
        self.outcome.errors.append(error)
        self.reporter.report(events.Failed(step.node, self.labels[step.node.key], error, 0.0, ""))
        if not self.keep_going:
            self._stop(step.node)

    # ---- signals ---------------------------------------------------------------------------------------------------

    def _obey_signals(self) -> None:
        """First Ctrl-C: SIGINT to all, and nothing starts until they have ended.  Second: stop them for good."""
        if self.signals == 0:
            return
        if self._obeyed == 0:
            self._recall()
            self.executor.interrupt()
            self._obeyed = 1
            self._impatient_at = time.monotonic() + PATIENCE
            if not self.running:
                self._end_interrupted()
        if self.signals > 1 and self._obeyed < 2:
            self._obeyed = 2
            self.executor.kill()
        if self._obeyed and not self.running:
            if self.outcome.interrupted or self._obeyed > 1:
                self._end_interrupted()
            else:  # Each task caught the interrupt and returned: go on with their results.
                self.signals = self._obeyed = 0

    def _end_interrupted(self) -> None:
        if self._stopping is None:
            self.outcome.interrupted = self.outcome.interrupted or [""]
            first = next(
                (s.node for s in self.judge.steps.values() if s.state not in (State.KNOWN, State.FAILED)),
                None,
            )
            if first is not None:
                self._stop(first)


def _was_stopped(ended: Ended, *, interactive: bool) -> bool:
    """Whether a job that got SIGINT did not simply end well: a command counts as stopped.

    At the terminal Ctrl-C is a key like others, so there a command that exits with 0 was not stopped.
    """
    match ended.how:
        case Returned():
            return False
        case Exited(0):
            return not interactive
        case Raised(error):
            return isinstance(error, KeyboardInterrupt | SystemExit)
        case Exited() | WorkerDied():
            return True
        case _:
            return True


def _text(path: bytes) -> str:
    import os

    return os.fsdecode(path)

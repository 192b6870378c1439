"""Running a build: starting what the judge calls ready, and telling it what ended.

It decides when a node starts: in the order of the judge's ranks, while there are slots and resources, when no other build
is running it; an interactive one when nothing else runs.  Whether it must run at all is the judge's.

The invariant: each node of the build ends in exactly one of ran, cached, cut off, failed, skipped; a run lock and a share
of the resources are held only while their node runs, or it holds the lock and waits for the share of a brief one before it;
while an interactive node runs, no other does.
"""

import itertools
import math
import os
import time
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from merkl import events
from merkl.dataclass import replace
from merkl.digest import Digest, Key
from merkl.engine.ahead import Ahead
from merkl.engine.attempt import Attempt, Attempts
from merkl.engine.batches import Acts, Batches
from merkl.engine.delays import Delays
from merkl.engine.explain import reason
from merkl.engine.growing import Growing
from merkl.engine.holding import Held
from merkl.engine.judge import Judge
from merkl.engine.meanwhile import filed_meanwhile
from merkl.engine.originals import remove_originals
from merkl.engine.outcome import Made, Outcome, was_stopped
from merkl.engine.passing import Passing
from merkl.engine.placing import Workspace
from merkl.engine.project import Project
from merkl.engine.recorded import in_brief
from merkl.engine.shares import Shares
from merkl.engine.step import Forced, RunsAlways, State, Step
from merkl.engine.telling import Telling
from merkl.engine.waiting import WaitingSteps
from merkl.errors import InputChanged, MerklError, OutOfDate, StoreCorrupt, TaskFailed
from merkl.events import Reporter
from merkl.execute.base import Ended, Executor, Job, NotStarted
from merkl.nodes import Node
from merkl.store.base import Record, RunLock

if TYPE_CHECKING:  # Only with other machines; with a remote.
    from merkl.engine.away import Away
    from merkl.engine.pushing import Pushing

PATIENCE: float = 2.0  # Seconds after Ctrl-C until the tasks that still run are named.
POLL: float = 0.05  # Seconds between looks at a lock that another build holds.
TICK: float = 0.1  # Seconds between ticks of the reporter.
TOGETHER: float = 0.02  # Seconds that a result waits at most for others to be stored with.
MOST_TOGETHER: int = 128
_SENT_TOGETHER: Final = 64
_MANY: Final = 1000  # Steps that take so long to run that to read the whole index once more takes no time.
MOST_LOSSES: int = 3  # A disk that damages what was just written is not to be argued with.


class Feed(Protocol):
    """Gives a build more to do while it goes on."""

    def feed(self, schedule: "Schedule") -> None:
        """Add what has come; called again and again."""

    def is_over(self) -> bool:
        """Whether a build that has nothing to do is to end; then nothing more is added."""


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
        held: Held,
        keep_going: bool,
        pushing: "Pushing | None" = None,
        feed: "Feed | None" = None,
        away: "Away | None" = None,
    ) -> None:
        self.project = project
        self.judge = judge
        self.executor = executor
        self.workspace = workspace
        self.attempts = attempts
        self.reporter = reporter
        self.labels = labels
        self._feed = feed
        self.running: dict[int, Attempt] = {}  # By ticket: below 0 elsewhere.
        self.away = away
        self._sent = 0  # How many of those that run do so elsewhere.
        self.shares = shares
        self.held = held
        self._ahead = Ahead(shares, executor.slots)
        self.waiting = WaitingSteps(judge, shares)
        self._tries: dict[Key, int] = {}
        self._elsewhere: list[Step] = []  # Run by another build; looked at again every POLL seconds.
        self._told: set[Key] = set()
        self._told_of_started = False
        self._losses: dict[Key, int] = {}  # How often a step could not start because an input was damaged.
        self._delays = Delays()
        self._made: list[Made] = []  # Taken in, and about to be stored.
        self._made_at = math.inf  # When (monotonic) the first of them was.
        self._next: Step | None = None  # Taken; it is interactive and waits until nothing else runs.
        self._stopping: Node | None = None
        self.signals = 0  # How many times the user asked to stop; set by a signal handler.
        self._obeyed = 0
        # Tasks that may hear of a Ctrl-C: not the brief ones, nor those that turn out not to have begun.
        self._hearing = 1
        self._impatient_at = math.inf  # When (monotonic) to say that interrupted tasks still run.
        self.inline = False  # A call runs in this process, so a signal's handler may do what it likes.
        self.between: Callable[[], None] | None = None  # To be done next; set by a signal handler.
        self.growing = Growing(project, judge)
        self.passing = Passing(judge.steps, project.passing)
        self._telling = Telling(
            project,
            judge,
            workspace,
            reporter,
            labels,
            self.growing,
            self.passing,
            pushing,
            None if keep_going else self._stop,
        )
        self.outcome = self._telling.outcome
        self.batches = Batches(
            judge,
            project.shelter,
            held,
            attempts,
            workspace,
            reporter,
            labels,
            self._telling.together,
            self._acts_for_batches(),
        )

    # ---- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run until nothing is left to do."""
        self._telling.settle()
        self.project.index.spare(memory=self._has_many())
        while True:
            self._obey_signals()
            if self._feed is not None and self._stopping is None:
                self._feed.feed(self)
            self._wake_delayed()
            self._send_ready()
            if not self._made:
                self._start_ready()
                self._start_behind(math.inf, ())
            if not (self.running or self._made or self._elsewhere or self._delays or self._more()):
                if self._stopping is None and self.batches:
                    self.batches.start_any()
                elif self._stopping is not None or self._feed is None or self._feed.is_over():
                    break
            ended_now = self.executor.wait(self._timeout())
            if self.away is not None:
                ended_now += self.away.ended()
                for note in self.away.take_notes():
                    self.reporter.report(note)
            self._take_items()
            self._step_aside()
            self._name_the_stubborn()
            for ended in ended_now:
                made = self._all_taken_in(ended)  # Which may publish what is made so far.
                self._made += made
            self._start_meanwhile(self._made)
            self._publish_together()
            self._look_elsewhere()
            self.reporter.tick()
        self._check_nothing_left()
        self.project.index.spare(memory=False)
        return self.outcome

    def _has_many(self) -> bool:
        """Whether there is so much to do that it takes no time to look up later what the workspace has of it."""
        steps = self.judge.steps.values()
        return len(steps) >= _MANY and sum(step.state is not State.KNOWN for step in steps) >= _MANY

    def add(self, nodes: Sequence[Node], after: Mapping[Key, Sequence[Node]]) -> None:
        """Build these too; ``after`` as in ``Judge``."""
        self.judge.wait_for(after)
        self.judge.want(nodes)
        self._telling.settle()

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
            self._telling.settle()

    def _step_aside(self) -> None:
        if self.between is not None:
            aside, self.between = self.between, None
            aside()

    def _more(self) -> bool:
        return self._stopping is None and (
            self._next is not None
            or bool(self.waiting)
            or self.judge.has_ready()
            or self.judge.has_elsewhere()
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
        self._publish_made()

    def _publish_made(self) -> None:
        made, self._made, self._made_at = self._made, [], math.inf
        self._publish(made)

    def _timeout(self) -> float:
        if self._made:
            return max(0.0, min(TICK, self._made_at + TOGETHER - time.monotonic()))
        if self._elsewhere:
            return POLL
        return max(0.0, min(TICK, self._delays.next - time.monotonic()))

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
                self._telling.fail(step, error, 0.0, "")
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
        if not self._full() or self.waiting or self._next is not None:
            return
        room = self.executor.room_behind()
        together: list[Step] = []
        contents: set[Key | None] = set()
        while len(together) < room and self._stopping is None and not self.signals:
            step = self.judge.first_ready()
            if step is None or self.judge.rank(step.node) > before or step.content in same:
                break
            if not self._ahead.may_wait(step.node) or step.content in contents:
                break
            if self.waiting.take(step):
                together.append(step)
                contents.add(step.content)
        if together:
            self._start_all(together, behind=True)

    def _full(self) -> bool:
        """Whether each slot has its job."""
        return self._here() - len(self._ahead) >= self.executor.slots

    def _here(self) -> int:
        """How many jobs this machine has."""
        return len(self.running) - self._sent

    def _may_start(self, step: Step) -> bool:
        """Whether there is room for it, and nobody is or would be disturbed at the terminal."""
        if self.shares.short(step.node.call.needs, {}):
            return False
        if step.node.call.interactive:
            return not self._here()
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
            self._telling.settle()
        left = [step for step in self.judge.steps.values() if step.state in (State.WAITING, State.READY)]
        assert not left or self.outcome.interrupted, (
            f"{len(left)} nodes were left waiting, such as {left[0].node}"
        )

    # ---- starting --------------------------------------------------------------------------------------------------

    def _send_ready(self) -> None:
        """Send off what is ready and runs elsewhere, as much as there is to do there."""
        while self.away is not None and self._stopping is None and not self.signals and self.away.has_room():
            steps = list(itertools.islice(iter(self.judge.next_elsewhere, None), _SENT_TOGETHER))
            if not steps:
                return
            self._start_all(steps)

    def _start(self, step: Step) -> None:
        self._start_all([step])

    def _start_all(self, steps: Sequence[Step], *, behind: bool = False) -> None:
        """Start steps that were taken, in this order, or send them ahead; what they have in common is asked for once."""
        locked = [(step, lock) for step in steps if (lock := self._locked(step)) is not None]
        to_send: list[Attempt] = []
        filed = filed_meanwhile(self.judge, self.project.shelter, [step for step, _ in locked])
        if filed:
            locked = [each for each in locked if not self._answered(*each, filed.get(each[0].node.key))]
        with self.attempts.row():
            for step, lock in locked:
                if self._stopping is not None or not self.judge.can_start(step):
                    self.held.release(lock)  # Something happened to one before it.
                    self.judge.put_back(step)
                elif self._runs_elsewhere(step):
                    to_send += self._packed_up(step, lock)
                else:
                    self._begin(step, lock, behind=behind)
        if self.away is not None and to_send:
            self.running.update(zip(self.away.start(to_send), to_send, strict=True))
            self._sent += len(to_send)

    def _answered(self, step: Step, lock: RunLock, record: Record | None) -> bool:
        """Whether another build has filed what answers a step that is about to start."""
        if record is None or self._stopping is not None or not self.judge.can_start(step):
            return False
        self.held.release(lock)
        self.judge.answered_elsewhere(step, record)
        self._telling.settle()
        return True

    def _runs_elsewhere(self, step: Step) -> bool:
        return self.away is not None and self.away.takes(step.node)

    def _packed_up(self, step: Step, lock: RunLock) -> list[Attempt]:
        """The attempt of a step that is to be sent; none if it cannot be made."""
        node = step.node
        assert step.content is not None
        try:
            number = self._count_try(step)
            attempt = self.attempts.open(node, self.judge.inputs(node), step.content, number, lock)
            attempt.regardless = isinstance(step.verdict, Forced | RunsAlways)
            attempt.named = self.passing.has_key(node)
        except MerklError as error:
            self.held.release(lock)
            self._telling.fail(step, error, 0.0, "")
            return []
        log = os.fsdecode(attempt.place.log)
        self.reporter.report(
            events.Started(node, self.labels[node.key], log, attempt.number, reason(step), False, True)
        )
        return [attempt]

    def _locked(self, step: Step) -> RunLock | None:
        """The run lock of a step that is to start on its own now; if it is not, all is done that is to be."""
        node = step.node
        assert step.content is not None
        if self.project.config.frozen:  # The store has lost something since it was planned.
            error = OutOfDate(f"{node.name} would run, and the build is frozen", why=reason(step))
            self._telling.fail(step, error, 0.0, "")
            return None
        if self.project.goes_on(node):
            self._hold_started(step)
            return None
        if (failed := self.project.failure_of(node)) is not None:
            self._telling.fail(step, failed, 0.0, "")
            return None
        if self.batches.gather(step):
            return None
        lock = self.held.try_lock(step.content, node.name)
        if lock is None:
            self._hold(step)
        return lock

    def _begin(self, step: Step, lock: RunLock, *, behind: bool) -> None:
        """Hand a step to the executor; ``behind`` others, to get its share when one of them ends."""
        node = step.node
        assert step.content is not None
        grant = None if behind else self.shares.take(node.call.needs)
        if grant is None and not behind:  # Another build of this process was quicker.
            self.held.release(lock)
            self.judge.put_back(step)
            return
        attempt: Attempt | None = None
        try:
            attempt = self.attempts.open(
                node,
                self.judge.inputs(node),
                step.content,
                self._count_try(step),
                lock,
                brief=behind or self._ahead.may_wait(node),
            )
            attempt.grant = grant
            job = self._prepare(attempt)
        except MerklError as error:
            if attempt is None:
                self.held.release(lock)
                if grant is not None:
                    self.shares.give_back(grant)
            else:
                self._release(attempt, discard=True)
            if isinstance(error, StoreCorrupt) and attempt is not None:
                self._input_lost([step], error)
            else:
                self._telling.fail(step, error, 0.0, "")
            self.attempts.end_row()  # Somebody may have been called who waited for it.
            return
        log, inline = os.fsdecode(attempt.place.log), self.executor.is_inline(job)
        used = bool(step.waiters) or step.needs_bytes or self.workspace.places(node)
        self.reporter.report(
            events.Started(node, self.labels[node.key], log, attempt.number, reason(step), inline, used)
        )
        ticket = self._hand_over(attempt, job, brief=behind or self._ahead.is_brief(node))
        if behind:
            self._ahead.sent(ticket, attempt)

    def _hand_over(self, attempt: Attempt, job: Job, *, brief: bool = False) -> int:
        self.inline = self.executor.is_inline(job)
        ticket = self.executor.start(job, brief)
        self.inline = False
        self.running[ticket] = attempt
        return ticket

    def _count_try(self, step: Step) -> int:
        number = self._tries[step.node.key] = self._tries.get(step.node.key, 0) + 1
        return number

    def _prepare(self, attempt: Attempt) -> Job:
        """The job of an attempt."""
        self.attempts.check_sources(attempt.node)
        return self.attempts.job(attempt)

    def _hold_started(self, step: Step) -> None:
        """Wait for a call that was started when it was made; who reads it is told of the first."""
        self._elsewhere.append(step)
        if not self._told_of_started:
            self._told_of_started = True
            holder = "this process, since it was called"
            self.reporter.report(events.Waiting(step.node, self.labels[step.node.key], holder))

    def _hold(self, step: Step) -> None:
        assert step.content is not None
        self._elsewhere.append(step)
        if any(attempt.content == step.content for attempt in self.running.values()):
            return  # It is this build that runs it, as another of its calls.
        if step.node.key not in self._told:
            self._told.add(step.node.key)
            holder = self.project.shelter.holder(step.content)
            self.reporter.report(events.Waiting(step.node, self.labels[step.node.key], holder))

    def _look_elsewhere(self) -> None:
        held, self._elsewhere = self._elsewhere, []
        for step in held:
            free = self._stopping is None and not self.signals and self._next is None
            may = self._runs_elsewhere(step) or self._may_start(step)
            if free and may and not self.project.goes_on(step.node):
                self._start(step)
            else:
                self._elsewhere.append(step)
        if self._stopping is not None:
            for step in self._elsewhere:
                self.judge.put_back(step)
            self._elsewhere = []

    def _input_lost(self, steps: Sequence[Step], error: StoreCorrupt) -> None:
        """An input's bytes were damaged: make it again, then come back; but not for ever."""
        self.reporter.report(events.Note(error.headline, error.hint))
        for step in steps:
            losses = self._losses[step.node.key] = self._losses.get(step.node.key, 0) + 1
            if losses > MOST_LOSSES:
                self._telling.fail(step, error, 0.0, "")
                continue
            inputs = self.judge.inputs(step.node) if self.judge.can_start(step) else ()
            for dep, artifact in zip(step.node.deps, inputs, strict=False):
                other = self.judge.steps[dep.future.node.key]
                if other.state is State.KNOWN and not self.project.shelter.readable(artifact):
                    self.judge.lost(other, dep.future.output)
            self.judge.put_back(step)
        self._telling.settle()

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
        if ended.interrupted and was_stopped(ended, interactive=False):
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
        if ended.ticket < 0:
            self._sent -= 1
        else:
            self._ahead.gone(ended.ticket)
            self._give_back(attempt)
            self._ahead.took(attempt.node, ended.seconds)
        self.attempts.came_back(attempt, ended)
        step = self.judge.steps[attempt.node.key]
        if self.signals and attempt.node.call.interactive:
            ended = replace(ended, interrupted=True)  # The terminal told it before we could.
        if ended.interrupted and not self.running:
            self._obeyed = max(self._obeyed, 1)  # A call right here heard of it by itself.
        if ended.interrupted and was_stopped(ended, interactive=attempt.node.call.interactive):
            self._release(attempt, discard=True)
            label = self.labels[attempt.node.key]
            self.outcome.interrupted.append(label)
            self.reporter.report(events.Interrupted(attempt.node, label))
            self._stop(attempt.node)
            self.judge.interrupted(step)
            return None
        if isinstance(ended.how, NotStarted) and ended.ticket < 0:
            if self._obeyed:
                self._hearing -= 1
            self._taken_back(attempt)
            return None
        try:
            record, blobs = (self.attempts.take_in if ended.ticket > 0 else self._took_over)(attempt, ended)
            return Made(step, attempt, record, blobs, self.passing.is_kept(step.node, ended))
        except InputChanged as error:
            self._release(attempt, discard=True)
            self._publish_made()  # What ended before is told before, here and below.
            self._telling.fail(step, error, ended.seconds, "")
        except TaskFailed as error:
            self._release(attempt, discard=False)
            self._publish_made()
            self._failed_attempt(step, attempt, error, ended)
        except StoreCorrupt as error:  # A value that it read: only the call itself looks into it.
            self._release(attempt, discard=True)
            self._input_lost([step], error)
        except MerklError as error:
            self._release(attempt, discard=False)
            self._publish_made()
            self._telling.fail(step, error, ended.seconds, os.fsdecode(attempt.place.log))
        if ended.interrupted:
            self._did_not_go_on(attempt.node)
        return None

    def _took_over(self, attempt: Attempt, ended: Ended) -> tuple[Record, Mapping[Digest, bytes]]:
        from merkl.engine.away import took_over

        return took_over(self.attempts, attempt, ended)

    def _did_not_go_on(self, node: Node) -> None:
        """A task that was interrupted ended with an error: then no other is to begin, and what it said was shown."""
        self.outcome.interrupted.append(self.labels[node.key])
        self.outcome.interrupted_failed += 1
        self._stop(node)

    def _publish(self, made: Sequence[Made]) -> None:
        """Store what has ended since the last look, in one transaction, and let those go on that wait for it."""
        if not made:
            return
        by_key = [self.passing.has_key(one.step.node) for one in made]
        results = [(one.record, named) for one, named in zip(made, by_key, strict=True) if one.kept]
        # Once each: those of a batch have theirs in common.
        each = {id(one.blobs): one.blobs for one in made}.values()
        blobs = {digest: data for some in each for digest, data in some.items()}
        try:
            self.project.shelter.publish(results, blobs)
        except MerklError as error:
            for one in made:
                self._release(one.attempt, discard=False)
                self._telling.fail(one.step, error, one.record.seconds, os.fsdecode(one.attempt.place.log))
            return
        for one in made:
            self._unlock(one.attempt)
        for one, named in zip(made, by_key, strict=True):
            self._telling.give(one.record, kept=one.kept, by_key=named)
        for one in made:
            self._finish(one)

    def _finish(self, one: Made) -> None:
        attempt = one.attempt
        self._telling.logs[one.step.node.key] = self.attempts.log(attempt, one.record)
        self.workspace.offer(attempt.staged)
        self._tries.pop(one.step.node.key, None)
        self.judge.finished(one.step, in_brief(one.record) if one.kept else one.record)
        self._telling.settle()
        self.workspace.offer({})
        if one.kept and attempt.originals:
            remove_originals(self.project, attempt.content, attempt.originals)
        self.attempts.discard(attempt)

    def _unlock(self, attempt: Attempt) -> None:
        self.held.release(attempt.lock)
        attempt.lock = None

    def _give_back(self, attempt: Attempt) -> None:
        grant, attempt.grant = attempt.grant, None
        self._ahead.share_out(self._here(), grant)

    def _release(self, attempt: Attempt, *, discard: bool) -> None:
        self._unlock(attempt)
        self._give_back(attempt)
        if discard:
            self.attempts.discard(attempt)
        else:
            self.attempts.keep(attempt)

    def _failed_attempt(self, step: Step, attempt: Attempt, error: TaskFailed, ended: Ended) -> None:
        delay = self._retry([step], attempt.number) if not ended.interrupted else None  # It was asked to end.
        if delay is None:
            self._telling.fail(step, error, ended.seconds, os.fsdecode(attempt.place.log))
            return
        label = self.labels[step.node.key]
        self.reporter.report(events.Retrying(step.node, label, attempt.number, delay, error.headline))
        self.attempts.discard(attempt)

    def _retry(self, steps: Sequence[Step], number: int) -> float | None:
        """Start steps again after a while, if they have attempts left; how long that is."""
        if number > steps[0].node.call.retries or self._stopping is not None:
            return None
        return max(self._delays.put(step, number) for step in steps)

    def _wake_delayed(self) -> None:
        for step in self._delays.over(at_once=self._stopping is not None):
            self.judge.put_back(step)
            self._telling.settle()

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
            self._ahead.gone(ticket)
            self._taken_back(attempt)
        if self.away is not None:
            self.away.recall()

    def _taken_back(self, attempt: Attempt) -> None:
        """What was to run has not begun, and is not going to."""
        self._tries[attempt.node.key] -= 1
        self._release(attempt, discard=True)
        self.reporter.report(events.Interrupted(attempt.node, self.labels[attempt.node.key]))
        if self._stopping is None:
            self.judge.put_back(self.judge.steps[attempt.node.key])
        else:  # Nothing more is told of it.
            self.outcome.skipped += 1
            self.judge.interrupted(self.judge.steps[attempt.node.key])

    # ---- batches ---------------------------------------------------------------------------------------------------

    def _acts_for_batches(self) -> Acts:
        return Acts(
            may_start=self._may_start,
            hold=self._hold,
            settle=self._telling.settle,
            count_try=self._count_try,
            take=self.shares.take,
            give_back=self.shares.give_back,
            prepare=self._prepare,
            is_inline=self.executor.is_inline,
            start=self._hand_over,
            release=lambda attempt, discard: self._release(attempt, discard=discard),
            lost=self._input_lost,
            retry=self._retry,
            fail=self._telling.fail,
            stop=self._stop,
        )

    # ---- signals ---------------------------------------------------------------------------------------------------

    def _obey_signals(self) -> None:
        """First Ctrl-C: SIGINT to all, and nothing starts until they have ended.  Second: stop them for good."""
        if self.signals == 0:
            return
        if self._obeyed == 0:
            if self.away is not None:
                self.away.interrupt()  # First: what is taken back then counts as interrupted.
            self._recall()
            self.executor.interrupt()
            self._obeyed = 1
            # One that ends within a moment does so whether it heard of it or not.
            self._hearing = sum(
                ticket < 0 or not self._ahead.is_brief(attempt.node)
                for ticket, attempt in self.running.items()
            )
            self._impatient_at = time.monotonic() + PATIENCE
            if not self.running:
                self._end_interrupted()
        if self.signals > 1 and self._obeyed < 2:
            self._obeyed = 2
            self.executor.kill()
            if self.away is not None:
                self.away.kill()
        if self._obeyed and not self.running:
            if self.outcome.interrupted or self._obeyed > 1 or not self._hearing:
                self._end_interrupted()
            else:  # Each task caught the interrupt and returned: go on with their results.
                self.signals = self._obeyed = 0
                self._hearing = 1

    def _end_interrupted(self) -> None:
        if self._stopping is None:
            self.outcome.interrupted = self.outcome.interrupted or [""]
            first = next(
                (s.node for s in self.judge.steps.values() if s.state not in (State.KNOWN, State.FAILED)),
                None,
            )
            if first is not None:
                self._stop(first)

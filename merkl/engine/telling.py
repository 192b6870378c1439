"""What has become known of the nodes of a build: it is placed, counted and reported.

It decides nothing about what runs.  A failure stops a build that is not to keep going, and the schedule is told so.

The invariant: each node is counted and reported once, when the judge knows how it ended.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from merkl import events
from merkl.digest import Key
from merkl.engine.attempt import no_room
from merkl.engine.growing import Growing
from merkl.engine.judge import Judge
from merkl.engine.outcome import Outcome
from merkl.engine.passing import Passing
from merkl.engine.placing import Workspace
from merkl.engine.project import Project
from merkl.engine.step import Cached, CutOff, State, Step
from merkl.errors import MerklError, WorkspaceError
from merkl.events import Reporter, Together
from merkl.nodes import Node, Place
from merkl.store.base import Record

if TYPE_CHECKING:  # Only with a remote.
    from merkl.engine.pushing import Pushing


class Telling:
    """Tells of one build; ``stop`` is called with the node whose failure ends it."""

    def __init__(
        self,
        project: Project,
        judge: Judge,
        workspace: Workspace,
        reporter: Reporter,
        labels: dict[Key, str],
        growing: Growing,
        passing: Passing,
        pushing: "Pushing | None",
        stop: Callable[[Node], None] | None,
    ) -> None:
        self._project = project
        self._judge = judge
        self._workspace = workspace
        self._reporter = reporter
        self._labels = labels
        self._growing = growing
        self._passing = passing
        self._pushing = pushing
        self._stop = stop
        self._total = len(judge.steps)  # As told.
        self.outcome = Outcome()
        self.logs: dict[Key, str] = {}  # Where to read what a node that has just ended printed.
        # Of items of a batch that have run and were not reported yet.
        self.together: dict[Key, Together] = {}

    def settle(self) -> None:
        """Report and place what has become known, and report what is skipped."""
        self._tell_growth()
        judge = self._judge
        while judge.newly_known or judge.newly_skipped or judge.to_join:
            joining, judge.to_join = judge.to_join, []
            for step in joining:
                self._join(step)
            known, judge.newly_known = judge.newly_known, {}
            skipped, judge.newly_skipped = judge.newly_skipped, []
            for step, because in skipped:
                self.outcome.skipped += 1
                label = self._labels[step.node.key]
                self._reporter.report(events.Skipped(step.node, label, self._labels[because.key]))
            for step in known.values():
                self._known(step)

    def fail(
        self, step: Step, error: MerklError, seconds: float, log: str, together: Together | None = None
    ) -> None:
        """A step has failed."""
        for name, value in error.details.items():
            if isinstance(value, Place):
                error.details[name] = value.relative_to(self._project.root)
        self.outcome.failed += 1
        if together is None or together.label:
            self.outcome.errors.append(error)
        label = self._labels[step.node.key]
        self._workspace.failed(step, label, log)
        self._reporter.report(events.Failed(step.node, label, error, seconds, log, together))
        self._judge.failed(step)
        if self._stop is not None:
            self._stop(step.node)
        self.settle()

    def give(self, record: Record, *, kept: bool, by_key: bool) -> None:
        """Let go where it belongs what was made: to the remote, or to those alone that need it in this build."""
        if not kept:
            self._passing.keep(record)
        elif self._pushing is not None:
            self._pushing.give(record, [record.key] if by_key else [])

    def _tell_growth(self) -> None:
        if len(self._judge.steps) > self._total:
            self._total = len(self._judge.steps)
            self._reporter.report(events.Grown(self._total))

    def _join(self, step: Step) -> None:
        """Put together a list whose items are all there, and let those go on that wait for it."""
        if step.state is not State.READY:
            return
        step.state = State.RUNNING
        try:
            record = self._growing.whole(step)
            kept, by_key = self._passing.is_whole(step), self._passing.has_key(step.node)
            self._project.shelter.publish([(record, by_key)] if kept else [], {})
        except (MerklError, OSError) as error:
            self.fail(step, error if isinstance(error, MerklError) else no_room(error), 0.0, "")
            return
        self.give(record, kept=kept, by_key=by_key)
        self._judge.finished(step, record)

    def _known(self, step: Step) -> None:
        try:
            if not self._workspace.place(step, self._judge):
                self._judge.want([])  # Its bytes are gone; it will be made again.
                return
            if (kept := self._workspace.take_kept()) and self._pushing is not None:
                self._pushing.give_contents(kept)
        except MerklError as error:
            self._fail_placing(step, error)
            return
        except OSError as error:  # Somebody else is at work in the same place.
            what = f"cannot place what {step.node.name} makes: {error.strerror}"
            self._fail_placing(step, WorkspaceError(what, at=error.filename, hint="build again"))
            return
        label, node, record = self._labels[step.node.key], step.node, step.record
        assert record is not None
        self._reporter.report(self._ended(step, label, record))
        self._workspace.done(step, label)
        self._project.call_back(node.key)

    def _ended(self, step: Step, label: str, record: Record) -> events.Event:
        """Count a step that is known; what there is to report."""
        node, outcome = step.node, self.outcome
        if step.ran:
            outcome.ran += 1
            log, together = self.logs.pop(node.key, ""), self.together.pop(node.key, None)
            return events.Ran(node, label, record.seconds, log, record.exit_code, together)
        outcome.saved += record.seconds
        if isinstance(step.verdict, CutOff):
            outcome.cutoff += 1
            if self._passing.has_key(node):
                self._project.shelter.alias(node.key, record)
                if self._pushing is not None:
                    self._pushing.give(record, [node.key])
            return events.CutOff(node, label, record.seconds)
        assert isinstance(step.verdict, Cached), step.verdict
        outcome.cached += 1
        return events.Cached(node, label, record.seconds)

    def _fail_placing(self, step: Step, error: MerklError) -> None:
        self.outcome.failed += 1
        self.outcome.errors.append(error)
        self._reporter.report(events.Failed(step.node, self._labels[step.node.key], error, 0.0, ""))
        if self._stop is not None:
            self._stop(step.node)

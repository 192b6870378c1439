"""A whole build: judge, schedule, place, remember.

It decides how the parts are put together.  The invariant: whatever happens, locks are released, processes ended and what
was learned is written back before it returns.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from merkl import events
from merkl.config import CRITICAL_PATH
from merkl.digest import Key
from merkl.engine.attempt import Attempts
from merkl.engine.brief import clear_brief
from merkl.engine.contained import NotThere, absent
from merkl.engine.discovery import change_finder
from merkl.engine.frozen import refusal, require_placed
from merkl.engine.joint import require_whole, whole
from merkl.engine.judge import Judge
from merkl.engine.lineage import remember
from merkl.engine.logged import logged
from merkl.engine.order import critical_path
from merkl.engine.placing import Workspace, expected_seconds, is_there
from merkl.engine.project import Project
from merkl.engine.reading import Reading, reader_of
from merkl.engine.schedule import Feed, Outcome, Schedule
from merkl.engine.select import Labels, Selection, labels, select
from merkl.engine.shares import Shares
from merkl.engine.slots import Slots, slots_of
from merkl.engine.step import State
from merkl.engine.terminal import Reins, SharedTerminal, signals
from merkl.engine.yields import in_order
from merkl.errors import Interrupted, StoreCorrupt, TaskFailed
from merkl.events import BuildDone, Reporter
from merkl.execute.base import Executor, Terminal
from merkl.execute.secrets import require_secrets
from merkl.nodes import Artifact, Future, Node, using, walk
from merkl.python.items import is_index, read_index, seen
from merkl.python.run import lending, load_value
from merkl.resources import totals_in
from merkl.snapshot import recorder
from merkl.store.builds import register_build, sweep_stale
from merkl.workspace.drafts import sweep_drafts
from merkl.workspace.refs import DirRef, FileRef

if TYPE_CHECKING:  # Only with a remote; only with --check-deps.
    from merkl.engine.pushing import Pushing
    from merkl.engine.undeclared import Check


def judge(project: Project, selection: Selection, *, force: bool = False) -> Judge:
    """Plan: judge every node the selection needs, as far as can be known before anything runs."""
    find_change = change_finder(project, [placement.path for placement in selection.placements])
    planned = Judge(
        project.shelter,
        find_change,
        force_all=force,
        forced=selection.forced,
        after=selection.after,
        further=project.shelter.further,
        heed=project.heed,
    )
    planned.want(selection.roots)
    return planned


def build(
    project: Project,
    selection: Selection,
    reporter: Reporter,
    *,
    force: bool = False,
    needs_bytes: Sequence[Future[Any]] = (),
    reins: Reins | None = None,
    feed: Feed | None = None,
) -> tuple[BuildDone, Judge]:
    """Build a selection; what happened is in the last event, which is also returned, with what is known of each node.

    ``needs_bytes`` are Futures whose values the caller is going to read; ``reins`` stop it where it runs in a thread that
    gets no signals.  With ``feed``, which says when it ends, it is given more to do while it goes on, and nothing runs in
    this process.  A failed task does not raise.
    """
    began = time.monotonic()
    reporter = logged(reporter)
    everything = list(walk(selection.roots))
    names = labels(everything, project.placements)
    lease = register_build(project.config.state)
    project.hold(lease)
    project.clear_brief = clear_brief
    slots = Slots(1)
    try:
        planned = _planned(project, selection, names, force=force, needs_bytes=needs_bytes)
        to_run = [step.node for step in planned.steps.values() if step.state is not State.KNOWN]
        if to_run:
            recorder.drop()  # There will be no snapshot, and what tasks do is not to be recorded.
        require_secrets(to_run, os.environb, project.root)
        expected = expected_seconds(project, to_run, names)
        if project.config.order == CRITICAL_PATH:
            planned.reorder(critical_path(everything, expected, selection.after))
        slots = slots_of(project.config, lease.id)
        shares = _shares(project, slots, to_run)
        if slots.note is not None:
            reporter.report(slots.note)
        reporter.report(
            events.BuildStarted(
                build=lease.id,
                total=len(planned.steps),
                to_run=len(to_run),
                targets=selection.targets,
                slots=slots.count,
                expected=expected,
            )
        )
        check = _check(project, reporter, names, to_run)
        pushing = _pushing(project)
        workspace = Workspace(project, selection.placements, reporter, names)
        attempts = Attempts(project, lease.id, workspace.placed_by, check)
        terminal = SharedTerminal(reporter)
        executor = _executor(slots, terminal, inline=feed is None)
        schedule = Schedule(
            project,
            planned,
            executor,
            workspace,
            attempts,
            reporter,
            names,
            shares=shares,
            keep_going=project.config.keep_going,
            pushing=pushing,
            feed=feed,
        )
        with signals(schedule, executor, terminal, reins):  # Also of one that comes while all is put away.
            try:
                store = lending(project.config.store, project.shelter)
                with using(project), store if feed is None else nullcontext():
                    outcome = schedule.run()
                if feed is not None:
                    everything = [step.node for step in planned.steps.values()]
                remember(project, everything, selection.placements, planned)
            finally:
                executor.close()
                schedule.let_go()
                attempts.close()
                workspace.close()
        if not needs_bytes and feed is None:  # With these a program or a pipeline goes on.
            project.passing.clear()
        if outcome.interrupted and project.begun is not None:
            project.begun.close(at_once=True)
        return _told(project, reporter, outcome, began, pushing, check), planned
    finally:
        slots.close()
        project.hold(None)
        lease.close()


def _planned(
    project: Project,
    selection: Selection,
    names: Labels,
    *,
    force: bool,
    needs_bytes: Sequence[Future[Any]],
) -> Judge:
    """Put away what builds that are gone have left, and plan.

    Raises:
        OutOfDate: something would run, and nothing may.
    """
    sweep_stale(project.config.state, keep=_kept(project))
    sweep_drafts(project.root)
    project.store.sweep()
    planned = judge(project, selection, force=force)
    names.steps = planned.steps
    if needs_bytes:
        planned.require(needs_bytes)
        planned.want([])
    require_whole(selection.placements, planned, partial(is_there, project))
    if project.config.frozen:
        require_placed(project, selection, planned)
        if (error := refusal(planned, names)) is not None:
            raise error
    return planned


def _shares(project: Project, slots: Slots, to_run: Sequence[Node]) -> Shares:
    """The resources there are.

    Raises:
        TaskError: a task can never have what it needs.
    """
    shares = Shares(project.root, totals_in(project.config.settings or {}), slots.count, os.environ)
    unfit = next(filter(None, map(shares.refusal, to_run)), None)
    if unfit is not None:
        raise unfit
    return shares


def _told(
    project: Project,
    reporter: Reporter,
    outcome: Outcome,
    began: float,
    pushing: "Pushing | None",
    check: "Check | None",
) -> BuildDone:
    """Send what is left to send, and say how it all went."""
    seconds = time.monotonic() - began
    if pushing is not None:
        _end_pushing(pushing, outcome, reporter)
    for note in project.take_notes():
        reporter.report(note)
    for note in check.notes(outcome.cached + outcome.cutoff) if check is not None else ():
        reporter.report(note)
    done = _done(outcome, seconds)
    reporter.report(done)
    if pushing is not None:
        remote = project.config.remote
        pushing.raise_failure(required=remote is not None and remote.required)
    return done


def _check(
    project: Project, reporter: Reporter, names: Mapping[Key, str], to_run: Sequence[Node]
) -> "Check | None":
    """What looks at the tasks that run, if somebody is to."""
    if not project.config.check_deps:
        return None
    from merkl.engine.undeclared import Check

    return Check(project.root, reporter, names, to_run, strict=project.config.strict_deps)


def _pushing(project: Project) -> "Pushing | None":
    """What sends results to the remote, if the project is to."""
    if project.config.remote is None or not project.config.remote.push:
        return None
    from merkl.engine.pushing import Pushing

    assert project.remote is not None
    pushing = Pushing(project.store, project.remote)
    for record in [] if project.pipelines is None else project.pipelines.take_fresh():
        pushing.give(record, [record.key])
    return pushing


def _end_pushing(pushing: "Pushing", outcome: Outcome, reporter: Reporter) -> None:
    try:
        pushing.finish(reporter, at_once=bool(outcome.interrupted))
    except KeyboardInterrupt:
        outcome.interrupted = [""]


def _executor(slots: Slots, terminal: Terminal, *, inline: bool) -> Executor:
    from merkl.execute.local import Local

    return Local(slots.count, terminal, slots.tokens, inline=inline)


def _kept(project: Project) -> set[str]:
    """The names of workplaces that failed steps left for inspection."""
    return {os.path.basename(os.path.dirname(log)) for log in project.index.failed_logs()}


def _done(outcome: Outcome, seconds: float) -> BuildDone:
    return BuildDone(
        ran=outcome.ran,
        cached=outcome.cached,
        cutoff=outcome.cutoff,
        failed=outcome.failed,
        skipped=outcome.skipped,
        seconds=seconds,
        saved=outcome.saved,
        interrupted=tuple(outcome.interrupted),
        errors=tuple(outcome.errors),
    )


class Quiet:
    """A reporter that keeps the errors and says nothing."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def report(self, event: events.Event) -> None:
        """Keep what failed."""
        if isinstance(event, events.Failed):
            self.errors.append(event.error)

    def tick(self) -> None:
        """Nothing to draw."""

    def pause(self) -> None:
        """Nothing to clear."""

    def resume(self) -> None:
        """Nothing to draw again."""

    def close(self) -> None:
        """Nothing to end."""


def evaluate(
    project: Project, futures: Sequence[Future[Any]], *, make_reporter: Callable[[], Reporter] = Quiet
) -> list[Any]:
    """Build what is missing for ``futures`` and return their values, in order: the meaning of ``Future.eval``.

    Raises:
        TaskFailed: a task they need failed.
        Interrupted: the user pressed Ctrl-C.
    """
    selection = selection_of(project, futures)
    for last in (False, True):
        done, judged = build(project, selection, make_reporter(), needs_bytes=futures)
        if done.interrupted:
            raise Interrupted("interrupted")
        if done.errors:
            raise done.errors[0]
        try:
            return [value_of(project, future, judged) for future in futures]
        except StoreCorrupt:  # It was set aside, and is made again.
            if last:
                raise
    raise AssertionError("a value is returned, or an error raised")


def selection_of(project: Project, futures: Sequence[Future[Any]]) -> Selection:
    """What building Futures of a program means: they and all they need, in its order, at the places it gave them.

    Raises:
        MerklError: the places, or the order, do not fit together.
    """
    nodes = {node.key for node in walk(futures)}
    asked = (placement for placement in project.placements if placement.future.node.key in nodes)
    placements = whole(project.placements, asked)
    first, after = in_order(project.ordered, [future.node for future in futures], {})
    return select(futures, placements, effects=first, after=after)


def value_of(project: Project, future: Future[Any], judged: Judge) -> Any:
    """The value of a Future that a build made or found; for a file or directory, a reference to it.

    Raises:
        TaskFailed: the task left none.
    """
    artifact = judged.artifact(future)
    if artifact is None:
        raise TaskFailed(f"{future.node.name} left no result that could be kept", at=future.node.place)
    if isinstance(artifact, NotThere):
        raise absent(artifact, at=future.node.place)
    if isinstance(future, Reading):
        return reader_of(project.shelter, future, artifact)
    return _read(project, artifact, artifact.filename or future.output or future.node.name)


def _read(project: Project, artifact: Artifact, name: str) -> Any:
    """What user code gets for an artifact; of a list, each item when it is asked for."""
    if artifact.kind == "value":
        return load_value(project.shelter, artifact)
    if is_index(artifact):
        items = read_index(artifact, project.shelter.read)
        return seen(items, artifact.serializer, lambda made: _read(project, made, made.filename or "file"))
    path = project.view(artifact, os.fsencode(name))
    return DirRef(path) if artifact.kind == "dir" else FileRef(path)

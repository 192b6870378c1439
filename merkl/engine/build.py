"""A whole build: judge, schedule, place, remember.

It decides how the parts are put together.  The invariant: whatever happens, locks are released, processes ended and what
was learned is written back before it returns.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from merkl import events
from merkl.config import CRITICAL_PATH
from merkl.digest import Key
from merkl.engine.attempt import Attempts
from merkl.engine.discovery import change_finder
from merkl.engine.holding import Held
from merkl.engine.joint import require_whole
from merkl.engine.judge import Judge
from merkl.engine.laststeps import expected_seconds
from merkl.engine.lineage import remember
from merkl.engine.logged import logged
from merkl.engine.outcome import Outcome
from merkl.engine.placing import Workspace
from merkl.engine.project import Project
from merkl.engine.recorded import InBrief
from merkl.engine.replacing import is_there
from merkl.engine.schedule import Feed, Schedule
from merkl.engine.select import Labels, Selection, labels
from merkl.engine.shares import Shares
from merkl.engine.slots import Slots, slots_of
from merkl.engine.step import State
from merkl.engine.terminal import Reins, SharedTerminal, signals
from merkl.engine.where import run_here
from merkl.engine.workers import calls_likely, calls_ready, executor_of
from merkl.errors import FutureAccessError
from merkl.events import BuildDone, Reporter
from merkl.execute.base import Executor
from merkl.execute.call import in_worker
from merkl.execute.secrets import require_secrets
from merkl.execute.sharing import Sharer, aside, join
from merkl.nodes import Future, Node, calling_place, using, walk
from merkl.python.stores import lending
from merkl.resources import totals_in
from merkl.snapshot import recorder
from merkl.store.builds import register_build, sweep_stale
from merkl.workspace.drafts import sweep_drafts

if TYPE_CHECKING:  # Only with other machines; of a small build; with a remote; with --check-deps.
    from merkl.engine.away import Away
    from merkl.engine.part import Part
    from merkl.engine.pushing import Pushing
    from merkl.engine.undeclared import Check


def judge(
    project: Project,
    selection: Selection,
    *,
    force: bool = False,
    away: "Away | None" = None,
    part: "Part | None" = None,
    brief: bool = False,
) -> Judge:
    """Plan: judge every node the selection needs, as far as can be known before anything runs.

    ``brief`` leaves out of what answers what is only there to be looked at, and a build does not look at.
    """
    places = [placement.path for placement in selection.placements] if part is None else part.places
    find_change = change_finder(project, places)
    planned = Judge(
        InBrief(project.shelter) if brief else project.shelter,
        find_change,
        force_all=force,
        forced=selection.forced,
        after=selection.after,
        further=project.shelter.further,
        heed=project.heed,
        elsewhere=(lambda _: False) if away is None else away.takes,
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
    part: "Part | None" = None,
) -> tuple[BuildDone, Judge]:
    """Build a selection; what happened is in the last event, which is also returned, with what is known of each node.

    ``needs_bytes`` are Futures whose values the caller is going to read; ``reins`` stop it where it runs in a thread that
    gets no signals.  With ``feed``, which says when it ends, it is given more to do while it goes on, and nothing runs in
    this process.  A ``part`` of what was asked for is built for all of it.  A failed task does not raise.
    """
    began = time.monotonic()
    reporter = logged(reporter)
    everything = list(walk(selection.roots)) if part is None else part.nodes
    with ExitStack() as ending:
        lease = ending.enter_context(register_build(project.config.state))
        project.hold(lease)
        ending.callback(project.hold, None)
        project.clear_brief = _clear_brief
        ending.enter_context(aside(project.root))  # Of a build that has called what began this one.
        slots = slots_of(project.config)
        sharer = join(project.root, slots.count, slots.tokens)
        ending.callback(sharer.close)
        terminal = SharedTerminal(reporter)
        executor = executor_of(sharer, terminal, inline=feed is None)
        ending.callback(executor.close)
        if feed is None and (calls := calls_likely(project, everything)):
            executor.expect(calls)
        names = labels(everything, project.placements) if part is None else part.names
        away = _away(project)
        if away is not None:
            away.wake = executor.wake
            away.placed = frozenset(placement.path for placement in selection.placements)
            ending.callback(away.close)
        planned = _planned(
            project, selection, names, force=force, needs_bytes=needs_bytes, away=away, part=part
        )
        to_run = _to_run(project, planned)
        if part is not None:
            part.check(planned)
        shares = _shares(project, sharer, to_run)
        _announce(project, selection, everything, planned, to_run, names, slots, lease.id, reporter)
        check = _check(project, reporter, names, to_run)
        pushing = _pushing(project)
        outcome = _run(
            project, selection, everything, planned, names, reporter, build=lease.id, executor=executor,
            terminal=terminal, shares=shares, check=check, pushing=pushing, reins=reins, feed=feed, away=away,
            part=part,
        )  # fmt: skip
        if not needs_bytes and feed is None:  # With these a program or a pipeline goes on.
            project.passing.clear()
        if outcome.interrupted and project.begun is not None:
            project.begun.close(at_once=True)
        return _told(project, everything, reporter, outcome, began, pushing, check), planned


def _away(project: Project) -> "Away | None":
    """The other machines that nodes of this build run on; None if there are none."""
    if project.make_away is None or not project.config.executors or project.config.only_here:
        return None
    return cast(
        "Away", project.make_away(project)
    )  # What a project is, ``Away`` knows, and not the other way round.


def _to_run(project: Project, planned: Judge) -> list[Node]:
    """The nodes that will or may run.

    Raises:
        FutureAccessError: there are some, and this is a worker that imports a module.
        TaskFailed: a secret is not there.
        StoreError: a required remote cannot be used.
    """
    to_run = [step.node for step in planned.steps.values() if step.state is not State.KNOWN]
    if to_run:
        _not_in_worker(to_run[0])
        recorder.put_aside()  # What tasks do is not to be recorded.
    if to_run or (project.config.remote is not None and project.config.remote.push):
        project.expect_remote()
    require_secrets(to_run, os.environb, project.root)
    return to_run


def _announce(
    project: Project,
    selection: Selection,
    everything: Sequence[Node],
    planned: Judge,
    to_run: Sequence[Node],
    names: Labels,
    slots: Slots,
    build: str,
    reporter: Reporter,
) -> None:
    """Say what there is to do, and put it in order."""
    expected = expected_seconds(project, to_run, names)
    if project.config.order == CRITICAL_PATH:
        from merkl.engine.order import critical_path

        planned.reorder(critical_path(everything, expected, selection.after))
    if slots.note is not None:
        reporter.report(slots.note)
    reporter.report(
        events.BuildStarted(
            build=build,
            total=len(planned.steps),
            to_run=len(to_run),
            targets=selection.targets,
            slots=slots.count,
            expected=expected,
        )
    )


def _clear_brief(project: Project) -> None:
    from merkl.engine.brief import clear_brief  # Few projects have anything that lasts a while only.

    clear_brief(project)


def _run(
    project: Project,
    selection: Selection,
    everything: Sequence[Node],
    planned: Judge,
    names: Labels,
    reporter: Reporter,
    *,
    build: str,
    executor: Executor,
    terminal: SharedTerminal,
    shares: Shares,
    check: "Check | None",
    pushing: "Pushing | None",
    reins: Reins | None,
    feed: Feed | None,
    away: "Away | None",
    part: "Part | None",
) -> Outcome:
    """Run what is to run, and place and remember what there is."""
    workspace = Workspace(project, selection.placements, reporter, names)
    attempts = Attempts(project, build, workspace.placed_by if part is None else part.placed_by, check)
    held = Held(project.shelter)
    schedule = Schedule(
        project, planned, executor, workspace, attempts, reporter, names, shares=shares, held=held,
        keep_going=project.config.keep_going, pushing=pushing, feed=feed, away=away,
    )  # fmt: skip
    with signals(schedule, executor, terminal, reins):  # Also of one that comes while all is put away.
        try:
            store = lending(project.config.store, project.shelter)
            executor.expect(calls_ready(project, planned))
            with using(project), store if feed is None else nullcontext():
                outcome = schedule.run()
            executor.expect(0)
            if feed is not None:
                everything = [step.node for step in planned.steps.values()]
            (remember if part is None else part.remember)(project, everything, selection.placements, planned)
            workspace.flush()  # While the workers end.
            return outcome
        finally:
            executor.close()
            if away is not None:
                away.close()
            held.close()
            attempts.close()
            workspace.close()


def _not_in_worker(node: Node) -> None:
    """See that this is no worker that imports a module: its build would start workers, which import it too, and so on.

    Raises:
        FutureAccessError: it is one.
    """
    if in_worker():
        raise FutureAccessError(
            f"{node.name} would have to run while a worker imports the module that asks for it",
            hint='put what asks below `if __name__ == "__main__":`, or into a function',
            at=calling_place(),
        )


def _planned(
    project: Project,
    selection: Selection,
    names: Labels,
    *,
    force: bool,
    needs_bytes: Sequence[Future[Any]],
    away: "Away | None",
    part: "Part | None",
) -> Judge:
    """Put away what builds that are gone have left, and plan.

    Raises:
        OutOfDate: something would run, and nothing may.
    """
    sweep_stale(project.config.state, keep=partial(_kept, project))
    sweep_drafts(project.root)
    project.store.sweep()
    planned = judge(project, selection, force=force, away=away, part=part, brief=True)
    names.steps = planned.steps
    if needs_bytes:
        planned.require(needs_bytes)
        planned.want([])
    require_whole(selection.placements, planned, partial(is_there, project))
    if project.config.frozen:
        from merkl.engine.frozen import refusal, require_placed

        require_placed(project, selection, planned)
        if (error := refusal(planned, names)) is not None:
            raise error
    return planned


def _shares(project: Project, sharer: Sharer, to_run: Sequence[Node]) -> Shares:
    """The resources there are.

    Raises:
        TaskError: a task that runs here can never have what it needs.
        ConfigError: a task is to run on an executor that is not described.
    """
    totals = totals_in(project.config.settings or {})
    shares = Shares(project.root, totals, sharer.slots, os.environ, sharer)
    unfit = next(filter(None, map(shares.refusal, run_here(project.config, to_run))), None)
    if unfit is not None:
        raise unfit
    return shares


def _told(
    project: Project,
    everything: Sequence[Node],
    reporter: Reporter,
    outcome: Outcome,
    began: float,
    pushing: "Pushing | None",
    check: "Check | None",
) -> BuildDone:
    """Send what is left to send, and say how it all went."""
    seconds = time.monotonic() - began
    if pushing is not None:
        if not outcome.interrupted:
            pushing.give_rest(project, everything)
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
        interrupted_failed=outcome.interrupted_failed,
        errors=tuple(outcome.errors),
    )

"""What a build leaves for the next one: a snapshot that answers it, and the graph that it is made from after a small change.

It decides after which builds there is one.

The invariant: what the Merklfile came from is taken as it was before anything ran; what there is now, as the build left it.
"""

import os
import sys
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, cast

from merkl import events
from merkl.cli.given import Options
from merkl.cli.opening import Asked
from merkl.config import QUIET
from merkl.engine.judge import Judge
from merkl.errors import MerklError
from merkl.events import BuildDone, Event, Forwarding, Reporter
from merkl.report.color import When
from merkl.report.ending import last_line
from merkl.report.words import duration, one_line
from merkl.snapshot import process, recorder
from merkl.snapshot.recording import Recording

if TYPE_CHECKING:
    from merkl.engine.keepgraph import Calls
    from merkl.engine.leaving import Leaving
    from merkl.snapshot.keep import KeepGraph, Looks
    from merkl.snapshot.writing import Names

_MOST = 50_000  # Nodes: of more, what was looked at takes memory that their build needs.


class Keeping:
    """What one build is to leave, from before it begins."""

    def __init__(self, options: Options, it: Asked) -> None:
        self._options = options
        self._it = it
        self._recording = recorder.active() if _is_usual(options, it) else None
        self._looks: Looks | None = None
        self._heard: _Heard | None = None
        self._calls: Calls | None = None  # As they were before functions ran in this process.
        self._sees_outputs = False
        self._removals = ""
        if self._recording is not None:
            self._sees_outputs = self._looks_at_outputs(self._recording)
            self._removals = it.project.store.removals()  # Before anything is answered from there.
            if len(it.chosen.selection.roots) <= _MOST:
                self._recording.when_put_aside = self._put_aside

    def hearing(self, reporter: Reporter) -> Reporter:
        """The reporter that the build is to have."""
        if self._recording is None:
            return reporter
        self._heard = _Heard(reporter)
        return self._heard

    def _put_aside(self) -> None:
        """Something runs, or is placed: what it does was not looked at by a build with nothing to do."""
        recording = self._recording
        assert recording is not None
        if recording.out:
            recording.spoil("the Merklfile printed something")
        self._looks = self._complete(recording)
        if self._it.project.config.jobs == 1 and not process.has_run_code and not self._against_graph():
            # Of two slots or more all calls run in workers, which change nothing here.
            from merkl.engine.keepgraph import Calls

            self._calls = Calls(self._it.project)
            self._calls.write_ahead(self._it.chosen.selection)

    def _complete(self, recording: Recording) -> "Looks":
        from merkl.snapshot.keep import Looks

        project = self._it.project
        return Looks(
            recording, root=project.root, store=project.config.store, clock_ns=project.index.clock_ns()
        )

    def end(self, done: BuildDone, judge: Judge) -> None:
        """Leave what there is to leave after a build that ended so."""
        active = recorder.active()
        recorder.stop()
        recording = self._recording
        if recording is None:
            return
        recording.when_put_aside = None
        if self._looks is not None:
            if not self._options.verbose:  # With -v each task is shown, which is more than can be answered.
                self._end_changed(self._looks, done, judge)
        elif active is not None and not (
            done.ran or done.cutoff or done.failed or done.skipped or done.interrupted
        ):
            self._end_unchanged(recording, done, judge)

    def _end_unchanged(self, recording: Recording, done: BuildDone, judge: Judge) -> None:
        """Write down what showed that there was nothing to do; or with -v, say what there is against it."""
        from merkl.snapshot.keep import keep

        verbose = self._options.verbose
        seconds = duration(done.seconds)
        before, found, after = "".join(recording.out).rpartition(f" in {seconds}")
        quiet = self._it.project.config.output == QUIET and not recording.out
        if not verbose and not quiet and (not found or "\n" in before):
            recording.spoil("more than the last line was printed")
        against = self._against_graph()
        if against:  # Then nothing is wanted of what was built, and what was looked at takes memory too.
            judge.forget()
            self._it.project.index.spare(memory=True)
        why = keep(
            self._complete(recording),
            summary=(f"{before} in ", after) if found else ("", ""),
            only_ask=verbose,
            unsure=self._databases(),
            keep_graph=None if against else self._keep_graph(judge, None),
        )
        if verbose and not self._options.quiet and (why or against):
            what = f"no snapshot: {one_line(why)}" if why else f"no kept graph: {one_line(against)}"
            sys.stdout.write(f"{what}\n")

    def _end_changed(self, looks: "Looks", done: BuildDone, judge: Judge) -> None:
        """Write down what there is after a build that did something, if that is known without another one."""
        from merkl.engine.leaving import Leaving, NotLeft
        from merkl.snapshot.keep import keep

        told = self._heard is not None and self._heard.said
        if done.interrupted or told or looks.why or self._against_graph():
            return
        if process.has_run_code and (self._calls is None or not self._calls.ahead):
            return  # They may have changed what calls hold.
        output = self._it.project.config.output
        try:
            leaving = Leaving(self._it.project, self._it.chosen.selection, judge)
        except (NotLeft, MerklError, OSError, ValueError):
            return  # The next build finds out what there is.
        color = cast(When, self._options.color)
        line = last_line(output, color, len(leaving.counted), leaving.saved)
        before, _, after = line.rpartition(f" in {duration(0.0)}")
        keep(
            looks,
            summary=(f"{before} in ", after) if after else ("", ""),
            only_ask=False,
            unsure=self._databases(),
            left=leaving.left,
            keep_graph=self._keep_graph(judge, leaving),
        )

    def _databases(self) -> Set[str]:
        from merkl.engine.leaving import database_paths

        return set(database_paths(self._it.project))

    def _keep_graph(self, judge: Judge, leaving: "Leaving | None") -> "KeepGraph":
        recording = self._recording
        assert recording is not None

        def write(mere: Set[str], listings: "Mapping[str, Names]", others: Set[str]) -> bytes:
            from merkl.engine.keepgraph import keep_graph
            from merkl.snapshot.answer import name_of

            it, options = self._it, self._options
            more = {
                "removals": self._removals,
                "databases": sorted(self._databases()),
                "color": options.color,
                "progress": options.progress,
            }
            return keep_graph(
                it.project, it.chosen.selection, judge, it.labels(judge), name=name_of(recording.request), mere=mere,
                listings=listings, others=others, more=more, leaving=leaving, calls=self._calls,
            )  # fmt: skip

        return write

    def _against_graph(self) -> str:
        """Why a small change of what was built leads to running the Merklfile; or empty."""
        from merkl.engine.keepgraph import lacks

        assert self._recording is not None
        listed = any(self._recording.listed.values())
        seen = "the Merklfile looked at an output" if listed or self._sees_outputs else ""
        unknown = "" if self._it.merklfile.unknown is None else "a target of any name was asked for"
        return (
            self._recording.no_graph or seen or unknown or lacks(self._it.project, self._it.chosen.selection)
        )

    def _looks_at_outputs(self, recording: Recording) -> bool:
        """Whether what is placed was looked at before the build: what came of that may be another thing after the next."""
        from merkl.engine.keepgraph import lacks

        selection, root = self._it.chosen.selection, self._it.project.root
        if lacks(self._it.project, selection):
            return False  # And nobody asks.
        placed = {os.path.join(root, placement.path) for placement in selection.placements}
        directories: set[str] = set()
        for path in recording.paths():
            if path in placed:
                return True
            directories.add(path.rpartition("/")[0])
        return any(_is_in(path, placed, root) for path in directories)


class _Heard(Forwarding):
    """A reporter that notices whether more was told than what ran."""

    def __init__(self, inner: Reporter) -> None:
        super().__init__(inner)
        self.said = False

    def report(self, event: Event) -> None:
        self.said |= isinstance(event, events.BESIDES)
        super().report(event)


def _is_usual(options: Options, it: Asked) -> bool:
    config = it.project.config
    unusual = (
        options.force,
        options.json,
        options.rehash,
        options.push,
        options.require_remote,
        config.check_deps,
    )
    return config.snapshot and not any(unusual)


def _is_in(path: str, placed: Set[str], root: str) -> bool:
    """Whether a path is one of those that are placed, or in one of them."""
    while len(path) > len(root):
        if path in placed:
            return True
        path = path.rpartition("/")[0]
    return False

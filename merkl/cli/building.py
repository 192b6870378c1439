"""Building what a command line asks for, whoever has read it.

It decides the exit code of a build, and whether it leaves a snapshot.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from itertools import islice

from merkl.cli.given import Options
from merkl.cli.opening import Asked, asked, chosen, loaded, paint_of, project_of, reporter_of, tell
from merkl.config import QUIET
from merkl.engine.build import build
from merkl.engine.frozen import prediction, unsettled
from merkl.engine.judge import Judge
from merkl.engine.request import plan, would_place
from merkl.engine.where import elsewhere
from merkl.engine.workers import workers_ahead
from merkl.errors import UsageError
from merkl.events import BuildDone
from merkl.report.ending import exit_code
from merkl.report.json import planned
from merkl.report.words import duration, one_line, plural
from merkl.snapshot import recorder
from merkl.snapshot.recording import Recording


def build_once(options: Options, words: Sequence[str]) -> int:
    """Build what ``words`` ask for, or the default target; the exit code."""
    config = options.config()
    with workers_ahead(config), asked(options, words, runs=not options.dry_run, config=config) as it:
        return run_build(options, it)


def pull_only(options: Options, words: Sequence[str]) -> int:
    """Run nothing: bring tracked files, then what caches have of a request; the exit code."""
    from merkl.cli.fetching import fetch_results, pull_tracked

    if options.force:
        raise UsageError("--pull runs nothing, and --force runs everything", hint="leave out one of them")
    code, _ = pull_tracked(options)
    # Nor does what the Merklfile evaluates run.
    with asked(replace(options, frozen=True), words, runs=True) as it:
        if options.dry_run:
            return max(code, _preview(options, it))
        return max(code, fetch_results(options, it, it.chosen.selection.placements))


def build_or_list(options: Options) -> int:
    """What ``merkl`` alone does: build the default target, or list what could be built."""
    with project_of(options, runs=not options.dry_run) as project:
        merklfile = loaded(options, project)
        if not merklfile.defaults:
            from merkl.cli.list import print_targets

            print_targets(options, merklfile)
            return 0
        return run_build(options, Asked(project, merklfile, chosen(options, project, merklfile, ())))


def run_build(options: Options, it: Asked) -> int:
    """Build what was asked for, or with ``--dry-run`` say what that would run; the exit code."""
    if options.dry_run:
        return _preview(options, it)
    reporter = reporter_of(options, it.project)
    looked = _count_looked()
    try:
        done, judge = build(it.project, it.chosen.selection, reporter, force=options.force)
    finally:
        reporter.close()
    _keep_snapshot(options, it, done, judge, looked)
    return exit_code(done)


def _count_looked() -> tuple[int, int]:
    """How many paths have been looked at so far, with links followed and without."""
    recording = recorder.active()
    return (0, 0) if recording is None else (len(recording.files), len(recording.links))


def _looks_at_outputs(recording: Recording, it: Asked, looked: tuple[int, int]) -> bool:
    """Whether what is placed was looked at before the build: what came of that may be another thing after the next."""
    root = it.project.root
    paths = {*islice(recording.files, looked[0]), *islice(recording.links, looked[1])}
    placed = {os.path.join(root, placement.path) for placement in it.chosen.selection.placements}
    return any(recording.listed.values()) or any(_is_in(path, placed, root) for path in paths)


def _is_in(path: str, placed: Set[str], root: str) -> bool:
    """Whether a path is one of those that are placed, or in one of them."""
    while len(path) > len(root):
        if path in placed:
            return True
        path = path.rpartition("/")[0]
    return False


def _keep_snapshot(
    options: Options, it: Asked, done: BuildDone, judge: Judge, looked: tuple[int, int]
) -> None:
    """After a build that had nothing to do, write down what showed that, so that the next one is answered at once."""
    project = it.project
    recording, config = recorder.active(), project.config
    recorder.stop()
    unusual = (
        options.force,
        options.json,
        options.rehash,
        options.push,
        options.require_remote,
        config.check_deps,
    )
    nothing = not (done.ran or done.cutoff or done.failed or done.skipped or done.interrupted)
    if recording is None or any(unusual) or not nothing or not config.snapshot:
        return
    from merkl.snapshot.answer import name_of
    from merkl.snapshot.keep import keep

    def keep_graph(mere: Set[str], listings: Mapping[str, bytes], others: Set[str]) -> bytes:
        from merkl.cli import changed

        if recording.no_graph or _looks_at_outputs(recording, it, looked):
            return b""
        return changed.keep(options, it, judge, name_of(recording.request), mere, listings, others)

    seconds = duration(done.seconds)
    before, found, after = "".join(recording.out).rpartition(f" in {seconds}")
    quiet = config.output == QUIET and not recording.out
    if not options.verbose and not quiet and (not found or "\n" in before):
        recording.spoil("more than the last line was printed")
    # With -v each task is shown, which is more than can be answered; but what else there is against it is said.
    why = keep(
        recording, root=config.root, store=config.store, clock_ns=project.index.clock_ns(),
        summary=(f"{before} in ", after) if found else ("", ""), only_ask=options.verbose, keep_graph=keep_graph,
    )  # fmt: skip
    if options.verbose and not options.quiet:
        if why:
            sys.stdout.write(f"no snapshot: {one_line(why)}\n")
        elif why := _against_graph(recording, it, looked):
            sys.stdout.write(f"no kept graph: {one_line(why)}\n")


def _against_graph(recording: Recording, it: Asked, looked: tuple[int, int]) -> str:
    """Why a small change of what was built leads to running the Merklfile; or empty."""
    from merkl.cli.changed import lacking

    seen = "the Merklfile looked at an output" if _looks_at_outputs(recording, it, looked) else ""
    return recording.no_graph or seen or lacking(it)


# ---- dry run -----------------------------------------------------------------------------------------------------------


def _preview(options: Options, it: Asked) -> int:
    judge = plan(it.project, it.chosen.selection, force=options.force)
    names = it.labels(judge)
    paint = paint_of(options, sys.stdout)
    would = may = 0
    for step in unsettled(judge):
        kind, why = prediction(judge, step)
        would += kind == "would run"
        may += kind == "may run"
        label, target = names[step.node.key], elsewhere(it.project.config, step.node)
        if options.json:
            sys.stdout.write(json.dumps(planned(kind, step.node, label, why, target)) + "\n")
        else:
            style = "strong" if kind == "would run" else "quiet"
            on = f" on {target}" if target else ""
            sys.stdout.write(f"{paint(kind, style)}{on}  {one_line(label)}: {one_line(why)}\n")
    for path, what in would_place(it.project, it.chosen.selection, judge):
        if options.json:
            sys.stdout.write(json.dumps({"event": what, "path": path}) + "\n")
        else:
            shown = "would save and replace" if what == "would save" else what
            sys.stdout.write(f"{paint(shown, 'strong')}  {one_line(path)}\n")
    if not options.json:
        sys.stdout.write(_counts(len(names), would, may) + "\n")
    tell(options, it.project.take_notes())
    return 0


def _counts(total: int, would: int, may: int) -> str:
    tasks = plural(total, "task")
    if not would and not may:
        return f"{tasks}: nothing would run"
    shown = [f"{would} would run"] * bool(would) + [f"{may} may run"] * bool(may)
    return f"{tasks}: {', '.join(shown)}"

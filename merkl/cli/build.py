"""``merkl build``: run what no cache has got.

It decides the exit code of a build.
"""

import json
import os
import sys
from collections.abc import Mapping, Set
from dataclasses import replace
from itertools import islice

import click

from merkl.cli.opening import Asked, asked, chosen, loaded, paint_of, project_of, reporter_of, tell
from merkl.cli.options import LOADS, Command, Options, building, options_of, words_of
from merkl.cli.profiling import profiled
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


@click.command(cls=Command, short_help="Build targets: run what no cache has got.", epilog=LOADS)
@click.argument("words", nargs=-1, metavar="[TARGET…] [NAME=VALUE…] [-- ARGS…]")
@building
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], pull: bool, profile: str | None) -> int:
    """Build TARGETs, or the default target.

    A TARGET is a name from `merkl list`, or the path of a file that some task makes; ./NAME is always a path.
    NAME=VALUE sets a parameter of the targets that have it; ARGS go to the target that takes `args`.
    This loads the Merklfile, and so runs its code.

    Exit code: 0 all is there, 1 a task failed, 2 the request or the Merklfile is wrong, 3 the store cannot be used,
    6 something would run and --frozen or --pull was given, 130 interrupted.
    """
    options = options_of(context)
    if profile is not None:
        recorder.drop()  # An answer without a build would have no profile.
    with profiled(profile):
        if pull:
            return _pull(options, words_of(context, words))
        if profile is None:
            return _build(options, words_of(context, words))
        with asked(options, words_of(context, words), runs=not options.dry_run) as it:
            return run_build(options, it)


def _build(options: Options, words: list[str]) -> int:
    config = options.config()
    with workers_ahead(config), asked(options, words, runs=not options.dry_run, config=config) as it:
        return run_build(options, it)


def _pull(options: Options, words: list[str]) -> int:
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
    placed = (os.path.join(root, placement.path) for placement in it.chosen.selection.placements)
    return any(recording.listed.values()) or not paths.isdisjoint(placed)


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

    def keep_graph(mere: Set[str], listings: Mapping[str, bytes]) -> bytes:
        from merkl.cli import changed

        if recording.no_graph or _looks_at_outputs(recording, it, looked):
            return b""
        return changed.keep(options, it, judge, name_of(recording.request), mere, listings)

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
    if why and options.verbose and not options.quiet:
        sys.stdout.write(f"no snapshot: {one_line(why)}\n")


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

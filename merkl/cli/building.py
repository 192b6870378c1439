"""Building what a command line asks for, whoever has read it.

It decides the exit code of a build.
"""

import json
import sys
from collections.abc import Sequence

from merkl.cli.given import Options
from merkl.cli.keeping import Keeping
from merkl.cli.opening import Asked, asked, chosen, loaded, paint_of, project_of, reporter_of, tell
from merkl.dataclass import replace
from merkl.engine.build import build
from merkl.engine.frozen import prediction, unsettled
from merkl.engine.request import plan, would_place
from merkl.engine.where import elsewhere
from merkl.engine.workers import workers_ahead
from merkl.errors import UsageError
from merkl.report.ending import exit_code
from merkl.report.json import planned
from merkl.report.words import one_line, plural


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
    keeping = Keeping(options, it)
    reporter = reporter_of(options, it.project)
    try:
        done, judge = build(it.project, it.chosen.selection, keeping.hearing(reporter), force=options.force)
    finally:
        reporter.close()
    keeping.end(done, judge)
    return exit_code(done)


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

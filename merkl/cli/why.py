"""``merkl why``: what would run, and what changed since the last time.

It decides wording only; the verdicts are those that a build acts on.
"""

import json
import sys
from collections.abc import Sequence

import click

from merkl.cli.either import OfEither, asked_either
from merkl.cli.opening import paint_of, tell
from merkl.cli.options import options_of, shared, words_of
from merkl.digest import Key
from merkl.engine.explain import Change, all_parts, as_json, changes, describe, step_changes
from merkl.engine.frozen import prediction, unsettled
from merkl.engine.judge import Judge
from merkl.engine.laststeps import last_steps
from merkl.engine.request import plan
from merkl.engine.step import Step, Waits
from merkl.engine.where import elsewhere
from merkl.events import Note
from merkl.nodes import walk
from merkl.python.batch import said_of
from merkl.report.color import Paint
from merkl.report.json import planned
from merkl.report.words import harmless, one_line, plural
from merkl.workspace.ledger import LastStep


@click.command(cls=OfEither, short_help="Say what would run, and what changed.")
@click.argument("words", nargs=-1, metavar="[TARGET…|MODULE.FUNCTION…] [NAME=VALUE…]")
@shared("force verbose json sets rehash")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...]) -> int:
    """Say for every task that building TARGETs, or running functions, would run what changed since it last ran.

    It runs nothing.  With -v, also say why the others would not run.  This loads what is named, the Merklfile or a module,
    and so runs its code.
    """
    options = options_of(context)
    with asked_either(context, options, words_of(context, words)) as it:
        judge = plan(it.project, it.chosen.selection, force=options.force)
        names = it.labels(judge)
        steps = unsettled(judge)
        last = last_steps(it.project, [step.node for step in steps], names)
        paint = paint_of(options, sys.stdout)
        for step in steps:
            label, target = names[step.node.key], elsewhere(it.project.config, step.node)
            kind, why = prediction(judge, step)
            found = _changes(step, judge, last.get(step.node.key), names)
            if options.json:
                item = {
                    **planned(kind, step.node, label, why, target),
                    "changes": [[c.what, *c.lines] for c in found],
                }
                sys.stdout.write(json.dumps(item) + "\n")
            else:
                on = f" on {target}" if target else ""
                _print(paint, f"{paint(kind, 'strong')}{on}  {one_line(label)}", kind, why, found)
        if options.verbose and not options.json:
            _print_rest(judge, names, paint)
        if not steps and not options.json:
            sys.stdout.write(f"nothing would run: {plural(len(judge.steps), 'task')}, all cached\n")
        said = dict.fromkeys(map(said_of, walk(it.chosen.selection.roots)))
        tell(options, [*(Note(text) for text in said if text), *it.project.take_notes()])
    return 0


def _changes(step: Step, judge: Judge, last: LastStep | None, names: dict[Key, str]) -> Sequence[Change]:
    """What differs from the last time; for a step that waits, in itself."""
    before = None if last is None or not last.parts else as_json(last.parts)
    if isinstance(judge.verdict(step), Waits) and not judge.runs_regardless(step.node):
        if before is None:
            return [Change("it never ran before")]
        now = [part for part in all_parts(step.node, names) if part.group != "input"]
        return changes([part for part in before if part[0] != "input"], now)
    if judge.runs_regardless(step.node):
        return [
            Change(prediction(judge, step)[1]),
            *(changes(before, all_parts(step.node, names)) if before else []),
        ]
    found = step_changes(step, judge, before, names)
    failed = last is not None and last.state == "failed"
    return (
        [Change("it failed the last time"), *(c for c in found if c.lines or "changed" in c.what)]
        if failed
        else found
    )


def _print(paint: Paint, head: str, kind: str, why: str, found: Sequence[Change]) -> None:
    sys.stdout.write(head + "\n")
    if kind == "may run":
        sys.stdout.write(f"  {one_line(why)}\n")
    for change in found:
        sys.stdout.write(f"  {one_line(change.what)}\n")
        for line in change.lines:
            style = {"+": "added", "-": "removed", "@": "quiet"}.get(line[:1])
            text = harmless(line).replace("\n", "\n    ")
            sys.stdout.write(f"    {paint(text, style) if style else text}\n")


def _print_rest(judge: Judge, names: dict[Key, str], paint: Paint) -> None:
    going = {step.node.key for step in unsettled(judge)}
    for key, step in judge.steps.items():
        if key not in going:
            sys.stdout.write(
                paint(f"{one_line(names[key])}: {describe(judge.verdict(step))}", "quiet") + "\n"
            )

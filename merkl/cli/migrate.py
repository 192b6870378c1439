"""``merkl migrate``: tracked outputs given to the tasks that make them now, after a refactor.

It decides that nothing is done before it was shown, and agreed to.
"""

import json
import sys
from collections.abc import Sequence

import click

from merkl.cli.opening import chosen, loaded, project_of, tell
from merkl.cli.options import Command, Options, options_of, shared, words_of
from merkl.engine.migrating import Migration, migrate, migrations
from merkl.engine.placement import Placement
from merkl.engine.request import everything_placed
from merkl.errors import UsageError
from merkl.report.words import one_line, plural


@click.command(cls=Command, short_help="Keep tracked outputs after a refactor that changed keys only.")
@click.argument("words", nargs=-1, metavar="[TARGET|PATH…] [NAME=VALUE…]")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@shared("dry_run quiet json sets rehash")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], yes: bool) -> int:
    """Let tasks have the tracked outputs that lie at their places, by your word that they would make the same.

    A task that was renamed or moved, or whose code says the same otherwise, has another key, and so would run.  For each
    output with a sidecar, of TARGETs or else of all targets, the result that the sidecar names is filed under the
    present key, and the sidecar written anew.  What differs from its sidecar is left alone.  The record says from which
    key it came, and when.  No task is run.  This loads the Merklfile, and so runs its code.
    """
    options = options_of(context)
    with project_of(options) as project:
        merklfile = loaded(options, project)
        asked = words_of(context, words)
        placements: Sequence[Placement] = (
            chosen(options, project, merklfile, asked).selection.placements
            if asked
            else everything_placed(project, merklfile)[0]
        )
        found = migrations(project, placements)
        able = [each for each in found if not each.refused]
        if options.dry_run or not able:
            _show(options, found, "would migrate")
        else:
            if not yes:
                _ask(options, able)
            found = migrate(project, placements)
            _show(options, found, "migrated")
        tell(options, project.take_notes())
    return 1 if any(each.refused for each in found) else 0


def _ask(options: Options, able: Sequence[Migration]) -> None:
    if options.json or not sys.stdin.isatty():
        raise UsageError(
            f"{plural(len(able), 'output')} can be migrated, and there is nobody to ask",
            hint="`merkl migrate --dry-run` shows them; --yes migrates them",
        )
    _show(options, able, "would migrate")
    if not click.confirm("Do these tasks make the same as before?", default=False, err=True):
        raise click.Abort


def _show(options: Options, found: Sequence[Migration], word: str) -> None:
    if options.json:
        for each in found:
            item = {
                "event": "migrate", "path": each.path, "task": each.task, "before": each.before, "old": each.old.hex(),
                "new": each.new.hex(), "refused": each.refused or None, "hint": each.hint,
            }  # fmt: skip
            sys.stdout.write(json.dumps(item) + "\n")
        return
    for each in found:
        if each.refused:
            sys.stderr.write(f"left {one_line(each.path)}: {each.refused}\n")
            if each.hint:
                sys.stderr.write(f"  hint: {each.hint}\n")
        elif not options.quiet:
            was = "" if each.before == each.task else f", once of {one_line(each.before)}"
            keys = f"{each.old.short} -> {each.new.short}"
            sys.stdout.write(f"{word} {one_line(each.path)} to {one_line(each.task)}{was}  {keys}\n")
    if not found and not options.quiet:
        sys.stdout.write("nothing to migrate\n")

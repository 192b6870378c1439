"""``merkl clear``: forget results."""

import sys

import click

from merkl.cli.opening import asked, tell
from merkl.cli.options import Command, options_of, shared, words_of
from merkl.errors import UsageError
from merkl.report.words import one_line, plural


@click.command(cls=Command, short_help="Forget results, so that they are made again.")
@click.argument("words", nargs=-1, metavar="TARGET… [NAME=VALUE…]")
@shared("dry_run quiet sets")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...]) -> int:
    """Forget the results of TARGETs, so that the next build makes them again.

    What they need and what needs them stays cached, and files that were placed stay where they are.  This loads the
    Merklfile, and so runs its code.
    """
    options = options_of(context)
    asked_for = words_of(context, words)
    if not any("=" not in word for word in asked_for):
        raise UsageError(
            "clear takes the names of targets", hint="merkl clear TARGET; `merkl list` shows them"
        )
    with asked(options, asked_for) as it:
        if options.dry_run:
            names = it.labels()
            for node in it.chosen.own:
                sys.stdout.write(f"would forget {one_line(names[node.key])}\n")
            return 0
        count = it.project.forget(it.chosen.own)
        if not options.quiet:
            sys.stdout.write(f"forgot {plural(count, 'result')}\n")
        tell(options, it.project.take_notes())
    return 0

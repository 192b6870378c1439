"""``merkl clear``: forget results, with their bytes.

It decides which further targets are asked what they need, so that this stays.
"""

import sys
from collections.abc import Sequence

import click

from merkl.cli.either import Either, OfEither, asked_either
from merkl.cli.gc import is_shared
from merkl.cli.opening import loaded, loaded_quietly, tell
from merkl.cli.options import Options, options_of, shared, words_of
from merkl.engine.clearing import Cleaned, clear_chosen, clear_others
from merkl.engine.request import stood_for
from merkl.errors import UsageError
from merkl.events import Note
from merkl.merklfile.loader import has_merklfile
from merkl.nodes import Node
from merkl.report.words import one_line, plural, size
from merkl.store.collect import Collected

_SHOWN = 20
_NAMED = 5  # Of those that need what stays.


@click.command(cls=OfEither, short_help="Forget results, so that they are made again.")
@click.argument("words", nargs=-1, metavar="TARGET|MODULE.FUNCTION… [NAME=VALUE…]")
@click.option("--all-except", is_flag=True, help="Forget every result but those of what is named.")
@shared("dry_run quiet sets")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], all_except: bool) -> int:
    """Forget the results of TARGETs and of functions, so that they are made again, and remove their bytes.

    These are the results of all tasks that they call, without those that something else needs too: another target, an
    output that another one placed, another function that was run, or a result of any other task.  Of a path it is the one
    task that makes it.  Files that were placed stay where they are, and so do bytes that sidecars name.  This loads the
    Merklfile, if there is one, and so runs its code.
    """
    options = options_of(context)
    asked_for = words_of(context, words)
    if not any("=" not in word and not word.startswith("-") for word in asked_for):
        raise UsageError(
            "clear takes the names of targets", hint="merkl clear TARGET; `merkl list` shows them"
        )
    with asked_either(context, options, asked_for) as it:
        if all_except:
            removed = clear_others(
                it.project, it.chosen, shared=is_shared(it.project), dry_run=options.dry_run
            )
            _tell(options, [], removed)
        else:
            _clear(options, it)
        tell(options, it.project.take_notes())
    return 0


def _clear(options: Options, it: Either) -> None:
    targets = it.chosen.selection.targets
    labels = it.labels()
    others, unasked = _others(options, it)
    whole = all(name in it.merklfile.targets or name in it.names for name in targets)
    done = clear_chosen(
        it.project,
        it.chosen,
        it.calls,
        others,
        whole=whole,
        shared=is_shared(it.project),
        dry_run=options.dry_run,
    )
    stayed = f"; {stays(done)}" if done.stayed else ""
    _tell(options, [labels[node.key] for node in done.nodes], done.removed, stayed)
    if unasked:
        tell(options, [Note(f"not every other target could be asked what it needs: {unasked}")])


def stays(done: Cleaned) -> str:
    """What stays, and for whom, in words."""
    what = f"{plural(done.stayed, 'result')} that others need {'stays' if done.stayed == 1 else 'stay'}"
    some = ", ".join(map(one_line, done.needed_by[:_NAMED])) + (", …" if len(done.needed_by) > _NAMED else "")
    return f"{what}: {some}" if some else what


def _others(options: Options, it: Either) -> tuple[Sequence[Node], str]:
    """What targets that are not named stand for, and why some could not be asked."""
    merklfile = it.merklfile
    if not merklfile.path:
        if not has_merklfile(it.project.config):
            return [], ""
        merklfile = loaded(options, it.project)
    with loaded_quietly():
        others, failures = stood_for(it.project, merklfile, it.chosen.selection.targets)
    return others, failures[0].headline if failures else ""


def _tell(options: Options, labels: Sequence[str], removed: Collected, stayed: str = "") -> None:
    if options.quiet:
        return
    word = "would forget" if options.dry_run else "forgot"
    for label in labels[:_SHOWN]:
        sys.stdout.write(f"{word} {one_line(label)}\n")
    if len(labels) > _SHOWN:
        sys.stdout.write(f"… {len(labels) - _SHOWN} more …\n")
    what = f"{plural(removed.records, 'result')} and {plural(removed.blobs, 'blob')}, {size(removed.freed)}"
    sys.stdout.write(f"{'would remove' if options.dry_run else 'removed'} {what}{stayed}\n")

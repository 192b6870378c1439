"""``merkl build``: run what no cache has got.

It decides what its options mean to click; what is built, and how, ``building`` knows.
"""

import click

from merkl.cli.building import build_once, pull_only, run_build
from merkl.cli.opening import asked
from merkl.cli.options import LOADS, Command, building, options_of, words_of
from merkl.cli.profiling import profiled
from merkl.snapshot import recorder


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
            return pull_only(options, words_of(context, words))
        if profile is None:
            return build_once(options, words_of(context, words))
        with asked(options, words_of(context, words), runs=not options.dry_run) as it:
            return run_build(options, it)

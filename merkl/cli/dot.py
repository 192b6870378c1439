"""``merkl dot``: the old name of ``merkl dag --format dot``."""

import click

from merkl.cli.dag import draw_as
from merkl.cli.either import OfEither
from merkl.cli.options import options_of, shared, words_of


@click.command(cls=OfEither, short_help="The old name of dag --format dot.", hidden=True)
@click.argument("words", nargs=-1, metavar="[TARGET…|MODULE.FUNCTION…] [NAME=VALUE…]")
@click.option("--files", is_flag=True, help="Draw the input files too, and headers that were found.")
@shared("sets")
@click.pass_context
def command(context: click.Context, /, words: tuple[str, ...], files: bool) -> int:
    """Draw the tasks of TARGETs, or of functions, for Graphviz."""
    return draw_as(context, options_of(context), words_of(context, words), "dot", files=files)

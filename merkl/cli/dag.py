"""``merkl dag``: the graph, drawn."""

import sys
from typing import cast

import click

from merkl.cli.opening import asked, tell
from merkl.cli.options import Command, options_of, shared, words_of
from merkl.engine.request import plan
from merkl.report.graph import Format, draw, graph_of


@click.command(cls=Command, short_help="Draw the graph.")
@click.argument("words", nargs=-1, metavar="[TARGET…] [NAME=VALUE…]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "dot", "mermaid"]),
    help="How to draw it.  [default: text]",
)
@click.option("--files", is_flag=True, help="Draw the input files too.")
@shared("json sets")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], form: str | None, files: bool) -> int:
    """Draw the tasks of TARGETs and those they need, with what would run.

    text is a tree, each target above what it needs; dot is for Graphviz, mermaid for Markdown.
    This loads the Merklfile, and so runs its code.
    """
    options = options_of(context)
    with asked(options, words_of(context, words)) as it:
        judge = plan(it.project, it.chosen.selection)
        graph = graph_of(it.chosen.selection, judge, it.labels(), files=files)
        for line in draw(graph, cast(Format, form or ("json" if options.json else "text"))):
            sys.stdout.write(line + "\n")
        tell(options, it.project.take_notes())
    return 0

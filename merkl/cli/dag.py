"""``merkl dag``: the graph, drawn."""

import sys
from collections.abc import Iterator, Sequence
from typing import cast

import click

from merkl.cli.either import OfEither, asked_either
from merkl.cli.opening import tell
from merkl.cli.options import Options, options_of, shared, words_of
from merkl.engine.request import plan
from merkl.report.graph import Format, Graph, draw, graph_of


@click.command(cls=OfEither, short_help="Draw the graph.")
@click.argument("words", nargs=-1, metavar="[TARGET…|MODULE.FUNCTION…] [NAME=VALUE…]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "dot", "mermaid", "svg"]),
    help="How to draw it.  [default: text]",
)
@click.option("--files", is_flag=True, help="Draw the input files too, and headers that were found.")
@shared("json sets")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], form: str | None, files: bool) -> int:
    """Draw the tasks of TARGETs, or of functions of modules, and those they need, with what would run.

    text is a tree, each target above what it needs; dot is for Graphviz, mermaid for Markdown, svg a picture.
    This loads what is named, the Merklfile or a module, and so runs its code.
    """
    options = options_of(context)
    drawn_as = form or ("json" if options.json else "text")
    return draw_as(context, options, words_of(context, words), drawn_as, files=files)


def draw_as(context: click.Context, options: Options, words: Sequence[str], form: str, *, files: bool) -> int:
    """Draw what words ask for; the exit code."""
    with asked_either(context, options, words) as it:
        judge = plan(it.project, it.chosen.selection)
        groups = {} if it.project.pipelines is None else it.project.pipelines.groups
        graph = graph_of(it.chosen.selection, judge, it.labels(), files=files, groups=groups)
        for line in _lines(graph, form):
            sys.stdout.write(line + "\n")
        tell(options, it.project.take_notes())
    return 0


def _lines(graph: Graph, form: str) -> Iterator[str]:
    if form != "svg":
        return draw(graph, cast(Format, form))
    from merkl.report.svg import draw_svg  # The only one that needs a layout.

    # Its characters are those of the file, whatever the terminal has.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    return draw_svg(graph)

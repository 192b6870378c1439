"""Results as one SVG picture: for each scenario a dot for each contender, at its median, on a line from least to most.

It decides the layout.  Each scenario has an axis of its own, which is logarithmic for times and memory: a step of the grid is
ten times.  Names are left of it and figures right, so that no text meets another.
"""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from html import escape

from benchmarks.results import Result, Row
from benchmarks.table import shown

WIDTH, LEFT, RIGHT = 940, 300, 270  # Of the picture, of the names, of the figures.
LINE, HEAD, FOOT = 18, 30, 28  # Height of a row, of what is above the rows of a scenario, of its axis.
LETTERS = 125  # That fit into the width.

STYLE = """\
text { font: 12px sans-serif; fill: #222 } .title { font-weight: bold; font-size: 14px } .faint { fill: #666; font-size: 11px }
.grid { stroke: #ddd } .spread { stroke: #777; stroke-width: 3 } .dot { fill: #777 }
.ours .spread { stroke: #b5460f } .ours .dot { fill: #b5460f } .ours text { font-weight: bold } .paper { fill: #fff }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .faint { fill: #aaa } .grid { stroke: #444 } .paper { fill: #181818 }
.spread { stroke: #aaa } .dot { fill: #aaa } .ours .spread { stroke: #f08040 } .ours .dot { fill: #f08040 } }
"""


def plot(results: Sequence[Result], machine: str) -> str:
    """The picture of all results, under what they were measured with."""
    panels, top = [], 10
    for line in textwrap.wrap(f"Medians, least and most. {machine}.", LETTERS):
        panels.append(f'<text class="faint" x="10" y="{top + 10}">{escape(line)}</text>')
        top += LINE
    for result in results:
        if result.rows:
            panels.append(f'<g transform="translate(0 {top})">\n' + "\n".join(_panel(result)) + "\n</g>")
            top += HEAD + LINE * len(result.rows) + FOOT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
    )
    paper = f'<rect class="paper" width="{WIDTH}" height="{top}"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", paper, *panels, "</svg>"]) + "\n"


def _panel(result: Result) -> Iterator[str]:
    across, ticks = _axis(result)
    bottom = HEAD + LINE * len(result.rows)
    yield f'<text class="title" x="10" y="18">{escape(result.title)}</text>'
    for x, word in ticks:
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD - 4}" y2="{bottom}"/>'
        yield f'<text class="faint" x="{x:.1f}" y="{bottom + 13}" text-anchor="middle">{word}</text>'
    for number, row in enumerate(result.rows):
        y = HEAD + LINE * number + LINE / 2
        ours = ' class="ours"' if row.name.startswith("merkl") else ""
        yield f"<g{ours}>"
        yield f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>'
        ends = across(min(row.values)), across(max(row.values))
        yield f'<line class="spread" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<circle class="dot" cx="{across(row.median):.1f}" cy="{y:.1f}" r="5"/>'
        yield f'<text x="{WIDTH - RIGHT + 14}" y="{y + 4:.1f}">{escape(_figures(result, row))}</text>'
        yield "</g>"


def _axis(result: Result) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """Where a value is, and the ticks: where, and what they say."""
    values = [value for row in result.rows for value in row.values]
    width = WIDTH - LEFT - RIGHT
    if result.unit == "exponent":
        most = max(1.25, *values)
        ticks = [n / 4 for n in range(math.floor(most * 4) + 1)]
        return lambda value: LEFT + value / most * width, [
            (LEFT + t / most * width, f"{t:.2f}") for t in ticks
        ]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def across(value: float) -> float:
        return LEFT + (math.log10(value) - low) / (high - low) * width

    return across, [(across(10.0**power), _tick(power, result.unit)) for power in range(low, high + 1)]


def _figures(result: Result, row: Row) -> str:
    ratio = result.ratio(row) if result.unit == "s" else None
    words = [shown(row.median, result.unit)]
    if ratio is not None and row.name != result.against:
        words.append(f"{ratio:.2f} × {result.against}")
    if row.ran is not None and len({each.ran for each in result.rows if each.ran is not None}) > 1:
        words.append(f"{row.ran:,} commands")
    return ", ".join(words)


def _tick(power: int, unit: str) -> str:
    if unit != "s":
        return f"{10**power:,} {unit}"
    for name, scale in (("s", 0), ("ms", -3), ("µs", -6)):
        if power >= scale:
            return f"{10 ** (power - scale):,} {name}"
    return f"{10.0 ** (power + 6):g} µs"

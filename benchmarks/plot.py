"""Results as one SVG picture: for each scenario a dot for each contender, at its median, on a line from least to most.

It decides the layout.  Each scenario has an axis of its own, which is logarithmic: a step of the grid is ten times.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.results import Result, Row
from benchmarks.table import shown

WIDTH, LEFT, RIGHT = 900, 270, 230  # Of the picture, of the names, of the figures.
LINE, HEAD, FOOT = 18, 30, 24  # Height of a row, of what is above the rows of a scenario, of its axis.

STYLE = """\
text { font: 12px sans-serif; fill: #222 } .title { font-weight: bold; font-size: 14px } .faint { fill: #777 }
.grid { stroke: #ddd } .spread { stroke: #888; stroke-width: 3 } .dot { fill: #888 }
.ours .spread { stroke: #b5460f } .ours .dot { fill: #b5460f } .ours text { font-weight: bold } .paper { fill: #fff }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .faint { fill: #999 } .grid { stroke: #444 } .paper { fill: #181818 } }
"""


def plot(results: Sequence[Result]) -> str:
    """The picture of all results that are times."""
    panels, top = [], 10
    for result in results:
        if result.unit == "s" and result.rows:
            panels.append(f'<g transform="translate(0 {top})">\n' + "\n".join(_panel(result)) + "\n</g>")
            top += HEAD + LINE * len(result.rows) + FOOT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
    )
    paper = f'<rect class="paper" width="{WIDTH}" height="{top}"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", paper, *panels, "</svg>"]) + "\n"


def _panel(result: Result) -> Iterator[str]:
    values = [value for row in result.rows for value in row.values]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    bottom = HEAD + LINE * len(result.rows)

    def across(value: float) -> float:
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    yield f'<text class="title" x="10" y="18">{escape(result.title)}</text>'
    for power in range(low, high + 1):
        x = across(10.0**power)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD - 4}" y2="{bottom}"/>'
        yield f'<text class="faint" x="{x:.1f}" y="{bottom + 13}" text-anchor="middle">{_tick(power)}</text>'
    for number, row in enumerate(result.rows):
        y = HEAD + LINE * number + LINE / 2
        ours = ' class="ours"' if row.name.startswith("merkl") else ""
        yield f"<g{ours}>"
        yield f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(_name(row))}</text>'
        ends = across(min(row.values)), across(max(row.values))
        yield f'<line class="spread" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<circle class="dot" cx="{across(row.median):.1f}" cy="{y:.1f}" r="5"/>'
        yield f'<text x="{WIDTH - RIGHT + 14}" y="{y + 4:.1f}">{escape(_figures(result, row))}</text>'
        yield "</g>"


def _name(row: Row) -> str:
    return row.name if row.size is None else f"{row.name} ({row.size:,} only)"


def _figures(result: Result, row: Row) -> str:
    ratio = result.ratio(row)
    words = [shown(row.median, result.unit)]
    if ratio is not None and row.name != result.against:
        words.append(f"{ratio:.2f} × {result.against}")
    if row.ran is not None and len({each.ran for each in result.rows if each.ran is not None}) > 1:
        words.append(f"{row.ran:,} commands")
    return ", ".join(words)


def _tick(power: int) -> str:
    for unit, scale in (("s", 0), ("ms", -3), ("µs", -6)):
        if power >= scale:
            return f"{10 ** (power - scale):,} {unit}"
    return f"{10.0 ** (power + 6):g} µs"

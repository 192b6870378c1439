"""A graph as a picture: SVG that every browser shows, readable in light and in dark.

It decides what a box says and how it looks; where it is, is ``layout``'s.

The invariant: the same graph gives the same bytes, and a name is text in it, whatever characters it has.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from merkl.dataclass import dataclass
from merkl.errors import UsageError
from merkl.report.bands import Bands, bands_of, color, keys, named
from merkl.report.graph import Drawn, Graph, State
from merkl.report.layout import Box, Layout, Point, Size, lay_out
from merkl.report.pictured import attribute, brief, escaped, shortened, width_of
from merkl.report.words import one_line, plural

LARGEST: Final = 2_000  # Boxes: in a larger picture nobody finds anything.
_MARGIN: Final = 24.0  # All lengths are in pixels.
_HEADER: Final = 64.0
_ROW: Final = 20.0  # Of the legend.
_LEGEND: Final = 560.0  # So wide it may be beside a narrower graph.
_PADDING: Final = 14.0
_WIDEST: Final = 240.0  # Of text in a box.
_NAMED: Final = 12  # Paths that a tooltip lists.
_TOGETHER: Final = 4  # So many files of the same readers are still drawn one by one.
_TASK_HEIGHTS: Final = (30.0, 46.0)  # With one line of text, and with two.
_FILE_HEIGHT: Final = 24.0

_CLASSES: Final[dict[State, str]] = {
    "cached": "cached", "cut off": "cutoff", "would run": "runs", "may run": "maybe", "not needed": "unneeded",
}  # fmt: skip

_STYLE: Final = """
.merkl { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
.merkl .page { fill: #ffffff; }
.merkl text { fill: #1f2733; font-size: 11.5px; }
.merkl .task { font-size: 13px; font-weight: 600; }
.merkl .heading { font-size: 16px; font-weight: 600; }
.merkl .quiet { fill: #677182; }
.merkl .placed { fill: #1d5fb8; }
.merkl .box { stroke-width: 1.3; }
.merkl .bar { stroke: none; }
.merkl .edge { fill: none; stroke: #a3acb9; stroke-width: 1.2; }
.merkl .tip { fill: #a3acb9; stroke: none; }
.merkl .edge:hover { stroke: #1d5fb8; stroke-width: 2.6; }
.merkl g:hover > .box { stroke-width: 2.4; }
.merkl .cached .box { fill: #f0f8f1; stroke: #9ccba5; } .merkl .cached .bar { fill: #4c9c5c; }
.merkl .cutoff .box { fill: #edf7f7; stroke: #97c9c8; } .merkl .cutoff .bar { fill: #3f9492; }
.merkl .runs .box { fill: #fff6e0; stroke: #e3b655; } .merkl .runs .bar { fill: #d18d0b; }
.merkl .maybe .box { fill: #fffaf0; stroke: #e3c27c; stroke-dasharray: 5 3; } .merkl .maybe .bar { fill: #e6bd68; }
.merkl .unneeded .box { fill: #f6f7f9; stroke: #d0d5dc; } .merkl .unneeded .bar { fill: #b4bcc7; }
.merkl .source .box { fill: #f5f6f8; stroke: #cdd3db; } .merkl .source .fold { fill: #dfe3e9; stroke: #cdd3db; }
@media (prefers-color-scheme: dark) {
.merkl .page { fill: #12161c; }
.merkl text { fill: #e4e8ee; }
.merkl .quiet { fill: #94a0b0; }
.merkl .placed { fill: #82b4f5; }
.merkl .edge { stroke: #5d6878; }
.merkl .tip { fill: #5d6878; }
.merkl .edge:hover { stroke: #82b4f5; }
.merkl .cached .box { fill: #17271c; stroke: #366a42; } .merkl .cached .bar { fill: #58ad69; }
.merkl .cutoff .box { fill: #152626; stroke: #326563; } .merkl .cutoff .bar { fill: #4ea8a5; }
.merkl .runs .box { fill: #30260f; stroke: #8a6718; } .merkl .runs .bar { fill: #e0a32b; }
.merkl .maybe .box { fill: #241f13; stroke: #75602c; } .merkl .maybe .bar { fill: #a5854a; }
.merkl .unneeded .box { fill: #1a1f27; stroke: #3a434f; } .merkl .unneeded .bar { fill: #566171; }
.merkl .source .box { fill: #1a1f27; stroke: #414b58; } .merkl .source .fold { fill: #2c343f; stroke: #414b58; }
}
"""


@dataclass(frozen=True, slots=True)
class _Shape:
    """A box to be drawn.  ``lines`` are what it says, shortened; ``about`` what a tooltip says."""

    name: str
    look: str
    lines: tuple[str, ...]
    about: str
    size: Size
    round: bool = False
    placed: bool = False
    band: str = ""  # Its group's color.


def draw_svg(graph: Graph) -> Iterator[str]:
    """The lines of the picture.  Files that the same tasks read are one box if they are many.

    Raises:
        UsageError: the graph is too large for one.
    """
    sources = _sources(graph)
    if len(graph.nodes) + len(sources) > LARGEST:
        what = plural(len(graph.nodes), "task") + (f" and {plural(len(sources), 'file')}" if sources else "")
        raise UsageError(
            f"a picture of {what} could not be read: {LARGEST:,} boxes is the most",
            hint="name a target: merkl dag TARGET --format svg; or draw it with another program: --format dot",
        )
    groups = bands_of(graph)
    shapes = [
        *(_source(at, paths) for at, (paths, _) in enumerate(sources)),
        *(_task(at, node, groups) for at, node in enumerate(graph.nodes)),
    ]
    needs: list[list[int]] = [[] for _ in sources]
    needs += [[len(sources) + need for need in node.needs] for node in graph.nodes]
    for at, (_, readers) in enumerate(sources):
        for reader in readers:
            needs[len(sources) + reader].append(at)
    return _picture(graph, groups, shapes, lay_out([shape.size for shape in shapes], needs))


def _sources(graph: Graph) -> list[tuple[list[str], tuple[int, ...]]]:
    """The files to be drawn: those of one box, and the nodes that read them."""
    readers: dict[str, list[int]] = {}
    for at, node in enumerate(graph.nodes):
        for path in node.files:
            readers.setdefault(path, []).append(at)
    alike: dict[tuple[int, ...], list[str]] = {}
    for path, nodes in readers.items():
        alike.setdefault(tuple(nodes), []).append(path)
    return [
        (paths if len(paths) > _TOGETHER else [path], nodes)
        for nodes, paths in alike.items()
        for path in (paths[:1] if len(paths) > _TOGETHER else paths)
    ]


def _task(at: int, node: Drawn, groups: Bands) -> _Shape:
    what = one_line(node.label.removeprefix(node.task).strip())
    lines = [shortened(one_line(node.task), 13.0, _WIDEST)]
    if what:
        others = len([path for path in node.placed if not node.label.endswith(path)])
        more = f"  +{others}" if others else ""
        lines.append(shortened(what, 11.5, _WIDEST - width_of(more, 11.5)) + more)
    width = max(width_of(line, 13.0 if line is lines[0] else 11.5) for line in lines)
    about = [
        one_line(node.label),
        f"{'Python' if node.kind == 'python' else 'bash'} task, {node.state}",
        *([f"in {one_line(named(node.groups))}"] if node.groups else []),
        *_named("places", node.placed),
        *_named("reads", node.files),
        f"key {node.key[:16]}",
    ]
    size = Size(width + 2 * _PADDING + (12 if node.groups else 4), _TASK_HEIGHTS[len(lines) - 1])
    return _Shape(
        f"n{at}",
        _CLASSES[node.state],
        tuple(lines),
        "\n".join(about),
        size,
        node.kind == "python",
        bool(node.placed),
        color(groups[node.groups]) if node.groups else "",
    )


def _source(at: int, paths: Sequence[str]) -> _Shape:
    if len(paths) == 1:
        text, about = one_line(paths[0]), [one_line(paths[0])]
    else:
        mixed = len({path.startswith("/") for path in paths}) > 1
        folder = "" if mixed else os.path.commonpath([os.path.dirname(path) for path in paths])
        text = f"{len(paths)} files{f' in {one_line(folder)}' if folder else ''}"
        about = [text, *_named("", paths)]
    text = shortened(text, 11.5, _WIDEST)
    size = Size(width_of(text, 11.5) + 2 * _PADDING, _FILE_HEIGHT)
    return _Shape(
        f"f{at}", "source" if len(paths) == 1 else "source several", (text,), "\n".join(about), size
    )


def _named(what: str, paths: Sequence[str]) -> list[str]:
    if not paths:
        return []
    more = f", and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return [f"{what} {', '.join(one_line(path) for path in paths[:_NAMED])}{more}".lstrip()]


# ---- ink -------------------------------------------------------------------------------------------------------------


def _picture(graph: Graph, groups: Bands, shapes: Sequence[_Shape], layout: Layout) -> Iterator[str]:
    heading = shortened(one_line(", ".join(graph.targets) or "graph"), 16.0, 600.0)
    legend = list(_legend(graph, groups))
    rows = list(_rows(legend, max(layout.width, _LEGEND)))
    width = max(layout.width, width_of(heading, 17.0), *map(_legend_width, rows)) + 2 * _MARGIN
    header = _HEADER + _ROW * (len(rows) - 1)
    height = layout.height + header + _MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="merkl" viewBox="0 0 {brief(width)} {brief(height)}" '
        f'width="{brief(width)}" height="{brief(height)}" role="img" aria-label="{attribute(heading)}">'
    )
    yield f"<style>{_STYLE}</style>"
    yield (
        '<defs><marker id="merkl-tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0.8L8 4L0 7.2z"/></marker></defs>'
    )
    yield '<rect class="page" width="100%" height="100%"/>'
    yield f'<text class="heading" x="{brief(_MARGIN)}" y="30">{escaped(heading)}</text>'
    for at, row in enumerate(rows):
        yield from _keys(row, 41 + _ROW * at)
    yield f'<g transform="translate({brief(_MARGIN)} {brief(header)})">'
    for (one, other), points in layout.edges.items():
        ends = f"{shapes[one].name} {shapes[other].name}"
        said = escaped(
            f"{shapes[one].about.partition(chr(10))[0]} → {shapes[other].about.partition(chr(10))[0]}"
        )
        yield (
            f'<path class="edge" data-edge="{ends}" d="{_curve(points)}" marker-end="url(#merkl-tip)">'
            f"<title>{said}</title></path>"
        )
    for shape, box in zip(shapes, layout.boxes, strict=True):
        yield _box(shape, box)
    yield "</g>"
    yield "</svg>"


def _curve(points: Sequence[Point]) -> str:
    """From point to point by turns curved, leaving and arriving level, and straight."""
    parts = [f"M{brief(points[0][0])} {brief(points[0][1])}"]
    for at in range(0, len(points), 2):
        (x, y), (to_x, to_y) = points[at : at + 2]
        if at:
            parts.append(f"H{brief(x)}")
        middle = (x + to_x) / 2
        parts.append(f"C{brief(middle)} {brief(y)} {brief(middle)} {brief(to_y)} {brief(to_x)} {brief(to_y)}")
    return "".join(parts)


def _box(shape: _Shape, box: Box) -> str:
    x, y, width, height = box.x, box.y, box.width, box.height
    parts = [f'<g id="merkl-{shape.name}" class="{shape.look}"><title>{escaped(shape.about)}</title>']
    if shape.look.startswith("source"):
        fold = 8.0
        right, bottom = x + width, y + height
        outline = f"M{brief(x)} {brief(y)}H{brief(right - fold)}L{brief(right)} {brief(y + fold)}V{brief(bottom)}H{brief(x)}z"
        if "several" in shape.look:  # A second sheet looks out from behind.
            parts.append(
                f'<path class="fold" d="M{brief(x + 3)} {brief(bottom)}v3H{brief(right + 3)}V{brief(y + fold + 3)}h-3z"/>'
            )
        parts.append(f'<path class="box" d="{outline}"/>')
        parts.append(
            f'<path class="fold" d="M{brief(right - fold)} {brief(y)}v{brief(fold)}h{brief(fold)}z"/>'
        )
        parts.append(
            f'<text x="{brief(x + _PADDING - 4)}" y="{brief(y + 16)}">{escaped(shape.lines[0])}</text>'
        )
    else:
        corner = height / 2 if shape.round else 5.0
        parts.append(_rectangle("box", box, corner))
        inset = min(corner, 13.0)
        parts.append(_rectangle("bar", Box(x + 6, y + inset * 0.6 + 4, 4, height - inset * 1.2 - 8), 2.0))
        if shape.band:
            side = Box(x + width - 10, y + inset * 0.6 + 4, 4, height - inset * 1.2 - 8)
            parts.append(_rectangle("bar", side, 2.0, f' style="fill: {shape.band}"'))
        left = brief(x + _PADDING + 4)
        base = y + (19.0 if len(shape.lines) == 2 else 20.0)
        parts.append(f'<text class="task" x="{left}" y="{brief(base)}">{escaped(shape.lines[0])}</text>')
        if len(shape.lines) == 2:
            look = "placed" if shape.placed else "quiet"
            parts.append(
                f'<text class="{look}" x="{left}" y="{brief(base + 17)}">{escaped(shape.lines[1])}</text>'
            )
    return "".join([*parts, "</g>"])


def _rectangle(look: str, box: Box, corner: float, style: str = "") -> str:
    return (
        f'<rect class="{look}" x="{brief(box.x)}" y="{brief(box.y)}" width="{brief(box.width)}" height="{brief(box.height)}" '
        f'rx="{brief(corner)}"{style}/>'
    )


def _legend(graph: Graph, groups: Bands) -> Iterator[tuple[str, str]]:
    """What each look means, of those that are there: a class, and words with how many there are."""
    counts = Counter(node.state for node in graph.nodes)
    for state, look in _CLASSES.items():
        if counts[state]:
            yield look, f"{counts[state]} {state}"
    if any(node.kind == "python" for node in graph.nodes) and any(
        node.kind == "bash" for node in graph.nodes
    ):
        yield "square", "bash"
        yield "round", "Python"
    for band, name in keys(groups):
        yield band or "none", shortened(one_line(name), 11.5, 200.0)


def _legend_width(legend: Sequence[tuple[str, str]]) -> float:
    return sum(22 + width_of(text, 11.5) + 18 for _, text in legend)


def _rows(legend: Sequence[tuple[str, str]], widest: float) -> Iterator[list[tuple[str, str]]]:
    """The legend in rows that are not too wide, one at least."""
    row: list[tuple[str, str]] = []
    for key in legend:
        if row and _legend_width([*row, key]) > widest:
            yield row
            row = []
        row.append(key)
    yield row


def _keys(legend: Sequence[tuple[str, str]], y: float) -> Iterator[str]:
    x = _MARGIN
    for look, text in legend:
        plain = look in ("square", "round", "none")
        corner = 6.0 if look == "round" else 2.5
        square = _rectangle("box", Box(x, y, 16, 12), corner) if look != "none" else ""
        if look.startswith("#"):
            plain, square = True, _rectangle("bar", Box(x + 6, y - 1, 4, 14), 2.0, f' style="fill: {look}"')
        yield f'<g class="{"unneeded" if plain else look}">{square}<text class="quiet" x="{brief(x + 22)}" y="{brief(y + 10)}">{escaped(text)}</text></g>'
        x += 22 + width_of(text, 11.5) + 18

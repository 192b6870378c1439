"""Two charts as SVG.  A plain module, which knows nothing of merkl: whoever calls it depends on just what it calls."""

import math
from html import escape


def bar_chart(values: dict[str, int], unit: str) -> str:
    """A bar for each name, the longest first."""
    shapes = []
    for row, (name, value) in enumerate(sorted(values.items(), key=lambda item: -item[1])):
        width, top = 420 * value / max(values.values()), 26 * row
        shapes.append(text(112, top + 18, name, "end"))
        shapes.append(f'<rect x="120" y="{top + 4}" width="{width:.1f}" height="18" fill="{color(row)}"/>')
        shapes.append(text(126 + width, top + 18, f"{value:,} {unit}"))
    return svg(680, 26 * len(values), shapes)


def wheel_chart(weights: dict[str, dict[str, int]]) -> str:
    """The names in a circle, and a curve from each to the others that it has weights for."""
    spots = {}
    for row, name in enumerate(weights):
        angle = math.tau * row / len(weights)
        spots[name] = (300 + 190 * math.cos(angle), 240 + 190 * math.sin(angle))
    curves, labels = [], []
    for row, (name, (x, y)) in enumerate(spots.items()):
        for other in sorted(weights[name].keys() & spots.keys() - {name}):
            to_x, to_y = spots[other]
            line = f'd="M{x:.1f},{y:.1f} Q300,240 {to_x:.1f},{to_y:.1f}" stroke="{color(row)}"'
            wide = 1 + math.log(weights[name][other])
            curves.append(f'<path {line} stroke-width="{wide:.1f}" fill="none"/>')
        side = "middle" if abs(x - 300) < 1 else "start" if x > 300 else "end"
        labels.append(text(300 + 1.06 * (x - 300), 244 + 1.06 * (y - 240), name, side))
    return svg(600, 480, curves + labels)


def svg(width: int, height: int, shapes: list[str]) -> str:
    """A drawing of some shapes."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
    return "\n".join([head, *shapes, "</svg>\n"])


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    """Words in a drawing."""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="14" text-anchor="{anchor}">{escape(words)}</text>'


def color(row: int) -> str:
    """One of many colors."""
    return f"hsl({row * 137 % 360} 60% 45%)"

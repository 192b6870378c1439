"""What merkl must reach, and what it reached: figures next to their limits.

It decides how each figure is taken from the results.  A limit whose scenario was not measured is shown without a figure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.derived import derived
from benchmarks.results import Result, Row

Results = Mapping[str, Result]


@dataclass(frozen=True)
class Limit:
    """``figure`` takes a number from the results, or None; it is held if it is at most ``most``."""

    work: str
    most: float
    unit: str
    figure: Callable[[Results], float | None]


def limits() -> list[Limit]:
    """All of them, with the sizes that the issue names."""
    return [
        Limit("nothing to do, 10k targets", 1.2, "× make", _ratio("nothing-10000", "merkl", "make")),
        Limit("nothing to do, 100k targets", 0.7, "× make", _ratio("nothing-100000", "merkl", "make")),
        Limit("nothing to do, 1k targets, over the interpreter's own start", 25, "ms", _over_start),
        Limit("one leaf of 10k changed, 10 commands", 2.0, "× ninja", _ratio("leaf-10000", "merkl", "ninja")),
        Limit("touch of an input with 1,000 readers", 0, "commands", _ran("touch-1000")),
        Limit("touch of an input with 1,000 readers", 0.1, "× ninja", _ratio("touch-1000", "merkl", "ninja")),
        Limit("comment-only change, 1,000 readers", 1000, "commands", _ran("comment-1000")),
        Limit("1,000 tiny tasks", 2.0, "× ninja", _ratio("tiny-1000", "merkl", "ninja")),
        Limit("cached Python call", 10, "µs", _scaled("calls-10000", "merkl", 1e6)),
        Limit("100k unchanged files, status", 1.5, "× git", _ratio("status-100000", "merkl status", "git status")),
        Limit("merkl --version", 1.5, "× python", _ratio("startup", "merkl --version", "python -c pass")),
        Limit("merkl list on a small project", 5, "× python", _ratio("startup", "merkl list", "python -c pass")),
        Limit("first build of 10k copies", 2.5, "× ninja", _ratio("first-10000", "merkl", "ninja")),
        Limit("1,000 tiny Python tasks", 1.5, "× loky", _ratio("tinypython-1000", "merkl", "joblib, loky")),
        Limit("memory at 100k targets", 400, "MB", _memory),
        Limit("growth of nothing to do, 1k to 100k", 1.1, "exponent", _growth("nothing to do")),
        Limit("growth of the first build, 1k to 100k", 1.1, "exponent", _growth("first build")),
    ]  # fmt: skip


def reached(results: Results) -> str:
    """A Markdown table."""
    lines = ["| work | at most | measured | |", "|---|---|---|---|"]
    for limit in limits():
        figure = limit.figure(results)
        measured = "not measured" if figure is None else f"{_number(figure)} {limit.unit}"
        verdict = "" if figure is None else "held" if figure <= limit.most else "**missed**"
        lines.append(f"| {limit.work} | {_number(limit.most)} {limit.unit} | {measured} | {verdict} |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.2f}"


def _row(results: Results, key: str, name: str) -> Row | None:
    return results[key].row(name) if key in results else None


def _ratio(key: str, name: str, base: str) -> Callable[[Results], float | None]:
    def figure(results: Results) -> float | None:
        ours, theirs = _row(results, key, name), _row(results, key, base)
        if ours is None or theirs is None:
            return None
        return ours.median / theirs.median

    return figure


def _scaled(key: str, name: str, scale: float) -> Callable[[Results], float | None]:
    def figure(results: Results) -> float | None:
        row = _row(results, key, name)
        return None if row is None else row.median * scale

    return figure


def _ran(key: str) -> Callable[[Results], float | None]:
    def figure(results: Results) -> float | None:
        row = _row(results, key, "merkl")
        return None if row is None or row.ran is None else float(row.ran)

    return figure


def _over_start(results: Results) -> float | None:
    ours, bare = (_row(results, "nothing-1000", name) for name in ("merkl", "python -c pass"))
    return None if ours is None or bare is None else (ours.median - bare.median) * 1000


def _memory(results: Results) -> float | None:
    peaks = [
        row.peak or row.median
        for key in ("nothing-100000", "built-100000", "coordinator-100000")
        if key in results
        for row in results[key].rows
        if row.name.startswith("merkl")
    ]
    return max(peaks, default=None)


def _growth(kind: str) -> Callable[[Results], float | None]:
    name = f"merkl, {kind}, 1,000 to 100,000"

    def figure(results: Results) -> float | None:
        rows = [row for result in derived(results) for row in result.rows if row.name == name]
        return rows[0].median if rows else None

    return figure

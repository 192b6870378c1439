"""Results as Markdown."""

from collections.abc import Sequence

from benchmarks.results import Result


def table(result: Result) -> str:
    """Medians, spread, rounds, and the ratio of each row to the one compared with; columns that say nothing are left out."""
    ran = any(row.ran is not None for row in result.rows)
    peak = any(row.peak for row in result.rows)
    compared = result.unit == "s" and bool(result.against)
    header = ["", "median", "min … max", "rounds"]
    header += ["commands run"] * ran + [f"× {result.against}"] * compared + ["peak memory"] * peak
    lines = [f"### {result.title}", ""] * bool(result.title) + [_line(header), "|---" * len(header) + "|"]
    for row in result.rows:
        ratio = result.ratio(row)
        words = [row.name, shown(row.median, result.unit)]
        words += [f"{shown(min(row.values), result.unit)} … {shown(max(row.values), result.unit)}"]
        words += [str(len(row.values))]
        words += ["" if row.ran is None else f"{row.ran:,}"] * ran
        words += ["" if ratio is None else f"{ratio:.2f}"] * compared
        words += [f"{row.peak:.0f} MB" if row.peak else ""] * peak
        lines.append(_line(words))
    if result.note:
        lines += ["", result.note]
    return "\n".join(lines) + "\n"


def shown(value: float, unit: str) -> str:
    """A value with a unit that suits its size."""
    if unit == "exponent":
        return f"{value:.2f}"
    if unit != "s":
        return f"{value:.0f} {unit}"
    if value < 1e-3:
        return f"{value * 1e6:.1f} µs"
    if value < 10:
        return f"{value * 1e3:.1f} ms" if value < 0.1 else f"{value * 1e3:,.0f} ms"
    return f"{value:.1f} s"


def _line(words: Sequence[str]) -> str:
    return "| " + " | ".join(words) + " |"

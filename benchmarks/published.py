"""What a run shows: a table and a picture of all that was measured, and the page of the documentation that has both.

It decides the order in which results are shown.
"""

import os
from collections.abc import Mapping

from benchmarks.derived import derived
from benchmarks.machine import described
from benchmarks.plot import plot
from benchmarks.reaching import reached
from benchmarks.results import Result
from benchmarks.setting import SMALL
from benchmarks.table import table

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
ORDER = (
    "startup nothing leaf touch comment tiny tinypython calls first built growth memory coordinator "
    "status track track-again"
).split()


def write(out: str, machine: Mapping[str, str], measured: Mapping[str, Result]) -> None:
    """``table.md`` and ``plot.svg`` in the directory ``out``."""
    ordered = sorted([*measured.values(), *derived(measured)], key=_place)
    words = described(machine, ordered)
    parts = [f"Measured with {words}.\n", "### What it must reach, and reaches\n", reached(measured)]
    texts = {"table.md": "\n".join([*parts, *map(table, ordered)]), "plot.svg": plot(ordered, words)}
    for name, text in texts.items():
        with open(os.path.join(out, name), "w", encoding="utf-8") as file:
            file.write(text)


def publish(docs: str, out: str) -> None:
    """Put table and picture into the page that shows them."""
    page = os.path.join(docs, "benchmarks.md")
    with open(page, encoding="utf-8") as file:
        before, _, rest = file.read().partition(BEGIN)
    after = rest.partition(END)[2]
    with open(os.path.join(out, "table.md"), encoding="utf-8") as file:
        text = f"{before}{BEGIN}\n\n{file.read()}\n{END}{after}"
    with open(os.path.join(out, "plot.svg"), encoding="utf-8") as file:
        picture = file.read()
    for path, content in ((page, text), (os.path.join(docs, "benchmarks.svg"), picture)):
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)


def _place(result: Result) -> tuple[bool, int, int]:
    """Those with few targets come last."""
    name, _, number = result.key.rpartition("-")
    size = int(number) if number.isdecimal() else 0
    return (0 < size <= SMALL, ORDER.index(name if size else result.key), size)

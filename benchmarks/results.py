"""What a scenario gives: rows of measured values, and how they are kept in a file.

Invariant: rows hold every value that was measured; medians, spread and ratios are made of them when they are shown.
"""

import json
import os
import statistics
from dataclasses import asdict, dataclass, field


@dataclass
class Row:
    """What one contender took: ``values`` in the unit of its result, and the peak of memory in MB if it is known.

    ``ran`` is how many commands it ran in each round, ``size`` of how many targets if not of as many as the others.
    """

    name: str
    values: list[float]
    peak: float = 0.0
    ran: int | None = None
    size: int | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Of the values."""
        return statistics.median(self.values)


@dataclass
class Result:
    """A table: ``against`` names the row that the others are compared with; ``unit`` is s or MB."""

    key: str
    title: str
    rows: list[Row]
    against: str = ""
    unit: str = "s"
    note: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    def row(self, name: str) -> Row | None:
        """The row called ``name``."""
        return next((row for row in self.rows if row.name == name), None)

    def ratio(self, row: Row) -> float | None:
        """How many times the row compared with; None if that would compare different work."""
        base = self.row(self.against)
        if base is None or base.size != row.size:
            return None
        return row.median / base.median


def save(path: str, machine: dict[str, str], results: dict[str, Result]) -> None:
    """Write both, whole or not at all."""
    kept = {"machine": machine, "results": {key: asdict(result) for key, result in results.items()}}
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(kept, file, indent=1)
    os.replace(path + ".new", path)


def load(path: str, machine: dict[str, str]) -> dict[str, Result]:
    """What earlier runs measured, if it was on the same ``machine`` with the same versions; or nothing."""
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
    except FileNotFoundError:
        return {}
    if kept["machine"] != machine:
        return {}
    return {
        key: Result(**{**result, "rows": [Row(**row) for row in result["rows"]]})
        for key, result in kept["results"].items()
    }

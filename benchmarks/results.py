"""What a scenario gives: rows of measured values, and how they are kept in a file.

Invariant: rows hold every value that was measured, and the rows of one result come from one run in turns; medians, spread and
ratios are made of them when they are shown.
"""

import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


class OtherMachine(Exception):
    """What is in a file of results must not be shown beside what would be measured here."""


@dataclass
class Row:
    """What one contender took: ``values`` in the unit of its result, and the peak of memory in MB if it is known.

    ``ran`` is how many commands it ran in each round.
    """

    name: str
    values: list[float]
    peak: float = 0.0
    ran: int | None = None

    @property
    def median(self) -> float:
        """Of the values."""
        return statistics.median(self.values)


@dataclass
class Result:
    """A table: ``against`` names the row that the others are compared with; ``unit`` is s, MB or exponent.

    ``versions`` are those of the tools in its rows, by name.
    """

    key: str
    title: str
    rows: list[Row]
    against: str = ""
    unit: str = "s"
    note: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def row(self, name: str) -> Row | None:
        """The row called ``name``."""
        return next((row for row in self.rows if row.name == name), None)

    def ratio(self, row: Row) -> float | None:
        """How many times the row compared with."""
        base = self.row(self.against)
        return None if base is None else row.median / base.median


def save(path: str, machine: Mapping[str, str], results: Mapping[str, Result]) -> None:
    """Write both, whole or not at all."""
    kept = {"machine": machine, "results": {key: asdict(result) for key, result in results.items()}}
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(kept, file, indent=1)
    os.replace(path + ".new", path)


def load(path: str, machine: Mapping[str, str]) -> dict[str, Result]:
    """What earlier runs measured on the same ``machine``, with whatever peers; ``OtherMachine`` if it was on another."""
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
    except FileNotFoundError:
        return {}
    if kept["machine"] != machine:
        raise OtherMachine
    return {
        key: Result(**{**result, "rows": [Row(**row) for row in result["rows"]]})
        for key, result in kept["results"].items()
    }


def merged(old: Result | None, new: Result) -> Result:
    """What is kept of two measurements of the same: never rows of both.

    The newer one, unless it lacks a contender that the older one has beside the same merkl.
    """
    if old is None or old.versions.get("merkl") != new.versions.get("merkl"):
        return new
    return new if {row.name for row in old.rows} <= {row.name for row in new.rows} else old

"""What is known of a project that an earlier run has built: beside it, in a file of the same name.

Invariant: the file is there only if the project was built whole by the same version, and found at rest.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.turns import Contender


@dataclass(frozen=True)
class Built:
    """What the first build took."""

    version: str
    seconds: float
    peak_kb: int


def remember(place: str, version: str, first: Contender) -> None:
    """After ``first`` has built the project in ``place``."""
    built = Built(version, first.seconds[0], first.peak_kb)
    _beside(place).write_text(json.dumps(asdict(built)), encoding="ascii")


def kept(place: str, version: str) -> Built | None:
    """What an earlier run noted, if it was of the same version; or it is forgotten."""
    try:
        built = Built(**json.loads(_beside(place).read_text(encoding="ascii")))
    except FileNotFoundError:
        return None
    if built.version != version:
        _beside(place).unlink()
        return None
    return built


def _beside(place: str) -> Path:
    return Path(f"{place}.json")

"""What will a room's temperature be?  A pipeline in one file, with measurements that it makes itself.

python pipeline.py          prints how good the model is; writes build/model.json, its sidecar and build/score.json
merkl build                 the same from the Merklfile beside it, with workers, -n, why and the rest

Edit a line and run it again: what the edit does not reach is taken from the store.
"""

import math
import random
from pathlib import Path
from typing import TypedDict

from merkl import Future, batch, task

try:
    import numpy as np
except ImportError:
    raise SystemExit("this example fits its model with numpy: pip install 'merkl[data]'") from None

OUTPUT = Path(__file__).parent / "build"
PARTS = 4  # The last one is not learned from.


class Reading(TypedDict):
    """One measurement: degrees outside, and inside, if the sensor worked."""

    outside: float
    inside: float | None


Rows = list[list[float]]


@task
def load(count: int, seed: int) -> list[Reading]:
    """Measurements of a year, some of which are missing or absurd."""
    chance = random.Random(seed)
    readings: list[Reading] = []
    for hour in range(count):
        outside = 12 - 9 * math.cos(2 * math.pi * hour / 8760) - 4 * math.cos(2 * math.pi * hour / 24)
        inside = 18 + 0.25 * outside + 0.01 * outside * outside + chance.gauss(0, 0.4)
        worked = chance.random()
        seen = None if worked < 0.05 else 900.0 if worked < 0.06 else inside
        readings.append(Reading(outside=outside, inside=seen))
    return readings


def is_sound(reading: Reading) -> bool:
    """Whether a sensor can have meant it."""
    return reading["inside"] is not None and -20 < reading["inside"] < 60


@task
def clean(readings: list[Reading]) -> list[Reading]:
    """The readings that are sound."""
    return [reading for reading in readings if is_sound(reading)]


@task(outs=lambda readings, parts: parts)  # noqa: ARG005 - it has the task's own signature.
def split(readings: list[Reading], parts: int) -> list[list[Reading]]:
    """As many parts as asked for, each from all over the year; every part is a Future of its own."""
    return [readings[part::parts] for part in range(parts)]


@task
def features(part: list[Reading]) -> Rows:
    """What the model sees of each reading, and last what it should say."""
    return [[1.0, each["outside"], each["outside"] ** 2, each["inside"] or 0.0] for each in part]


@batch(features)
def features_of_all(parts: list[list[Reading]]) -> list[Rows]:
    """Many calls of ``features`` in one run: only of the parts that no cache knows."""
    return [features.function(part) for part in parts]


@task
def fit(parts: list[Rows], ridge: float = 0.0) -> list[float]:
    """The weights of least squares, with a penalty."""
    table = np.array([row for part in parts for row in part])
    seen, wanted = table[:, :-1], table[:, -1]
    weights = np.linalg.solve(seen.T @ seen + ridge * np.eye(seen.shape[1]), seen.T @ wanted)
    return [round(float(weight), 6) for weight in weights]


def error(said: float, wanted: float) -> float:
    """How wrong one prediction is."""
    return abs(said - wanted)


@task
def evaluate(model: list[float], part: Rows) -> float:
    """The mean error in degrees on readings that the model has not seen."""
    errors = [error(sum(map(float.__mul__, model, row)), row[-1]) for row in part]
    return round(sum(errors) / len(errors), 4)


def pipeline(count: int = 8760, seed: int = 1, ridge: float = 0.0) -> Future[float]:
    """Call all tasks, say where the results go, and return the Future of the score.  Nothing has run yet."""
    parts = split(clean(load(count, seed)), PARTS)
    *learned, kept = features_of_all(parts)
    model = fit(learned, ridge)
    score = evaluate(model, kept)
    model >> OUTPUT / "model.json"
    return score > OUTPUT / "score.json"


if __name__ == "__main__":
    print(f"wrong by {pipeline().eval()} degrees on average")

"""A scenario as steps: what each gives, of which tools, how long it takes about, and the function that measures it.

It decides nothing about order.  Invariant: a step stands alone, so that a run can leave out what an earlier one measured.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.results import Result


@dataclass(frozen=True)
class Step:
    """``keys`` are those of its results; ``seconds`` is an estimate for a quiet machine of two cores."""

    title: str
    keys: tuple[str, ...]
    tools: frozenset[str]
    seconds: float
    run: Callable[[], Iterable[Result]]

"""The pipeline as a target: ``merkl build``, ``merkl build model ridge=0.1``, ``merkl why``."""

import pipeline

from merkl import target


@target(default=True)
def model(count: int = 8760, seed: int = 1, ridge: float = 0.0) -> None:
    """The model, with its sidecar, and how good it is."""
    pipeline.pipeline(count, seed, ridge)

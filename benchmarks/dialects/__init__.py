"""Every tool that can be given a graph; merkl is the first."""

from benchmarks.dialects.dialect import Dialect
from benchmarks.dialects.make import MAKE, NINJA
from benchmarks.dialects.merklfile import MERKL
from benchmarks.dialects.recorded import DVC, REDUN
from benchmarks.dialects.scripted import DOIT, SCONS, SNAKEMAKE

__all__ = ["DIALECTS", "MAKE", "MERKL", "NINJA", "Dialect"]

DIALECTS = (MERKL, MAKE, NINJA, DOIT, SCONS, SNAKEMAKE, REDUN, DVC)

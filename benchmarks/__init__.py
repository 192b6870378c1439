"""Measurements of merkl against its peers; see `python -m benchmarks`."""

"""Whose results count: keys that sign records, and what each is trusted for."""

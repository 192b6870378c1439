"""Tasks that are Python functions."""

"""Bash tasks: command templates, how they are compiled, and how they run."""

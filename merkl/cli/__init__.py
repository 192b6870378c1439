"""The command line: one module for each command, each with a ``command``, imported when it is asked for."""

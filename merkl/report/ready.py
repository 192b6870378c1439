"""The two streams that a command speaks on.

It decides what becomes of words that cannot be said.
"""

import os
import sys


def ready_streams() -> None:
    """See to it that whatever is said, to whatever stdout and stderr are, ends nothing."""
    # Started with a stream closed: what would be said goes nowhere.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        # A name that is no text, or that the terminal's encoding lacks, must not end a build.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

"""The two streams that a command speaks on.

It decides what becomes of words that cannot be said.
"""

import os
import sys
from io import BufferedWriter
from typing import TextIO

_unsaid: OSError | None = None


def ready_streams() -> None:
    """See to it that whatever is said, to whatever stdout and stderr are, ends nothing."""
    take_unsaid()
    # Started with a stream closed: what would be said goes nowhere.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        # A name that is no text, or that the terminal's encoding lacks, must not end a build.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(stream: TextIO, text: str) -> None:
    """Write ``text`` at once.  If nobody reads any more or a disk is full, what is going on goes on."""
    global _unsaid
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # One with a buffer has it still, and tells at the end whether it could be written.
        if stream is sys.stdout and not isinstance(getattr(stream, "buffer", None), BufferedWriter):
            _unsaid = _unsaid or error
    except ValueError:  # It is closed.
        pass


def take_unsaid() -> OSError | None:
    """Why stdout did not take all that it was to, if that is so and was not asked before."""
    global _unsaid
    taken, _unsaid = _unsaid, None
    return taken

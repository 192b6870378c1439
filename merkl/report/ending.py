"""How a build ends: its exit code, and what it says if it had nothing to do.

It decides nothing else.
"""

import os
import sys

from merkl.config import QUIET
from merkl.errors import OutputTypeError, TaskOutsError
from merkl.events import BuildDone
from merkl.report.color import When, painter, wanted
from merkl.report.words import summary


def exit_code(done: BuildDone) -> int:
    """The exit code of a build: that of its errors if they agree, else 1."""
    if done.interrupted:
        return 130
    if not done.failed:
        return 0
    # A task that ran and returned or wrote what it should not has failed, as one that raised.
    ran = TaskOutsError, OutputTypeError
    codes = {1 if isinstance(error, ran) else getattr(error, "exit_code", 1) for error in done.errors}
    return codes.pop() if len(codes) == 1 else 1


def last_line(output: str, color: When, count: int, saved: float) -> str:
    """That of a build with nothing to do for so many nodes, which took so many seconds, as if it took none itself."""
    if output == QUIET:
        return ""
    line = summary(BuildDone(0, count, 0, 0, 0, 0.0, saved))
    return painter(wanted(color, sys.stdout, os.environ))(line, "good") + "\n"

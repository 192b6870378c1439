"""How many jobs go on at once where the machine refuses a process: fewer than there are slots.

It decides when another one is tried.  It starts nothing.

The invariant: a job waits only for something that is going to end.
"""

import errno
import time
from typing import Final

_LACKS: Final = (errno.EAGAIN, errno.ENOMEM)  # A limit on processes, or memory: both come back when one ends.
_AGAIN: Final = 1.0  # Seconds after which one more is tried: others' processes may have ended.


class Ceiling:
    """So many jobs there were, or so few, when one more was refused."""

    __slots__ = ("_jobs", "_until")

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._until = time.monotonic() + _AGAIN

    def allows(self, jobs: int) -> bool:
        """Whether it may be tried to have so many jobs."""
        return jobs <= self._jobs or time.monotonic() >= self._until


def is_one(error: OSError) -> bool:
    """Whether a process that could not be started for this reason can be once another has ended."""
    return error.errno in _LACKS

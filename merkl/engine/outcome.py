"""How a build ends: in numbers and names, and what of an attempt is to be stored.

It decides nothing but what counts as stopped.
"""

from collections.abc import Mapping

from merkl.dataclass import dataclass, field
from merkl.digest import Digest
from merkl.engine.attempt import Attempt
from merkl.engine.step import Step
from merkl.execute.base import Ended, Exited, Published, Raised, Returned
from merkl.store.base import Record


@dataclass(slots=True)
class Outcome:
    """How a build ended, in numbers and names."""

    ran: int = 0
    cached: int = 0
    cutoff: int = 0
    failed: int = 0
    skipped: int = 0
    saved: float = 0.0
    interrupted: list[str] = field(default_factory=list)
    interrupted_failed: int = 0  # Of those, the ones that are counted as failed too.
    errors: list[BaseException] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Made:
    """An attempt that ended well, and what is to be stored of it: ``record`` if it is ``kept``, and the small ``blobs``."""

    step: Step
    attempt: Attempt
    record: Record
    blobs: Mapping[Digest, bytes]
    kept: bool


def was_stopped(ended: Ended, *, interactive: bool) -> bool:
    """Whether a job that got SIGINT did not simply end well: a command counts as stopped.

    At the terminal Ctrl-C is a key like others, so there a command that exits with 0 was not stopped.
    """
    match ended.how:
        case Returned() | Published():
            return False
        case Exited(0):
            return not interactive
        case Raised(error):
            return isinstance(error, KeyboardInterrupt | SystemExit)
        case _:
            return True

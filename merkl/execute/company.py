"""Whom a Python call may have left behind: threads and processes that could still write where it ran.

It decides nothing about what follows from that, and does not know who they are.

The invariant: only a call that has left nobody is said to have left nobody; where that cannot be told, it is not said.
"""

import _thread
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import resource


class Company(NamedTuple):  # No dataclass: to import that takes a new worker as long as all else of ours.
    """Who is there: the threads beside the main one, if there are any, and what children that were waited for have used.

    Who was waited for may have left children that are not ours: nobody could tell us of those.
    """

    threads: frozenset[str]
    waited: "resource.struct_rusage"


def company() -> Company:
    """Who is here now."""
    return Company(_threads(), _waited())


def left_nobody(before: Company) -> bool:
    """Whether nobody has come since ``before`` who could be here yet."""
    if _thread._count() and not (before.threads and _threads() <= before.threads):
        return False
    return _waited() == before.waited and not _has_children()


def _waited() -> "resource.struct_rusage":
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN)


def _threads() -> frozenset[str]:
    """Their numbers, with that of the main one; none without another, or where nobody tells."""
    if not _thread._count():
        return frozenset()
    try:
        return frozenset(os.listdir("/proc/self/task"))
    except OSError:
        return frozenset()


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    except AttributeError:  # Python on macOS, before 3.13.
        return True
    return True

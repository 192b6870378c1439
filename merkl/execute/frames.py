"""What goes over the two pipes between the coordinator and a worker.

It decides the layout of a frame, nothing about its contents.  Each request that a worker begins gets one reply, in order.

A request with a claim may be taken back: its claim goes through a third pipe, of which both ends can be read.  Whoever reads
it there has the call, so what was taken back never begins, and what has begun cannot be taken back.
"""

import os
import struct
from typing import Final

# The claim, 0 for none, or TIMED; bytes of payload, of log path, of directory, and of the path of the stage of a call that has no
# directories yet; then all of these but the payload, and the payload.
REQUEST: Final = struct.Struct("!QQIII")
CLAIM: Final = struct.Struct("!Q")
TIMED: Final = (1 << 64) - 1  # No claim either, but the worker is to say when it begins.
# Outcome, whether the worker is worn, whether the call left nothing in directories of the worker's, start (ns since the
# epoch), duration (ns), peak memory (bytes), bytes of payload; then the payload.
REPLY: Final = struct.Struct("!B??QQQQ")
CHUNK: Final = 1 << 20  # Bytes: as much as a pipe may hold without privileges.
# Bytes to ask for first: making room for a whole chunk takes longer than a small call.
SMALL: Final = 1 << 15

RETURNED: Final = 0  # The payload is the pickled result.
RAISED: Final = 1  # The payload is a packed error.
NOT_STARTED: Final = 2  # The payload is a pickled (errno, text, path).
EMITTED: Final = 3  # The call goes on; the payload is something that it said.  The other numbers are 0.
BEGUN: Final = 4  # It begins now.  All other numbers are 0.


def widen(fd: int) -> None:
    """Let a pipe hold more, where that can be done: fewer switches for large payloads."""
    import fcntl

    try:
        fcntl.fcntl(fd, getattr(fcntl, "F_SETPIPE_SZ"), CHUNK)  # noqa: B009 - not on every system
    except (AttributeError, OSError):
        pass


def write_all(fd: int, parts: list[bytes]) -> None:
    """Write ``parts`` to a blocking descriptor, small ones in a single call.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    views = [memoryview(part) for part in parts if part]
    while views:
        written = os.writev(fd, views)
        views = rest(views, written)


def rest(views: list[memoryview], written: int) -> list[memoryview]:
    """What is left of ``views`` once their first ``written`` bytes are gone."""
    while views and written >= len(views[0]):
        written -= len(views[0])
        views = views[1:]
    return [views[0][written:], *views[1:]] if views and written else views

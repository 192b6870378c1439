"""What a build asks of other machines, and what becomes here of a node that ran on one.

It decides what of an attempt there is here: a log, and nothing else.  How a node gets there and back is ``cluster``'s.

The invariant: every attempt that was started ends in exactly one ``Ended``, with ``Published``, ``FailedThere``, or, if it
was taken back, ``NotStarted``; a ``Published`` one has all its contents in the store that is shared.
"""

import os
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from merkl.dataclass import replace
from merkl.digest import Digest
from merkl.engine.attempt import Attempt, Attempts
from merkl.engine.recorded import arguments_of, dependencies_of
from merkl.errors import TaskFailed
from merkl.events import Note
from merkl.execute.base import Ended, FailedThere, Published
from merkl.nodes import Node
from merkl.store.base import Record


class Away(Protocol):
    """Machines on which nodes of one build run.  Used by the building thread."""

    wake: Callable[[], None]  # Called in any thread when there is something to hear.
    placed: Collection[str]  # The paths at which the build places what it makes.

    def takes(self, node: Node) -> bool:
        """Whether a node runs elsewhere."""

    def has_room(self) -> bool:
        """Whether more is wanted, so that nobody there is idle."""

    def start(self, attempts: Sequence[Attempt]) -> list[int]:
        """Send attempts off, in this order; their tickets, which are below 0.

        What cannot be sent ends as ``FailedThere``.
        """

    def ended(self) -> list[Ended]:
        """What has ended since this was last asked.  Never waits."""

    def take_notes(self) -> list[Note]:
        """What the user is to know, each thing once."""

    def recall(self) -> None:
        """Begin nothing more of what was sent.  What has not begun ends as ``NotStarted``."""

    def interrupt(self) -> None:
        """Send SIGINT to every command and call that runs, and take back what has not begun."""

    def kill(self) -> None:
        """End all that runs."""

    def close(self) -> None:
        """Let go of the machines; what still runs there is ended.  Idempotent."""


def took_over(attempts: Attempts, attempt: Attempt, ended: Ended) -> tuple[Record, dict[Digest, bytes]]:
    """The record of a node that ran elsewhere, and its log if it came along.

    Raises:
        InputChanged: a source changed meanwhile.
        MerklError: it failed there, or did not get there.
    """
    node, how = attempt.node, ended.how
    if isinstance(how, FailedThere):
        _write_log(attempt, how.log)
        if isinstance(how.error, TaskFailed):
            how.error.details.setdefault("at", node.place)
            if how.log:
                how.error.details["log"] = os.fsdecode(attempt.place.log)
        raise how.error
    assert isinstance(how, Published)
    attempts.check_sources(node)
    blobs = {}
    if how.log is not None and how.record.log is not None:
        _write_log(attempt, how.log)
        blobs[how.record.log] = how.log
    record = replace(
        how.record,
        key=node.key,
        content_key=attempt.content,
        task=node.name,
        arguments=arguments_of(node),
        dependencies=dependencies_of(node),
        origin=None,  # It is ours: we had it made.
    )
    return record, blobs


def _write_log(attempt: Attempt, log: bytes) -> None:
    with open(os.path.join(attempt.place.root, attempt.place.log), "wb") as file:
        file.write(log)

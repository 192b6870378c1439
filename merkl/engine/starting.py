"""What a project is told of calls that are started when they are made: ``eager`` does it.

It decides nothing.  It is apart so that the project need not know of builds.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from merkl.errors import MerklError
from merkl.nodes import Future, Node, walk


def runs_again(node: Node) -> bool:
    """Whether a build runs a node again because it, or something that it needs, keeps no results."""
    return node.open and any(not each.cache for each in walk([node]))


class Starting(Protocol):
    """What was started in one project."""

    def start(self, nodes: Sequence[Node]) -> None:
        """Start calls, unless their results are there; returns at once."""

    def wait(self, futures: Iterable[Future[Any]]) -> None:
        """Wait until all that was started and that these need has ended.

        Raises:
            MerklError: something of it failed, or was stopped.
        """

    def goes_on(self, node: Node) -> bool:
        """Whether a call was started, or is needed by one that was, and has not ended."""

    def value_of(self, future: Future[Any]) -> tuple[Any] | None:
        """The value of a call that was started and ended well; None if it is not known."""

    def error_of(self, node: Node) -> MerklError | None:
        """How a call that was started failed."""

    def close(self, *, at_once: bool) -> None:
        """Wait until what was started has ended; ``at_once`` stops it first.  Idempotent."""

"""What a project tells of, and asks from, the pipelines of its session.

It decides nothing; ``pipelines`` implements it, and whoever opens a project says so.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from merkl.digest import Key
from merkl.engine.yields import Ordered
from merkl.nodes import Construction, Future, Node
from merkl.store.base import Record


class Constructing(Protocol):
    """The pipelines of a session."""

    @property
    def ordered(self) -> Ordered:
        """Nodes, with what must have ended before each."""

    @property
    def keys(self) -> Mapping[Key, str]:
        """The constructions that were used or made, and the targets that they belong to."""

    @property
    def groups(self) -> Mapping[Key, tuple[str, ...]]:
        """The calls of pipelines that made each node, outermost first, if they are only looked at."""

    @property
    def evaluated(self) -> Sequence[Node]:
        """Nodes whose values pipelines asked for."""

    @property
    def opened(self) -> Mapping[str, str | None]:
        """Files of the project that pipelines opened by themselves: the digest of each, None if it was not there."""

    @property
    def running(self) -> bool:
        """Whether one is running, which has to be told what is evaluated."""

    @property
    def is_aside(self) -> bool:
        """Whether what is made now is only compared."""

    def not_running(self) -> contextlib.AbstractContextManager[None]:
        """Run code inside that is not a pipeline's."""

    def construct(self, construction: Construction) -> Any:
        """What a call of a pipeline returns."""

    def did(self, deed: Any, called: tuple[Sequence[Any], Mapping[str, Any]] | None = None) -> bool:
        """Hear of a node that was made or an output that was placed; whether that does not count."""

    def first(self, futures: Sequence[Future[Any]]) -> None:
        """Let what is made from now on start only after these have ended."""

    def looked(self, kind: str, path: str, answer: object) -> None:
        """Hear what the code was told of the project's files."""

    def take_fresh(self) -> list[Record]:
        """The constructions that were filed since the last call."""

    def asked(self, what: str) -> None:
        """Hear of something that cannot be asked again."""

    def evaluate(self, futures: Sequence[Future[Any]], build: Callable[[], list[Any]]) -> list[Any]:
        """The values of some Futures; ``build`` makes them."""

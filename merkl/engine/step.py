"""Where a node of a build stands, and why.

It decides nothing: a verdict is what the judge found, and everything that explains one is a view of it.

The invariant: only the judge changes a step.
"""

import enum
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Final, TypeAlias

from merkl.dataclass import dataclass
from merkl.digest import Key
from merkl.engine.contained import Contents
from merkl.nodes import Artifact, Node
from merkl.store.base import Record


@dataclass(frozen=True, slots=True)
class Cached:
    """The store answered the key."""

    record: Record


@dataclass(frozen=True, slots=True)
class CutOff:
    """The store answered the content key: what changed upstream made no difference."""

    record: Record


@dataclass(frozen=True, slots=True)
class NeverRan:
    """No record answers: never ran with this code, these arguments and these inputs."""


@dataclass(frozen=True, slots=True)
class FoundChanged:
    """``record`` answers, but ``path``, an input it discovered, is no longer what it was."""

    path: str
    record: Record


@dataclass(frozen=True, slots=True)
class OutputGone:
    """A record answers, but the store has lost the bytes of ``output``, and something needs them."""

    output: str


@dataclass(frozen=True, slots=True)
class Forced:
    """It was asked to run whatever the store knows."""


@dataclass(frozen=True, slots=True)
class RunsAlways:
    """It is declared with ``cache=False``."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Not known before ``first``, a dependency that will or may run, has ended."""

    first: Node


Runs: TypeAlias = NeverRan | FoundChanged | OutputGone | Forced | RunsAlways
Verdict: TypeAlias = Cached | CutOff | Runs | Waits


# One of each for all steps: of most there is never anything else, and there may be a hundred thousand.
_NOTHING: Final[AbstractSet[Key]] = frozenset()
NO_ARTIFACTS: Final[Mapping[str, Artifact]] = MappingProxyType({})


class State(enum.Enum):
    """Each node moves down this list; ``KNOWN`` goes back to ``WAITING`` only for lost bytes."""

    WAITING = enum.auto()  # Some dependency is not known, or its bytes are not here.
    READY = enum.auto()  # Could start now.
    RUNNING = enum.auto()  # Handed to the executor, or to another build; or about to be.
    KNOWN = enum.auto()  # Its artifacts are known: from a record, or because it ran.
    FAILED = enum.auto()  # It raised, or exited with a code that is not allowed.
    SKIPPED = enum.auto()  # Never started: something it needs failed.


ENDED = (State.KNOWN, State.FAILED, State.SKIPPED)


class Step:
    """A node in one build: where it stands and why."""

    __slots__ = (
        "artifacts",
        "by_key",
        "calls",
        "content",
        "contents",
        "early",
        "missing",
        "needs_bytes",
        "node",
        "ran",
        "record",
        "rerun",
        "state",
        "verdict",
        "waiters",
    )

    def __init__(self, node: Node) -> None:
        self.node = node
        self.state = State.WAITING
        self.verdict: Verdict | None = None
        self.record: Record | None = None  # What answers, or what running it gave.
        self.artifacts: Mapping[str, Artifact] = NO_ARTIFACTS
        self.content: Key | None = None
        # The nodes that must end before this can be judged or started.
        self.missing: AbstractSet[Key] = _NOTHING
        self.waiters: Sequence[Step] = ()
        self.needs_bytes = False  # Whether somebody needs the bytes, not only the digests.
        self.by_key = False  # Whether the record came by the key, so that its inputs must still agree.
        self.rerun: Runs | None = None  # Runs whatever the content key says, for this reason.
        self.ran = False
        self.contents: Contents | None = None  # Of what its outputs contain, if somebody named that.
        self.early: dict[str, Artifact] | None = None  # Items that are there before it has ended.
        self.calls: dict[str, Node] | None = None  # Of a mapped task: those for known items, by name.

    def wait_for(self, other: "Step") -> None:
        """Be judged, or started, only once ``other`` has ended."""
        if not self.missing:
            self.missing = {other.node.key}
        else:
            assert isinstance(self.missing, set)
            self.missing.add(other.node.key)
        if not other.waiters:
            other.waiters = [self]
        else:
            assert isinstance(other.waiters, list)
            other.waiters.append(self)

    def ended(self, key: Key) -> None:
        """Wait no more for the node of that key."""
        if isinstance(self.missing, set):
            self.missing.discard(key)
            if not self.missing:
                self.missing = _NOTHING

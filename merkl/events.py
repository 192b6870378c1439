"""What happens during a build, as values, and the protocol of whoever reports it.

It decides nothing.  The engine emits events in the order things happen; a node gets exactly one of the five endings
``Ran``, ``Cached``, ``CutOff``, ``Failed``, ``Skipped``, unless it is ``Interrupted``.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from merkl.dataclass import dataclass, field
from merkl.digest import Key
from merkl.errors import MerklError
from merkl.nodes import Node


@dataclass(frozen=True, slots=True)
class Together:
    """What people are told of nodes that run in one batch, with the event of one of them; ``label`` is empty on the others.

    ``seconds`` is what the whole batch took.
    """

    label: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class BuildStarted:
    """Planning is done: ``total`` nodes are needed, ``to_run`` of them will or may run, up to ``slots`` at once.

    ``expected`` has for each of those ``to_run`` the seconds that it took the last time, or None.  Of ``known`` nodes it was
    clear that they are as they were, so no event tells of them.
    """

    build: str
    total: int
    to_run: int
    targets: Sequence[str]
    slots: int = 1
    expected: Mapping[Node, float | None] = field(default_factory=dict)
    known: int = 0


@dataclass(frozen=True, slots=True)
class Grown:
    """More nodes have turned out to be needed: ``total`` in all, as of lists whose length was not known."""

    total: int


@dataclass(frozen=True, slots=True)
class Started:
    """A node is handed to the executor; ``attempt`` counts from 1; ``log`` is the file it writes its output to.

    With ``inline`` it runs right here: nothing else happens, and no tick comes, until it has ended.  With ``used`` what it
    makes goes to another node, to a path or to the caller: a stdout that is its value is a result then, and no message.
    """

    node: Node
    label: str
    log: str
    attempt: int
    why: str
    inline: bool = False
    used: bool = False
    together: Together | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """A node ran and its outputs are in the store; ``seconds`` of wall time.

    ``log`` is the path of what it printed, which is there until ``report`` returns; empty if it printed nothing.
    """

    node: Node
    label: str
    seconds: float
    log: str
    exit_code: int = 0
    together: Together | None = None


@dataclass(frozen=True, slots=True)
class Cached:
    """The store answered the key (or the content key of a node that is open); ``saved`` seconds were not spent."""

    node: Node
    label: str
    saved: float


@dataclass(frozen=True, slots=True)
class CutOff:
    """Something upstream changed, but its outputs are the same bytes; ``saved`` seconds were not spent."""

    node: Node
    label: str
    saved: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A node ended badly; the error says how, ``log`` where its output is."""

    node: Node
    label: str
    error: BaseException
    seconds: float
    log: str
    together: Together | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A node was never started, because ``because`` failed, changed or was interrupted."""

    node: Node
    label: str
    because: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A node was stopped because the user asked; the next build runs it."""

    node: Node
    label: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Another build is running the same node; this one waits for it."""

    node: Node
    label: str
    holder: str


@dataclass(frozen=True, slots=True)
class Retrying:
    """An attempt failed and another will follow after ``delay`` seconds."""

    node: Node
    label: str
    attempt: int
    delay: float
    reason: str
    together: Together | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """Something that a task used and did not declare.

    ``deed`` is a word such as ``read`` or ``wrote``.  ``path`` is relative to the project; of a ``variable`` its name, of
    ``connected`` an address.  ``at`` is the line of Python that did it, if that is known, ``advice`` how to declare it.
    """

    deed: str
    path: str
    at: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Undeclared:
    """A task that ended used what it does not declare: ``uses``.  ``faint`` may matter too, or be of no interest.

    With ``strict`` its result is not kept for that: what follows is a ``Failed`` which says the same."""

    node: Node
    label: str
    uses: Sequence[Use]
    faint: Sequence[Use]
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """An output is now at ``path``, relative to the project."""

    node: Node
    label: str
    path: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that merkl did not make, or that was edited, was put into the store before it was replaced.

    ``link`` is the text of a symbolic link, if that is what it was.
    """

    path: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know that is no failure; ``hint`` is the next command."""

    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class BuildDone:
    """The last event of a build.  ``saved`` seconds are what the cached nodes took when they ran.

    ``interrupted`` are labels; so many of these tasks, ``interrupted_failed``, raised an error and count as failed.
    """

    ran: int
    cached: int
    cutoff: int
    failed: int
    skipped: int
    seconds: float
    saved: float
    interrupted: Sequence[str] = ()
    errors: Sequence[MerklError | BaseException] = field(default_factory=tuple)
    keys: frozenset[Key] = frozenset()
    interrupted_failed: int = 0


Event: TypeAlias = (
    BuildStarted
    | Grown
    | Started
    | Ran
    | Cached
    | CutOff
    | Failed
    | Skipped
    | Interrupted
    | Waiting
    | Retrying
    | Undeclared
    | Placed
    | Saved
    | Note
    | BuildDone
)


class Reporter(Protocol):
    """Told of each event, in order, in the building thread.  Must not raise, and must not block for long."""

    def report(self, event: Event) -> None:
        """Take one event."""

    def tick(self) -> None:
        """Called a few times a second while tasks run, so that something live can be drawn."""

    def pause(self) -> None:
        """Leave the terminal as if nothing were drawn on it, until ``resume``: a task has it."""

    def resume(self) -> None:
        """The terminal is whole again; where its cursor stands is not known.  Idempotent, as is ``pause``."""

    def close(self) -> None:
        """No event follows.  Idempotent."""


class Silent:
    """What a reporter does that draws nothing.  It takes events itself."""

    def tick(self) -> None:
        """Nothing to draw."""

    def pause(self) -> None:
        """Nothing to clear."""

    def resume(self) -> None:
        """Nothing to draw again."""

    def close(self) -> None:
        """Nothing to end."""


BESIDES: Final = (Note, Saved, Undeclared, Waiting)
"""What tells a user more than which tasks ran: a build that told any such thing is not answered for the next time."""


class Forwarding:
    """A reporter that passes everything on to ``inner``; others add to that."""

    def __init__(self, inner: Reporter) -> None:
        self._inner = inner

    def report(self, event: Event) -> None:
        """Pass the event on."""
        self._inner.report(event)

    def tick(self) -> None:
        """Pass it on."""
        self._inner.tick()

    def pause(self) -> None:
        """Pass it on."""
        self._inner.pause()

    def resume(self) -> None:
        """Pass it on."""
        self._inner.resume()

    def close(self) -> None:
        """Pass it on."""
        self._inner.close()

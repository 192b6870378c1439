"""The loop of a watch: a round, then waiting for a change that matters, then another round.

It decides what follows a round.  Nothing that one learned is kept for the next but what it depended on: each runs in a
process of its own, which has been started and has imported merkl while nothing else was to be done.

The invariant: a change after a round has read a file leads to another round, whenever it comes.
"""

from collections.abc import Generator, Iterator
from typing import Final, TypeAlias

from merkl.dataclass import dataclass, replace
from merkl.events import Note
from merkl.watching.compare import memory
from merkl.watching.gather import with_everything
from merkl.watching.hearing import Hearing
from merkl.watching.matters import Matters
from merkl.watching.news import Source
from merkl.watching.round import Door, Ended, Planned
from merkl.watching.standby import Standby

_AGAIN: Final = 3  # Rounds in a row under which the same files changed, until each has to wait.
_LONGEST_S: Final = 10.0  # Until such a round, in the end.
_LOST: Final = "more changed at once than the system keeps news of: everything is looked at again"


@dataclass(frozen=True, slots=True)
class Began:
    """Round ``number`` begins, because of the paths ``changed``; of the first round there are none."""

    number: int
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """Round ``number`` is over; ``cancelled`` if that is because something changed meanwhile."""

    number: int
    changed: tuple[str, ...]
    ended: Ended
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """There is nothing to do; so many files matter, and so many patterns."""

    files: int
    globs: int


Happening: TypeAlias = Began | Done | Waiting | Note


@dataclass(frozen=True, slots=True)
class Settings:
    """How to watch.  Each round's process imports ``module`` beforehand; ``door`` goes there, and can be pickled.

    ``debounce`` in seconds: how long nothing must change before a round begins.  With ``restart`` a change ends the round
    that runs.  When nobody reads the descriptor ``reader`` any more, the watch is pointless.
    """

    root: str
    module: str
    door: Door
    debounce: float = 0.05
    restart: bool = False
    reader: int = -1


class Watcher:
    """One watch.  ``happenings`` is to be iterated once, and the watcher to be closed in any case."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self._settings = settings
        self._hearing = Hearing(settings.root, source, settings.debounce, settings.reader)
        self._process: Standby | None = None
        self._running = False
        self._began_ns = 0  # When the latest round began, by the file system's clock.

    def happenings(self) -> Iterator[Happening]:
        """Do rounds for ever.

        Raises:
            MerklfileError: the project's directory is gone.
            BrokenPipeError: nobody reads what is said.
        """
        number, repeated, again = 0, 0, False
        changed: tuple[str, ...] = ()
        self._process = Standby(self._settings.module)
        while True:
            number += 1
            yield Began(number, changed)
            done = self._round(number, changed)
            yield done
            self._process = self._next_process(self._process)
            doubtful = self._learn(done.ended, again=again)
            yield from self._notes()
            if self._hearing.lost:
                yield Note(_LOST)
            before, changed = changed, self._hearing.whole_changes()
            again = bool(doubtful) and not changed
            changed = changed or doubtful
            if not changed:
                yield Waiting(len(self._hearing.matters.files), len(self._hearing.matters.globs))
                changed, repeated = (yield from self._next_change()), 0
            elif changed == before:
                # Perhaps the build itself changes what it reads, and would follow itself for ever.
                repeated += 1
                if repeated >= _AGAIN:
                    pause = min(2.0 ** (repeated - _AGAIN), _LONGEST_S)
                    yield Note(
                        f"{changed[0]} changes while it is built: the next build begins in {pause:.0f} s"
                    )
                    others = self._hearing.rest(pause, changed)
                    if others:
                        changed, repeated = tuple(sorted({*changed, *others})), 0

    def finish(self, *, told: bool) -> None:
        """Interrupt the round that runs, and wait until it has ended; ``told`` if it was interrupted already."""
        if self._process is None or not self._running:
            return
        if not told:
            self._process.interrupt()
        while not isinstance(self._process.hear(), Ended):
            self._hearing.hear([self._process.fileno()])

    @property
    def running(self) -> bool:
        """Whether a round is being done."""
        return self._running

    def close(self) -> None:
        """End what runs, and stop listening.  Idempotent."""
        try:
            if self._process is not None:
                self._process.close()
        finally:
            self._hearing.source.close()

    def _round(self, number: int, changed: tuple[str, ...]) -> Done:
        """Let one round run to its end."""
        process = self._process
        assert process is not None
        self._running = True
        process.go(self._settings.door, plan=self._settings.restart)
        with memory(self._settings.root) as index:
            self._began_ns = index.clock_ns()
        ended, cancelled = self._ended(process)
        self._running = False
        return Done(number, changed, replace(ended, error="") if cancelled else ended, cancelled)

    def _next_process(self, last: Standby) -> Standby:
        """The process of the next round, now that the last has ended."""
        last.close()
        return Standby(self._settings.module)

    def _ended(self, process: Standby) -> tuple[Ended, bool]:
        """How a round ended, and whether it was cancelled."""
        planned: Planned | None = None
        cancelled = heard = False
        while True:
            waits = planned is not None and heard and not cancelled
            if self._hearing.hear([process.fileno()], self._settings.debounce if waits else None):
                heard = True
            elif waits and planned is not None:  # The time has passed, or it has something to say.
                heard = False
                if any(_is_news(path, planned.outputs) for path in self._hearing.changes_so_far()):
                    cancelled = True
                    process.terminate()
            message = process.hear()
            if isinstance(message, Ended):
                return message, cancelled
            if message is not None:
                planned, heard = message, True
                self._hearing.listen_for(planned.matters)

    def _learn(self, ended: Ended, *, again: bool) -> tuple[str, ...]:
        """Take over what a round depended on; returns what may have changed under it, unless that was its only reason."""
        matters = ended.matters
        if matters is None:  # Whatever would have been read may be what has to change.
            with memory(self._settings.root) as index:
                matters = with_everything(Matters(self._settings.root), index, self._began_ns)
        self._hearing.listen_for(matters)
        return () if again else tuple(sorted(matters.doubtful))

    def _next_change(self) -> Generator[Note, None, tuple[str, ...]]:
        """Wait for a change that matters; what changed."""
        while True:
            if self._hearing.wait():
                yield Note(_LOST)
            self._hearing.settle()
            changed = self._hearing.changes()
            yield from self._notes()
            if changed:
                return changed

    def _notes(self) -> Iterator[Note]:
        notes, self._hearing.source.notes[:] = list(self._hearing.source.notes), []
        yield from notes


def _is_news(path: str, outputs: frozenset[str]) -> bool:
    """Whether a change is none that the round itself makes."""
    while path:
        if path in outputs:
            return False
        path = path.rpartition("/")[0]
    return True

"""What became of a build, as values.

It decides what a program is told of each task.  It builds nothing; only a value that is asked for is read.

The invariant: a value is what the build made or found, in the shape in which the target returned its Futures.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from merkl import events
from merkl.dataclass import dataclass
from merkl.errors import Interrupted, UsageError
from merkl.events import BuildDone, Event, Note
from merkl.merklfile.targets import futures_in
from merkl.nodes import Future
from merkl.python.call import rebuilt

State: TypeAlias = Literal["ran", "cached", "cut off", "failed", "skipped", "interrupted"]


@dataclass(frozen=True, slots=True)
class TaskDone:
    """One task of a build and how it ended.

    ``seconds`` is how long it ran, or ran when it was cached; ``because`` names the task for which it was skipped.
    """

    label: str
    task: str
    key: str
    state: State
    seconds: float = 0.0
    error: BaseException | None = None
    because: str = ""


class Built:
    """What became of a build.  ``built["name"]`` is the value of a target that was asked for.

    A target's value is what it returned, with the values of its Futures in it; a file is a ``FileRef`` to it.  They are read
    when they are asked for.  ``tasks`` are in the order in which they ended, ``placed`` the paths of outputs that were put
    in place, relative to the project, ``notes`` what the command line would have said.
    """

    def __init__(
        self,
        asked: Sequence[tuple[str, Any]],
        done: BuildDone,
        happened: Sequence[Event],
        read: Callable[[Sequence[Future[Any]]], list[Any]],
    ) -> None:
        self._asked = dict(asked)
        self._given = [value for _, value in asked]
        self._read = read
        self._done = done
        self.tasks = tuple(task for event in happened if (task := _task_of(event)) is not None)
        self.placed = tuple(event.path for event in happened if isinstance(event, events.Placed))
        self.notes = tuple(event for event in happened if isinstance(event, Note))

    @property
    def ok(self) -> bool:
        """Whether all that was asked for is there."""
        return not self._done.errors and not self._done.interrupted

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self._done.seconds

    @property
    def errors(self) -> tuple[BaseException, ...]:
        """Why tasks failed, in the order in which they did."""
        return tuple(self._done.errors)

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it."""
        return bool(self._done.interrupted)

    @property
    def ran(self) -> tuple[str, ...]:
        """The labels of the tasks that ran."""
        return self._labels("ran")

    @property
    def cached(self) -> tuple[str, ...]:
        """The labels of the tasks that need not run."""
        return self._labels("cached", "cut off")

    @property
    def failed(self) -> tuple[str, ...]:
        """The labels of the tasks that failed."""
        return self._labels("failed")

    @functools.cached_property
    def values(self) -> list[Any]:
        """The values of what was asked for, in that order."""
        return [self._filled(value) for value in self._given]

    def __getitem__(self, name: str) -> Any:
        if name not in self._asked:
            raise UsageError(f"{name!r} was not built", asked=", ".join(self._asked) or "nothing")
        return self._filled(self._asked[name])

    def __repr__(self) -> str:
        counts = [(len(self.ran), "ran"), (len(self.cached), "cached"), (len(self.failed), "failed")]
        said = ", ".join(f"{count} {word}" for count, word in counts if count) or "nothing to do"
        return f"<build: {said} in {self.seconds:.1f} s>"

    def raise_failure(self) -> None:
        """Raise what was wrong first, if anything was.

        Raises:
            TaskFailed: a task failed; or any other error of one.
            Interrupted: somebody stopped the build.
        """
        if self._done.interrupted:
            raise Interrupted("interrupted")
        if self._done.errors:
            raise self._done.errors[0]

    def _labels(self, *states: State) -> tuple[str, ...]:
        return tuple(task.label for task in self.tasks if task.state in states)

    def _filled(self, value: Any) -> Any:
        futures = futures_in(value)
        if not futures:
            return value
        found = dict(zip(futures, self._read(futures), strict=True))

        def fill(item: Any) -> Any:
            return found[item] if isinstance(item, Future) else rebuilt(item, fill)

        return fill(value)


def _task_of(event: Event) -> TaskDone | None:
    state: State
    seconds, error, because = 0.0, None, ""
    match event:
        case events.Ran():
            state, seconds = "ran", event.seconds
        case events.Cached():
            state, seconds = "cached", event.saved
        case events.CutOff():
            state, seconds = "cut off", event.saved
        case events.Failed():
            state, seconds, error = "failed", event.seconds, event.error
        case events.Skipped():
            state, because = "skipped", event.because
        case events.Interrupted():
            state = "interrupted"
        case _:
            return None
    return TaskDone(event.label, event.node.name, event.node.key.hex(), state, seconds, error, because)

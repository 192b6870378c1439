"""Values of Futures: a build for them that shows nothing, and what is read then.

It decides what user code gets for a result.

The invariant: a value is returned whose bytes were checked, or an error is raised.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from merkl import events
from merkl.engine.build import build
from merkl.engine.contained import NotThere, absent
from merkl.engine.joint import whole
from merkl.engine.judge import Judge
from merkl.engine.project import Project
from merkl.engine.reading import Reading, reader_of
from merkl.engine.select import Selection, select
from merkl.engine.yields import in_order
from merkl.errors import Interrupted, StoreCorrupt, TaskFailed
from merkl.events import Reporter, Silent
from merkl.nodes import Artifact, Future, walk
from merkl.python.items import read_index, seen
from merkl.python.placed import is_index
from merkl.python.run import load_value
from merkl.workspace.refs import DirRef, FileRef


class Quiet(Silent):
    """A reporter that keeps the errors and says nothing."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def report(self, event: events.Event) -> None:
        """Keep what failed."""
        if isinstance(event, events.Failed):
            self.errors.append(event.error)


def evaluate(
    project: Project, futures: Sequence[Future[Any]], *, make_reporter: Callable[[], Reporter] = Quiet
) -> list[Any]:
    """Build what is missing for ``futures`` and return their values, in order: the meaning of ``Future.eval``.

    Raises:
        TaskFailed: a task they need failed.
        Interrupted: the user pressed Ctrl-C.
    """
    selection = selection_of(project, futures)
    for last in (False, True):
        done, judged = build(project, selection, make_reporter(), needs_bytes=futures)
        if done.interrupted:
            raise Interrupted("interrupted")
        if done.errors:
            raise done.errors[0]
        try:
            return [value_of(project, future, judged) for future in futures]
        except StoreCorrupt:  # It was set aside, and is made again.
            if last:
                raise
    raise AssertionError("a value is returned, or an error raised")


def selection_of(project: Project, futures: Sequence[Future[Any]]) -> Selection:
    """What building Futures of a program means: they and all they need, in its order, at the places it gave them.

    Raises:
        MerklError: the places, or the order, do not fit together.
    """
    nodes = {node.key for node in walk(futures)}
    asked = (placement for placement in project.placements if placement.future.node.key in nodes)
    placements = whole(project.placements, asked)
    first, after = in_order(project.ordered, [future.node for future in futures], {})
    return select(futures, placements, effects=first, after=after)


def value_of(project: Project, future: Future[Any], judged: Judge) -> Any:
    """The value of a Future that a build made or found; for a file or directory, a reference to it.

    Raises:
        TaskFailed: the task left none.
    """
    artifact = judged.artifact(future)
    if artifact is None:
        raise TaskFailed(f"{future.node.name} left no result that could be kept", at=future.node.place)
    if isinstance(artifact, NotThere):
        raise absent(artifact, at=future.node.place)
    if isinstance(future, Reading):
        return reader_of(project.shelter, future, artifact)
    return _read(project, artifact, artifact.filename or future.output or future.node.name)


def _read(project: Project, artifact: Artifact, name: str) -> Any:
    """What user code gets for an artifact; of a list, each item when it is asked for."""
    if artifact.kind == "value":
        return load_value(project.shelter, artifact)
    if is_index(artifact):
        items = read_index(artifact, project.shelter.read)
        return seen(items, artifact.serializer, lambda made: _read(project, made, made.filename or "file"))
    path = project.view(artifact, os.fsencode(name))
    return DirRef(path) if artifact.kind == "dir" else FileRef(path)

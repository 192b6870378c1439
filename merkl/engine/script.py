"""The session of a plain script or a notebook: what stands behind a Future where no ``merkl build`` runs.

It decides which directory is the project.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from merkl.config import find_root, load_config
from merkl.engine.eager import Begun
from merkl.engine.evaluating import Quiet, evaluate
from merkl.engine.pipelines import Pipelines
from merkl.engine.project import Project
from merkl.events import Event, Note, Saved
from merkl.execute.call import in_worker
from merkl.nodes import Future
from merkl.python import sources
from merkl.python.project import INSTALLED, STANDARD_LIBRARY
from merkl.python.project import Project as CodeProject
from merkl.root import STATE_DIR


def script_session() -> Project:
    """A session for the nearest project from the script's directory upward; without one, for that directory itself."""
    start = _directory()
    root = find_root(start)
    if root is None:
        root = start
        state = os.path.join(start, STATE_DIR)
        print(f"merkl: results are kept in {state}", file=sys.stderr)  # noqa: T201
        with contextlib.suppress(OSError):  # Where it may not be made, the store says so.
            os.makedirs(state, exist_ok=True)  # Now it is found, and not named again.
    project = Project(load_config(root), base=os.getcwd())
    project.builder, project.make_pipelines = _evaluate, Pipelines
    # Else a module that it imports makes calls: those that it starts are started already.
    if not in_worker():
        project.make_begun = Begun
    sources.install(CodeProject(project.root, project.project_modules))
    return project


class _Telling(Quiet):
    """A reporter that tells only what was taken from its place, and notes, each once in this process."""

    told: ClassVar[set[str]] = set()

    def report(self, event: Event) -> None:
        """Say how to get back what the user had at a path, and what a build notes."""
        if isinstance(event, Note) and event.text not in self.told:
            self.told.add(event.text)
            hint = f"\n  hint: {event.hint}" if event.hint else ""
            print(f"merkl: {event.text}{hint}", file=sys.stderr)  # noqa: T201
        if isinstance(event, Saved):
            what = "merkl: what you had at {} was saved: `merkl restore {}` brings it back"
            print(what.format(event.path, event.path), file=sys.stderr)  # noqa: T201
        super().report(event)


def _evaluate(project: Project, futures: Sequence[Future[Any]]) -> list[Any]:
    return evaluate(project, futures, make_reporter=_Telling)


def _directory() -> str:
    """Where the script lies; the current directory if there is none, or what runs is an installed program."""
    script: str | None = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is None:
        return os.getcwd()
    path = os.path.abspath(script)
    installed = INSTALLED & set(path.split(os.sep)) or path.startswith(STANDARD_LIBRARY)
    if installed or os.path.dirname(path) == os.path.dirname(os.path.abspath(sys.executable)):
        return os.getcwd()  # pytest, jupyter, python -m pdb, …
    return os.path.dirname(path)

"""A build that a snapshot almost answers: some files changed, and what they lead to is built without the command line.

It decides when that may be tried.  Whatever it cannot do, it leaves for the long way.
"""

import _pickle as pickle  # Without what ``pickle`` imports besides.
import os
import sys
import time
from typing import Any, Final

from merkl.engine.keepgraph import read_graph
from merkl.engine.kept import Kept, NotKept
from merkl.engine.project import Project
from merkl.engine.small import SmallBuild
from merkl.engine.workers import workers_for
from merkl.errors import MerklError
from merkl.report.ending import exit_code, last_line
from merkl.report.lines import Shown
from merkl.report.ready import ready_streams, say, take_unsaid
from merkl.report.reporters import reporter_for
from merkl.report.running import Listed
from merkl.report.words import duration
from merkl.signals import ends_in_order
from merkl.snapshot.answer import Changed, name_of, processors

# What bash tasks need to run.
_RUNS: Final = ("merkl.execute.local", "merkl.bash.run", "merkl.bash.outcome", "ctypes", "termios")


def get_ready(root: str, everything: tuple[Any, ...]) -> Kept | None:
    """The graph of a project, if it is there; what probably runs then is imported."""
    kept = _graph(root, everything)
    if kept is not None and kept.head["tasks"]:
        for name in _RUNS:
            __import__(name)
        from merkl.bash.shell import bash_on

        bash_on(os.environ.get("PATH", os.defpath))  # It remembers which of them is new enough.
    return kept


def _graph(root: str, everything: tuple[Any, ...]) -> Kept | None:
    return read_graph(root, name_of(everything[0]), everything[-1])


def build_changed(changed: Changed) -> int | None:
    """The exit code of a build after these changes; None if the long way has to be taken."""
    with ends_in_order():
        return _build(changed)


def _build(changed: Changed) -> int | None:
    began = time.monotonic()
    project: Project | None = None
    try:
        kept = changed.ready if isinstance(changed.ready, Kept) else _graph(changed.root, changed.kept)
        if (
            kept is None or kept.head["processors"] != processors()
        ):  # How many tasks run at once may come from that.
            return None
        project = Project(pickle.loads(kept.head["config"]))
        small = SmallBuild(project, kept, changed)
    except Exception:  # noqa: BLE001  # Whatever it is, the long way tells it better.
        if project is not None:
            project.close()
        return None
    try:
        return _built(small, began)
    except (NotKept, MerklError, OSError):
        return None
    finally:
        project.close()


def _built(small: SmallBuild, began: float) -> int:
    ready_streams()
    project, head = small.project, small.kept.head
    before, _, after = _summary(small).rpartition(f" in {duration(0.0)}")
    if not small.affected:
        say(sys.stdout, f"{before} in {duration(time.monotonic() - began)}{after}" if after else "")
        small.settling.write((f"{before} in ", after) if after else ("", ""))
        return _said(0)
    shown = Shown(project.config.output, endings=head["progress"] != "none")  # type: ignore[arg-type]
    reporter = Listed(
        project.config.state, reporter_for(project.root, shown, head["color"], head["progress"])
    )
    try:
        with workers_for(project.config, small.calls):
            done = small.run(reporter)
    finally:
        reporter.close()
    if small.settling.outdated:
        small.settling.forget()
    elif small.settling.lasting:
        before, _, after = _summary(small).rpartition(f" in {duration(0.0)}")
        small.settling.write((f"{before} in ", after) if after else ("", ""))
    return _said(exit_code(done))


def _said(code: int) -> int:
    """The exit code, if all that was to be said has been."""
    error = take_unsaid()
    if error is None:
        return code
    from merkl.cli.edge import unwritten

    said = unwritten(error)
    return code or said


def _summary(small: SmallBuild) -> str:
    """The last line of a build with nothing to do, as if that took no time."""
    return last_line(small.project.config.output, small.kept.head["color"], *small.kept.counted())

"""Futures and graphs as notebooks show them.

It decides what is shown.  It runs nothing, and reads only small values that are in the store already and hold no pickle.

The invariant: whatever a name or a value is, it is text in the page.
"""

from collections.abc import Iterator
from html import escape
from typing import Any, Final

from merkl.engine.project import Project
from merkl.engine.request import plan
from merkl.engine.select import Selection, labels, select
from merkl.errors import MerklError
from merkl.nodes import Artifact, Future, PathLike, session, walk
from merkl.programs.building import prepared
from merkl.report.graph import Format, Graph, draw, graph_of
from merkl.report.svg import LARGEST, draw_svg
from merkl.report.words import size

_SMALL: Final = 100_000  # Bytes of a value that is read to be shown.
_SHOWN: Final = 500  # Characters of it.
_PICTURED: Final = 200  # Nodes of a graph that is drawn beside a Future.


class Picture:
    """A graph with what a build would run of it, as it was when it was asked for.

    A notebook shows it as a picture, ``str`` as a tree.
    """

    def __init__(self, drawn: Graph) -> None:
        self.graph = drawn

    @property
    def svg(self) -> str:
        """A picture.

        Raises:
            UsageError: it would be too large for anybody to find anything in it.
        """
        return "\n".join(draw_svg(self.graph)) + "\n"

    @property
    def dot(self) -> str:
        """For Graphviz."""
        return self._as("dot")

    @property
    def mermaid(self) -> str:
        """For Markdown."""
        return self._as("mermaid")

    @property
    def json(self) -> str:
        """For programs; ``docs/formats.md`` describes it."""
        return self._as("json")

    def __str__(self) -> str:
        return self._as("text")

    def __repr__(self) -> str:
        return f"<graph of {len(self.graph.nodes)} tasks>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        shown = {"text/plain": str(self)}
        if len(self.graph.nodes) <= LARGEST:
            shown["image/svg+xml"] = self.svg
        return shown

    def _as(self, form: Format) -> str:
        return "\n".join(draw(self.graph, form)) + "\n"


def graph(*targets: str | Future[Any], directory: PathLike = ".", files: bool = False) -> Picture:
    """The graph of targets, or of Futures, as ``merkl.build`` would build them; runs nothing.

    With ``files`` the input files are in it too.

    Raises:
        MerklError: the words or the Merklfile are wrong.
    """
    work = prepared(targets, directory)
    try:
        return Picture(_drawn(work.project, work.selection, files=files))
    finally:
        work.close()


def _drawn(project: Project, selection: Selection, *, files: bool) -> Graph:
    names = labels(walk(selection.roots), selection.placements)
    return graph_of(selection, plan(project, selection), names, files=files)


def picture(future: Future[Any]) -> str:
    """A Future as HTML: its task, whether its value is there, and the graph that leads to it."""
    rows = [("task", f"{future.node.name}({future.node.call.subject})"), ("key", future.hash)]
    if future.output:
        rows.insert(1, ("output", future.output))
    current = session()
    drawn = ""
    if isinstance(current, Project):
        try:
            rows += _state(current, future)
            drawn = _beside(current, future)
        except MerklError as error:
            rows.append(("state", f"not known: {error.headline}"))
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f'<table class="merkl-future">{cells}</table>{drawn}'


def _state(project: Project, future: Future[Any]) -> Iterator[tuple[str, str]]:
    found = project.artifact(future)
    if found is None:
        yield "state", "not run yet"
        return
    yield "state", f"cached, {size(found.size)}"
    if _is_harmless(found):
        from merkl.python.run import load_value

        text = repr(load_value(project.shelter, found))
        yield "value", text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _is_harmless(found: Artifact) -> bool:
    """Whether to read it costs nothing, and runs nobody's code."""
    return found.kind == "value" and found.size <= _SMALL and found.serializer in ("text", "bytes", "json")


def _beside(project: Project, future: Future[Any]) -> str:
    count = sum(1 for _, _ in zip(walk([future]), range(_PICTURED + 1), strict=False))
    if not 1 < count <= _PICTURED:
        return ""
    drawn = "\n".join(draw_svg(_drawn(project, select([future], []), files=False)))
    return f"<details><summary>{count} tasks</summary>{drawn}</details>"

"""The scenarios of graphs: nothing to do, a leaf changed, a shared input touched or commented, tiny tasks, a first build.

It decides what happens between two rounds, and how many commands merkl, and each that works as it does, has to run.
Each is done at the size that is of interest, by the tools that are quick enough, and again at a small one by all.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterator

from benchmarks.dialects import Dialect
from benchmarks.dialects.floor import FLOOR
from benchmarks.graph import COPIES, PER_GROUP, SHARED, TINY, WIDE, Graph, text_of
from benchmarks.projects import Project
from benchmarks.results import Result
from benchmarks.setting import Setting
from benchmarks.steps import Step
from benchmarks.turns import Contender

_RUN = (
    time.time_ns()
)  # What an earlier run wrote into a project that is used again, merkl has the results of.


def nothing(setting: Setting) -> Iterator[Step]:
    """Everything is up to date, at each size; and the first builds that led there."""
    for size in setting.counts(*setting.sizes):
        graph = WIDE.sized(size)

        def run(graph: Graph = graph) -> Iterator[Result]:
            contenders = setting.contest(graph, lambda _: _as_it_is, lambda _: 0)
            rows = [first.row() for first in setting.firsts(graph)]
            base = "ninja" if any(row.name == "ninja" for row in rows) else "merkl"
            title = f"First build of {graph.count:,} targets with two or three inputs"
            yield Result(f"built-{graph.count}", title, rows, base, note=BUILT_NOTE)
            bare = Contender("python -c pass", [sys.executable, "-c", "pass"], setting.top)
            title = f"Nothing to do, {graph.count:,} targets"
            yield setting.measured(
                f"nothing-{graph.count}", title, [bare, *contenders], "make", "ninja", "merkl"
            )

        keys = (f"built-{size}", f"nothing-{size}")
        yield Step(
            f"nothing to do, {size:,} targets", keys, setting.tools(size), setting.estimate(graph), run
        )


BUILT_NOTE = "Once by each, one after the other, not in turns: it is how the scenarios after it come about."


def leaf(setting: Setting) -> Iterator[Step]:
    """One input is edited, and ten commands read it."""
    for size in setting.counts(10_000):
        graph = WIDE.sized(size)
        readers = min(PER_GROUP, size)

        def run(graph: Graph = graph, readers: int = readers) -> Iterator[Result]:
            contenders = setting.contest(graph, _edits, lambda _: readers)
            title = f"One leaf of {graph.count:,} targets changed, {readers} commands"
            yield setting.measured(f"leaf-{graph.count}", title, contenders, "ninja", "make")

        seconds = setting.estimate(graph)
        yield Step(f"one leaf of {size:,} changed", (f"leaf-{size}",), setting.tools(size), seconds, run)


def _edits(project: Project) -> Callable[[], None]:
    groups = list(dict.fromkeys(target.inputs[0] for target in project.graph.targets))
    turns = itertools.count(len(groups) // 2)
    return lambda: project.edit(groups[next(turns) % len(groups)], f"edit {next(turns)} of run {_RUN}\n")


def shared(setting: Setting) -> Iterator[Step]:
    """An input that many read is touched; then a comment in it changes, which changes no output of its readers."""
    for size in setting.counts(1000):
        graph = SHARED.sized(size)

        def run(graph: Graph = graph) -> Iterator[Result]:
            readers = f"{graph.count:,} readers and {graph.count:,} after them"
            touch = setting.contest(
                graph, lambda project: lambda: project.touch("shared.txt"), _merkl_runs(0)
            )
            title = f"Touch of an input with {readers}"
            yield setting.measured(f"touch-{graph.count}", title, touch, "ninja", "make")
            change = setting.contest(graph, _comments, _merkl_runs(graph.count))
            title = f"A comment changed for {readers}"
            yield setting.measured(f"comment-{graph.count}", title, change, "ninja", "make")

        seconds = setting.estimate(graph) + setting.estimate(graph, built=False)
        keys = (f"touch-{size}", f"comment-{size}")
        yield Step(f"an input of {size:,} touched, commented", keys, setting.tools(size), seconds, run)


def _comments(project: Project) -> Callable[[], None]:
    turns = itertools.count()
    shared = "shared.txt"
    return lambda: project.edit(shared, f"# comment {next(turns)} of run {_RUN}\n{text_of(shared)}")


def _merkl_runs(commands: int) -> Callable[[Dialect], int | None]:
    return lambda dialect: commands if dialect.name == "merkl" else None


def tiny(setting: Setting) -> Iterator[Step]:
    """So many ``echo`` from clean, by bash on all sides; the floor is a program that does what merkl has to and no more."""
    for size in setting.counts(1000):
        graph = TINY.sized(size)

        def run(graph: Graph = graph) -> Iterator[Result]:
            contenders = _from_clean(setting, graph)
            setting.programs["floor"] = sys.executable
            floor = setting.new(graph, FLOOR)
            contenders.append(floor.contender(floor.clean, graph.count))
            title = f"{graph.count:,} tiny tasks from clean"
            yield setting.measured(f"tiny-{graph.count}", title, contenders, "ninja", "make", note=TINY_NOTE)

        seconds = setting.estimate(graph, built=False)
        yield Step(f"{size:,} tiny tasks", (f"tiny-{size}",), setting.tools(size), seconds, run)


TINY_NOTE = (
    "The floor does for each task what merkl does and no more: a script, a staging directory, a TMPDIR, a log, bash, a rename; "
    "it keeps nothing."
)


def first(setting: Setting) -> Iterator[Step]:
    """So many ``cp`` from clean."""
    graph = COPIES.sized(setting.most(10_000))
    title = f"First build of {graph.count:,} copies"

    def run() -> Iterator[Result]:
        contenders = [
            contender
            for contender in _from_clean(setting, graph)
            if setting.everything or not contender.hurried
        ]
        yield setting.measured(f"first-{graph.count}", title, contenders, "ninja", "make")

    quick = frozenset(each.name for each in setting.dialects(graph.count) if setting.everything or each.quick)
    yield Step(title, (f"first-{graph.count}",), quick, setting.estimate(graph, built=False), run)


def _from_clean(setting: Setting, graph: Graph) -> list[Contender]:
    return setting.contest(graph, lambda project: project.clean, lambda _: graph.count, build=False)


def _as_it_is() -> None:
    """Change nothing."""

"""The scenarios of graphs: nothing to do, a leaf changed, a shared input touched or commented, tiny tasks, a first build.

It decides what happens between two rounds, and how many commands merkl, and each that works as it does, has to run.
"""

import itertools
import math
import sys
from collections.abc import Callable, Sequence

from benchmarks.dialects import Dialect
from benchmarks.dialects.floor import FLOOR
from benchmarks.graph import COPIES, PER_GROUP, SHARED, TINY, WIDE, text_of
from benchmarks.projects import Project
from benchmarks.results import Result, Row
from benchmarks.setting import Setting
from benchmarks.turns import Contender, median

LEAVES = 10_000  # Targets of the scenario of one leaf.


def nothing(setting: Setting) -> list[Result]:
    """Everything is up to date, at each size; and what follows from that: growth, and memory at the largest."""
    results, memory = [], list[Row]()
    growing: dict[str, list[tuple[int, float]]] = {}
    for size in setting.sizes:
        graph = WIDE.sized(size)
        contenders = setting.contest(graph, lambda _: _as_it_is, lambda *_: 0)
        bare = Contender("python -c pass", [sys.executable, "-c", "pass"], setting.top)
        title = f"Nothing to do, {size:,} targets"
        results.append(
            setting.measured(f"nothing-{size}", title, [bare, *contenders], "make", "ninja", "merkl")
        )
        memory.clear()
        for contender in contenders:
            first = setting.first_of(graph, contender.name)
            if first is not None:
                named = f"{contender.name}, nothing to do", f"{contender.name}, first build"
                growing.setdefault(named[0], []).append((size, median(contender)))
                growing.setdefault(named[1], []).append((size, median(first)))
                memory += [Row(named[0], [contender.peak_kb / 1024]), Row(named[1], [first.peak_kb / 1024])]
        if size != setting.most(LEAVES):
            setting.drop(graph)
    return [
        *results,
        Result(f"memory-{size}", f"Peak memory, {size:,} targets", memory, unit="MB", note=MEMORY_NOTE),
        *_growth(setting.sizes, growing),
    ]


MEMORY_NOTE = "Of the largest single process; what needs less than the small process that starts it shows as that, 10 MB."


def leaf(setting: Setting) -> list[Result]:
    """One input is edited, and ten commands read it."""
    graph = WIDE.sized(setting.most(LEAVES))
    readers = min(PER_GROUP, graph.count)

    def prepare(project: Project) -> Callable[[], None]:
        groups = list(dict.fromkeys(target.inputs[0] for target in project.graph.targets))
        turns = itertools.count(len(groups) // 2)
        return lambda: _edit(project, groups[next(turns) % len(groups)], next(turns))

    contenders = setting.contest(graph, prepare, lambda *_: readers)
    title = f"One leaf of {graph.count:,} targets changed, {readers} commands"
    return [setting.measured(f"leaf-{graph.count}", title, contenders, "ninja", "make")]


def shared(setting: Setting) -> list[Result]:
    """An input that many read is touched; then a comment in it changes, which changes no output of its readers."""
    graph = SHARED.sized(setting.most(1000))
    readers = f"{graph.count:,} readers and {graph.count:,} after them"

    def comment(project: Project) -> Callable[[], None]:
        turns = itertools.count()
        shared = "shared.txt"
        return lambda: project.edit(shared, f"# comment {next(turns)}\n{text_of(shared)}")

    def touched(dialect: Dialect, _: int) -> int | None:
        return 0 if dialect.name == "merkl" else None

    def commented(dialect: Dialect, size: int) -> int | None:
        return size if dialect.name == "merkl" else None

    touch = setting.contest(graph, lambda project: lambda: project.touch("shared.txt"), touched)
    first = setting.measured(
        f"touch-{graph.count}", f"Touch of an input with {readers}", touch, "ninja", "make"
    )
    change = setting.contest(graph, comment, commented)
    return [
        first,
        setting.measured(
            f"comment-{graph.count}", f"A comment changed for {readers}", change, "ninja", "make"
        ),
    ]


def tiny(setting: Setting) -> list[Result]:
    """So many ``echo`` from clean, by bash on all sides; the floor is a program that does what merkl has to and no more."""
    graph = TINY.sized(setting.most(1000))
    contenders = setting.contest(graph, lambda project: project.clean, lambda _, size: size, build=False)
    setting.programs["floor"] = sys.executable
    floor = setting.new(graph, FLOOR)
    contenders.append(floor.contender(floor.clean, graph.count))
    return [
        setting.measured(
            f"tiny-{graph.count}",
            f"{graph.count:,} tiny tasks from clean",
            contenders,
            "ninja",
            "make",
            note=TINY_NOTE,
        )
    ]


TINY_NOTE = (
    "The floor does for each task what merkl does and no more: a script, a staging directory, a TMPDIR, a log, bash, a rename; "
    "it keeps nothing."
)


def first(setting: Setting) -> list[Result]:
    """So many ``cp`` from clean."""
    graph = COPIES.sized(setting.most(10_000))
    contenders = [
        contender
        for contender in setting.contest(
            graph, lambda project: project.clean, lambda _, size: size, build=False
        )
        if setting.everything or contender.name in ("merkl", "make", "ninja")
    ]
    title = f"First build of {graph.count:,} copies"
    return [setting.measured(f"first-{graph.count}", title, contenders, "ninja", "make")]


def _edit(project: Project, path: str, turn: int) -> None:
    project.edit(path, f"edit {turn}\n")


def _as_it_is() -> None:
    """Change nothing."""


def _growth(sizes: Sequence[int], measured: dict[str, list[tuple[int, float]]]) -> list[Result]:
    smallest, largest = min(sizes), max(sizes)
    rows = [
        Row(name, [exponent(points)]) for name, points in measured.items() if len(points) == len(sizes) > 1
    ]
    title = f"Growth from {smallest:,} to {largest:,} targets"
    if not rows:
        return []
    return [Result(f"growth-{smallest}-{largest}", title, rows, unit="exponent", note=GROWTH_NOTE)]


GROWTH_NOTE = (
    "The exponent of a power of the number of targets, fitted to the medians by least squares of logarithms."
)


def exponent(points: Sequence[tuple[int, float]]) -> float:
    """The slope of a straight line through the logarithms."""
    xs, ys = ([math.log(point[part]) for point in points] for part in (0, 1))
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)

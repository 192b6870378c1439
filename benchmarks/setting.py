"""What scenarios share: how many rounds, which sizes, which peers are there, and projects that are built already.

Invariant: a graph is built once for each tool, whatever number of scenarios looks at it; how long that took is kept.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.dialects import DIALECTS, Dialect
from benchmarks.graph import Graph
from benchmarks.kept import kept, remember
from benchmarks.projects import Project
from benchmarks.results import Result
from benchmarks.turns import ROUNDS, Contender, Failed, run_in_turns

SMALL = 100  # Sources: all tools are compared with so many too if one is there that is too slow for more.
CHECKING = 60e-6  # Seconds for each output, in each round.


@dataclass
class Setting:
    """``programs`` has the path of each tool by name, of merkl too; ``pythons`` those of environments with a library.

    ``top`` is where projects are; ``versions`` are those of all tools and libraries.
    """

    top: str
    programs: dict[str, str]
    pythons: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    rounds: int = ROUNDS
    sizes: tuple[int, ...] = (1000, 10_000, 100_000)
    everything: bool = False
    built: dict[tuple[str, int, str], tuple[Project, Contender]] = field(default_factory=dict)
    planned: set[tuple[str, int, str]] = field(default_factory=set)  # Builds that an estimate has counted.
    failures: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Progress, with the time since the beginning."""
        print(f"[{time.monotonic() - self.began:6.0f} s] {text}", file=sys.stderr, flush=True)

    def most(self, size: int) -> int:
        """At most ``size`` and the largest of the sizes."""
        return min(size, max(self.sizes))

    def counts(self, *sizes: int) -> list[int]:
        """Of sources: each of ``sizes`` as far as asked for, and a small one if there is a tool that needs it."""
        counts = {self.most(size) for size in sizes}
        slow = [
            dialect
            for dialect in DIALECTS
            if dialect.name in self.programs and self._most(dialect) < min(counts)
        ]
        return sorted(counts | ({SMALL} if slow else set()))

    def dialects(self, count: int) -> list[Dialect]:
        """The tools that are there and can be given so many sources."""
        return [each for each in DIALECTS if each.name in self.programs and self._most(each) >= count]

    def tools(self, count: int, *more: str) -> frozenset[str]:
        """Their names."""
        return frozenset((*(dialect.name for dialect in self.dialects(count)), *more))

    def new(self, graph: Graph, dialect: Dialect) -> Project:
        """A project of which nothing is built."""
        place = self._place(graph, dialect)
        shutil.rmtree(place, ignore_errors=True)
        return Project(graph, dialect, place, self.programs[dialect.name])

    def first_built(self, graph: Graph, dialect: Dialect) -> tuple[Project, Contender]:
        """A project that is built and at rest, and the contender that built it once, now or in an earlier run."""
        key = (graph.name, graph.count, dialect.name)
        if key not in self.built:
            place, version = self._place(graph, dialect), self.versions.get(dialect.name, "")
            before = kept(place, version)
            if before is None:
                self.say(f"  {dialect.name} builds {len(graph.targets):,} targets of {graph.name!r}")
                project = self.new(graph, dialect)
            else:
                project = Project(graph, dialect, place, self.programs[dialect.name])
            commands = len(graph.targets) if before is None else None
            first = project.contender(lambda: None, commands, again=before is not None)
            first.once()
            project.contender(lambda: None, 0).once()  # By now stamps of all outputs are settled.
            if before is None:
                remember(place, version, first)
            else:
                first.seconds, first.peak_kb, first.ran = (
                    [before.seconds],
                    before.peak_kb,
                    {len(graph.targets)},
                )
            self.built[key] = project, first
        return self.built[key]

    def firsts(self, graph: Graph) -> list[Contender]:
        """The builds of ``graph``, by all tools that were given it."""
        return [
            first
            for (name, count, _), (_, first) in self.built.items()
            if (name, count) == (graph.name, graph.count)
        ]

    def contest(
        self,
        graph: Graph,
        prepare: Callable[[Project], Callable[[], None]],
        commands: Callable[[Dialect], int | None],
        *,
        build: bool = True,
    ) -> list[Contender]:
        """One for each tool; ``commands`` says how many it has to run, or None if that is its own affair."""
        return list(self._contenders(graph, prepare, commands, build))

    def _contenders(
        self,
        graph: Graph,
        prepare: Callable[[Project], Callable[[], None]],
        commands: Callable[[Dialect], int | None],
        build: bool,
    ) -> Iterator[Contender]:
        for dialect in self.dialects(graph.count):
            try:
                project = self.first_built(graph, dialect)[0] if build else self.new(graph, dialect)
            except Failed as error:
                if dialect.name == "merkl":
                    raise
                self._left_out(dialect.name, str(error))
                continue
            contender = project.contender(prepare(project), commands(dialect))
            contender.hurried = not dialect.quick
            contender.optional = dialect.name != "merkl"
            yield contender

    def measured(
        self, key: str, title: str, contenders: list[Contender], *against: str, note: str = "", times: int = 1
    ) -> Result:
        """Run the contenders in turns; the first of ``against`` that is there is what others are compared with.

        ``times``: as many times the usual rounds.
        """
        self.say(f"  {title}")
        run_in_turns(contenders, times * self.rounds)
        for contender in contenders:
            if contender.failed:
                self._left_out(contender.name, contender.failed)
        rows = [contender.row() for contender in contenders if not contender.failed]
        names = [row.name for row in rows]
        base = next((name for name in against if name in names), names[0])
        return Result(key, title, rows, base, note=note)

    def estimate(self, graph: Graph, *, built: bool = True) -> float:
        """Seconds for building ``graph`` by each tool, if it must be, and for rounds in which nothing, or all, is run."""
        count, seconds = len(graph.targets), 0.0
        for dialect in self.dialects(graph.count):
            key = (graph.name, graph.count, dialect.name)
            if built and key not in self.planned:
                self.planned.add(key)
                seconds += count * dialect.seconds_each
            each = count * (dialect.seconds_idle if built else dialect.seconds_each) + 0.02
            times = self.rounds + 1
            if each > 2:
                times = min(times, 5 if dialect.quick else 3 if each < 10 else 1)
            seconds += times * (each + count * CHECKING)
        return seconds

    def _left_out(self, name: str, why: str) -> None:
        self.say(f"  {name} FAILED, and is left out: {why}")
        self.failures.append(name)

    def _most(self, dialect: Dialect) -> int:
        return dialect.most_of_all if self.everything else dialect.most

    def _place(self, graph: Graph, dialect: Dialect) -> str:
        return os.path.join(self.top, f"{graph.name}-{graph.count}-{dialect.name}")

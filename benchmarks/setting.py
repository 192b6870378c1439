"""What scenarios share: how many rounds, which sizes, which peers are there, and projects that are built already.

Invariant: a graph is built once for each tool, whatever number of scenarios looks at it; how long that took is kept.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from benchmarks.dialects import DIALECTS, Dialect
from benchmarks.graph import Graph
from benchmarks.projects import Project
from benchmarks.results import Result
from benchmarks.turns import ROUNDS, Contender, run_in_turns

SMALL = 1000  # Targets: up to here, tools that are too slow for so many are given fewer.


@dataclass
class Setting:
    """``programs`` has the path of each tool by name, of merkl too; ``pythons`` those of environments with a library."""

    top: str
    programs: dict[str, str]
    pythons: dict[str, str] = field(default_factory=dict)
    rounds: int = ROUNDS
    sizes: tuple[int, ...] = (1000, 10_000, 100_000)
    everything: bool = False
    built: dict[tuple[str, int, str], tuple[Project, Contender]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Progress, with the time since the beginning."""
        print(f"[{time.monotonic() - self.began:6.0f} s] {text}", file=sys.stderr, flush=True)

    def most(self, size: int) -> int:
        """At most ``size`` and the largest of the sizes."""
        return min(size, max(self.sizes))

    def dialects(self, graph: Graph) -> Iterable[tuple[Dialect, int]]:
        """The tools that are there, each with the number of sources that it is given."""
        for dialect in DIALECTS:
            if dialect.name not in self.programs:
                continue
            most = dialect.most_of_all if self.everything else dialect.most
            if most >= graph.count or graph.count <= SMALL:
                yield dialect, min(most, graph.count)

    def new(self, graph: Graph, dialect: Dialect) -> Project:
        """A project of which nothing is built."""
        place = os.path.join(self.top, f"{graph.name}-{graph.count}-{dialect.name}")
        return Project(graph, dialect, place, self.programs[dialect.name])

    def first_built(self, graph: Graph, dialect: Dialect) -> tuple[Project, Contender]:
        """A project that is built and at rest, and the contender that built it once."""
        key = (graph.name, graph.count, dialect.name)
        if key not in self.built:
            self.say(f"  {dialect.name} builds {len(graph.targets):,} targets of {graph.name!r}")
            project = self.new(graph, dialect)
            first = project.contender(lambda: None, len(graph.targets))
            first.once()
            project.contender(lambda: None, 0).once()  # By now stamps of all outputs are settled.
            self.built[key] = project, first
        return self.built[key]

    def first_of(self, graph: Graph, name: str) -> Contender | None:
        """The build of ``graph`` by the tool called ``name``, if it was given all of it."""
        built = self.built.get((graph.name, graph.count, name))
        return None if built is None else built[1]

    def drop(self, graph: Graph) -> None:
        """Remove its projects."""
        for key in [key for key in self.built if key[:2] == (graph.name, graph.count)]:
            shutil.rmtree(self.built.pop(key)[0].place)

    def contest(
        self,
        graph: Graph,
        prepare: Callable[[Project], Callable[[], None]],
        commands: Callable[[Dialect, int], int | None],
        *,
        build: bool = True,
    ) -> list[Contender]:
        """One for each tool; ``commands`` says how many it has to run for so many sources, or None if that is its own affair."""
        contenders = []
        for dialect, size in self.dialects(graph):
            sized = graph if size == graph.count else graph.sized(size)
            project = self.first_built(sized, dialect)[0] if build else self.new(sized, dialect)
            contenders.append(
                project.contender(
                    prepare(project),
                    commands(dialect, size),
                    hurried=dialect.name != "merkl",
                    size=None if size == graph.count else len(sized.targets),
                )
            )
        return contenders

    def measured(
        self, key: str, title: str, contenders: list[Contender], *against: str, note: str = ""
    ) -> Result:
        """Run the contenders in turns; the first of ``against`` that is there is what others are compared with."""
        self.say(title)
        run_in_turns(contenders, self.rounds)
        names = [contender.name for contender in contenders]
        base = next((name for name in against if name in names), names[0])
        return Result(key, title, [contender.row() for contender in contenders], base, note=note)

"""A build after which little has changed: only what reads a changed input is looked at.

It decides, from what is not as it was, which nodes may have to run, and leaves everything to the long way that cannot be told
from that.  What is built is a part of the kept graph, by the same engine.

The invariant: what is taken for unchanged without a look was compared by the snapshot just now; so the end is that of the
long way, or ``NotKept`` is raised before anything ran.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence

from blake3 import blake3

from merkl import events
from merkl.dataclass import replace
from merkl.engine.build import build
from merkl.engine.changes import Looking
from merkl.engine.judge import Judge
from merkl.engine.kept import DISCOVERS, STEP, Kept, KeptLabels, NotKept
from merkl.engine.keptnodes import Found, found_by
from merkl.engine.lineage import Writing, files_read
from merkl.engine.part import Part
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.select import Selection
from merkl.engine.settling import Settling
from merkl.engine.step import State
from merkl.errors import MerklError
from merkl.events import BuildDone, Event, Forwarding, Reporter
from merkl.nodes import Node, Source
from merkl.python.calls import is_written_call
from merkl.snapshot.answer import Changed


class SmallBuild:
    """What is to be done about some changes of what a snapshot has.

    Raises:
        NotKept: that cannot be told without the Merklfile.
    """

    def __init__(self, project: Project, kept: Kept, changed: Changed) -> None:
        self.project = project
        self.kept = kept
        looking = Looking(project, kept, changed)
        self.settling = Settling(project, kept, changed, looking)
        self._sources: dict[int, Source] = looking.sources
        self._first = looking.nodes | set(kept.head["undone"])
        self.affected: list[int] = self._readers()
        self._nodes = {number: kept.make_again(number, self._sources) for number in self.affected}
        self._placements = {number: kept.placements(number) for number in self.affected}
        self._upstream = self._closure()

    def _readers(self) -> list[int]:
        """The nodes that are to be looked at: those that read what changed, and all that read what others of them make,
        dependencies first."""
        return sorted(self.kept.deps.following(self.kept.reads.having(self._sources) | self._first))

    @property
    def calls(self) -> int:
        """How many calls of Python tasks may have to run."""
        return sum(is_written_call(node.call) for node in self._nodes.values())

    def _closure(self) -> list[int]:
        """The nodes that those affected are made from, with them."""
        found = set(self.affected)
        stack = list(self.affected)
        while stack:
            number = stack.pop()
            fresh = [dep for dep in self.kept.deps[number] if dep not in found]
            found.update(fresh)
            stack += fresh
        return sorted(found)

    # ---- building --------------------------------------------------------------------------------------------------

    def run(self, reporter: Reporter) -> BuildDone:
        """Build what may have to be."""
        roots = [self._nodes[number] for number in self.affected if self.kept.flags[number] & STEP]
        selection = Selection(
            tuple(sorted(roots, key=lambda node: node.serial)),
            tuple(p for number in self.affected for p in self._placements[number]),
            targets=self.kept.head["targets"],
        )
        part = Part(
            [*self._nodes.values()], KeptLabels(self.kept), self._check, self._remember,
            self.kept.paths if self.kept.found else [placement.path for placement in selection.placements], self.kept.placed_by,
        )  # fmt: skip
        beside = _WithRest(reporter, self)
        with self._values_readable():
            _, judge = build(self.project, selection, beside, part=part)
        done = beside.done
        assert done is not None
        if beside.said:
            self.settling.lasting = False
        else:
            self._settle(judge, failed=bool(done.failed or done.skipped or done.interrupted))
        return done

    def _settle(self, judge: Judge, *, failed: bool) -> None:
        settling = self.settling
        try:
            settling.built(
                self._nodes, self._sources, self._placements, judge, lambda number: self._found(number, judge),
                failed=failed,
            )  # fmt: skip
        except (MerklError, OSError, ValueError):  # All is built; the next build finds out what there is.
            settling.outdated, settling.lasting = True, False

    @contextlib.contextmanager
    def _values_readable(self) -> Iterator[None]:
        """Build inside, where values may have to be read, or written, that only the project's modules know how to."""
        project = self.project
        calls = self.kept.python_calls() if any(map(_concerns_python, self._nodes.values())) else None
        if calls is None:
            yield
            return
        from merkl.python.run import reading_with

        before = list(sys.path)
        calls.look_there()
        try:
            if calls.own_forms:
                calls.load_project(project.root, project.project_modules)
            with reading_with(lambda: calls.load_project(project.root, project.project_modules)):
                yield
        finally:
            sys.path[:] = before

    def rest(self, judge: Judge) -> tuple[int, float]:
        """How many nodes have no step here and would have one, and how long those took (in seconds)."""
        kept = self.kept
        met = {kept.numbers[key] for key in judge.steps if key in kept.numbers}.union(self.affected)
        counted = [number for number in met if kept.flags[number] & STEP]
        seconds = sum(kept.said(number).seconds for number in counted)
        count, saved = kept.counted()
        return count - len(counted), max(0.0, saved - seconds)

    def _check(self, judge: Judge) -> None:
        """See that nothing else is to run than what can be run from here."""
        own = {node.key for node in self._nodes.values()}
        for key, step in judge.steps.items():
            if step.state is not State.KNOWN and key not in own:
                raise NotKept(f"{step.node} would run as well")
        self.judge = judge

    def _remember(
        self, project: Project, _: Sequence[Node], placements: Iterable[Placement], judge: Judge
    ) -> None:
        """As ``lineage.remember``, from what is kept."""
        kept = self.kept
        places = {number: at for at, number in enumerate(self._upstream)}
        writing = Writing()
        for number in self._upstream:
            read = [
                self._sources[each] if each in self._sources else kept.source(each)
                for each in kept.reads[number]
            ]
            own = files_read(read, self._found(number, judge))
            writing.add(own, [places[dep] for dep in kept.deps[number]])
        made = {
            placement.path: (placement.future.node.key, places[kept.numbers[placement.future.node.key]])
            for placement in placements
            if judge.steps[placement.future.node.key].state is State.KNOWN
        }
        if made:
            value = writing.value()
            name = blake3(repr(sorted(made.items())).encode("utf-8", "surrogatepass") + value).digest()
            project.index.lineages.set(
                name, value, ((path, *each) for path, each in made.items()), of_all=False
            )

    def _found(self, number: int, judge: Judge) -> Found:
        """What a node found, this time or when it ran."""
        if not self.kept.flags[number] & DISCOVERS:
            return ()
        step = judge.steps.get(self._nodes[number].key) if number in self._nodes else None
        return self.kept.said(number).found if step is None or step.record is None else found_by(step.record)


def _concerns_python(node: Node) -> bool:
    """Whether a node calls a function, or has to do with values: its own, or those of others."""
    if is_written_call(node.call):
        return True
    outputs = (*node.outputs, *(dep.future.node.output(dep.future.output) for dep in node.deps))
    return any(output.kind == "value" for output in outputs)


class _WithRest(Forwarding):
    """A reporter that counts what is not built with what is."""

    def __init__(self, inner: Reporter, small: SmallBuild) -> None:
        super().__init__(inner)
        self._small = small
        self.said = False  # Whether more was told than what ran.
        self.done: BuildDone | None = None

    def report(self, event: Event) -> None:
        match event:
            case events.BuildStarted():
                count, _ = self._small.rest(self._small.judge)
                event = replace(event, total=event.total + count, known=count)
            case events.Grown():
                event = replace(event, total=event.total + self._small.rest(self._small.judge)[0])
            case events.BuildDone():
                count, saved = self._small.rest(self._small.judge)
                event = self.done = replace(event, cached=event.cached + count, saved=event.saved + saved)
            case _:
                self.said |= isinstance(event, events.BESIDES)
        super().report(event)

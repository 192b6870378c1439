"""A build after which little has changed: only what reads a changed input is looked at.

It decides, from what is not as it was, which nodes may have to run, and leaves everything to the long way that cannot be told
from that.  What is built is a part of the kept graph, by the same engine.

The invariant: what is taken for unchanged without a look was compared by the snapshot just now; so the end is that of the
long way, or ``NotKept`` is raised before anything ran.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from blake3 import blake3

from merkl import events
from merkl.bash.task import BashCall
from merkl.digest import Key
from merkl.engine.build import build
from merkl.engine.judge import Judge
from merkl.engine.keepgraph import source_data, write_graph
from merkl.engine.kept import DISCOVERS, STEP, Found, Kept, KeptLabels, NotKept, found_by, said_of
from merkl.engine.part import Part
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.select import Selection
from merkl.engine.step import State
from merkl.errors import InputMissing
from merkl.events import BuildDone, Event, Forwarding, Reporter
from merkl.nodes import Artifact, Node, Source
from merkl.snapshot.answer import DIRECTORY, STATE, UNSURE, Changed, Stamp, full_stamp, name_of
from merkl.snapshot.keep import TICK_NS, names_in, settled, write
from merkl.workspace.paths import absolute

_ASKED: Final = (
    16  # So many of the answers that are not looked at are asked for, in case the store was emptied.
)


class SmallBuild:
    """What is to be done about some changes of what a snapshot has.

    Raises:
        NotKept: that cannot be told without the Merklfile.
    """

    def __init__(self, project: Project, kept: Kept, changed: Changed) -> None:
        self.project = project
        self.kept = kept
        self._changed = changed
        self._stamps: dict[str, Stamp] = {}  # What is to stand in the next snapshot.
        self._sources: dict[int, Source] = {}
        self._finders: set[int] = set()  # Nodes that found what changed.
        self._look()
        self.affected: list[int] = self._readers()
        self._nodes = {number: kept.make_again(number, self._sources) for number in self.affected}
        self.outdated = False  # Whether the snapshot has to go, since it lacks something.
        # Whether the next build would have nothing to do, and say no more than a last line.
        self.lasting = True
        self._placements = {number: kept.placements(number) for number in self.affected}
        self._upstream = self._closure()
        if any(output.kind != "file" for node in self._nodes.values() for output in node.outputs):
            raise NotKept("an output is no file")

    # ---- what changed ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        index, kept = self.project.index, self.kept
        clock = index.clock_ns() - TICK_NS
        device = os.stat(self.project.root).st_dev
        before: dict[str, Stamp] = {}
        for path in self._changed.paths:
            try:
                before[path] = full_stamp(os.stat(absolute(path, self.project.root)))
            except OSError as error:
                before[path] = error.errno or 0
        mere, unsure, listings = kept.head["mere"], kept.head["unsure"], kept.head["listings"]
        for path, stamp in before.items():
            if path in mere:
                self._look_at_source(path, mere[path])
            elif path in unsure:
                self._look_at_output(path, *unsure[path])
            elif path in listings:
                self._look_into(path, listings[path])
            elif path not in kept.head["databases"]:
                raise NotKept(f"{path} changed")
            self._stamps[path] = stamp if settled(stamp, clock, device) else UNSURE
        if kept.head["removals"] != self.project.store.removals():
            raise NotKept("records were removed from the store")
        counted = [number for number, flag in enumerate(kept.flags) if flag == STEP]
        some = [Key(kept.keys[number]) for number in counted[:: max(1, len(counted) // _ASKED)]]
        if len(self.project.store.by_key(some)) != len(some):
            raise NotKept("records are gone")

    def _look_at_source(self, path: str, number: int) -> None:
        try:
            source = self.project.index.source(path, "file")
        except InputMissing:
            raise NotKept(f"{path} is gone") from None
        finders = self.kept.found.get(path, [])
        if number < 0:
            before = dict(self.kept.said(finders[0]).found)[path]
        else:
            known = self.kept.source(number)
            if (source.digest, source.executable) == (known.digest, known.executable):
                # Touched: whoever reads it will look at its stamp.
                self.kept.sources[number] = source_data(source)
                return
            self._sources[number], before = source, known.digest
        if source.digest != before:
            self._finders.update(finders)

    def _look_at_output(self, path: str, digest: bytes, executable: bool) -> None:
        found = self.project.index.look(path)
        if not isinstance(found, Artifact) or (found.digest, found.executable) != (digest, executable):
            raise NotKept(f"{path} changed")

    def _look_into(self, path: str, names: bytes) -> None:
        try:
            same = names_in(absolute(path, self.project.root)) == names
        except OSError:
            same = False
        if not same:
            raise NotKept(f"what is in {path} changed")

    def _readers(self) -> list[int]:
        """The nodes that read what changed, or what those make, dependencies first."""
        return sorted(self.kept.deps.following(self.kept.reads.having(self._sources) | self._finders))

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
            self.kept.head["placed"] or [placement.path for placement in selection.placements], self.kept.placed_by,
        )  # fmt: skip
        beside = _WithRest(reporter, self)
        _, judge = build(self.project, selection, beside, part=part)
        assert beside.done is not None
        self._keep(beside, judge)
        return beside.done

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
            if step.state is not State.KNOWN and (key not in own or not isinstance(step.node.call, BashCall)):
                raise NotKept(f"{step.node} would run as well")
        self.judge = judge

    def _remember(
        self, project: Project, _: Sequence[Node], placements: Iterable[Placement], judge: Judge
    ) -> None:
        """As ``lineage.remember``, from what is kept."""
        kept = self.kept
        places = {number: at for at, number in enumerate(self._upstream)}
        sources: dict[tuple[str, str, str, bool], int] = {}
        described: list[tuple[list[int], list[int]]] = []
        for number in self._upstream:
            read = [
                self._sources[each] if each in self._sources else kept.source(each)
                for each in kept.reads[number]
            ]
            own = [(source.path, str(source.kind), source.digest.hex(), source.executable) for source in read]
            own += [
                (path, "any" if digest else "", digest.hex() if digest else "", False)
                for path, digest in self._found(number, judge)
            ]
            deps = [places[dep] for dep in kept.deps[number]]
            described.append(([sources.setdefault(each, len(sources)) for each in own], deps))
        made = {
            placement.path: (placement.future.node.key, places[kept.numbers[placement.future.node.key]])
            for placement in placements
            if judge.steps[placement.future.node.key].state is State.KNOWN
        }
        if made:
            value = json.dumps({"sources": list(sources), "nodes": described}, separators=(",", ":")).encode(
                "ascii"
            )
            name = blake3(repr(sorted(made.items())).encode("utf-8", "surrogatepass") + value).digest()
            project.index.lineages.set(name, value, made)

    def _found(self, number: int, judge: Judge) -> Found:
        """What a node found, this time or when it ran."""
        if not self.kept.flags[number] & DISCOVERS:
            return ()
        step = judge.steps.get(self._nodes[number].key) if number in self._nodes else None
        return self.kept.said(number).found if step is None or step.record is None else found_by(step.record)

    # ---- keeping ---------------------------------------------------------------------------------------------------

    def _keep(self, beside: "_WithRest", judge: Judge) -> None:
        """Bring the graph up to date, if that lasts."""
        ran = {key for key, step in judge.steps.items() if step.ran}
        done = beside.done
        assert done is not None
        own = {node.key for node in self._nodes.values()}
        # What is found for the first time is not in the snapshot, and what else ran was not looked at.
        self.outdated = bool(ran - own) or any(
            _places(self._found(number, judge)) != _places(self.kept.said(number).found)
            for number in self.affected
        )
        ended_well = not (beside.said or done.failed or done.skipped or done.interrupted)
        self.lasting = ended_well and not self.outdated
        if not self.lasting:
            return
        kept, head = self.kept, self.kept.head
        unsure: dict[str, tuple[bytes, bool]] = {**head["unsure"]}
        for number, node in self._nodes.items():
            step = judge.steps.get(node.key)
            before = kept.said(number)
            seconds = before.seconds
            if step is not None and step.record is not None:
                seconds = step.record.seconds
                for placement in self._placements[number]:
                    artifact = step.artifacts[placement.future.output]
                    unsure[placement.path] = bytes(artifact.digest), artifact.executable
                    self._stamps[placement.path] = UNSURE
            if kept.flags[number] & STEP:
                head["saved"] += seconds - before.seconds
            kept.keys[number] = node.key
            kept.said_of[number] = said_of(
                node, before.label, before.task, self._placements[number], seconds, self._found(number, judge)
            )
        for number, source in self._sources.items():
            kept.sources[number] = source_data(source)
        head["unsure"] = unsure
        for path in head["databases"]:
            self._stamps[path] = UNSURE

    def forget(self) -> None:
        """Remove the snapshot; the next build with nothing to do writes another."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.project.root, STATE, DIRECTORY, name_of(self._changed.kept[0])))

    def write(self, summary: tuple[str, str]) -> None:
        """Write down the snapshot of a build with nothing to do, which says ``summary``, before and after the seconds."""
        request, made, variables, everything, _, _, files, links, _ = self._changed.kept
        unsure = self.kept.head["unsure"]
        for path, stamp in self._stamps.items():
            if stamp != UNSURE:
                unsure.pop(path, None)
        files = [(path, self._stamps.get(path, stamp)) for path, stamp in files]
        graph = write_graph(self.project.root, name_of(request), self.kept.written())
        write(self.project.root, (request, made, variables, everything, *summary, files, links, graph))


def _places(found: Found) -> set[tuple[str, bool]]:
    return {(path, digest is None) for path, digest in found}


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
            case events.Note() | events.Saved() | events.Undeclared() | events.Waiting():
                self.said = True
            case _:
                pass
        super().report(event)

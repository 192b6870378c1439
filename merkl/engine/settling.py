"""What the next snapshot says after a part of a graph was built.

It decides what has to be looked at once more by the next build, and when nothing can be said, so that the next one finds
everything out.

The invariant: what was written just now, or did not end well, is never taken for settled.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from merkl.digest import Digest
from merkl.engine.changes import Looking
from merkl.engine.graphfile import write_changes
from merkl.engine.judge import Judge
from merkl.engine.keepgraph import source_data
from merkl.engine.kept import STEP, Kept
from merkl.engine.keptnodes import Found, said_of
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.replacing import value_name
from merkl.engine.step import State, Step
from merkl.nodes import Artifact, Node, Source
from merkl.python.placed import as_placed
from merkl.snapshot.answer import DIRECTORY, STATE, UNSURE, Changed, Stamp, name_of
from merkl.snapshot.writing import rewrite
from merkl.workspace.sidecar import parse_sidecar, read_bytes_of, sidecar_of


class Settling:
    """The state of a kept graph while a part of it is built.

    ``stamps`` is what is to stand in the next snapshot; ``outdated`` says that the one there is has to go, since it lacks
    something; ``lasting`` that the next can be written.
    """

    def __init__(self, project: Project, kept: Kept, changed: Changed, looking: Looking) -> None:
        self.stamps: Final[dict[str, Stamp]] = looking.stamps
        self._trees: Final = looking.trees
        self.outdated = False
        self.lasting = True
        self._project: Final = project
        self._kept: Final = kept
        self._changed: Final = changed
        self._unsure: Final = {
            path: what for path, what in kept.head["unsure"].items() if path not in looking.confirmed
        }

    def built(
        self,
        nodes: Mapping[int, Node],
        sources: Mapping[int, Source],
        placements: Mapping[int, list[Placement]],
        judge: Judge,
        found: Callable[[int], Found],
        *,
        failed: bool,
    ) -> None:
        """Take in what came of the ``nodes`` that may have had to run, by number, with these ``sources`` that changed.

        ``found`` says what a node found; ``failed`` that not all ended well.
        """
        own = {node.key for node in nodes.values()}
        # What is found for the first time is not in the snapshot, and what else ran was not looked at.
        self.outdated = any(step.ran and key not in own for key, step in judge.steps.items()) or any(
            _places(found(number)) != _places(self._kept.said(number).found) for number in nodes
        )
        self.lasting = not self.outdated
        if not self.lasting:
            return
        kept, head = self._kept, self._kept.head
        undone: list[int] = []
        for number, node in nodes.items():
            step = judge.steps.get(node.key)
            if failed and (step is None or step.state is not State.KNOWN):
                undone.append(number)
            before = kept.said(number)
            seconds = before.seconds
            if step is not None and step.record is not None:
                seconds = step.record.seconds
                self._placed(step, placements[number], judge)
            if kept.flags[number] & STEP:
                head["saved"] += seconds - before.seconds
            kept.keys[number] = node.key
            kept.said_of[number] = said_of(
                node, before.label, before.task, before.python, placements[number], seconds, found(number)
            )
        for number, source in sources.items():
            kept.sources[number] = source_data(source)
        head["undone"] = undone
        for path in head["databases"]:
            self.stamps[path] = UNSURE

    def _placed(self, step: Step, placements: Iterable[Placement], judge: Judge) -> None:
        for placement in placements:
            made = self._made(step, placement, judge)
            sidecar = self._sidecar(step, placement) if placement.sidecar else {}
            if made is None or sidecar is None:
                self.outdated, self.lasting = True, False
                return
            for path, what in {placement.path: made, **sidecar}.items():
                self._unsure[path] = what
                self.stamps[path] = UNSURE

    def _made(self, step: Step, placement: Placement, judge: Judge) -> tuple[bytes, bool] | None:
        """Digest and executable bit of what was placed; None if nobody knows."""
        artifact = judge.artifact_of(step, placement.future.output)
        if not isinstance(artifact, Artifact):
            return None
        artifact = as_placed(artifact, placement.path)
        if artifact.kind == "dir":
            self._trees[placement.path] = [(placement.path, UNSURE)], []
        if artifact.kind != "value":
            return bytes(artifact.digest), artifact.executable
        written = self._project.index.placed(placement.path)
        if written is None or written.kind != "file" or written.value != value_name(artifact):
            return None
        return bytes(written.digest), written.executable

    def _sidecar(self, step: Step, placement: Placement) -> dict[str, tuple[bytes, bool]] | None:
        """The sidecar beside it, as ``_made``, if it says what a build would write; None if not."""
        data = read_bytes_of(self._project.root, placement.path)
        if data is None:
            return None
        artifact, said = step.artifacts.get(placement.future.output), parse_sidecar(data, placement.path)
        written = self._project.index.placed(placement.path)
        if artifact is None or written is None or (said.digest, said.kind) != (written.digest, written.kind):
            return None
        return {sidecar_of(placement.path): (bytes(Digest.of(data)), False)}

    def forget(self) -> None:
        """Remove the snapshot; the next build with nothing to do writes another."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._project.root, STATE, DIRECTORY, name_of(self._changed.kept[0])))

    def write(self, summary: tuple[str, str]) -> None:
        """Write down the snapshot of a build with nothing to do, which says ``summary``, before and after the seconds."""
        for path, stamp in self.stamps.items():
            if stamp != UNSURE and path not in self._trees:
                self._unsure.pop(path, None)
        for path, (files, _) in self._trees.items():
            if (path, UNSURE) not in files:
                self._unsure.pop(path, None)
        if self._kept.head["undone"] or self._unsure:  # Then the next build must not be answered.
            self.stamps.update(dict.fromkeys(self._kept.head["databases"], UNSURE))
        self._kept.head["unsure"] = self._unsure
        graph = write_changes(self._project.root, name_of(self._changed.kept[0]), self._kept)
        rewrite(self._changed, self.stamps, self._trees, summary, graph)


def _places(found: Found) -> set[tuple[str, bool]]:
    return {(path, digest is None) for path, digest in found}

"""What a build that ran or placed something leaves, as a build with nothing to do would find it.

It decides whether that is known without a look: from what the steps made, and from what is remembered of the files.

The invariant: what is said to stand at a path has been read there, or written there by this build; where a later write could
have the same stamp it is ``unsure``, and read once more by the next build.
"""

import os
from collections.abc import Iterator, Mapping
from stat import S_ISREG
from typing import Final

from merkl.digest import Digest, Key
from merkl.engine.judge import Judge
from merkl.engine.keptnodes import found_by
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.replacing import value_name
from merkl.engine.select import Selection
from merkl.engine.step import State, Step
from merkl.nodes import Artifact, Node
from merkl.python.mapping import Mapped
from merkl.python.placed import as_placed
from merkl.snapshot.answer import UNSURE, Stamp, full_stamp
from merkl.snapshot.keep import Left
from merkl.stamp import Stamp as FileStamp
from merkl.workspace.ledger import Placement as Row
from merkl.workspace.paths import absolute
from merkl.workspace.sidecar import parse_sidecar, sidecar_of

_MANY: Final = 100  # Rows that are read together rather than one by one.


class NotLeft(Exception):
    """Only a build with nothing to do can say what there is now."""


class Leaving:
    """What is there after a build of a selection that was ``judge``'s.

    ``stamps`` and ``unsure`` are by path as they stand in a snapshot; ``counted`` are the nodes that have a step when there is
    nothing to do, ``undone`` those that did not end well.

    Raises:
        NotLeft: the text says why.
    """

    def __init__(self, project: Project, selection: Selection, judge: Judge) -> None:
        self.stamps: Final[dict[str, Stamp]] = dict.fromkeys(database_paths(project), UNSURE)
        self.unsure: Final[dict[str, tuple[bytes, bool]]] = {}
        self.counted: Final[dict[Key, Node]] = {}
        self.undone: Final[set[Key]] = set()
        self._project: Final = project
        self._judge: Final = judge
        self._trees: Final[set[str]] = set()
        self._found: Final[set[str]] = set()
        self._placed: Final[set[str]] = set()
        self._device: Final = os.stat(project.root).st_dev
        self._see_project()
        self._count(selection)
        self._see_placed(selection)
        self._see_found()

    @property
    def left(self) -> Left:
        """What of that a snapshot has to have."""
        return Left(self.stamps, self._placed, self._found, self._trees)

    @property
    def saved(self) -> float:
        """How long what is counted took (in seconds)."""
        records = (step.record for key in self.counted if (step := self._judge.steps[key]))
        return sum(record.seconds for record in records if record is not None)

    def _see_project(self) -> None:
        if self._project.shelter.holds_some or self._project.shelter.notes:
            raise NotLeft("the store could not take everything")

    # ---- nodes -----------------------------------------------------------------------------------------------------

    def _count(self, selection: Selection) -> None:
        """Find the nodes that a build asks for if the store answers all that it can answer by its key."""
        steps, stack = self._judge.steps, list(selection.roots)
        while stack:
            node = stack.pop()
            if node.key in self.counted:
                continue
            self.counted[node.key] = node
            step = steps.get(node.key)
            if step is None:
                raise NotLeft(f"{node.name} was not asked for")
            if step.state is State.KNOWN:
                self._check_known(node, step)
            if node.open and node.given is None:
                stack += [dep.future.node for dep in node.deps]
        self.undone.update(key for key, step in steps.items() if step.state is not State.KNOWN)

    def _check_known(self, node: Node, step: Step) -> None:
        """See that the store answers for a node the next time."""
        if not node.cache or isinstance(node.call, Mapped):
            raise NotLeft(f"{node.name} has to be looked at each time")
        if node.given is not None:
            return
        if step.record is None or not self._judge.agrees(node, step.record):
            raise NotLeft(f"the result of {node.name} was made from something else")

    # ---- files -----------------------------------------------------------------------------------------------------

    def _see_placed(self, selection: Selection) -> None:
        rows = _Rows(self._project, len(selection.placements))
        for placement in selection.placements:
            step = self._judge.steps[placement.future.node.key]
            self._placed.add(placement.path)
            if placement.sidecar:
                self._placed.add(sidecar_of(placement.path))
            if step.state is not State.KNOWN:
                self.stamps[placement.path] = UNSURE
                continue
            digest, executable = self._see_output(placement, step, rows)
            if placement.sidecar:
                self._see_sidecar(placement, step, digest)
            self.unsure_unless_settled(placement.path, digest, executable=executable)

    def _see_output(self, placement: Placement, step: Step, rows: "_Rows") -> tuple[bytes, bool]:
        """Digest and executable bit of what was placed."""
        artifact = self._judge.artifact_of(step, placement.future.output)
        if not isinstance(artifact, Artifact):
            raise NotLeft(f"{placement.path} is not what {step.node.name} made")
        artifact = as_placed(artifact, placement.path)
        if artifact.kind == "dir":
            self._trees.add(placement.path)
        if artifact.kind != "value":
            return bytes(artifact.digest), artifact.executable
        row = rows.at(placement.path)
        if row is None or row.kind != "file" or row.value != value_name(artifact):
            raise NotLeft(f"{placement.path} was placed by somebody else")
        return bytes(row.digest), row.executable

    def unsure_unless_settled(self, path: str, digest: bytes, *, executable: bool) -> None:
        """Let a snapshot have the stamp at which a file had this digest, or if that is not known, let it be looked at."""
        self.stamps[path] = UNSURE
        known = None if path in self._trees else self._project.index.remembered(path)
        if known is not None:
            stamp, settled, was = known
            if was == digest and stamp.executable == executable:
                self.stamps[path] = _full(stamp, self._device)
                if settled:
                    return
        self.unsure[path] = digest, executable

    def _see_sidecar(self, placement: Placement, step: Step, digest: bytes) -> None:
        """The sidecar beside an output of that digest, if it says what a build would write."""
        path = sidecar_of(placement.path)
        artifact = step.artifacts.get(placement.future.output)
        try:
            where = absolute(path, self._project.root)
            found = os.stat(where)
            with open(where, "rb") as file:
                data = file.read()
        except OSError as error:
            raise NotLeft(f"{path} cannot be read: {error.strerror}") from None
        said = parse_sidecar(data, placement.path)
        kind = "file" if artifact is not None and artifact.kind == "value" else artifact and artifact.kind
        if (bytes(said.digest), said.kind) != (digest, kind) or not S_ISREG(found.st_mode):
            raise NotLeft(f"{path} says something else than what was placed")
        self.stamps[path] = full_stamp(found)
        self.unsure[path] = bytes(Digest.of(data)), bool(found.st_mode & 0o100)

    def _see_found(self) -> None:
        """What was found while tasks ran: a build with nothing to do looks at it."""
        index, root = self._project.index, self._project.root
        for path, digest in self._discovered():
            if path in self._found or path in self._placed:
                continue
            self._found.add(path)
            try:
                found = os.stat(absolute(path, root))
            except OSError as error:
                self.stamps[path] = UNSURE if digest is not None else error.errno or 0
                continue
            self.stamps[path] = UNSURE
            known = index.remembered(path)
            if known is not None and digest is not None:
                stamp, settled, was = known
                if settled and was == digest and FileStamp.of(found) == stamp:
                    self.stamps[path] = full_stamp(found)

    def _discovered(self) -> Iterator[tuple[str, bytes | None]]:
        for key in self.counted:
            yield from found_by(self._judge.steps[key].record)


class _Rows:
    """What merkl put at paths: read one by one, or together if they are many."""

    def __init__(self, project: Project, count: int) -> None:
        self._index: Final = project.index
        self._many: Final = count >= _MANY
        self._all: Mapping[str, Row] | None = None

    def at(self, path: str) -> Row | None:
        if not self._many:
            return self._index.placed(path)
        if self._all is None:
            self._index.flush()
            self._all = self._index.all_placed()
        return self._all.get(path)


def database_paths(project: Project) -> list[str]:
    """The files of the store's database, as they stand in a snapshot."""
    inside = project.root.rstrip("/") + "/"
    return [path.removeprefix(inside) for path in project.store.database_files()]


def _full(stamp: FileStamp, device: int) -> Stamp:
    """As ``full_stamp`` of a file on that device: one on another looks changed, which does no harm."""
    return stamp.mode, stamp.inode, device, stamp.size, stamp.mtime_ns, stamp.ctime_ns

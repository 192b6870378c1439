"""Outputs in the workspace: putting them where they were asked for, once their steps are known.

It decides what is written at a path, and whether it is there already.  What may be replaced is for ``replacing`` to say.

The invariant: an output's path holds what was there before, or all of the output.
"""

import errno
import functools
import io
import os
import time
from collections.abc import Iterable, Mapping
from typing import BinaryIO, Final

from merkl import events
from merkl.digest import Digest, Key
from merkl.engine.beside import Beside
from merkl.engine.contained import NotThere, absent
from merkl.engine.explain import all_parts
from merkl.engine.joint import artifact_at, maker_of, record_of
from merkl.engine.judge import Judge
from merkl.engine.laststeps import last_steps
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.replacing import agrees, is_there, make_replaceable, value_name
from merkl.engine.select import plain_label
from merkl.engine.step import Cached, State, Step
from merkl.errors import SerializationError, StoreCorrupt, WorkspaceError
from merkl.events import Reporter
from merkl.nodes import Artifact, Node
from merkl.python.placed import as_placed
from merkl.snapshot import recorder
from merkl.stamp import Stamp
from merkl.tree import Tree
from merkl.workspace import ledger
from merkl.workspace.place import move_file, place_file, place_tree

_MANY: Final = 1000  # Steps to remember before they are written down.


class Workspace:
    """The placed outputs of one build, and what is remembered of its steps."""

    def __init__(
        self, project: Project, placements: Iterable[Placement], reporter: Reporter, labels: Mapping[Key, str]
    ) -> None:
        self.project = project
        self.reporter = reporter
        self.labels = labels
        self._placements = tuple(placements)
        # The first of each node, and what there is besides: of a large graph a list for each node would be much.
        self._wanted: dict[Key, Placement] = {}
        self._further: dict[Key, list[Placement]] = {}
        for placement in self._placements:
            key = placement.future.node.key
            if self._wanted.setdefault(key, placement) is not placement:
                self._further.setdefault(key, []).append(placement)
        # As the build began.
        self._before = project.index.placed_now(placement.path for placement in self._placements)
        self._staged: Mapping[Digest, bytes] = {}
        self._steps: dict[str, ledger.LastStep] = {}
        self._unchanged: list[tuple[str, Step]] = []
        self._beside = Beside(project, reporter)
        self._lacking: dict[str, set[Key]] = {}  # By path of a file of many values, what was not known yet.

    def places(self, node: Node) -> bool:
        """Whether this build places an output of ``node``."""
        return node.key in self._wanted

    def _placements_of(self, node: Node) -> list[Placement]:
        first = self._wanted.get(node.key)
        return [] if first is None else [first, *self._further.get(node.key, ())]

    @functools.cached_property
    def _by_path(self) -> dict[str, Placement]:
        return {placement.path: placement for placement in self._placements}

    def placed_by(self, path: str) -> str | None:
        """The label of the node of this build that places ``path``, or a directory above it."""
        if path.startswith("/"):
            return None  # Outside the project nothing is placed.
        while path:
            placement = self._by_path.get(path)
            if placement is not None:
                return self.labels.get(placement.future.node.key, placement.future.node.name)
            path = os.path.dirname(path)
        return None

    def offer(self, staged: Mapping[Digest, bytes]) -> None:
        """Files by digest that may be moved instead of copied, until the next offer; absolute paths."""
        self._staged = dict(staged)

    # ---- placing -------------------------------------------------------------------------------------------------

    def place(self, step: Step, judge: Judge) -> bool:
        """Place the outputs of a step that has become known; False if its bytes are gone, so that it runs again.

        Raises:
            PlacementError: something that merkl may not replace is in the way.
            WorkspaceError: the system refused.
            StoreCorrupt: what the step has just made is damaged already.
        """
        for placement in self._placements_of(step.node):
            if placement.joint:
                if not self._place_joint(placement, step, judge):
                    return False
                continue
            artifact = judge.artifact_of(step, placement.future.output)
            if artifact is None:
                judge.lost(step, placement.future.output)
                return False
            if isinstance(artifact, NotThere):
                raise absent(artifact, output=placement.path, at=placement.place)
            artifact = as_placed(artifact, placement.path)
            if not self._is_there(placement, artifact, step):
                judge.require([placement.future])
                if step.state is not State.KNOWN:
                    return False
                self.project.shelter.alone(artifact)
                try:
                    self._put_or_blame(placement, artifact)
                except StoreCorrupt as error:
                    if step.ran:
                        raise  # What was stored just now is damaged: to make it once more would not help.
                    if not error.told:
                        self.reporter.report(events.Note(error.headline, error.hint))
                    judge.lost(step, placement.future.output)
                    return False
            if placement.sidecar:
                self._beside.write(placement, artifact, new=not isinstance(step.verdict, Cached))
        return True

    def _place_joint(self, placement: Placement, step: Step, judge: Judge) -> bool:
        """Write a file of many values, once all are known; False if the bytes of ``step``'s are gone."""
        path = placement.path
        if path not in self._lacking:
            self._lacking[path] = {future.node.key for future in placement.joint}
        self._lacking[path].discard(step.node.key)
        artifact = None if self._lacking[path] else artifact_at(judge, placement)
        if artifact is not None and not is_there(self.project, path, artifact):
            judge.require(placement.joint)
            judge.want([])
            artifact = artifact_at(judge, placement)
            if artifact is None or not self._put_joint(placement, artifact, judge):
                return step.state is State.KNOWN
        if artifact is not None and placement.sidecar:
            new = not isinstance(step.verdict, Cached)
            self._beside.write(placement, Artifact("file", artifact.digest, 0), new=new)
        return True

    def _put_joint(self, placement: Placement, artifact: Artifact, judge: Judge) -> bool:
        """Put a file of many values in place; False if the bytes of one are gone, which is then made again."""
        from merkl.engine.jointfile import LostValue, draft_of

        made = [judge.steps[future.node.key].artifacts[future.output] for future in placement.joint]
        try:
            with draft_of(self.project, placement, made) as draft:
                self._put_written(placement, artifact, draft.artifact, draft.path)
            self.project.shelter.publish([(record_of(placement), True)], {})
        except LostValue as lost:
            future = placement.joint[lost.index]
            step = judge.steps[future.node.key]
            if step.ran:
                raise lost.error from None
            self.reporter.report(events.Note(lost.error.headline, lost.error.hint))
            judge.lost(step, future.output)
            judge.want([])
            return False
        return True

    def take_kept(self) -> list[Digest]:
        """What was put into the store for sidecars that are new, since the last time."""
        return self._beside.take_kept()

    def _is_there(self, placement: Placement, artifact: Artifact, step: Step) -> bool:
        """Whether the path already has what it should; if merkl did not put it there, it is remembered as if it had."""
        if artifact.kind == "value":
            return is_there(self.project, placement.path, artifact)
        found = self.project.index.look(placement.path)
        if not agrees(found, artifact):
            return False
        if (placement.path, artifact.digest, step.node.key) not in self._before:
            self._remember(placement, artifact)
        return True

    def _put(self, placement: Placement, artifact: Artifact) -> None:
        path = placement.path
        if artifact.kind == "value":
            self._put_value(placement, artifact)
            return
        recorder.put_aside()
        self.project.shelter.bring([artifact])
        replace = make_replaceable(self.project, path, self.reporter)
        if artifact.kind == "dir":
            tree = self._tree(artifact.digest)
            place_tree(self.project.root, path, tree, self._open, replace=replace)
        else:
            stamp = self._put_file(path, artifact, replace)
            self.project.index.seen(path, stamp, artifact.digest)
        self._remember(placement, artifact)
        self.reporter.report(
            events.Placed(placement.future.node, self.labels[placement.future.node.key], path)
        )

    def _put_or_blame(self, placement: Placement, artifact: Artifact) -> None:
        """Place an output; after an input or output error find out whether it was the store that could not be read.

        Raises:
            StoreCorrupt: it was; what cannot be read has been set aside.
        """
        try:
            self._put(placement, artifact)
        except (OSError, WorkspaceError) as error:
            reason = error if isinstance(error, OSError) else error.__cause__
            if isinstance(reason, OSError) and reason.errno == errno.EIO:
                self._verify(artifact)
            raise

    def _verify(self, artifact: Artifact) -> None:
        inside = self._tree(artifact.digest).entries if artifact.kind == "dir" else ()
        for digest in (artifact.digest, *(entry.digest for entry in inside if entry.digest is not None)):
            if not self.project.shelter.sheltered(digest) and self.project.store.blobs.verify(digest) is None:
                raise StoreCorrupt(
                    f"a damaged blob, {digest.short}, could not be read and was set aside",
                    hint="it is made again",
                )

    def _put_file(self, path: str, artifact: Artifact, replace: bool) -> Stamp:
        """Place a file's bytes: the staged file itself if there is one and its name goes to no other, else a copy."""
        root, staged = self.project.root, self._staged.get(artifact.digest)
        if staged is not None:
            self._staged = {
                digest: other for digest, other in self._staged.items() if digest != artifact.digest
            }
            stamp = move_file(root, path, staged, executable=artifact.executable, replace=replace)
            if stamp is not None:
                return stamp
        with self._open(artifact.digest) as content:
            return place_file(root, path, content, executable=artifact.executable, replace=replace)

    def _put_value(self, placement: Placement, artifact: Artifact) -> None:
        """Write a plain value in the form that the path's extension asks for."""
        if _is_written_as_stored(artifact, placement.path):
            self.project.shelter.bring([artifact])
            # Not read here: it may be larger than memory.
            self._put_written(placement, artifact, Artifact("file", artifact.digest, artifact.size), None)
            return
        data = self._in_form(placement, artifact)
        self._put_written(placement, artifact, Artifact("file", Digest.of(data), len(data)), data)

    def _in_form(self, placement: Placement, artifact: Artifact) -> bytes:
        from merkl.python.items import MerklList, as_plain
        from merkl.python.run import load_value
        from merkl.store.many import write_many
        from merkl.store.written import for_extension

        value = load_value(self.project.shelter, artifact)
        if isinstance(value, bytes):
            return value
        buffer = io.BytesIO()
        try:
            if isinstance(value, MerklList):
                write_many(placement.path, value, buffer)
                return buffer.getvalue()
            value = as_plain(value)
            for_extension(os.path.splitext(placement.path)[1]).dump(value, buffer)
        except SerializationError as error:
            error.details.setdefault("output", f"{placement.future.node.name}, placed at {placement.place}")
            if value is None:
                from merkl.python.advice import silent

                error.hint = silent([placement.future.node], self.project.root) or error.hint
            raise
        return buffer.getvalue()

    def _put_written(
        self, placement: Placement, artifact: Artifact, written: Artifact, data: bytes | str | None
    ) -> None:
        """Put the written form of a value in place, unless it is there: ``data``, a file at that path, or from the store."""
        found = self.project.index.look(placement.path)
        if not (
            isinstance(found, Artifact)
            and (found.kind, found.digest, found.executable) == ("file", written.digest, False)
        ):
            recorder.put_aside()
            replace = make_replaceable(self.project, placement.path, self.reporter)
            if data is None:
                stamp = self._put_file(placement.path, written, replace)
            elif isinstance(data, str):
                with open(data, "rb") as file:
                    stamp = place_file(self.project.root, placement.path, file, replace=replace)
            else:
                stamp = place_file(self.project.root, placement.path, data, replace=replace)
            self.project.index.seen(placement.path, stamp, written.digest)
            label = self.labels[placement.future.node.key]
            self.reporter.report(events.Placed(placement.future.node, label, placement.path))
        self._remember(placement, written, value_name(artifact))

    def _open(self, digest: Digest) -> BinaryIO:
        return self.project.shelter.reader(digest)

    def _tree(self, digest: Digest) -> Tree:
        with self._open(digest) as content:
            from merkl.store.treecheck import tree_in

            return tree_in(content.read(), digest)

    def _remember(self, placement: Placement, artifact: Artifact, value: str = "") -> None:
        self.project.index.set_placed(
            placement.path,
            ledger.Placement(
                artifact.kind, artifact.digest, artifact.executable, *maker_of(placement),
                placement.target, placement.sidecar, time.time_ns(), value,
            ),
        )  # fmt: skip

    # ---- remembering ---------------------------------------------------------------------------------------------

    def done(self, step: Step, label: str) -> None:
        """Remember a step that is known, for ``why`` and ``log``."""
        if step.ran:
            self._remember_step(label, step)
        else:
            self._unchanged.append((label, step))

    def failed(self, step: Step, label: str, log: str) -> None:
        """Remember a step that failed; what made it stays that of the last time it did not."""
        before = last_steps(self.project, [step.node], self.labels).get(step.node.key)
        key, parts = (step.node.key, ()) if before is None else (before.key, before.parts)
        last = ledger.LastStep(key, None, 0.0, parts, log, "failed")
        self._keep_step(label, step.node, last)

    def _remember_step(self, label: str, step: Step) -> None:
        seconds = step.record.seconds if step.record is not None else 0.0
        parts = all_parts(step.node, self.labels)
        last = ledger.LastStep(step.node.key, step.content, seconds, parts, "", "ran")
        self._keep_step(label, step.node, last)

    def _keep_step(self, label: str, node: Node, last: ledger.LastStep) -> None:
        self._steps[label] = last
        if node.key in self._wanted or "#" in label:  # Else it has the name that it has by itself.
            self._steps[plain_label(node)] = last
        if len(self._steps) >= _MANY:  # Each has all that entered its key, which is much to keep in memory.
            self.project.index.set_steps(self._steps)
            self.project.index.flush()
            self._steps = {}

    def close(self) -> None:
        """Write back what is to be remembered, and tell git of what it is to leave alone."""
        self.flush()
        self._beside.tell_git()

    def flush(self) -> None:
        """Write back what is to be remembered."""
        index = self.project.index
        unchanged, self._unchanged = self._unchanged, []
        for start in range(0, len(unchanged), _MANY):
            some = unchanged[start : start + _MANY]
            known = index.ran_last(label for label, _ in some)
            for label, step in some:
                if known.get(label) != step.node.key:
                    self._remember_step(label, step)
        index.set_steps(self._steps)
        self._steps = {}
        index.flush()


def _is_written_as_stored(artifact: Artifact, path: str) -> bool:
    """Whether the bytes of a value in the store are those of the file it is written to."""
    from merkl.store.serializers import is_own_extension
    from merkl.store.written import writes_text_as_it_is

    if artifact.serializer == "bytes" or is_own_extension(artifact.serializer, os.path.splitext(path)[1]):
        return True
    return artifact.serializer == "text" and writes_text_as_it_is(os.path.splitext(path)[1])

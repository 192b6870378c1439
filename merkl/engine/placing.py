"""Outputs in the workspace: putting them where they were asked for, and never losing what lies there.

It decides whether what is at a path may be replaced.

The invariant: bytes are replaced or removed only if merkl put them there, or if they are safe in the store.
"""

import errno
import io
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO, Final

from merkl import events
from merkl.digest import Digest, Key
from merkl.engine.contained import NotThere, absent
from merkl.engine.explain import all_parts
from merkl.engine.joint import artifact_at, key_of_file, record_of
from merkl.engine.jointfile import LostValue, draft_of
from merkl.engine.judge import Judge
from merkl.engine.project import Placement, Project
from merkl.engine.select import plain_label
from merkl.engine.sidecars import keep
from merkl.engine.step import State, Step
from merkl.errors import PlacementError, SerializationError, StoreCorrupt, WorkspaceError
from merkl.events import Reporter
from merkl.nodes import Artifact, Node
from merkl.python.advice import silent
from merkl.python.items import MerklList, as_placed, as_plain
from merkl.python.run import load_value
from merkl.stamp import Absent, Stamp
from merkl.store.many import write_many
from merkl.store.serializers import is_own_extension
from merkl.store.written import for_extension, writes_text_as_it_is
from merkl.tree import Tree
from merkl.workspace import ledger
from merkl.workspace.gitignore import add_ignored
from merkl.workspace.index import Other
from merkl.workspace.place import link_at, move_file, place_file, place_link, place_tree, remove_placed
from merkl.workspace.sidecar import Sidecar, write_sidecar

_MANY: Final = 1000  # Steps to remember before they are written down.


class Workspace:
    """The placed outputs of one build, and what is remembered of its steps."""

    def __init__(
        self, project: Project, placements: Iterable[Placement], reporter: Reporter, labels: Mapping[Key, str]
    ) -> None:
        self.project = project
        self.reporter = reporter
        self.labels = labels
        self._wanted: dict[Key, list[Placement]] = {}
        self._by_path: dict[str, Placement] = {}
        for placement in placements:
            self._wanted.setdefault(placement.future.node.key, []).append(placement)
            self._by_path[placement.path] = placement
        self._before = project.index.placed_now(self._by_path)  # As the build began.
        self._staged: Mapping[Digest, bytes] = {}
        self._steps: dict[str, ledger.LastStep] = {}
        self._unchanged: list[tuple[str, Step]] = []
        self._with_sidecar: list[str] = []
        self._lacking: dict[str, set[Key]] = {}  # By path of a file of many values, what was not known yet.

    def places(self, node: Node) -> bool:
        """Whether this build places an output of ``node``."""
        return node.key in self._wanted

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
        for placement in self._wanted.get(step.node.key, ()):
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
                    self.reporter.report(events.Note(error.headline, error.hint))
                    judge.lost(step, placement.future.output)
                    return False
            if placement.sidecar:
                self._write_sidecar(placement, artifact)
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
            self._keep_written(path)
            self._write_sidecar(placement, Artifact("file", artifact.digest, 0))
        return True

    def _put_joint(self, placement: Placement, artifact: Artifact, judge: Judge) -> bool:
        """Put a file of many values in place; False if the bytes of one are gone, which is then made again."""
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

    def _keep_written(self, path: str) -> None:
        """Let the store have what a sidecar names: it is the bytes of no output."""
        found = self.project.index.look(path)
        if isinstance(found, Artifact) and not self.project.shelter.has([found.digest]):
            self.project.shelter.put_file(os.path.join(self.project.root, path))

    def _is_there(self, placement: Placement, artifact: Artifact, step: Step) -> bool:
        """Whether the path already has what it should; if merkl did not put it there, it is remembered as if it had."""
        if artifact.kind == "value":
            return is_there(self.project, placement.path, artifact)
        found = self.project.index.look(placement.path)
        if not _agrees(found, artifact):
            return False
        if self._before.get(placement.path) != artifact.digest + step.node.key:
            self._remember(placement, artifact)
        return True

    def _put(self, placement: Placement, artifact: Artifact) -> None:
        path = placement.path
        if artifact.kind == "value":
            self._put_value(placement, artifact)
            return
        self.project.shelter.bring([artifact])
        replace = self._make_replaceable(path)
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
        staged = self._staged.get(artifact.digest)
        if staged is not None:
            self._staged = {
                digest: other for digest, other in self._staged.items() if digest != artifact.digest
            }
            stamp = move_file(
                self.project.root, path, staged, executable=artifact.executable, replace=replace
            )
            if stamp is not None:
                return stamp
        with self._open(artifact.digest) as content:
            return place_file(
                self.project.root, path, content, executable=artifact.executable, replace=replace
            )

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
            replace = self._make_replaceable(placement.path)
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
        self._remember(placement, written, _value_name(artifact))

    def _make_replaceable(self, path: str) -> bool:
        """Make sure that what is at a path may go; whether even a full directory may.

        Raises:
            PlacementError: it is something that cannot be kept, such as a socket.
        """
        return make_replaceable(self.project, path, self.reporter)

    def _open(self, digest: Digest) -> BinaryIO:
        return self.project.shelter.reader(digest)

    def _tree(self, digest: Digest) -> Tree:
        with self._open(digest) as content:
            return Tree.decode(content.read())

    def _remember(self, placement: Placement, artifact: Artifact, value: str = "") -> None:
        self.project.index.set_placed(
            placement.path,
            ledger.Placement(
                artifact.kind, artifact.digest, artifact.executable, *_maker_of(placement),
                placement.target, placement.sidecar, time.time_ns(), value,
            ),
        )  # fmt: skip

    def _write_sidecar(self, placement: Placement, artifact: Artifact) -> None:
        where = os.path.join(self.project.root, placement.path)
        found = self.project.index.look(placement.path)
        kind, digest, size = artifact.kind, artifact.digest, artifact.size
        if isinstance(found, Artifact):
            digest, size = found.digest, found.size
            kind = found.kind
        node = placement.future.node
        modified = os.stat(where).st_mtime_ns
        sidecar = Sidecar(
            kind, digest, size, modified, artifact.executable, *_maker_of(placement), node.name,
            artifact.serializer,
        )  # fmt: skip
        kept = write_sidecar(self.project.root, placement.path, sidecar, resolve=True)
        self._with_sidecar.append(placement.path)
        if kept.modified_ns != modified:
            os.utime(where, ns=(kept.modified_ns, kept.modified_ns))
            if kind != "dir":
                self.project.index.seen(placement.path, Stamp.of(os.stat(where)), digest)

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
        self._steps[label] = self._steps[plain_label(node)] = last
        if len(self._steps) >= _MANY:  # Each has all that entered its key, which is much to keep in memory.
            self.project.index.set_steps(self._steps)
            self.project.index.flush()
            self._steps = {}

    def close(self) -> None:
        """Write back what is to be remembered."""
        index = self.project.index
        for start in range(0, len(self._unchanged), _MANY):
            some = self._unchanged[start : start + _MANY]
            known = index.ran_last(label for label, _ in some)
            for label, step in some:
                if known.get(label) != step.node.key:
                    self._remember_step(label, step)
        index.set_steps(self._steps)
        index.flush()
        self._tell_git()

    def _tell_git(self) -> None:
        """Keep out of git what has a sidecar there."""
        try:
            added = add_ignored(self.project.root, self._with_sidecar)
        except WorkspaceError as error:
            note = events.Note(f"git may take in outputs that have a sidecar: {error.headline}", error.hint)
            self.reporter.report(note)
            return
        for file, paths in added.items():
            what = paths[0] if len(paths) == 1 else f"{len(paths)} outputs"
            self.reporter.report(events.Note(f"git now ignores {what}, and keeps the sidecar: see {file}"))


def last_steps(
    project: Project, nodes: Iterable[Node], labels: Mapping[Key, str]
) -> dict[Key, ledger.LastStep]:
    """What is remembered of each node's step, under its label in this request or under its own name."""
    nodes = list(nodes)
    known = project.index.steps(
        {*(labels[node.key] for node in nodes), *(plain_label(node) for node in nodes)}
    )
    found = {node.key: known.get(labels[node.key]) or known.get(plain_label(node)) for node in nodes}
    return {key: step for key, step in found.items() if step is not None}


def expected_seconds(
    project: Project, nodes: Sequence[Node], labels: Mapping[Key, str]
) -> dict[Node, float | None]:
    """How long each node took when it last ran, under its label in this request or under its own name."""
    names = {node: (labels[node.key], plain_label(node)) for node in nodes}
    took = project.index.seconds({name for both in names.values() for name in both})
    return {node: took.get(label, took.get(plain)) for node, (label, plain) in names.items()}


def _is_written_as_stored(artifact: Artifact, path: str) -> bool:
    """Whether the bytes of a value in the store are those of the file it is written to."""
    if artifact.serializer == "bytes" or is_own_extension(artifact.serializer, os.path.splitext(path)[1]):
        return True
    return artifact.serializer == "text" and writes_text_as_it_is(os.path.splitext(path)[1])


def _maker_of(placement: Placement) -> tuple[Key, str]:
    """The key and the output of what is at a path."""
    if placement.joint:
        return key_of_file(placement), ""
    return placement.future.node.key, placement.future.output


def _value_name(artifact: Artifact) -> str:
    """What tells a stored value from others, in the ledger."""
    return f"{artifact.serializer} {artifact.digest.hex()}"


def is_there(project: Project, path: str, artifact: Artifact) -> bool:
    """Whether ``path`` has the bytes, kind and executable bit of an artifact, or the written form of a value."""
    found = project.index.look(path)
    if not isinstance(found, Artifact):
        return False
    artifact = as_placed(artifact, path)
    if artifact.kind == "value":
        row = project.index.placed(path)
        placed = row is not None and row.digest == found.digest and row.value == _value_name(artifact)
        return placed and not found.executable
    return _agrees(found, artifact)


def _agrees(found: Artifact | Absent | Other, artifact: Artifact) -> bool:
    """Whether what was found has the bytes, kind and executable bit of an artifact."""
    return (
        isinstance(found, Artifact)
        and found.digest == artifact.digest
        and found.kind == artifact.kind
        and found.executable == artifact.executable
    )


def is_replaceable(project: Project, path: str) -> bool:
    """Whether what is at ``path`` is nothing, or merkl's own: no link is."""
    if link_at(project.root, path):
        return False
    found = project.index.look(path)
    if isinstance(found, Artifact):
        row = project.index.placed(path)
        return row is not None and row.digest == found.digest and row.executable == found.executable
    return isinstance(found, Absent)


def make_replaceable(project: Project, path: str, reporter: Reporter) -> bool:
    """Make sure that what is at ``path`` may be replaced or removed: save it unless it is merkl's; True if it is safe.

    Raises:
        PlacementError: it is something that cannot be kept, such as a socket.
    """
    link = link_at(project.root, path)
    if link:
        save_link(project, path, link)
        reporter.report(events.Saved(path, link))
        return True
    found = project.index.look(path)
    if isinstance(found, Absent):
        return False
    if isinstance(found, Other):
        raise PlacementError(
            f"cannot place an output: {found.what}", hint="remove it, or choose another path"
        )
    if is_replaceable(project, path):
        return True
    if found.kind == "dir" and not _has_entries(project, path):
        return True
    save_edit(project, path, found)
    reporter.report(events.Saved(path))
    return True


def _has_entries(project: Project, path: str) -> bool:
    with os.scandir(os.path.join(project.root, path)) as entries:
        return next(entries, None) is not None


def save_edit(project: Project, path: str, found: Artifact) -> None:
    """Put what is at ``path`` into the store so that it outlives a loss of power, and remember that it is there."""
    digest = keep(project.store, project.root, path, found.kind, durable=True)
    project.index.add_saved(
        ledger.SavedEdit(path, digest, found.kind, found.size, time.time_ns(), found.executable)
    )


def save_link(project: Project, path: str, text: str) -> None:
    """Put the text of the link at ``path`` into the store, as ``save_edit`` does with data."""
    raw = os.fsencode(text)
    digest = project.store.put([raw], durable=True)
    project.index.add_saved(ledger.SavedEdit(path, digest, "link", len(raw), time.time_ns()))


def clean(project: Project, paths: Sequence[str], reporter: Reporter, *, dry_run: bool) -> list[str]:
    """Remove placed outputs; what was edited since is saved first.  The paths that were, or would be, removed."""
    removed = []
    for path in paths:
        found = project.index.look(path)
        if isinstance(found, (Absent, Other)):
            if isinstance(found, Absent) and not dry_run:
                project.index.forget_placed(path)
            continue
        removed.append(path)
        if not dry_run:
            make_replaceable(project, path, reporter)
            remove_placed(project.root, path)
            project.index.forget_placed(path)
    project.index.flush()
    return removed


def restore(project: Project, path: str, edit: ledger.SavedEdit, reporter: Reporter) -> None:
    """Bring back an edit that was saved; what is at the path now is saved first if it is not merkl's.

    Raises:
        StoreCorrupt: its bytes are gone.
    """
    replace = make_replaceable(project, path, reporter)
    content = project.store.open(edit.digest)
    if content is None:
        raise StoreCorrupt(
            f"the saved {path} is no longer in the store", hint="`merkl fsck` says what else is gone"
        )
    with content:
        if edit.kind == "dir":
            tree = Tree.decode(content.read())

            def opened(digest: Digest) -> BinaryIO:
                blob = project.store.open(digest)
                if blob is None:
                    raise StoreCorrupt(f"a file of the saved {path} is no longer in the store")
                return blob

            place_tree(project.root, path, tree, opened, replace=replace, own=True)
        elif edit.kind == "link":
            place_link(project.root, path, content.read(), replace=replace)
        else:
            place_file(project.root, path, content, executable=edit.executable, replace=replace)
    project.index.forget_placed(path)
    project.index.flush()

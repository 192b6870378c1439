"""One attempt of one node: its workplace, its job, and taking what it made into the store.

It decides nothing about order.  It is where the two kinds of tasks meet the store.

The invariant: outputs enter the store before the record that names them, and a record is written only if every source and
every view that the node read is still what it was when the node started.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import merkl.bash.run
import merkl.python.run
from merkl.bash.task import BashCall
from merkl.digest import Digest, Key
from merkl.engine.project import Project
from merkl.errors import InputChanged, TaskFailed
from merkl.execute.base import Ended, Exited, Job
from merkl.execute.workplace import Staged, Workplace
from merkl.nodes import Artifact, Node
from merkl.python.task import PythonCall
from merkl.store.base import Discovered, Record
from merkl.store.local import RunLock
from merkl.workspace.trees import read_output_tree


@dataclass(slots=True)
class Attempt:
    """A node that was handed to the executor."""

    node: Node
    inputs: Sequence[Artifact]
    content: Key
    place: Workplace
    number: int
    lock: RunLock | None
    views: list[tuple[bytes, Digest]] = field(default_factory=list)


class Attempts:
    """Makes workplaces for one build; ``build`` is its eight-digit name."""

    def __init__(self, project: Project, build: str, placed_by: Callable[[str], str | None]) -> None:
        self.project = project
        self.build = build
        self.placed_by = placed_by
        self._count = 0
        self._root = os.fsencode(project.root)
        self._environ = dict(os.environb)
        self._state = os.fsencode(project.config.state)
        for folder in ("stage", "run"):
            os.makedirs(os.path.join(project.config.state, folder), exist_ok=True)

    def open(
        self, node: Node, inputs: Sequence[Artifact], content: Key, number: int, lock: RunLock | None
    ) -> Attempt:
        """Make the directories of a new attempt."""
        self._count += 1
        name = f"{self.build}-{self._count:06d}".encode()
        stage, run = b".merkl/stage/" + name, b".merkl/run/" + name
        os.mkdir(os.path.join(self._root, stage))
        os.mkdir(os.path.join(self._root, run))
        os.mkdir(os.path.join(self._root, run, b"tmp"))
        views: list[tuple[bytes, Digest]] = []

        def view(artifact: Artifact, filename: bytes) -> bytes:
            path = self._view(artifact, filename)
            views.append((path, artifact.digest))
            return path

        place = Workplace(
            root=self._root,
            stage=stage,
            run=run,
            environ=self._environ,
            view=view,
            load=lambda artifact: merkl.python.run.load_value(self.project.store, artifact),
            store=self.project.config.store,
            modules=self.project.project_modules,
        )
        return Attempt(node, inputs, content, place, number, lock, views)

    def _view(self, artifact: Artifact, filename: bytes) -> bytes:
        views = self.project.views
        if artifact.kind == "dir":
            path = views.tree(artifact.digest, filename)
        else:
            path = views.path(artifact.digest, filename, artifact.executable)
        return os.path.relpath(path, self._root)

    def job(self, attempt: Attempt) -> Job:
        """What the executor is to run.

        Raises:
            StoreCorrupt: an input's bytes are gone.
            MerklError: the call cannot be prepared.
        """
        call = attempt.node.call
        if isinstance(call, BashCall):
            return merkl.bash.run.prepare(attempt.node, attempt.inputs, attempt.place)
        assert isinstance(call, PythonCall)
        return merkl.python.run.prepare(attempt.node, attempt.inputs, attempt.place)

    def check_sources(self, node: Node) -> None:
        """Compare the sources of a node with those its key was made from.

        Raises:
            InputChanged: one differs.
        """
        for source in node.sources:
            if not self.project.index.still(source):
                raise InputChanged(source.path, node.name)

    def take_in(self, attempt: Attempt, ended: Ended) -> tuple[Record, Mapping[Digest, bytes]]:
        """The record of an attempt that ended, and the small blobs to be stored with it; the large ones are stored.

        Raises:
            InputChanged: a source changed meanwhile.
            TaskFailed: it failed, broke its word about outputs, or wrote to its inputs.
        """
        node, place = attempt.node, attempt.place
        staged = self._collect(attempt, ended)
        self.check_sources(node)
        self._check_views(attempt)
        discovered = self._discover(attempt)
        blobs: dict[Digest, bytes] = {}
        outputs = {output.name: self._artifact(output, blobs) for output in staged}
        log = self._log(place, blobs)
        record = Record(
            key=node.key,
            content_key=attempt.content,
            task=node.name,
            outputs=outputs,
            inputs=[artifact.digest for artifact in attempt.inputs],
            seconds=ended.seconds,
            started_ns=ended.started_ns,
            log=log,
            exit_code=ended.how.code if isinstance(ended.how, Exited) else 0,
            discovered=discovered,
            arguments=_arguments(node),
            dependencies=_dependencies(node),
            builder=f"{os.uname().nodename}:{os.getpid()}",
        )
        return record, blobs

    def _collect(self, attempt: Attempt, ended: Ended) -> list[Staged]:
        call = attempt.node.call
        if isinstance(call, BashCall):
            return merkl.bash.run.collect(attempt.node, attempt.inputs, ended, attempt.place)
        return merkl.python.run.collect(attempt.node, ended, attempt.place)

    def _check_views(self, attempt: Attempt) -> None:
        if not attempt.views:
            return
        damaged = self.project.views.check([os.path.join(self._root, path) for path, _ in attempt.views])
        if damaged:
            names = ", ".join(
                sorted(os.fsdecode(os.path.basename(path)) for path, d in attempt.views if d in damaged)
            )
            raise TaskFailed(
                f"{attempt.node.name} wrote to its input {names}",
                at=attempt.node.place,
                hint="inputs are read-only: let the command write to an out_file_arg, or use scratch=True",
            )

    def _discover(self, attempt: Attempt) -> Discovered | None:
        if not attempt.node.discovers:
            return None
        return merkl.bash.run.discover(
            attempt.node, attempt.place, attempt.inputs, self.placed_by, self.project.digest_at
        )

    def _artifact(self, staged: Staged, blobs: dict[Digest, bytes]) -> Artifact:
        """Put one output into the store, or among the small blobs."""
        if staged.data is not None:
            digest = Digest.of(staged.data)
            blobs[digest] = staged.data
            return Artifact(
                staged.kind, digest, len(staged.data), serializer=staged.serializer, filename=staged.filename
            )
        assert staged.path is not None
        path = os.path.join(self._root, staged.path)
        if staged.kind == "dir":
            return self._tree(staged, path)
        digest, size = self._put(path, blobs)
        return Artifact(staged.kind, digest, size, staged.executable, staged.serializer, staged.filename)

    def _put(self, path: bytes, blobs: dict[Digest, bytes]) -> tuple[Digest, int]:
        size = os.stat(path).st_size
        if size <= SMALL:
            with open(path, "rb") as file:
                data = file.read()
            digest = Digest.of(data)
            blobs[digest] = data
            return digest, len(data)
        return self.project.store.put_file(path, move=True), size

    def _tree(self, staged: Staged, path: bytes) -> Artifact:
        tree = read_output_tree(path, take=lambda file: self.project.store.put_file(file, move=True))
        digest = self.project.store.put([tree.encode()])
        return Artifact("dir", digest, tree.size, filename=staged.filename)

    def _log(self, place: Workplace, blobs: dict[Digest, bytes]) -> Digest | None:
        """Store what was printed; stdout that has a file of its own comes after the rest."""
        log = os.path.join(self._root, place.log)
        stdout = os.path.join(self._root, place.run, b"stdout")
        try:
            with open(log, "ab") as file, open(stdout, "rb") as printed:
                shutil.copyfileobj(printed, file, 1 << 20)
        except FileNotFoundError:
            pass
        try:
            if os.stat(log).st_size == 0:
                return None
            return self._put(log, blobs)[0]
        except FileNotFoundError:
            return None

    def discard(self, attempt: Attempt) -> None:
        """Remove an attempt's directories."""
        for folder in (attempt.place.run, attempt.place.stage):
            _remove(os.path.join(self._root, folder))


SMALL = 100_000  # Bytes; what the store keeps inside its database.


def _remove(folder: bytes) -> None:
    """Remove a directory; quick where it holds a few files only."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    os.rmdir(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(folder)
    except OSError:
        shutil.rmtree(folder, onerror=_make_removable)


def _make_removable(function: Any, path: Any, _: Any) -> None:
    """A task may leave directories that not even their owner may write to."""
    try:
        os.chmod(os.path.dirname(path), 0o700)
        os.chmod(path, 0o700)
        function(path)
    except OSError:
        pass


def _arguments(node: Node) -> dict[str, Any]:
    return {part.name: part.text for part in node.call.parts() if part.group in ("argument", "environment")}


def _dependencies(node: Node) -> list[Any]:
    sources = [{"file": s.path, "digest": s.digest.hex()} for s in node.sources]
    deps = [
        {"node": d.future.node.key.hex(), "task": d.future.node.name, "output": d.future.output}
        for d in node.deps
    ]
    return [*sources, *deps]

"""One attempt of one node: its workplace, its job, and taking what it made into the store.

It decides nothing about order.  It is where the two kinds of tasks meet the store.

The invariant: outputs enter the store before the record that names them, and a record is written only if every source and
every view that the node read is still what it was when the node started.
"""

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import merkl.bash.failure
import merkl.bash.outcome
import merkl.bash.run
import merkl.python.parcel
import merkl.python.run
import merkl.python.send
from merkl.bash.task import BashCall
from merkl.dataclass import dataclass, field
from merkl.digest import Digest, Key
from merkl.engine.contained import refuse_absent
from merkl.engine.directories import Directories
from merkl.engine.discovery import Began, Files
from merkl.engine.growing import put_index
from merkl.engine.longlog import bounded
from merkl.engine.project import Project
from merkl.engine.recorded import arguments_of, dependencies_of
from merkl.engine.shares import Grant
from merkl.engine.taking import put_file, taken
from merkl.errors import InputChanged, MerklError, TaskFailed, WorkspaceError
from merkl.execute.base import Ended, Exited, Job
from merkl.execute.secrets import hide_in_error, hide_in_file, secret_told, secrets_of, told_by_output
from merkl.execute.workplace import Staged, Workplace
from merkl.nodes import Artifact, Node
from merkl.python.items import as_file, as_plain
from merkl.python.noting import SAID
from merkl.python.parcel import Parcel
from merkl.python.task import PythonCall
from merkl.room import FULL, NO_INODES, used_up
from merkl.store.base import Discovered, Record, RunLock
from merkl.store.removal import remove_tree
from merkl.trust.signer import SECRET_VARIABLE

if TYPE_CHECKING:  # Only with --check-deps.
    from merkl.engine.undeclared import Check


@dataclass(slots=True)
class Attempt:
    """A node that was handed to the executor."""

    node: Node
    inputs: Sequence[Artifact]
    content: Key
    place: Workplace
    number: int
    lock: RunLock | None
    job: Job | None = None
    grant: Grant | None = None
    # Files whose bytes are in a record; absolute paths.
    staged: dict[Digest, bytes] = field(default_factory=dict)
    views: Mapping[tuple[bytes, bool, Digest], bytes] = field(default_factory=dict)  # Their paths.
    began: Began | None = None  # Only for a node that discovers inputs.
    log_closed: bool = False
    # To go once the record is published.
    originals: list[tuple[bytes, Artifact]] = field(default_factory=list)
    # Those that it has sent, by name; all are stored.
    items: dict[str, Artifact] = field(default_factory=dict)
    refused: Exception | None = None  # Why one of them could not be.
    regardless: bool = False  # It runs whatever any store knows.
    named: bool = True  # What it makes may be filed under the node's own key.
    shared: bool = False  # Others of its batch use its workplace after it.
    silent: bool = False  # Its log is empty, and there is nothing else of ours beside its temporary files.
    left_nothing: bool = False  # No outputs, and no temporary files.


class Attempts:
    """Makes workplaces for one build; ``build`` is its eight-digit name."""

    def __init__(
        self,
        project: Project,
        build: str,
        placed_by: Callable[[str], str | None],
        check: "Check | None" = None,
    ) -> None:
        self.project = project
        self.build = build
        self.placed_by = placed_by
        self.check = check
        self.sent_texts = ""  # A file with the texts of the modules of calls that came from elsewhere.
        self._root = os.fsencode(project.root)
        # Before a relative path: ``join`` takes long, for how often it is.
        self._below = os.path.join(self._root, b"")
        self._directories = Directories(self._below, build)
        self._builder = f"{os.uname().nodename}:{os.getpid()}"
        self._state = os.fsencode(project.config.state)
        self._texts = os.path.join(self._state, b"run", f"{build}-texts".encode())
        try:
            for folder in ("stage", "run"):
                os.makedirs(os.path.join(project.config.state, folder), exist_ok=True)
        except OSError as error:
            raise no_room(error) from error

    @functools.cached_property
    def _environ(self) -> dict[bytes, bytes]:
        environ = dict(os.environb)  # A build that runs nothing depends on no variable because of this.
        environ.pop(SECRET_VARIABLE.encode(), None)
        return environ

    def open(
        self, node: Node, inputs: Sequence[Artifact], content: Key, number: int, lock: RunLock | None
    ) -> Attempt:
        """Make the directories of a new attempt.

        Raises:
            TaskOutsError: an input was named that was not made.
            WorkspaceError: they cannot be made.
        """
        refuse_absent(node, inputs)
        try:
            stage, run = self._directories.take()
        except OSError as error:
            raise no_room(error) from error
        views: dict[tuple[bytes, bool, Digest], bytes] = {}

        def view(artifact: Artifact, filename: bytes) -> bytes:
            # Once: to ask for a view again would repair what the task did to it before it is noticed.
            known = (filename, artifact.executable, artifact.digest)
            if known not in views:
                views[known] = self._view(artifact, filename)
            return views[known]

        place = Workplace(
            root=self._root,
            stage=stage,
            run=run,
            environ=self._environ,
            view=view,
            load=lambda artifact: as_plain(merkl.python.run.load_value(self.project.shelter, artifact)),
            stores=(self.project.config.store, self.project.shelter.directory),
            modules=self.project.project_modules,
            texts=self._texts,
            watch=self.check.watch if self.check is not None else None,
        )
        return Attempt(node, inputs, content, place, number, lock, views=views)

    def _view(self, artifact: Artifact, filename: bytes) -> bytes:
        return os.path.relpath(self.project.view(artifact, filename), self._root)

    def job(self, attempt: Attempt) -> Job:
        """What the executor is to run.

        Raises:
            StoreCorrupt: an input's bytes are gone.
            MerklError: the call cannot be prepared.
        """
        try:
            job = self._job(attempt)
            return job if self.check is None else self.check.watched(attempt, job)
        except OSError as error:
            raise no_room(error) from error

    def _job(self, attempt: Attempt) -> Job:
        if attempt.node.given is not None:
            raise TaskFailed(
                f"the bytes of {attempt.node.name} are gone from the store, and it was loaded from a sidecar",
                at=attempt.node.place,
                hint="build the target that makes it",
            )
        call = attempt.node.call
        if attempt.grant is not None and attempt.grant.variables:
            attempt.place = replace(attempt.place, variables=dict(attempt.grant.variables))
        self.project.shelter.bring(attempt.inputs)
        if isinstance(call, BashCall):
            pairs = zip(attempt.node.deps, attempt.inputs, strict=True)
            attempt.inputs = [as_file(artifact, dep.name) for dep, artifact in pairs]
            attempt.job = merkl.bash.run.prepare(attempt.node, attempt.inputs, attempt.place)
            if attempt.node.discovers:
                attempt.began = Began.now(self.project)
        elif isinstance(call, Parcel):
            attempt.job = merkl.python.parcel.prepare(
                attempt.node, attempt.inputs, attempt.place, self.sent_texts
            )
        else:
            assert isinstance(call, PythonCall)
            attempt.job = merkl.python.send.prepare(attempt.node, attempt.inputs, attempt.place)
        return attempt.job

    def keep(self, attempt: Attempt) -> None:
        """Leave an attempt that failed as one will want to find it."""
        if attempt.job is not None:
            try:
                merkl.bash.run.keep(attempt.node, attempt.job, attempt.place)
                self._close_log(attempt)
            except OSError:
                pass  # The disk is full; the message that follows says so.

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
            UndeclaredUse: it used what it does not declare, and that is asked about.
            WorkspaceError: what it made cannot be read or taken.
        """
        try:
            return self._taken_in(attempt, ended)
        except OSError as error:
            raise no_room(error) from error
        except TaskFailed as error:
            error.details.setdefault("at", attempt.node.place)
            if used := used_up(os.path.join(self._root, attempt.place.stage)):
                # It may have found no room to say so, and what its exit code often means is not it.
                said, often, _ = error.headline.partition(": often ")
                error.headline = f"{said if often else error.headline}; {used}, where it writes"
            if isinstance(attempt.node.call, BashCall):
                merkl.bash.failure.complete(error, attempt.node, attempt.inputs, attempt.place)
            raise

    def _taken_in(self, attempt: Attempt, ended: Ended) -> tuple[Record, Mapping[Digest, bytes]]:
        node, place = attempt.node, attempt.place
        if attempt.refused is not None:
            raise attempt.refused
        try:
            staged = self._collect(attempt, ended)
        except TaskFailed as error:
            if self.check is not None:
                self.check.look(attempt, None, self.placed_by, failed=True)
            if written := self._written_inputs(attempt):
                error.details["also"] = f"it wrote to its input {written}; inputs are read-only"
            elif changed := [source.path for source in node.sources if not self.project.index.still(source)]:
                error.details["also"] = f"{', '.join(changed[:5])} changed meanwhile; build again"
            raise
        try:
            self.check_sources(node)
        except InputChanged:
            if self.check is not None and not node.discovers:  # It may have been the task itself.
                self.check.look(attempt, None, self.placed_by, failed=True)
            raise
        self._check_views(attempt)
        discovered = self._discover(attempt)
        if self.check is not None:
            self.check.look(attempt, discovered, self.placed_by)
        blobs: dict[Digest, bytes] = {}
        staged, said = _said(staged)
        self._close_log(attempt)  # Before a stdout that is an output is moved away.
        outputs = {output.name: self._artifact(output, attempt, blobs) for output in staged}
        log = self._log(place, blobs)
        attempt.silent = log is None and isinstance(node.call, PythonCall) and self.check is None
        record = Record(
            key=node.key,
            content_key=attempt.content,
            task=node.name,
            outputs=outputs,
            inputs=tuple(artifact.digest for artifact in attempt.inputs),
            seconds=ended.seconds,
            started_ns=ended.started_ns,
            log=log,
            exit_code=ended.how.code if isinstance(ended.how, Exited) else 0,
            discovered=discovered,
            arguments=arguments_of(node),
            dependencies=dependencies_of(node),
            metadata=said,
            builder=self._builder,
        )
        return record, blobs

    def _collect(self, attempt: Attempt, ended: Ended) -> list[Staged]:
        call = attempt.node.call
        if isinstance(call, BashCall):
            return merkl.bash.outcome.collect(attempt.node, attempt.inputs, ended, attempt.place)
        secrets = secrets_of(call, attempt.place.environ)
        try:
            staged, attempt.left_nothing = merkl.python.send.collect(attempt.node, ended, attempt.place)
            self._refuse_secrets(attempt, staged, secrets)
        except MerklError as error:
            hide_in_error(error, secrets)
            raise
        return staged

    def _refuse_secrets(self, attempt: Attempt, staged: Sequence[Staged], secrets: Sequence[bytes]) -> None:
        """See that no result holds a secret, which would stay in the store.

        Raises:
            TaskFailed: one does.
        """
        if any(told_by_output(each, self._root, secrets) for each in staged):
            for folder in (attempt.place.stage, attempt.place.run + b"/tmp"):
                remove_tree(os.fsdecode(os.path.join(self._root, folder)))
            raise secret_told(attempt.node)

    def _check_views(self, attempt: Attempt) -> None:
        if written := self._written_inputs(attempt):
            raise TaskFailed(
                f"{attempt.node.name} wrote to its input {written}",
                hint="inputs are read-only: let the command write to an out_file_arg, or use scratch=True",
            )

    def _written_inputs(self, attempt: Attempt) -> str:
        """The names of the inputs that a task wrote to; those of other tasks are set aside with it."""
        if not attempt.views:
            return ""
        damaged = self.project.damaged([os.path.join(self._root, path) for path in attempt.views.values()])
        return ", ".join(
            sorted({os.fsdecode(name) for name, _, digest in attempt.views if digest in damaged})
        )

    def _discover(self, attempt: Attempt) -> Discovered | None:
        if attempt.began is None:
            return None
        look = Files(self.project, attempt.began)
        return merkl.bash.outcome.discover(attempt.node, attempt.inputs, attempt.place, self.placed_by, look)

    def _artifact(self, staged: Staged, attempt: Attempt, blobs: dict[Digest, bytes]) -> Artifact:
        """Put one output into the store, or among the small blobs."""
        artifact = self._kept(staged, attempt, blobs)
        if staged.remove is not None:
            attempt.originals.append((staged.remove, artifact))
        return artifact

    def _kept(self, staged: Staged, attempt: Attempt, blobs: dict[Digest, bytes]) -> Artifact:
        if staged.data is None and staged.path is None:
            return put_index(self.project, attempt.items, staged.serializer)
        artifact = taken(staged, self._root, self.project.shelter, blobs)
        if staged.path is not None and staged.kind == "file" and artifact.digest in blobs:
            attempt.staged[artifact.digest] = os.path.join(self._root, staged.path)
        return artifact

    def _close_log(self, attempt: Attempt) -> None:
        if attempt.log_closed:
            return
        attempt.log_closed = True
        if isinstance(attempt.node.call, BashCall):
            merkl.bash.outcome.close_log(attempt.node, attempt.place)
        elif secrets := secrets_of(attempt.node.call, attempt.place.environ):
            hide_in_file(self._below + attempt.place.log, secrets)

    def _log(self, place: Workplace, blobs: dict[Digest, bytes]) -> Digest | None:
        """Store what was printed."""
        log = self._below + place.log
        try:
            if os.stat(log).st_size == 0:
                return None
            return put_file(bounded(log, self.project.config.log_limit), self.project.shelter, blobs)[0]
        except FileNotFoundError:
            return None

    def log(self, attempt: Attempt, record: Record) -> str:
        """Where to read what an attempt that ended well printed, until it is discarded; empty if it printed nothing."""
        if record.log is None:
            return ""
        if os.path.exists(os.path.join(self._root, attempt.place.log)):
            return os.fsdecode(attempt.place.log)
        try:
            return os.fsdecode(self._view(Artifact("file", record.log, 0), b"log"))
        except (MerklError, OSError):
            return ""

    def discard(self, attempt: Attempt) -> None:
        """Remove what an attempt left; directories that it left empty serve another."""
        if not attempt.shared:
            stage, run = attempt.place.stage, attempt.place.run
            self._directories.give_back(stage, run, silent=attempt.silent, empty=attempt.left_nothing)

    def close(self) -> None:
        """Remove the spare directories, and what attempts had in common."""
        remove_tree(self._texts)
        self._directories.close()


def _said(staged: Sequence[Staged]) -> tuple[list[Staged], dict[str, Any]]:
    """The outputs, and what the task said of its run."""
    texts = [one.data for one in staged if one.name == SAID and one.data is not None]
    said: dict[str, Any] = json.loads(texts[0]) if texts else {}
    return [one for one in staged if one.name != SAID], said


def share_of(whole: Record, attempt: Attempt, outputs: Mapping[str, Artifact], seconds: float) -> Record:
    """The record of one node of a batch, from that of the run that made all of them."""
    return replace(
        whole,
        key=attempt.node.key,
        content_key=attempt.content,
        task=attempt.node.name,
        outputs=outputs,
        inputs=tuple(artifact.digest for artifact in attempt.inputs),
        seconds=seconds,
        arguments=arguments_of(attempt.node),
        dependencies=dependencies_of(attempt.node),
    )


def no_room(error: OSError) -> WorkspaceError:
    """The error for what the system refused under ``.merkl``, where tasks run."""
    where = os.fsdecode(error.filename) if error.filename else None
    hint = "make room on its file system" if error.errno in FULL else ""
    reason = error.strerror or str(error)
    if error.errno in FULL and used_up(where or ".") == NO_INODES:
        reason = NO_INODES
    return WorkspaceError(f"cannot work in .merkl: {reason[:1].lower()}{reason[1:]}", at=where, hint=hint)

"""One attempt of one node: its workplace, its job, and taking what it made into the store.

It decides nothing about order.  It is where the two kinds of tasks meet the store.

The invariant: outputs enter the store before the record that names them, and a record is written only if every source and
every view that the node read is still what it was when the node started.
"""

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from merkl.bash.calls import is_bash_call
from merkl.dataclass import dataclass, field, replace
from merkl.digest import Digest, Key
from merkl.engine.contained import refuse_absent
from merkl.engine.directories import Directories
from merkl.engine.discovery import Began, Files
from merkl.engine.growing import put_index
from merkl.engine.project import Project
from merkl.engine.recorded import arguments_of, dependencies_of
from merkl.engine.shares import Grant
from merkl.engine.taking import put_file, taken
from merkl.errors import InputChanged, MerklError, TaskFailed, WorkspaceError
from merkl.execute.base import Ended, Exited, Job
from merkl.execute.secrets import hide_in_error, hide_in_file, secret_told, secrets_of, told_by_output
from merkl.execute.workplace import Staged, Workplace
from merkl.nodes import Artifact, Node
from merkl.python.calls import is_parcel, is_python_call, is_task_call, is_written_call
from merkl.python.noting import SAID
from merkl.python.placed import as_file
from merkl.room import FULL, NO_INODES, used_up
from merkl.store.base import Discovered, Record, RunLock
from merkl.store.removal import remove_tree
from merkl.trust.signer import SECRET_VARIABLE

if TYPE_CHECKING:  # Only with --check-deps.
    from merkl.engine.undeclared import Check
    from merkl.python.send import Row

# Calls of a task, one after another, that left something behind: then it is not worth it to let them use what others use.
_OFTEN: Final = 3


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
    left_nobody: bool = False  # No thread or process of a Python call that could still write there.
    lodged: bool = False  # Its directories are those of its worker, or not made yet.


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
        # By task, how many calls one after another left something in directories of their workers.
        self._kept_theirs: dict[str, int] = {}
        self._row: Row | None = None
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
        self,
        node: Node,
        inputs: Sequence[Artifact],
        content: Key,
        number: int,
        lock: RunLock | None,
        *,
        brief: bool = False,
    ) -> Attempt:
        """Make the directories of a new attempt; one that is ``brief`` may get those of its worker.

        Raises:
            TaskOutsError: an input was named that was not made.
            WorkspaceError: they cannot be made.
        """
        refuse_absent(node, inputs)
        lodged = brief and self._may_lodge(node)
        try:
            stage, run = self._directories.name() if lodged else self._directories.take()
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
            load=self._value,
            stores=(self.project.config.store, self.project.shelter.directory),
            modules=self.project.project_modules,
            texts=self._texts,
            watch=self.check.watch if self.check is not None else None,
        )
        return Attempt(node, inputs, content, place, number, lock, views=views, lodged=lodged)

    def _value(self, artifact: Artifact) -> Any:
        from merkl.python.items import as_plain
        from merkl.python.run import load_value

        return as_plain(load_value(self.project.shelter, artifact))

    def _may_lodge(self, node: Node) -> bool:
        """Whether a brief call may have directories of its worker: nobody looks into them meanwhile, and it seldom needs any."""
        call = node.call
        if not is_python_call(call) or self.check is not None:
            return False
        from merkl.python.items import Items
        from merkl.python.outs import Captured

        simple = not isinstance(call.outs, Items | Captured) and not call.task.settings.together
        return simple and not call.secrets and self._kept_theirs.get(node.name, 0) < _OFTEN

    def came_back(self, attempt: Attempt, ended: Ended) -> None:
        """Hear where what an attempt left is to be found now that it has ended."""
        if not attempt.lodged:
            return
        name = attempt.node.name
        if ended.scratch is None:
            self._kept_theirs.pop(name, None)
            return
        self._kept_theirs[name] = self._kept_theirs.get(name, 0) + 1
        attempt.place = replace(attempt.place, stage=ended.scratch.stage, run=ended.scratch.run)
        attempt.lodged = False

    @contextlib.contextmanager
    def row(self) -> Iterator[None]:
        """The jobs that are asked for inside are so right after one another, and nothing of the user's runs meanwhile."""
        sending = sys.modules.get("merkl.python.send")  # The first call of a Python task loads it.
        self._row = None if sending is None else sending.Row()
        try:
            yield
        finally:
            self.end_row()

    def end_row(self) -> None:
        """Hear that something of the user's may run."""
        self._row = None

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
        if is_bash_call(call):
            from merkl.bash.run import prepare

            pairs = zip(attempt.node.deps, attempt.inputs, strict=True)
            attempt.inputs = [as_file(artifact, dep.name) for dep, artifact in pairs]
            attempt.job = prepare(attempt.node, attempt.inputs, attempt.place)
            if attempt.node.discovers:
                attempt.began = Began.now(self.project)
        elif is_parcel(call):
            from merkl.python.parcel import prepare as prepare_parcel

            attempt.job = prepare_parcel(attempt.node, attempt.inputs, attempt.place, self.sent_texts)
        elif is_written_call(call):
            attempt.job = call.prepare(attempt.node, attempt.inputs, attempt.place)
        else:
            from merkl.python.send import prepare as prepare_call

            assert is_python_call(call)
            attempt.job = prepare_call(
                attempt.node, attempt.inputs, attempt.place, self._row, lodged=attempt.lodged
            )
        return attempt.job

    def keep(self, attempt: Attempt) -> None:
        """Leave an attempt that failed as one will want to find it."""
        if attempt.job is not None:
            from merkl.bash.run import keep

            try:
                keep(attempt.node, attempt.job, attempt.place)
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
            if is_bash_call(attempt.node.call):
                from merkl.bash.failure import complete

                complete(error, attempt.node, attempt.inputs, attempt.place)
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
        log = None if attempt.lodged else self._log(place, blobs)
        attempt.silent = log is None and _is_call(node) and self.check is None
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
        if is_bash_call(call):
            from merkl.bash.outcome import collect

            return collect(attempt.node, attempt.inputs, ended, attempt.place)
        secrets = secrets_of(call, attempt.place.environ)
        try:
            from merkl.python.send import collect as collect_call

            made = collect_call(attempt.node, ended, attempt.place)
            staged, attempt.left_nothing, attempt.left_nobody = made
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
        from merkl.bash.outcome import discover

        return discover(attempt.node, attempt.inputs, attempt.place, self.placed_by, look)

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
        if is_bash_call(attempt.node.call):
            from merkl.bash.outcome import close_log

            close_log(attempt.node, attempt.place)
        elif secrets := secrets_of(attempt.node.call, attempt.place.environ):
            hide_in_file(self._below + attempt.place.log, secrets)

    def _log(self, place: Workplace, blobs: dict[Digest, bytes]) -> Digest | None:
        """Store what was printed."""
        log = self._below + place.log
        try:
            if os.stat(log).st_size == 0:
                return None
            from merkl.engine.longlog import bounded  # Few commands print.

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
        if attempt.shared or attempt.lodged:
            return
        stage, run = attempt.place.stage, attempt.place.run
        if _is_call(attempt.node) and not attempt.left_nobody:
            self._directories.remove(stage, run)
        else:
            self._directories.give_back(stage, run, silent=attempt.silent, empty=attempt.left_nothing)

    def close(self) -> None:
        """Remove the spare directories, and what attempts had in common."""
        remove_tree(self._texts)
        self._directories.close()


def _is_call(node: Node) -> bool:
    """Whether it is a call of a Python task, made here or written down."""
    return is_task_call(node.call)


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

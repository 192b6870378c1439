"""The executors of one build: what is sent to which, and what came back.

It decides what a node needs to travel; how it is submitted is ``line``'s.  It is used by the building thread, but for
``_brought``.

The invariant: that of ``engine.away``.
"""

import copy
import errno
import itertools
import os
import sys
from collections import deque
from collections.abc import Collection, Mapping, Sequence

from merkl.bash.task import BashCall, BashTask
from merkl.cluster.errand import Answer, Errand, Sender, slim
from merkl.cluster.freight import Gathering, Load
from merkl.cluster.line import Line
from merkl.cluster.packing import Parcelled
from merkl.cluster.versions import versions_here
from merkl.dataclass import replace
from merkl.digest import Digest
from merkl.engine.attempt import Attempt
from merkl.engine.project import Project
from merkl.engine.recorded import arguments_of, dependencies_of
from merkl.engine.where import elsewhere
from merkl.errors import ConfigError, MerklError, SerializationError
from merkl.events import Note
from merkl.execute.base import Ended, FailedThere, NotStarted, Published
from merkl.execute.secrets import require_secrets
from merkl.executors import ExecutorConfig
from merkl.nodes import Artifact, Node
from merkl.python import sources
from merkl.python.send import parcel
from merkl.remotes import RemoteConfig
from merkl.store.bundle import Slice
from merkl.trust.entries import Trusted, written


class Clusters:
    """Implements ``engine.away.Away`` with Dask."""

    def __init__(self, project: Project) -> None:
        self.wake = _nobody
        self.placed: Collection[str] = ()
        self._project = project
        self._lines: dict[str, Line] = {}
        self._gathering: dict[str, Gathering] = {}
        self._tickets = itertools.count(1)
        self._going: dict[int, Attempt] = {}  # By ticket.
        self._back: deque[Answer] = deque()
        self._tasks: dict[int, tuple[BashTask, BashTask]] = {}  # By id: as it is, and as it travels.
        self._logs: deque[tuple[int, bytes]] = deque()
        self._notes: deque[Note] = deque()

    def takes(self, node: Node) -> bool:
        """See ``Away``."""
        return bool(elsewhere(self._project.config, node))

    def has_room(self) -> bool:
        """See ``Away``."""
        return not self._lines or any(line.has_room() for line in self._lines.values())

    # ---- sending -------------------------------------------------------------------------------------------------

    def start(self, attempts: Sequence[Attempt]) -> list[int]:
        """See ``Away``."""
        tickets = []
        by_line: dict[str, list[Parcelled]] = {}
        for attempt in attempts:
            ticket = -next(self._tickets)
            tickets.append(ticket)
            self._going[ticket] = attempt
            name = elsewhere(self._project.config, attempt.node)
            try:
                by_line.setdefault(name, []).append(self._parcelled(name, ticket, attempt))
            except MerklError as error:
                self._brought(Answer(ticket, error=error))
            except OSError as error:
                self._brought(Answer(ticket, error=MerklError(f"cannot be sent: {error}")))
        for name, parcelled in by_line.items():
            self._line(name).give(parcelled)
        return tickets

    def _line(self, name: str) -> Line:
        line = self._lines.get(name)
        if line is None:
            executor = self._project.config.executors[name]
            line = self._lines[name] = Line(
                executor, self._sender(executor), self._project, self._brought, self._logged, self._noted
            )
        return line

    def _sender(self, executor: ExecutorConfig) -> Sender:
        project, config = self._project, self._project.config
        remote = _absolute(_shared(config.remote, executor), project.root)
        key = project.trust.executor_key(f"{executor.name} {executor.place}")
        trusted = [*project.trust.entries(), Trusted(key.signer, True, remote.namespace)]
        return Sender(
            session=os.urandom(8).hex(),
            executor=executor.name,
            root=project.root,
            remote=remote,
            trust=written(dict.fromkeys(trusted)).strip(),
            secret=f"{key.secret()} {key.signer}",
            project_modules=tuple(project.project_modules),
            path=tuple(sys.path),
            log_limit=config.log_limit,
            runs=versions_here(),
            keep=executor.keep,
        )

    def _gathering_for(self, name: str) -> Gathering:
        if name not in self._gathering:
            self._gathering[name] = Gathering(
                self._project, self._project.config.executors[name].files, self.placed
            )
        return self._gathering[name]

    def _parcelled(self, name: str, ticket: int, attempt: Attempt) -> Parcelled:
        """What an attempt is to be sent with.

        Raises:
            MerklError: it cannot be sent.
        """
        node, place = attempt.node, attempt.place
        gathering = self._gathering_for(name)
        loads = gathering.of(attempt)
        texts: Digest | None = None
        files: Digest | None = None
        more: dict[Digest, Load] = {}
        require_secrets([node], place.environ, self._project.root)
        if isinstance(node.call, BashCall):
            call = replace(node.call, task=self._travelling(node.call.task))
            travelling = slim(node, call)
        else:
            travelling = slim(node, parcel(node, place))
            texts, more = gathering.texts(place, sources.generation())
            loads |= more
        if node.discovers:
            files, more = gathering.files()
            loads |= more
        errand = Errand(
            ticket=ticket,
            number=attempt.number,
            node=travelling,
            inputs=tuple(map(_plain, attempt.inputs)),
            content=attempt.content,
            arguments=arguments_of(node),
            dependencies=dependencies_of(node),
            secrets=_secrets(node, place.environ),
            texts=texts,
            files=files,
            again=attempt.regardless,
            named=attempt.named,
        )
        return Parcelled(errand, loads, node.name, node.call.needs)

    def _travelling(self, task: BashTask) -> BashTask:
        """A bash task without what of it is the user's own, and only in keys."""
        known = self._tasks.get(id(task))
        if known is None:
            made = copy.copy(task)
            made.deps = ()
            known = self._tasks[id(task)] = task, made
        return known[1]

    # ---- coming back ---------------------------------------------------------------------------------------------

    def _brought(self, answer: Answer) -> None:
        """Hear what came of an errand, in any thread."""
        self._back.append(answer)
        self.wake()

    def _logged(self, ticket: int, piece: bytes) -> None:
        self._logs.append((ticket, piece))
        self.wake()

    def ended(self) -> list[Ended]:
        """See ``Away``."""
        self._write_logs()
        ended = []
        while self._back:
            answer = self._back.popleft()
            attempt = self._going.pop(answer.ticket, None)
            if attempt is not None:
                ended.append(self._told(answer, attempt))
        return ended

    def _told(self, answer: Answer, attempt: Attempt) -> Ended:
        how: Published | FailedThere | NotStarted
        if answer.record is not None:
            how = Published(answer.record, answer.log)
            outputs = {each.digest for each in answer.record.outputs.values()}
            self._gathering_for(elsewhere(self._project.config, attempt.node)).made_there |= outputs
        elif answer.error is not None:
            how = FailedThere(answer.error, answer.log or b"")
        else:
            how = NotStarted(OSError(errno.ECANCELED, os.strerror(errno.ECANCELED)))
        return Ended(answer.ticket, how, answer.started_ns, answer.seconds, interrupted=answer.interrupted)

    def _noted(self, note: Note) -> None:
        self._notes.append(note)
        self.wake()

    def take_notes(self) -> list[Note]:
        """See ``Away``."""
        notes = []
        while self._notes:
            notes.append(self._notes.popleft())
        return notes

    def _write_logs(self) -> None:
        """Let logs grow here as they grow there."""
        while self._logs:
            ticket, piece = self._logs.popleft()
            attempt = self._going.get(ticket)
            if attempt is not None:
                with open(os.path.join(attempt.place.root, attempt.place.log), "ab") as file:
                    file.write(piece)

    # ---- ending --------------------------------------------------------------------------------------------------

    def recall(self) -> None:
        """See ``Away``."""
        for line in self._lines.values():
            line.recall()

    def interrupt(self) -> None:
        """See ``Away``."""
        for line in self._lines.values():
            line.interrupt()

    def kill(self) -> None:
        """See ``Away``."""
        for line in self._lines.values():
            line.kill()

    def close(self) -> None:
        """See ``Away``."""
        lines, self._lines = self._lines, {}
        self.wake = _nobody
        for line in lines.values():
            line.close()


def _nobody() -> None:
    """Nobody is to be woken."""


def _plain(artifact: Artifact) -> Artifact:
    """The same as one that has a content of its own."""
    if not isinstance(artifact, Slice):
        return artifact
    return Artifact(
        artifact.kind,
        artifact.digest,
        artifact.size,
        artifact.executable,
        artifact.serializer,
        artifact.filename,
    )


def _secrets(node: Node, environ: Mapping[bytes, bytes]) -> dict[str, str]:
    found = {}
    for name in node.call.secrets:
        value = environ.get(name.encode())
        if value is None:
            raise SerializationError(
                f"{node.name} needs the secret {name}, which is not in the environment",
                hint=f"export {name}=…",
            )
        found[name] = os.fsdecode(value)
    return found


def _shared(remote: RemoteConfig | None, executor: ExecutorConfig) -> RemoteConfig:
    """The store that both sides see.

    Raises:
        ConfigError: there is none.
    """
    if remote is None:
        raise ConfigError(
            f"the executor {executor.name} needs a store that its workers see as well, and there is none",
            hint="remote: {url: /mnt/team/merkl} in merkl.yaml, a bucket or a directory; or store: below the executor",
        )
    return remote


def _absolute(remote: RemoteConfig, root: str) -> RemoteConfig:
    """The same for a process that runs elsewhere."""
    scheme, colon, path = remote.url.partition("://")
    if not colon:
        return replace(remote, url=os.path.join(root, os.path.expanduser(remote.url)))
    if scheme.lower() == "file":
        return replace(remote, url=os.path.join(root, os.path.expanduser(path)))
    return remote

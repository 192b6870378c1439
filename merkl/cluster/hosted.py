"""A project on a machine that runs errands: its mirror, a store of the machine's own over the shared one, and attempts.

It decides what of an errand is known already, and what of it goes back.  When what runs is the ``host``'s to say.

The invariant: a record that is told is in the shared store, with all that it names, or was there before.
"""

import contextlib
import os
import pickle
import socket
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final

from merkl.bash.task import BashCall
from merkl.cluster.errand import Answer, Errand, Sender, there
from merkl.cluster.keeping import Keeping
from merkl.cluster.mirror import Mirror, shown_here
from merkl.cluster.premises import new_mirror
from merkl.config import Config
from merkl.dataclass import dataclass, replace
from merkl.digest import Digest
from merkl.engine.attempt import Attempt, Attempts
from merkl.engine.outcome import was_stopped
from merkl.engine.project import Project
from merkl.engine.shelter import Shelter
from merkl.engine.taking import taken
from merkl.errors import ExecutorError, MerklError, StoreError, StoreFull, TaskFailed
from merkl.execute.base import Ended
from merkl.execute.secrets import secret_told, secrets_of, told_by_output
from merkl.nodes import Node, with_call
from merkl.room import used_up
from merkl.store.base import Record
from merkl.store.builds import register_build
from merkl.store.records import needs
from merkl.store.remote.upload import Result, upload
from merkl.store.removal import remove_tree
from merkl.trust.personal import TRUST
from merkl.trust.signer import SECRET_VARIABLE
from merkl.trust.trust import Trust

_LOG_SENT: Final = 32_768  # Bytes of a log that goes along with what is told of it.
_LOG_AT_ONCE: Final = 16_384  # Bytes of a log that are sent while it grows.
_LOG_OF_FAILURE: Final = 4_000_000  # Bytes.


class _NoShelter(Shelter):
    """The store alone: nothing could be sent that is beside it."""

    def _refuse(self, error: StoreError) -> None:
        raise error


class _Project(Project):
    """A project whose trust is what its sender said."""

    def __init__(self, config: Config, sender: Sender) -> None:
        super().__init__(config)
        self._sender = sender

    @cached_property
    def trust(self) -> Trust:
        """Whose results count, and the key that its own are signed with."""
        environ = {TRUST: self._sender.trust, SECRET_VARIABLE: self._sender.secret}
        return Trust(self._sender.remote.namespace, environ=environ, root=self.root)

    @cached_property
    def shelter(self) -> Shelter:
        """The store; what that cannot take is an error."""
        return _NoShelter(self.results, os.path.join(self.config.state, "run", "kept"))


@dataclass(slots=True)
class Going:
    """An errand that runs, or has run and is to be published."""

    errand: Errand
    attempt: Attempt
    record: Record | None = None
    log: bytes | None = None
    ended: Ended | None = None
    told: int = 0  # Bytes of its log that were sent.
    again: bool = False  # There was no room for what it made, and may be now.

    def more_log(self) -> bytes:
        """What has come to its log since this was last asked."""
        path = os.path.join(self.attempt.place.root, self.attempt.place.log)
        if self.errand.secrets:
            return b""  # Nobody sees it before they were taken out.
        try:
            with open(path, "rb") as file:
                file.seek(self.told)
                piece = file.read(_LOG_AT_ONCE)
        except OSError:
            return b""
        self.told += len(piece)
        return piece


class Hosted:
    """Runs the errands of one sender."""

    def __init__(self, sender: Sender, base: str, mirror: str, lock: int) -> None:
        self._sender = sender
        self._directory = mirror
        self._lock = lock
        root = os.path.join(mirror, "project")
        os.makedirs(os.path.join(root, ".merkl"), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.makedirs(os.path.join(base, "remote"), exist_ok=True)
            os.symlink(os.path.join(base, "remote"), os.path.join(root, ".merkl", "remote"))
        config = Config(
            root=root,
            store=os.path.join(base, "store"),
            remote=replace(sender.remote, required=True, push=False),
            project_modules=sender.project_modules,
            log_limit=sender.log_limit,
            snapshot=False,
            settings={},
        )
        self.project = _Project(config, sender)
        lease = register_build(config.state)
        self.project.hold(lease)
        self._lease = lease
        self.keeping = Keeping(self.project.store, config.state, lease, sender.keep)
        self._again: set[int] = set()
        self._mirror = Mirror(self.project, sender.root)
        self._attempts = Attempts(self.project, lease.id, lambda _: None)
        path = [there(each, sender.root, root) for each in sender.path]
        own = [each for each in (*path, root) if each.startswith(root)]
        self._added = [each for each in dict.fromkeys(own) if each not in sys.path]
        sys.path += self._added
        assert self.project.remote is not None
        self._remote = self.project.remote
        try:
            self._meet()
        except MerklError:
            self.close()
            raise

    def _meet(self) -> None:
        """See that the shared store is the very one that the sender has.

        Raises:
            StoreError: it cannot be used.
            ExecutorError: it is another; what is sent would not be here, and nobody would see what is made.
        """
        if self._remote.mark() != self._sender.mark:
            raise ExecutorError(
                f"{self._remote.url} on {socket.gethostname()}, where tasks of the executor {self._sender.executor} run, "
                "is not the place that it is here",
                hint="is it mounted there, at the same path?",
            )
        self._remote.prepare()

    # ---- before --------------------------------------------------------------------------------------------------

    def found(self, errand: Errand) -> Answer | None:
        """The answer to an errand that somebody has run before.

        Raises:
            StoreError: the shared store cannot be asked.
        """
        if errand.again or not errand.node.cache:
            return None
        if errand.node.discovers:
            self._mirror.files(errand.files)
        for record in self._remote.by_content_key([errand.content]).get(errand.content, ()):
            changed = record.discovered is not None and self.project.first_change(record.discovered)
            if not changed and self._remote.whole(record.outputs.values()):
                return Answer(errand.ticket, record, seconds=record.seconds, found=True)
        return None

    def begin(self, errand: Errand) -> Going:
        """Make an errand ready to run.

        Raises:
            MerklError: it cannot be.
        """
        needed = {each.digest for each in errand.inputs} | {each.digest for each in errand.node.sources}
        needed |= {digest for digest in (errand.texts, errand.files) if digest is not None}
        self.keeping.needs(errand.ticket, needed)
        try:
            try:
                return self._begin(errand, needed)
            except StoreFull:
                if not self.keeping.make_room():
                    raise
                return self._begin(errand, needed)
        except MerklError:
            self.keeping.done(errand.ticket)
            raise

    def _begin(self, errand: Errand, needed: Collection[Digest]) -> Going:
        self._look_for(needed)
        if errand.files is not None:
            self._mirror.files(errand.files)
        self._attempts.sent_texts = self._mirror.texts(errand.texts)
        node = _with_sources(errand.node, self._mirror)
        attempt = self._attempts.open(node, errand.inputs, errand.content, errand.number, None)
        if errand.secrets:
            secret = {name.encode(): os.fsencode(value) for name, value in errand.secrets.items()}
            attempt.place = replace(attempt.place, environ={**attempt.place.environ, **secret})
        going = Going(errand, attempt)
        try:
            self._attempts.check_sources(node)
            self._attempts.job(attempt)
        except MerklError:
            self._attempts.discard(attempt)
            raise
        return going

    def _look_for(self, needed: Collection[Digest]) -> None:
        """See that packs are known which were written a moment ago, if what is needed is in none that are."""
        missing = set(needed) - self.project.store.has(needed)
        packs = self._remote.contents.packs
        if missing and missing - packs.find(missing).keys():
            packs.refresh()

    # ---- meanwhile -----------------------------------------------------------------------------------------------

    def take_items(self, emitted: Iterable[tuple[int, bytes]], going: Mapping[int, Going]) -> None:
        """Store the items of a list that a call has sent."""
        root = os.fsencode(self.project.root)
        for ticket, payload in emitted:
            attempt = going[ticket].attempt if ticket in going else None
            if attempt is None or attempt.refused is not None:
                continue
            name, staged = pickle.loads(payload)
            small: dict[Digest, bytes] = {}
            try:
                if told_by_output(staged, root, secrets_of(attempt.node.call, attempt.place.environ)):
                    raise secret_told(attempt.node)
                attempt.items[name] = taken(staged, root, self.project.shelter, small)
                self.keeping.needs(going[ticket].errand.ticket, [attempt.items[name].digest])
                self.project.shelter.put_small(small)
                if staged.path is not None:
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(root, staged.path))
            except (MerklError, OSError) as error:
                attempt.refused = error

    # ---- afterwards ----------------------------------------------------------------------------------------------

    def ended(self, going: Going, ended: Ended) -> Answer | None:
        """Take in what an errand made; the answer to one that made nothing, unless it is to run ``again``."""
        going.ended = ended
        errand = going.errand
        answer = self._taken_in(going, ended)
        if answer is not None or going.again:
            self.keeping.done(errand.ticket)
        return answer

    def _taken_in(self, going: Going, ended: Ended) -> Answer | None:
        errand = going.errand
        if ended.interrupted and was_stopped(ended, interactive=False):
            self._attempts.discard(going.attempt)
            return Answer(errand.ticket, error=TaskFailed(f"{errand.node.name} was interrupted"),
                          seconds=ended.seconds, started_ns=ended.started_ns, interrupted=True)  # fmt: skip
        try:
            record, blobs = self._attempts.take_in(going.attempt, ended)
            record = replace(record, arguments=errand.arguments, dependencies=errand.dependencies)
            kept = errand.node.cache and not ended.interrupted
            self.project.shelter.publish([(record, errand.named)] if kept else [], blobs)
            self.keeping.needs(errand.ticket, needs(record, self.project.store.read))
        except MerklError as error:
            if self._is_full(error) and not ended.interrupted and errand.ticket not in self._again:
                self._again.add(errand.ticket)
                self._attempts.discard(going.attempt)  # Before: also a database needs some room to shrink.
                self.keeping.make_room()
                going.again = True
                return None
            answer = self.failed(errand, going, error, seconds=ended.seconds, started_ns=ended.started_ns)
            self._attempts.discard(going.attempt)
            return replace(answer, interrupted=ended.interrupted)
        going.record = record
        going.log = self._log(going)
        self._attempts.discard(going.attempt)
        return None

    def _is_full(self, error: MerklError) -> bool:
        """Whether an errand failed since the disk is full, as far as that can be seen: a command says so to its log."""
        return isinstance(error, StoreFull) or bool(used_up(self.project.root))

    def _log(self, going: Going) -> bytes | None:
        """What an errand printed, if it is little."""
        record = going.record
        if record is None or record.log is None:
            return None
        size = self.project.shelter.store.size(record.log)
        return self.project.shelter.read(record.log) if size is not None and size <= _LOG_SENT else None

    def failed(
        self, errand: Errand, going: Going | None, error: MerklError, *, seconds: float, started_ns: int
    ) -> Answer:
        """The answer to an errand that came to nothing, worded for where it came from."""
        for name in ("log", "staging", "again"):
            error.details.pop(name, None)
        log = b""
        if going is not None:
            self._attempts.keep(going.attempt)
            where = os.path.join(going.attempt.place.root, going.attempt.place.log)
            with contextlib.suppress(OSError), open(where, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_OF_FAILURE))
                log = file.read()
        if not isinstance(error, ExecutorError):  # Which says so itself.
            error.details["on"] = f"{socket.gethostname()} ({self._sender.executor})"
        if "`merkl gc`" in error.hint or (
            going is not None and self._is_full(error)
        ):  # Not that of the sender.
            error.hint = self.keeping.hint(self._sender.executor)
        shown_here(error, [(self.project.root, self._sender.root)])
        return Answer(errand.ticket, error=error, log=log, seconds=seconds, started_ns=started_ns)

    def published(self, made: Sequence[Going]) -> list[Answer]:
        """Send what some errands made to the shared store; their answers."""
        answers: list[Answer] = []
        try:
            self._send(made)
        except MerklError as error:
            if len(made) > 1:  # Which one it was.
                return [answer for going in made for answer in self.published([going])]
            return [
                self.failed(going.errand, None, error, seconds=_seconds(going), started_ns=0)
                for going in made
            ]
        for going in made:
            assert going.ended is not None
            answers.append(
                Answer(going.errand.ticket, going.record, log=going.log, seconds=going.ended.seconds,
                       started_ns=going.ended.started_ns, interrupted=going.ended.interrupted)
            )  # fmt: skip
        return answers

    def _send(self, made: Sequence[Going]) -> None:
        store = self.project.store
        results: list[Result] = []
        contents: list[Digest] = []
        for going in made:
            assert going.record is not None and going.ended is not None
            if going.errand.node.cache and not going.ended.interrupted:
                results.append(Result(going.record, [going.record.key] if going.errand.named else []))
            else:
                contents += needs(going.record, store.read)
        upload(results, store, self._remote, contents=contents)

    def close(self) -> None:
        """Let go of everything, and remove the mirror."""
        sys.path[:] = [each for each in sys.path if each not in self._added]
        self._attempts.close()
        self.project.hold(None)
        self._lease.close()
        self.keeping.tidy(at_once=True)
        self.project.close()
        remove_tree(self._directory)
        os.close(self._lock)


def _seconds(going: Going) -> float:
    return 0.0 if going.ended is None else going.ended.seconds


def _with_sources(node: Node, mirror: Mirror) -> Node:
    """The same node with its sources in place here."""
    call = node.call
    if isinstance(call, BashCall):
        mirror.directory(call.task.options.cwd)
    sources = mirror.sources(node) if node.sources else ()
    made = with_call(node, call)
    object.__setattr__(made, "sources", sources)
    return made


def open_hosted(sender: Sender, base: str) -> Hosted:
    """Make a mirror below ``base``, and remove those of processes that are gone."""
    directory, lock = new_mirror(base)
    return Hosted(sender, base, directory, lock)

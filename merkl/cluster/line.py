"""One executor during one build: a thread that sends errands off, and what came of them.

It decides what is packed together, what is tried again, and when the executor counts as lost.

The invariant: every errand that was given is answered once, whatever becomes of workers, scheduler and network; ``close``
waits for none of them for long.
"""

import contextlib
import itertools
import math
import pickle
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from merkl.cluster import worker
from merkl.cluster.errand import Answer, Sender, packed
from merkl.cluster.fleet import Fleet
from merkl.cluster.freight import Sending
from merkl.cluster.opening import Opened, opened
from merkl.cluster.orders import cancel, cancel_unstarted, tell
from merkl.cluster.packing import Pack, Packing, Parcelled
from merkl.dataclass import replace
from merkl.engine.project import Project
from merkl.errors import ExecutorError, MerklError, SerializationError, StoreError, TaskFailed
from merkl.events import Note
from merkl.executors import ExecutorConfig

_AHEAD: Final = 3  # Packs for each thread that are on their way, so that none waits for us.
_IN_ANY_CASE: Final = 256  # Errands that are taken in any case.
_LEAST: Final = 4  # Threads that are reckoned with: a cluster may grow as soon as there is something to do.
_CHECK_S: Final = 0.5
_CLOSE_S: Final = 5.0  # For which the thread is waited for.


class _Recall:
    """What was given before is not to begin, if it has not."""


class Line:
    """Errands to one executor.  ``answer``, ``log`` and ``note`` are called in a thread of this."""

    def __init__(
        self,
        executor: ExecutorConfig,
        sender: Sender,
        project: Project,
        answer: Callable[[Answer], None],
        log: Callable[[int, bytes], None],
        note: Callable[[Note], None],
    ) -> None:
        self._executor = executor
        self._sender = sender
        self._head = b""
        assert project.remote is not None
        self._remote = project.remote
        self._keep_going = project.config.keep_going
        self._answer = answer
        self._log = log
        self._fleet = Fleet(note)
        self._news: queue.SimpleQueue[list[Parcelled] | Pack | _Recall | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open: set[int] = set()  # Tickets that were given and not answered.
        self._packing = Packing()  # Given and not submitted.
        self._packs: set[Pack] = set()
        self._epoch = 0
        self._numbers = itertools.count(1)
        self._opened: Opened | None = None
        self._failed: MerklError | None = None
        self._closing = False
        self._killed = False
        self._interrupted = False
        self._away_since = math.inf  # When (monotonic) the scheduler was last not connected.
        self._sending = Sending(self._remote)
        self._thread = threading.Thread(target=self._work, name=f"merkl-{executor.name}", daemon=True)
        self._thread.start()

    # ---- the building thread's side ------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether more errands are wanted."""
        return len(self._open) < max(_IN_ANY_CASE, (_AHEAD + 1) * self._fleet.threads * self._packing.usual())

    def give(self, parcelled: list[Parcelled]) -> None:
        """Send these off."""
        self._interrupted = False  # What was interrupted has ended, or nothing would be given.
        with self._lock:
            self._open |= {each.errand.ticket for each in parcelled}
        self._news.put(parcelled)

    def recall(self) -> None:
        """Begin nothing more of what was given."""
        self._tell("refuse")

    def interrupt(self) -> None:
        """SIGINT to all that runs; nothing else begins."""
        self._interrupted = True
        self._tell("interrupt")

    def kill(self) -> None:
        """End what runs, and answer for it."""
        self._killed = True
        self._tell("kill")
        with self._lock:
            left = list(self._open)
            futures = [pack.future for pack in self._packs if pack.future is not None]
        threading.Thread(target=cancel, args=(futures,), daemon=True).start()
        for ticket in left:
            self._done(Answer(ticket, interrupted=True))

    def _tell(self, what: str) -> None:
        """Let the workers hear of something, without waiting for them."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        self._news.put(_Recall())
        threading.Thread(target=self._tell_now, args=(what, epoch), daemon=True).start()

    def _tell_now(self, what: str, epoch: int) -> None:
        found = self._opened
        if found is None:
            return
        tell(found, self._sender.session, what, epoch)
        if what != "end":
            with self._lock:
                futures = [
                    pack.future for pack in self._packs if pack.epoch <= epoch and pack.future is not None
                ]
            cancel_unstarted(found, futures)

    def close(self) -> None:
        """End what runs and let go of the executor."""
        self._closing = True
        self._news.put(None)
        if self._opened is not None and self._failed is None:
            self._tell_now("end", self._epoch)
        self._thread.join(_CLOSE_S)
        if self._opened is not None:
            self._opened.close()

    def _done(self, answer: Answer) -> None:
        with self._lock:
            if answer.ticket not in self._open:
                return
            self._open.discard(answer.ticket)
        if answer.record is None and answer.error is None and self._interrupted:
            answer = replace(answer, interrupted=True)  # Else the build would go on with it.
        self._answer(answer)

    # ---- the thread ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._connect()
            while not self._closing:
                self._hear()
                self._check()
                self._submit()
        except MerklError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - whatever Dask raises must not leave anybody waiting.
            self._fail(self._lost(f"{type(error).__name__}: {error}"))
        self._refuse_rest()

    def _connect(self) -> None:
        self._remote.prepare()
        self._head = pickle.dumps(replace(self._sender, mark=self._remote.mark() or ""), protocol=5)
        found = self._opened = opened(self._executor)
        found.client.subscribe_topic(f"merkl-{self._sender.session}", self._hear_log)
        self._fleet.count(found)

    def _hear_log(self, event: Any) -> None:
        with contextlib.suppress(Exception):
            _, said = event
            self._log(said["ticket"], said["log"].encode("latin-1"))

    def _hear(self) -> None:
        """Take what is given and what has come back, for a moment."""
        patience = 0.0 if self._packing and self._may_submit() else _CHECK_S
        try:
            while True:
                news = self._news.get(timeout=patience) if patience else self._news.get_nowait()
                patience = 0.0
                if isinstance(news, list):
                    self._packing.add(news)
                elif isinstance(news, Pack):
                    self._came_back(news)
                elif isinstance(news, _Recall):
                    for each in self._packing.clear():
                        self._done(Answer(each.errand.ticket, interrupted=self._interrupted))
        except queue.Empty:
            return

    def _check(self) -> None:
        """See whether the scheduler is still there.

        Raises:
            ExecutorError: it has not been for too long.
        """
        assert self._opened is not None
        status = self._opened.client.status
        now = time.monotonic()
        if status == "running":
            self._away_since = math.inf
            self._fleet.count_now_and_then(self._opened)
            # They come back, and are sent anew.
            cancel([pack.future for pack in self._fleet.stranded(self._packs)])
            return
        self._away_since = min(self._away_since, now)
        if status == "closed" or now - self._away_since > self._executor.timeout:
            raise self._lost("")

    def _lost(self, why: str) -> ExecutorError:
        found = self._opened
        where = self._executor.place if found is None else found.address
        return ExecutorError(
            f"the executor {self._executor.name} at {where} was lost while tasks ran there",
            hint="what had ended is kept: build again when it is back; or --target local runs everything here",
            error=why or None,
            dask="\n".join(found.said) if found is not None and found.said else None,
        )

    def _fail(self, error: MerklError) -> None:
        """Nothing more can be sent: one errand is told why, and the others that they have not begun."""
        self._failed = error

    def _refuse_rest(self) -> None:
        """Answer for all that is open, until nobody gives anything more."""
        while True:
            with self._lock:
                left = sorted(self._open, reverse=True)
            for count, ticket in enumerate(left):
                told = self._keep_going or not count  # Once is enough where a failure ends the build.
                if self._closing or self._killed or self._failed is None or not told:
                    self._done(Answer(ticket, interrupted=self._interrupted))
                else:
                    self._done(Answer(ticket, error=self._failed))
            if self._closing:
                return
            with contextlib.suppress(queue.Empty):
                self._news.get(timeout=_CHECK_S)

    # ---- submitting ----------------------------------------------------------------------------------------------

    def _may_submit(self) -> bool:
        assert self._opened is not None
        if self._opened.client.status != "running" or not self._fleet.may_get(self._opened):
            return False
        return len(self._packs) < self._most_packs()

    def _submit(self) -> None:
        # Few at a time: what is known of how long they take decides how many go together.
        while self._packing and self._may_submit():
            self._send(self._packing.next(self._fleet.threads))

    def _most_packs(self) -> int:
        scale = self._executor.scale
        return _AHEAD * max(self._fleet.threads, _LEAST, 0 if scale is None else scale.most)

    def _send(self, items: list[Parcelled], losses: int = 0) -> None:
        """See that all that errands need is there, and submit them."""
        assert self._opened is not None
        if lacking := self._fleet.lacking(items[0].task, items[0].needs, self._opened):
            for each in items:
                self._done(Answer(each.errand.ticket, error=lacking))
            return
        loads = {digest: load for each in items for digest, load in each.loads.items()}
        try:
            self._sending.send(loads)
        except MerklError as error:
            if len(items) > 1:
                for each in items:
                    self._send([each], losses)
            else:
                self._done(Answer(items[0].errand.ticket, error=error))
            return
        try:
            data = packed([each.errand for each in items])
        except Exception as error:  # noqa: BLE001 - of the user's own classes.
            if len(items) > 1:
                for each in items:
                    self._send([each], losses)
                return
            what = f"{items[0].task} cannot be sent to another machine: {error}"
            self._done(
                Answer(
                    items[0].errand.ticket, error=SerializationError(what, hint="target='local' runs it here")
                )
            )
            return
        self._submit_pack(Pack(self._epoch, items, losses=losses), data)

    def _submit_pack(self, pack: Pack, data: bytes) -> None:
        found = self._opened
        assert found is not None
        first = pack.items[0]
        name = f"{first.task}-{first.errand.node.key.hex()[:12]}"
        pack.future = found.client.submit(
            worker.run_pack,
            dict(self._sender.runs),
            worker.Sealed(self._head),
            pack.epoch,
            worker.Sealed(data),
            key=f"{name}-{self._sender.session[:6]}-{next(self._numbers)}",
            pure=False,
            retries=0,
            **self._fleet.wanted(pack, found),
        )
        with self._lock:
            self._packs.add(pack)
        pack.future.add_done_callback(lambda _: self._news.put(pack))

    # ---- coming back ---------------------------------------------------------------------------------------------

    def _came_back(self, pack: Pack) -> None:
        with self._lock:
            self._packs.discard(pack)
        status = pack.future.status
        if status == "finished":
            self._heard(pack, *pickle.loads(pack.future.result()))
        elif status == "error":
            self._erred(pack, pack.future.exception())
        elif self._killed or self._closing or pack.epoch < self._epoch:  # We cancelled it.
            for each in pack.items:
                self._done(Answer(each.errand.ticket, interrupted=self._interrupted))
        else:  # The connection was lost, and with it what Dask knew of us: once it is back, all that is asked for again.
            self._packing.add(pack.items)
            self._away_since = min(self._away_since, time.monotonic())
        pack.future.release()

    def _heard(self, pack: Pack, tag: str, said: Any, address: str) -> None:
        if tag == "differs":  # A worker that has just come.
            assert self._opened is not None
            self._fleet.count(self._opened)
            self._again(pack.items, pack.losses + 1, "what is installed on a worker is not what is here")
            return
        answers: list[Answer] = said or []
        for answer in answers:
            if answer.record is not None:
                self._fleet.made(answer.record, address)
        self._take(pack, answers)
        if tag == "lost":
            told = {answer.ticket for answer in answers}
            self._again([each for each in pack.items if each.errand.ticket not in told], pack.losses + 1)

    def _take(self, pack: Pack, answers: Sequence[Answer]) -> None:
        tasks = {each.errand.ticket: each.task for each in pack.items}
        if any(answer.record is not None for answer in answers):
            with contextlib.suppress(StoreError):
                self._remote.contents.packs.refresh()
        for answer in answers:
            task = tasks.get(answer.ticket)
            if task is None:
                continue
            if answer.record is not None and not answer.found:
                self._packing.took(task, answer.seconds)
            if answer.record is not None:
                self._sending.there(each.digest for each in answer.record.outputs.values())
            self._done(answer)

    def _erred(self, pack: Pack, error: BaseException) -> None:
        import distributed

        if isinstance(error, distributed.KilledWorker):
            # Dask has tried it on several.  Of many errands nobody knows whose fault it was.
            died = 1 if len(pack.items) > 1 else error.allowed_failures + 1
            self._again(pack.items, pack.losses + died, "the workers that it ran on died")
            return
        assert self._opened is not None
        self._fleet.count(self._opened)
        if self._fleet.unfit:  # It came to one where merkl is not installed.
            self._again(pack.items, pack.losses + 1, "what is installed on a worker is not what is here")
            return
        raise ExecutorError(
            f"the executor {self._executor.name} could not run merkl: {type(error).__name__}: {error}",
            hint="is the same merkl installed where its workers run?",
        )

    def _again(self, items: Sequence[Parcelled], losses: int, why: str = "") -> None:
        """Send what was lost once more, each alone; but not for ever."""
        for each in items:
            if losses > self._executor.losses:
                error = TaskFailed(
                    f"{each.task} lost {losses} times the process or the machine of the executor {self._executor.name} that it ran on"
                    f"{': ' + why if why else ''}",
                    hint="does it need more memory than there is? losses: below the executor says how often it may happen",
                )
                self._done(Answer(each.errand.ticket, error=error))
            else:
                self._send([each], losses)

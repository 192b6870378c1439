"""The process that runs errands on a worker's machine: a child of the Dask worker, with the engine's own attempts.

It decides in which order they run, one after another within a pack, and that what ended is published before it is told.

The invariant: when the Dask worker is gone, or says so, every command has been ended and this process ends; nothing is
told to be there that is not in the shared store, and no failure of what was ended together with this process.
"""

import contextlib
import os
import queue
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from merkl.cluster.errand import Answer, Errand, Sender
from merkl.cluster.frames import Frames
from merkl.cluster.hosted import Going, Hosted, open_hosted
from merkl.dataclass import dataclass, field, replace
from merkl.errors import ExecutorError, MerklError
from merkl.execute.base import Ended
from merkl.execute.local import Local
from merkl.python.calls import NEEDED

_TICK: Final = 0.25  # Seconds between looks at logs that grow.
_IDLE: Final = 60.0  # Seconds without errands after which the process ends; the next one starts another.

_SPARE_S: Final = 120.0  # For which the process waits for another sender.
# Seconds for which a failure is kept back.  Whoever takes the machine away, such as a queue, sends a signal to all processes of
# its job, one after another: so a command may be gone before this process hears of it.
_DOUBT_S: Final = 1.0
_IDLE_UNWANTED: Final = 2.0  # The same after something was cancelled: its client may be gone.


@dataclass(slots=True)
class Pack:
    """Errands that came together, in order; ``made`` are to be published."""

    number: int
    epoch: int
    left: deque[Errand]
    running: int | None = None  # A ticket of the executor.
    answers: list[Answer] = field(default_factory=list)
    made: list[Going] = field(default_factory=list)
    cancelled: bool = False


class Inbox:
    """What the parent says, read in a thread: None once the parent is gone, or somebody asked this process to end."""

    def __init__(self, frames: Frames) -> None:
        self.news: queue.SimpleQueue[tuple[object, ...] | None] = queue.SimpleQueue()
        self.wake: Callable[[], None] = _nobody
        self._frames = frames
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while (frame := self._frames.read()) is not None:
            self.news.put(frame)
            self.wake()
        self.end()

    def end(self) -> None:
        """Hear that all is over.  May be called from a signal handler."""
        self.news.put(None)
        self.wake()


def _nobody() -> None:
    """Nobody is to be woken."""


class Host:
    """Runs the packs of one sender until that says that it was all, or the parent is gone."""

    def __init__(self, frames: Frames, inbox: Inbox, sender: Sender, base: str, slots: int) -> None:
        self._frames = frames
        self._inbox = inbox
        self._news = inbox.news
        self._session = sender.session
        self._executor = Local(slots, inline=False, modules=NEEDED)
        self._hosted: Hosted | MerklError
        try:
            self._hosted = open_hosted(sender, base)
        except MerklError as error:  # The shared store cannot be used: each errand is answered with that.
            if not isinstance(error, ExecutorError):  # Which says so itself.
                error.details.setdefault("on", f"{socket.gethostname()} ({sender.executor})")
            self._hosted = error
        inbox.wake = self._executor.wake
        self._packs: dict[int, Pack] = {}
        self._going: dict[int, tuple[Pack, Going]] = {}  # By ticket of the executor.
        self._sending = ThreadPoolExecutor(2, "merkl-publish")
        self._doubted: deque[tuple[float, Pack]] = deque()  # When (monotonic) each is to be told.
        self._refused = -1  # Packs up to this epoch begin nothing more.
        self._heard_at = time.monotonic()
        self._idle = _IDLE
        self._over = False
        self._gone = False  # Nobody is left to be told.
        self._where = socket.gethostname()

    def run(self) -> bool:
        """Serve until there is nobody to serve; whether there may be another sender."""
        try:
            while self._obey():
                for pack in list(self._packs.values()):
                    self._go_on(pack)
                self._tell_doubted()
                ended_now = self._executor.wait(_TICK if self._going or self._doubted else 1.0)
                if isinstance(self._hosted, Hosted):
                    # Before a call counts as ended: what it said is all there by then.
                    self._hosted.take_items(self._executor.take_emitted(), self._going_by_ticket())
                    for ended in ended_now:
                        self._ended(self._hosted, ended)
                    self._hosted.keeping.tidy()
                self._tell_logs()
                if not self._packs and not self._doubted and time.monotonic() - self._heard_at > self._idle:
                    return False
            return not self._gone
        finally:
            self._inbox.wake = _nobody
            self._executor.close()
            self._sending.shutdown(wait=not self._gone)
            if isinstance(self._hosted, Hosted):
                self._hosted.close()

    def _going_by_ticket(self) -> dict[int, Going]:
        return {ticket: going for ticket, (_, going) in self._going.items()}

    # ---- hearing -------------------------------------------------------------------------------------------------

    def _obey(self) -> bool:
        """Do what the parent has said; whether to go on."""
        while not self._over and not self._news.empty():
            self._heard_at = time.monotonic()
            match self._news.get():
                case ("pack", int(number), int(epoch), list(errands)):
                    self._packs[number] = Pack(number, epoch, deque(errands))
                    self._idle = _IDLE
                case ("refuse", int(epoch)):
                    self._refused = max(self._refused, epoch)
                case ("interrupt", int(epoch)):
                    self._refused = max(self._refused, epoch)
                    self._executor.interrupt()
                case ("kill", int(epoch)):
                    self._refused = max(self._refused, epoch)
                    self._executor.kill()
                case ("cancel", int(number)) if number in self._packs:
                    self._cancel(self._packs[number])
                case ("end",):
                    self._over = True
                case None:
                    self._over = self._gone = True
        return not self._over

    def _cancel(self, pack: Pack) -> None:
        pack.cancelled = True
        self._idle = _IDLE_UNWANTED
        if pack.running is not None:
            self._executor.kill([pack.running])

    # ---- running -------------------------------------------------------------------------------------------------

    def _go_on(self, pack: Pack) -> None:
        """Begin the next errand of a pack, unless one runs; what is known already is answered."""
        while pack.running is None and pack.left:
            errand = pack.left.popleft()
            if pack.cancelled or pack.epoch <= self._refused:
                pack.answers.append(Answer(errand.ticket))
                continue
            began_ns, began = time.time_ns(), time.monotonic()
            if isinstance(self._hosted, MerklError):
                pack.answers.append(Answer(errand.ticket, error=self._hosted))
                continue
            try:
                if (answer := self._hosted.found(errand)) is not None:
                    pack.answers.append(answer)
                    continue
                going = self._hosted.begin(errand)
            except MerklError as error:
                seconds = time.monotonic() - began
                pack.answers.append(
                    self._hosted.failed(errand, None, error, seconds=seconds, started_ns=began_ns)
                )
                continue
            assert going.attempt.job is not None
            pack.running = self._executor.start(going.attempt.job)
            self._going[pack.running] = pack, going
        if pack.running is None and not pack.left:
            del self._packs[pack.number]
            self._frames.write(("ran", pack.number))
            if any(answer.error is not None and not answer.interrupted for answer in pack.answers):
                self._doubted.append((time.monotonic() + _DOUBT_S, pack))
            else:
                self._sending.submit(self._deliver, pack)

    def _ended(self, hosted: Hosted, ended: Ended) -> None:
        pack, going = self._going.pop(ended.ticket)
        pack.running = None
        answer = hosted.ended(going, ended)
        if going.again:
            pack.left.appendleft(going.errand)
        elif answer is None:
            pack.made.append(going)
        else:
            pack.answers.append(answer)

    def _tell_logs(self) -> None:
        for _, going in self._going.values():
            if piece := going.more_log():
                self._frames.write(("log", self._session, going.errand.ticket, piece))

    # ---- telling -------------------------------------------------------------------------------------------------

    def _tell_doubted(self) -> None:
        """Tell of what has failed some time ago: it was not the end of all."""
        while self._doubted and self._doubted[0][0] <= time.monotonic():
            self._sending.submit(self._deliver, self._doubted.popleft()[1])

    def _deliver(self, pack: Pack) -> None:
        """Publish what a pack made, and tell what came of it."""
        answers = list(pack.answers)
        try:
            if isinstance(self._hosted, Hosted):
                answers += self._hosted.published(pack.made)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender must not wait for ever.
            lost = MerklError(f"what was made on {self._where} could not be published: {error!r}")
            answers += [Answer(going.errand.ticket, error=lost) for going in pack.made]
        if isinstance(self._hosted, Hosted):
            for going in pack.made:
                self._hosted.keeping.done(going.errand.ticket)
        self._frames.write(("done", pack.number, [replace(answer, where=self._where) for answer in answers]))


def main(base: str, slots: str) -> None:
    """Serve the process that started this one: fd 0 brings errands, fd 1 takes what came of them, fd 2 is for people."""
    given, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    frames = Frames(given, answers)
    signal.signal(signal.SIGINT, lambda *_: None)  # A handler, since what is ignored stays so in children.
    inbox = Inbox(frames)
    signal.signal(signal.SIGTERM, lambda *_: inbox.end())
    with contextlib.suppress(queue.Empty):
        while (frame := inbox.news.get(timeout=_SPARE_S)) is not None:
            match frame:  # All else is of a sender that has gone.
                case ("sender", Sender() as sender) if not Host(
                    frames, inbox, sender, base, int(slots)
                ).run():
                    return

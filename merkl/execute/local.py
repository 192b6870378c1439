"""Jobs on this machine: child processes and worker processes, or calls right here if there is one slot.

It decides who runs when, who has had enough time, and when a job has really ended.  It knows no graph and no cache.

The invariant: every step of a job is taken in ``start``, ``wait`` or ``close``.  There are no threads here, and nothing
happens behind the engine's back.
"""

import errno
import itertools
import math
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from merkl.execute.base import (
    CallJob,
    Ended,
    Job,
    NotStarted,
    ProcessJob,
    Terminal,
    Undrawn,
)
from merkl.execute.environment import of_worker, told_of_jobserver
from merkl.execute.leaving import Leaving
from merkl.execute.orphans import Adoption
from merkl.execute.process import (
    Child,
    Death,
    become_parent,
    has_ended,
    reap,
    signal_group,
    start_command,
)
from merkl.execute.running import GRACE, SHOWN, TO_BEGIN, Running
from merkl.execute.sharing import Common, Sharer
from merkl.store.removal import remove_tree

if TYPE_CHECKING:  # Only where a process is refused; only with more than one slot.
    from merkl.execute.ceiling import Ceiling
    from merkl.execute.jobserver import Tokens
    from merkl.execute.pool import Worker

_TICK: Final = 0.002  # Seconds between two looks at something that no descriptor tells of.
_LONGEST: Final = 86_400.0  # Seconds that poll is asked to wait at most.
_BEHIND: Final = 8  # Calls that wait in a worker behind the one that runs, at most; but of very brief ones
_MOST_BEHIND: Final = 64  # so many, as long as all of them together take no longer than
_AHEAD: Final = 0.01  # so many seconds.
# Seconds after which those behind a call are taken back: it is not as brief as was thought.
_LATE: Final = 0.01
_MOST_EMITTED: Final = 64  # Things that calls said and nobody took, until no more of them is read.
_BURY_EVERY: Final = 256  # Processes between two looks for orphans that have ended.


class Local:
    """The executor of this machine.  A context manager that closes itself.

    ``wake_fd`` takes a byte as a ``wake``, so it will do for ``signal.set_wakeup_fd``.  ``terminal`` is told when a job
    gets the terminal and when it is free again.  With ``tokens``, which it closes, each job beside the first takes one.
    A ``sharer``, which it closes too, stands for slots and tokens that other executors of this process use as well.
    Without ``inline`` one slot is a worker, too.  Workers import ``modules`` before their first call.
    """

    def __init__(
        self,
        slots: int,
        terminal: Terminal | None = None,
        tokens: "Tokens | None" = None,
        *,
        inline: bool = True,
        modules: Sequence[str] = (),
        sharer: Sharer | None = None,
    ) -> None:
        if slots < 1:
            raise ValueError(f"{slots} slots can run nothing")
        become_parent()
        self.slots = slots
        self._inline = inline
        self._modules = modules
        self._terminal = terminal or Undrawn()
        self._sharer = sharer or Sharer(Common(tokens), slots)
        self._sharer.wake = self.wake
        self._tickets = itertools.count(1)
        self._queue: deque[tuple[int, Job]] = deque()
        self._running: dict[int, Running] = {}  # By ticket.
        self._idle: list[Worker] = []
        self._leaving: list[Leaving] = []
        self._ended: list[Ended] = []
        self._emitted: list[tuple[int, bytes]] = []
        self._watched: dict[int, Running | Worker] = {}  # By pidfd.
        self._replies: dict[int, Running] = {}  # By descriptor, as is the next.
        self._requests: dict[int, Worker] = {}
        # Have something to be sent before we wait: several calls, one wake-up.
        self._corked: list[Worker] = []
        self._lifeline: tuple[int, int] | None = None
        self._adoption: Adoption | None = None
        self._ceiling: Ceiling | None = None
        self._usual = _AHEAD  # Seconds that a brief call took lately.
        self._most_behind = _BEHIND
        self._reaped = 0
        self._suspended = 0.0  # When (monotonic) the last time was.
        self._poll = select.poll()
        self._waking = threading.RLock()  # So that nobody writes to what has become another's descriptor.
        self._woken, self.wake_fd = os.pipe()
        for fd in (self._woken, self.wake_fd):
            os.set_blocking(fd, False)
        self._poll.register(self._woken, select.POLLIN)
        self._closed = False

    def __enter__(self) -> "Local":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- starting ---------------------------------------------------------------------------------------------------

    def expect(self, calls: int) -> None:
        """See ``Executor``.  Under make a worker is started only when there is a token for it."""
        while self._idle and not calls:
            self._dismiss(self._idle.pop())
        if (self._inline and self.slots == 1) or os.environ.get("MAKEFLAGS") or self._ceiling is not None:
            return
        while len(self._idle) < min(calls, self.slots):
            try:
                worker = self._ready_worker() or self._new_worker(os.fsencode(os.devnull))
            except OSError:
                return  # Whoever needs it will be told.
            self._watch(worker.child, worker)
            self._idle.append(worker)

    def start(self, job: Job, brief: bool = False) -> int:
        """See ``Executor``."""
        if self._closed:
            raise RuntimeError("the executor is closed")
        ticket = next(self._tickets)
        if not self._queue and self.has_room():
            self._launch(ticket, job, brief)
        elif brief and isinstance(job, CallJob) and (worker := self._led()) is not None:
            worker.send_behind(ticket, job)
            self._corked.append(worker)
        else:
            self._queue.append((ticket, job))
        return ticket

    def room_behind(self) -> int:
        """See ``Executor``."""
        if self._queue or self._sharer.is_wanted():
            return 0
        return sum(max(0, self._most_behind - len(worker.behind)) for worker in self._leaders())

    def _leaders(self) -> "Iterator[Worker]":
        """The workers in which another call may wait, if there is room."""
        for running in self._running.values():
            worker = running.worker
            if worker is not None and running.may_lead() and not worker.taken_back:
                yield worker

    def _led(self) -> "Worker | None":
        """The worker in which one more call may wait, and the fewest do."""
        if self._queue:
            return None
        best: Worker | None = None
        for worker in self._leaders():
            if len(worker.behind) < (self._most_behind if best is None else len(best.behind)):
                best = worker
        return best

    def has_room(self) -> bool:
        """See ``Executor``."""
        jobs = self._jobs() + 1
        return jobs <= self.slots and self._fits(jobs) and self._sharer.suffice(jobs)

    def _fits(self, jobs: int) -> bool:
        """Whether the machine may let us have so many jobs.  If nothing of ours is there that could end, it is tried."""
        if self._ceiling is None:
            return True
        if (self._running or self._leaving) and not self._ceiling.allows(jobs):
            return False
        self._ceiling = None
        return True

    def _wait_for_room(self, error: OSError) -> bool:
        """Whether a job for which no process could be started can be tried again: something of ours ends before."""
        from merkl.execute.ceiling import Ceiling, is_one

        if not is_one(error):
            return False
        from merkl.execute import early

        gone = early.end_spare()
        while self._idle:
            self._dismiss(self._idle.pop())
        if self._running or self._leaving:
            self._ceiling = Ceiling(self._jobs())
            return True
        return gone > 0

    def _jobs(self) -> int:
        """How many jobs have not ended."""
        return len(self._running) + sum(leaving.ended is not None for leaving in self._leaving)

    def is_inline(self, job: Job) -> bool:
        """See ``Executor``."""
        if isinstance(job, ProcessJob):
            return False
        alone = self._inline and self.slots == 1
        return job.interactive or (alone and job.timeout is None and not job.wants_own_worker)

    def _launch(self, ticket: int, job: Job, brief: bool = False) -> None:
        if isinstance(job, CallJob) and self.is_inline(job):
            self._sharer.withdraw()
            assert job.scratch is None
            said: list[bytes] = []
            from merkl.execute.inline import run_inline

            self._ended.append(run_inline(ticket, job, self._terminal, said.append))
            self._emitted += [(ticket, payload) for payload in said]
            return
        if self._adoption is None:
            self._adoption = Adoption()
        if job.interactive:
            self._terminal.lend()
        started_ns, started = time.time_ns(), time.monotonic()
        try:
            worker = self._hand_over(job) if isinstance(job, CallJob) else None
            child = (
                worker.child
                if worker is not None
                else start_command(*told_of_jobserver(job, self._sharer.tokens))  # type: ignore[arg-type]
            )
        except OSError as error:
            if job.interactive:
                self._terminal.take_back()
            if self._wait_for_room(error):
                self._queue.appendleft((ticket, job))
                return
            scratch = job.scratch if isinstance(job, CallJob) else None
            seconds = time.monotonic() - started
            self._ended.append(Ended(ticket, NotStarted(error), started_ns, seconds, scratch=scratch))
            return
        until_told = 0.0 if worker is None else TO_BEGIN
        due = math.inf if job.timeout is None else started + job.timeout + until_told
        running = self._running[ticket] = Running(
            ticket, child, worker, started_ns, started, due, job.interactive
        )
        if isinstance(job, CallJob):
            running.own_worker = job.wants_own_worker
            running.job = job if job.scratch is not None else None
        running.brief = brief
        self._watch(child, running)
        if worker is not None:
            worker.taken_back = False
            self._replies[worker.replies] = running
            self._poll.register(worker.replies, select.POLLIN)
            self._push(worker)

    def _hand_over(self, job: CallJob) -> "Worker":
        """Send a call to an idle worker, or to a new one if there is none alive, or it must not be shared.

        Raises:
            OSError: no worker could be started.
        """
        while self._idle and not job.wants_own_worker:
            worker = self._idle.pop()
            try:
                if not has_ended(worker.child):
                    worker.send(job)
                    return worker
            except (BrokenPipeError, ChildProcessError):
                pass
            self._dismiss(worker)
        if job.scratch is not None:
            from merkl.execute.scratch import make

            make(job.cwd, job.scratch)  # Its log tells if there is no worker.
        worker = self._new_worker(job.log, job.variables, job.nice)
        try:
            worker.send(job)
        except BrokenPipeError:
            pass  # Dead already; that is how the job will end.
        return worker

    def _ready_worker(self) -> "Worker | None":
        """One that was forked before; None if there is none."""
        from merkl.execute import early

        worker = early.claim(of_worker({}, self._sharer.tokens))
        if worker is not None and self._adoption is None:
            self._adoption = Adoption()
        return worker

    def _new_worker(
        self, log: bytes, variables: Mapping[str, str] = MappingProxyType({}), nice: int = 0
    ) -> "Worker":
        from merkl.execute.pool import new_lifeline, start_worker

        if self._adoption is None:
            self._adoption = Adoption()
        if self._lifeline is None:
            self._lifeline = new_lifeline()
        env = of_worker(variables, self._sharer.tokens)
        return start_worker(log, self._lifeline[0], env, nice, self._modules)

    def _watch(self, child: Child, owner: "Running | Worker") -> None:
        if child.pidfd >= 0:
            if child.pidfd not in self._watched:
                self._poll.register(child.pidfd, select.POLLIN)
            self._watched[child.pidfd] = owner

    def _unwatch(self, child: Child) -> None:
        if self._watched.pop(child.pidfd, None) is not None:
            self._poll.unregister(child.pidfd)

    # ---- waiting ----------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None) -> list[Ended]:
        """See ``Executor``."""
        limit = math.inf if timeout is None else time.monotonic() + timeout
        tokens = self._sharer.settle()
        while not self._closed:
            if limit == math.inf and not self._busy() and not self._ended:
                break
            woken = self._look(limit, tokens)
            tokens = -1
            if woken or self._ended or self._emitted or time.monotonic() >= limit:
                break
        ended, self._ended = self._ended, []
        return ended

    def take_emitted(self) -> list[tuple[int, bytes]]:
        """See ``Executor``."""
        emitted, self._emitted = self._emitted, []
        return emitted

    def _busy(self) -> bool:
        return bool(self._running or self._queue or any(leaving.ended for leaving in self._leaving))

    def _look(self, limit: float, tokens: int = -1) -> bool:
        """Wait for one round of news until ``limit`` (monotonic) and act on it; whether ``wake`` was called.

        ``tokens`` is where a token may come from that somebody wants, if it is 0 or more.
        """
        woken = False
        deaths = []
        self._fill()
        while self._corked:
            self._push(self._corked.pop())
        self._sharer.keep(self._jobs())
        if tokens >= 0:
            self._poll.register(tokens, select.POLLIN)
        for fd, _ in self._poll.poll(0 if self._ended or self._emitted else self._patience(limit)):
            if fd in self._replies:
                self._hear_all(fd)
            elif fd in self._requests:
                self._push(self._requests[fd])
            elif fd in self._watched:
                deaths.append(fd)  # After the replies: a worker may have answered before it died.
            elif fd == self._woken:
                woken = bool(os.read(self._woken, 4096))
            elif fd == tokens:
                woken = True  # Whoever asked for room may ask again.
        if tokens >= 0:
            self._poll.unregister(tokens)
        for fd in deaths:
            if (owner := self._watched.get(fd)) is not None:
                self._check(owner)
        for running in [r for r in self._running.values() if r.child.pidfd < 0]:
            self._check(running)
        self._keep_time()
        self._see_off()
        self._fill()
        if not (jobs := self._jobs()) or self._sharer.is_wanted():
            self._sharer.keep(jobs)  # Before whoever called us can start another.
        return woken

    def _keep_time(self) -> None:
        """Send the signals that are due, and take back what waits behind a call that takes long."""
        now = time.monotonic()
        for running in list(self._running.values()):
            worker = running.worker
            late = (
                running.due
                if worker is None or not worker.behind
                else min(running.due, running.started + _LATE)
            )
            if worker is not None and now >= late:
                self._settle(worker)  # It may turn out that it has ended, or not begun.
            if running.ticket in self._running:
                if running.hides_log and now >= running.started + SHOWN:
                    running.show_log()
                running.on_time(now)

    def _fill(self) -> None:
        """Start what waits for a slot, but only one inline call before ``wait`` returns."""
        while self._queue and self.has_room():
            if self._ended and self.is_inline(self._queue[0][1]):
                return
            self._launch(*self._queue.popleft())

    def _patience(self, limit: float) -> float | None:
        """How long poll may wait, in ms; None for ever."""
        if self._leaving or any(running.child.pidfd < 0 for running in self._running.values()):
            limit = min(limit, time.monotonic() + _TICK)
        for running in self._running.values():
            if running.due < limit:
                limit = running.due
            if running.worker is not None and running.worker.behind:
                limit = min(limit, running.started + _LATE)
            elif running.hides_log:
                limit = min(limit, running.started + SHOWN)
        if limit == math.inf:
            return None
        return min(max(limit - time.monotonic(), 0.0), _LONGEST) * 1000

    def _push(self, worker: "Worker") -> None:
        """Send what a worker is to get, as far as there is room, and the rest when there is."""
        try:
            worker.push()
        except BrokenPipeError:
            worker.unsent = []
        if bool(worker.unsent) == (worker.requests in self._requests):
            return
        if worker.unsent:
            self._requests[worker.requests] = worker
            self._poll.register(worker.requests, select.POLLOUT)
        else:
            self._poll.unregister(worker.requests)
            del self._requests[worker.requests]

    def _hear_all(self, replies: int, *, whatever: bool = False) -> None:
        """Read what a worker has to say of the call that runs, and of those behind it; ``whatever`` it has to say."""
        while (running := self._replies.get(replies)) is not None and self._heard(running, whatever):
            pass

    def _heard(self, running: Running, whatever: bool) -> bool:
        """Read from a busy worker; whether its call has ended, or has said something."""
        worker = running.worker
        assert worker is not None
        from merkl.execute.pool import Begun, Emitted

        reply = worker.listen(read=whatever or len(self._emitted) < _MOST_EMITTED)
        if isinstance(reply, Begun):
            running.begins(time.monotonic())
            return True
        if isinstance(reply, Emitted):
            self._emitted.append((running.ticket, reply.payload))
            return True
        if reply is None:
            if worker.silent:  # Its end is closed: what becomes of it is for the pidfd to tell.
                self._poll.unregister(worker.replies)
                del self._replies[worker.replies]
            return False
        self._ended.append(running.answered(reply))
        if running.brief:
            self._usual += 0.2 * (reply.seconds - self._usual)
            self._most_behind = max(_BEHIND, min(_MOST_BEHIND, int(_AHEAD / max(self._usual, 1e-6))))
        # A SIGINT that came too late for this call must not meet the next one.
        done = reply.worn or running.own_worker or running.interrupted or running.told or self._closed
        if worker.behind and not done:
            self._advance(running, worker)
            return True
        self._free(running)
        if done:
            self._give_back(worker.behind)
            self._dismiss(worker)
        else:
            self._watch(worker.child, worker)
            self._idle.append(worker)
        return True

    def _advance(self, before: Running, worker: "Worker") -> None:
        """The first of those behind a call runs now.  Its time begins."""
        del self._running[before.ticket]
        before.hide_log()
        ticket, job = worker.next = worker.behind.popleft()
        now = time.monotonic()
        due = math.inf if job.timeout is None else now + job.timeout
        running = Running(ticket, worker.child, worker, time.time_ns(), now, due, brief=True)
        running.job = job if job.scratch is not None else None
        self._running[ticket] = self._replies[worker.replies] = running
        self._watch(worker.child, running)
        worker.taken_back = False

    def _settle(self, worker: "Worker") -> None:
        """Take back what has not begun in a worker.  What it is said to run afterwards is what it runs."""
        back = worker.take_back()
        if back and (running := self._running.get(back[0][0])) is not None:
            self._free(running)
            self._watch(worker.child, worker)
            self._idle.append(worker)
        self._give_back(back)
        if worker.behind:  # These have begun, so what was before them has ended.
            self._hear_all(worker.replies)

    def _settle_all(self) -> None:
        for running in list(self._running.values()):
            if running.worker is not None:
                self._settle(running.worker)

    def _give_back(self, jobs: Iterable[tuple[int, Job]]) -> None:
        """Let jobs that a worker did not begin wait for a slot, before all others."""
        self._queue.extendleft(reversed(list(jobs)))
        if self._closed:
            self._cancel(None)

    def _free(self, running: Running) -> None:
        """Empty the slot of a job."""
        del self._running[running.ticket]
        running.hide_log()
        worker = running.worker
        if worker is None:
            return
        worker.next = None
        if self._replies.pop(worker.replies, None) is not None:
            self._poll.unregister(worker.replies)
        if self._requests.pop(worker.requests, None) is not None:
            self._poll.unregister(worker.requests)

    def _dismiss(self, worker: "Worker") -> None:
        """Let an idle worker go; it ends by itself."""
        self._clear(worker)
        self._unwatch(worker.child)
        worker.hang_up()
        self._leaving.append(Leaving(worker.child, None, time.monotonic() + GRACE))

    def _clear(self, worker: "Worker") -> None:
        """Remove the directories of a worker that is gone, or is about to be: it may have been killed."""
        scratch, worker.scratch = worker.scratch, None
        for folder in scratch or ():  # A call may have put something beside what it was given.
            remove_tree(os.path.join(worker.scratch_in, folder))

    def _check(self, owner: "Running | Worker") -> None:
        """Act on the end of a process, if it has ended."""
        if not isinstance(owner, Running):
            self._idle.remove(owner)
            self._dismiss(owner)
            return
        worker = owner.worker
        if worker is not None:
            self._hear_all(worker.replies, whatever=True)
            if worker.next is not None and _is_dead(worker.child):
                self._settle(worker)  # It may have died before it came to that.
            now_runs = next((one for one in self._running.values() if one.worker is worker), None)
            if now_runs is None:
                return  # It had answered, or begun with none.  Idle now, and dead: the next look finds it.
            owner = now_runs
        death: Death | ChildProcessError | None
        try:
            death = reap(owner.child)
        except ChildProcessError as error:
            death = error
        if death is None:
            return
        self._free(owner)
        if owner.interactive:
            self._terminal.take_back()
        self._unwatch(owner.child)
        leaving = Leaving(owner.child, owner.died(death), time.monotonic())
        if worker is not None:
            self._give_back(worker.behind)
            self._clear(worker)
            worker.hang_up()
        self._reaped += 1
        if self._adoption is not None and self._reaped % _BURY_EVERY == 0:
            self._adoption.bury()
        leaving.leave_rest(time.monotonic())
        self._leaving.append(leaving)

    def _see_off(self) -> None:
        """Pass on the ends of those whose groups are gone."""
        if not self._leaving:
            return
        now = time.monotonic()
        still = []
        for leaving in self._leaving:
            if not leaving.is_gone(now):
                still.append(leaving)
            elif leaving.ended is not None:
                self._ended.append(leaving.ended)
        self._leaving = still

    def wake(self) -> None:
        """See ``Executor``."""
        with self._waking:
            if self.wake_fd < 0:
                return
            try:
                os.write(self.wake_fd, b"\0")
            except OSError:
                pass  # Full, so it is awake.

    # ---- ending -----------------------------------------------------------------------------------------------------

    def recall(self) -> list[int]:
        """See ``Executor``."""
        self._settle_all()
        tickets = [ticket for ticket, _ in self._queue]
        self._queue.clear()
        return tickets

    def interrupt(self) -> None:
        """See ``Executor``."""
        self._settle_all()
        for running in self._running.values():
            running.interrupted = True
            # One that shares our terminal has heard of a Ctrl-C by itself.
            if running.child.leads or not os.isatty(0):
                signal_group(running.child, signal.SIGINT)
        self._cancel(None, interrupted=True)

    def suspend(self) -> None:
        """See ``Executor``."""
        self._suspended = time.monotonic()
        for running in self._running.values():
            signal_group(running.child, signal.SIGSTOP)

    def proceed(self) -> None:
        """See ``Executor``."""
        seconds = time.monotonic() - self._suspended
        for running in self._running.values():
            running.was_stopped(seconds)
            signal_group(running.child, signal.SIGCONT)

    def kill(self, tickets: Sequence[int] | None = None, grace: float = GRACE) -> None:
        """See ``Executor``."""
        self._settle_all()
        for ticket in list(self._running) if tickets is None else tickets:
            if (running := self._running.get(ticket)) is not None:
                running.tell(grace)
        self._cancel(tickets)

    def _cancel(self, tickets: Sequence[int] | None, interrupted: bool = False) -> None:
        kept: deque[tuple[int, Job]] = deque()
        for ticket, job in self._queue:
            if tickets is not None and ticket not in tickets:
                kept.append((ticket, job))
                continue
            error = OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            self._ended.append(Ended(ticket, NotStarted(error), time.time_ns(), 0.0, interrupted=interrupted))
        self._queue = kept

    def close(self) -> None:
        """See ``Executor``."""
        if self._closed:
            return
        self._closed = True
        self.kill()
        while self._idle:
            self._dismiss(self._idle.pop())
        while self._running or self._leaving:
            self._look(math.inf)
        if self._adoption is not None:
            self._adoption.end()
        self._sharer.close()  # From now on nobody wakes us.
        with self._waking:
            for fd in (self._woken, self.wake_fd, *(self._lifeline or ())):
                os.close(fd)
            self.wake_fd = -1


def _is_dead(child: Child) -> bool:
    try:
        return has_ended(child)
    except ChildProcessError:  # Somebody else has waited for it.
        return True

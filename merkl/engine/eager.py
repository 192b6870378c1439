"""Calls that are started when they are made: a build in a thread of its own, which more is given to while it goes on.

It decides when such a build begins and ends, and what a program that asks for a value is told of it.  What runs, runs in
other processes.

The invariant: when the program or the command ends, so has this build; and whoever waits for a call is told how it ended,
or builds it anew.
"""

import atexit
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from merkl import events
from merkl.dataclass import dataclass, replace
from merkl.digest import Key
from merkl.engine.judge import Judge
from merkl.engine.project import Project
from merkl.engine.select import Selection
from merkl.engine.starting import runs_again
from merkl.engine.step import ENDED, State
from merkl.engine.terminal import Reins
from merkl.engine.yields import in_order
from merkl.errors import Interrupted, MerklError, UsageError
from merkl.execute.sharing import aside, is_held
from merkl.nodes import Future, Node, calling_place, using, walk
from merkl.snapshot import recorder

if TYPE_CHECKING:  # Imported by the build itself.
    from merkl.engine.schedule import Schedule

IDLE: Final = 5.0  # Seconds without work after which the build ends, and its workers with it.
SOON: Final = 0.01  # Seconds until a signal is looked at again that came in the wrong moment.
GRACE: Final = 10.0  # From Ctrl-C for the tasks, when the program ends badly, to killing them.
_CLONE_FS: Final = 0x200  # linux/sched.h


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a build is given: ``after`` as in ``Judge``; ``missing`` is what may have to be run for ``nodes``."""

    nodes: Sequence[Node]
    after: Mapping[Key, Sequence[Node]]
    missing: Sequence[Node]


class Begun:
    """What was started in one project; implements ``Starting``.  Used from the program's threads; it hears of ends from those of builds."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.news = threading.Condition()
        self._asked: dict[Key, Round] = {}  # What a build that goes on was given.
        self._judges: dict[Key, Judge] = {}  # Of those that ended well and that no store answers for by key.
        self._stopped: set[Key] = set()
        self._errors: dict[Key, BaseException] = {}
        self._round: Round | None = None  # The build that more can be given to.
        self._rounds: list[Round] = []  # With it, those that may still go on.
        self._process = os.getpid()

    # ---- the program's side --------------------------------------------------------------------------------------

    def start(self, nodes: Sequence[Node]) -> None:
        """Start calls, unless their results are there; returns at once."""
        if self._is_forked() or not (missing := self._missing(nodes)):
            return
        recorder.drop()  # There will be no snapshot, and what tasks do is not to be recorded.
        before, after = in_order(self.project.ordered, list(nodes), {})
        wanted = [*before, *nodes]
        known = [
            node.key for node in (*wanted, *missing) if node.key in self._errors or node.key in self._judges
        ]
        with self.news:
            for node in (*wanted, *missing):
                self._errors.pop(node.key, None)
                self._judges.pop(node.key, None)
                self._stopped.discard(node.key)
            current = self._round
            if known and current is not None:
                current.close()  # What has ended there has ended for good.
                current = None
            asked = Wanted(wanted, after, missing)
            if current is None or not current.take(asked):
                current = Round(self)
                current.take(asked)
                current.thread.start()  # If there can be no thread, nobody is to wait for one.
                self._round = current
                self._rounds = [*(each for each in self._rounds if each.thread.is_alive()), current]
                atexit.unregister(self._at_exit)
                atexit.register(self._at_exit)
                self._mind_signals()
            for node in missing:
                self._asked[node.key] = current

    def _is_forked(self) -> bool:
        """Whether this is a child that the program forked, in which no build of this goes on."""
        return os.getpid() != self._process

    def _missing(self, nodes: Sequence[Node]) -> list[Node]:
        """What has to be run, or looked at, for the results of ``nodes``; none if they are there."""
        futures = [Future[Any](node, output.name) for node in nodes for output in node.outputs]
        judge = Judge(self.project.results, self.project.first_change, heed=self.project.heed)
        judge.want(nodes)
        judge.require(futures)
        judge.want([])
        if futures and all(judge.artifact(future) is not None for future in futures):
            return []
        return [step.node for step in judge.steps.values() if step.state is not State.KNOWN] or list(nodes)

    def _mind_signals(self) -> None:
        """End what was started when the program is told to end."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, self._terminated)

    def wait(self, futures: Iterable[Future[Any]]) -> None:
        """Wait until all that was started and that these need has ended.  Ctrl-C goes to the tasks, a second ends them.

        Raises:
            MerklError: something of it failed.
            Interrupted: it was stopped.
        """
        if self._is_forked():
            return  # Nobody would tell it: the store does.
        needed = [node.key for node in walk(futures)]
        waited: set[Key] = set()
        interrupted = False
        while True:
            try:
                # What the build of a callback has is of no use to it now, and those may need it.
                with aside(self.project.root), self.news:
                    waited |= {key for key in needed if key in self._asked}
                    while any(key in self._asked for key in waited):
                        self.news.wait()
                break
            except KeyboardInterrupt:
                interrupted = True
                for each in self._rounds:
                    each.reins.pull()
        error = next((self._errors[key] for key in needed if key in self._errors), None)
        if error is not None:
            raise error
        if interrupted and waited & self._stopped:
            raise Interrupted("interrupted")

    def goes_on(self, node: Node) -> bool:
        """Whether a call was started, or is needed by one that was, and has not ended."""
        return node.key in self._asked and not self._is_forked()

    def value_of(self, future: Future[Any]) -> tuple[Any] | None:
        """The value of a call that was started and ended well; None if it is not known."""
        from merkl.engine.evaluating import value_of

        judge = self._judges.get(future.node.key)
        return None if judge is None else (value_of(self.project, future, judge),)

    def error_of(self, node: Node) -> MerklError | None:
        """How a call failed that was started."""
        error = self._errors.get(node.key)
        return error if isinstance(error, MerklError) else None

    def close(self, *, at_once: bool) -> None:
        """Wait until what was started has ended; ``at_once`` stops it first, as Ctrl-C does.  Idempotent."""
        if self._is_forked():
            return
        with self.news:
            self._round = None
            for each in self._rounds:
                each.close()
        pulled, until = 0, math.inf
        while alive := [each for each in self._rounds if each.thread.is_alive()]:
            if at_once or time.monotonic() >= until:
                at_once, pulled = False, pulled + 1
                until = time.monotonic() + GRACE if pulled == 1 else math.inf
                for each in alive:
                    each.reins.pull()
            try:
                alive[0].thread.join(None if until == math.inf else max(0.0, until - time.monotonic()))
            except KeyboardInterrupt:
                at_once = True
        atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        # A program that ends with an error, such as Ctrl-C, does not go on with its tasks.
        self.close(at_once=getattr(sys, "last_value", None) is not None)

    def _terminated(self, number: int, _: object) -> None:
        if self.news._is_owned() or is_held():  # type: ignore[attr-defined]
            # By what this has interrupted, and those that are to end may wait for it.
            threading.Timer(SOON, os.kill, (os.getpid(), number)).start()
            return
        self.close(at_once=True)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    # ---- the builds' side ----------------------------------------------------------------------------------------

    def ended(self, node: Node, judge: Judge | None = None, error: BaseException | None = None) -> None:
        """Hear that a node ended well, as ``judge`` knows, or with ``error``, or was not to be ended."""
        # One that was interrupted and returned is in no store, and neither is what keeps no results.
        kept = judge is not None and (
            runs_again(node) or not (node.open or self.project.store.by_key([node.key]))
        )
        with self.news:
            self._asked.pop(node.key, None)
            if error is not None:
                self._errors[node.key] = error
            elif judge is None:
                self._stopped.add(node.key)
            elif kept:
                self._judges[node.key] = judge
            self.news.notify_all()
        if judge is not None:
            try:
                self.project.call_back(node.key)
            except Exception:  # noqa: BLE001 - the program's own, which must not end the build
                traceback.print_exc()

    def cause_of(self, node: Node) -> BaseException | None:
        """The error for which a node cannot be made."""
        return next((self._errors[each.key] for each in walk([node]) if each.key in self._errors), None)

    def over(self, ended: "Round") -> None:
        """Hear that a build has ended, and all that it was given with it."""
        with self.news:
            ended.close()
            if self._round is ended:
                self._round = None
            for key in [key for key, each in self._asked.items() if each is ended]:
                del self._asked[key]
                self._stopped.add(key)
            self.news.notify_all()


class Round(events.Silent):
    """One build in a thread of its own.  Its reporter, and a ``schedule.Feed``."""

    def __init__(self, begun: Begun) -> None:
        self.reins = Reins()
        self.thread = threading.Thread(target=self._run, name="merkl eager", daemon=True)
        self._begun = begun
        self._pending: list[Wanted] = []
        self._schedule: Schedule | None = None
        self._closed = False  # Nothing more is given to it.
        self._idle_since = 0.0

    def take(self, wanted: Wanted) -> bool:
        """Take more to build, unless it is about to end; ``news`` is held, as for ``close``."""
        if self._closed:
            return False
        self._pending.append(wanted)
        self._wake()
        return True

    def close(self) -> None:
        """End when what was taken is done."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._schedule is not None:
            self._schedule.executor.wake()

    def _run(self) -> None:
        try:
            self._build()
        except MerklError:
            pass  # Whoever asks for a value builds what is missing, and is told.
        except Exception:  # noqa: BLE001
            traceback.print_exc()
        finally:
            self._begun.over(self)  # Whatever happened, or who waits would do so for ever.

    def _build(self) -> None:
        from merkl.engine.build import build

        _own_directory()
        theirs = self._begun.project
        project = Project(replace(theirs.config, keep_going=True), base=theirs.base)
        project.builder, project.make_away = _refused, theirs.make_away
        project.passing = theirs.passing  # The program goes on with what was returned after Ctrl-C.
        try:
            with using(project):
                build(project, Selection((), ()), self, reins=self.reins, feed=self)
        finally:
            with self._begun.news:
                self._closed, self._schedule = True, None
            project.close()

    def feed(self, schedule: "Schedule") -> None:
        """Give the build what it was asked for since this was last called."""
        with self._begun.news:
            self._schedule = schedule
            pending, self._pending = self._pending, []
        for wanted in pending:
            self._idle_since = 0.0
            schedule.add(wanted.nodes, wanted.after)
            for node in wanted.missing:
                step = schedule.judge.steps.get(node.key)
                # Perhaps since long: nobody will say so again.
                if step is not None and step.state is State.KNOWN:
                    self._begun.ended(node, schedule.judge)
                elif step is None or step.state in ENDED:
                    self._begun.ended(node)

    def is_over(self) -> bool:
        """Whether a build that has nothing to do is to end."""
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        with self._begun.news:
            if self._pending or not (self._closed or now - self._idle_since > IDLE):
                return False
            self._closed, self._schedule = True, None
            return True

    def report(self, event: events.Event) -> None:
        """Hear how a node has ended."""
        match event:
            case events.Ran(node) | events.Cached(node) | events.CutOff(node):
                self._begun.ended(node, self._schedule.judge if self._schedule is not None else None)
            case events.Failed(node, _, error):
                self._begun.ended(node, error=error)
            case events.Skipped(node):
                self._begun.ended(node, error=self._begun.cause_of(node))
            case _:
                pass


def _refused(_: Project, futures: Sequence[Future[Any]]) -> list[Any]:
    """What a function gets that an eager call's completion calls, and that asks for what is not there: it would wait for itself."""
    raise UsageError(
        f"{futures[0].node.name} would have to run before the build can go on that calls this",
        hint="let what is called on completion read results only, and evaluate in the program itself",
        at=calling_place(),
    )


def _own_directory() -> None:
    """Let this thread change its directory, as starting a command may, without the program's others noticing."""
    if sys.platform != "linux":
        return
    try:
        import ctypes

        ctypes.CDLL(None).unshare(_CLONE_FS)
    except (ImportError, OSError, AttributeError):
        pass

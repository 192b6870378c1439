"""``merkl.build`` and ``merkl.building``: a build as a call, and as an iterator of what happens.

They decide what a program's words mean: names of targets and paths belong to the Merklfile of a directory, Futures to the
program itself.

The invariant: a build that a program has begun has ended when the ``with`` block is left, however that happens.
"""

import asyncio
import contextvars
import math
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final

from merkl.cluster.making import away
from merkl.config import Config, find_root, load_config, with_target
from merkl.dataclass import dataclass, replace
from merkl.engine.build import build as run_build
from merkl.engine.evaluating import evaluate, selection_of
from merkl.engine.project import Project
from merkl.engine.request import open_merklfile, open_project, selected
from merkl.engine.select import Selection, plain_label
from merkl.engine.terminal import Reins
from merkl.errors import MerklfileError, UsageError
from merkl.events import Event, Silent
from merkl.nodes import Future, PathLike, session
from merkl.programs.built import Built

GRACE_S: Final = 10.0  # From leaving a build, which is Ctrl-C for its tasks, to killing them.
_END: Final = object()


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be built in an open project; ``asked`` has what each word stands for, by name."""

    project: Project
    selection: Selection
    asked: tuple[tuple[str, Any], ...]
    # What a project of the program's own goes back to; None for one that was opened for this.
    before: Config | None = None

    def close(self) -> None:
        """Let go of what was opened, and forget what was asked for only here.  Idempotent."""
        if self.before is None:
            self.project.close()
        else:
            self.project.config = self.before


class Heard(Silent):
    """A reporter that keeps what happens, and passes it on to ``listener``."""

    def __init__(self, listener: Callable[[Event], object] | None = None) -> None:
        self.events: list[Event] = []
        self._listener = listener

    def report(self, event: Event) -> None:
        """Keep one event."""
        self.events.append(event)
        if self._listener is not None:
            self._listener(event)


def build(
    *targets: str | Future[Any],
    directory: PathLike = ".",
    jobs: int | None = None,
    target: str | None = None,
    keep_going: bool = False,
    force: bool = False,
    check: bool = True,
) -> Built:
    """Build targets, and return what became of it.

    ``targets`` are Futures, or words as on the command line: names of targets, paths, ``NAME=VALUE``; none means the
    default target.  Words belong to the project of ``directory``, whose Merklfile is run; Futures to this program.  ``target``
    names an executor of merkl.yaml, for tasks that name none; ``local`` is this machine, for all.  With ``keep_going`` what
    does not need a task that failed is built too; ``force`` runs all of it.  Without ``check`` a task that fails is told in
    the result, and not raised.

    Raises:
        MerklError: a task failed, or the words or the Merklfile are wrong.
        Interrupted: the user pressed Ctrl-C.
    """
    work = prepared(targets, directory, jobs=jobs, target=target, keep_going=keep_going or None)
    try:
        built = _built(work, Heard(), force=force)
    finally:
        work.close()
    if check:
        built.raise_failure()
    return built


def building(
    *targets: str | Future[Any],
    directory: PathLike = ".",
    jobs: int | None = None,
    target: str | None = None,
    keep_going: bool = False,
    force: bool = False,
) -> "Building":
    """The same, as an iterator of the events of ``merkl.events``, in a ``with`` block, or an ``async with`` block.

    Raises:
        MerklError: the words or the Merklfile are wrong.
    """
    return Building(
        prepared(targets, directory, jobs=jobs, target=target, keep_going=keep_going or None), force=force
    )


def prepared(targets: Sequence[str | Future[Any]], directory: PathLike, **flags: Any) -> Work:
    """Find out what is asked for.

    Raises:
        MerklError: it cannot be understood.
    """
    futures = [target for target in targets if isinstance(target, Future)]
    words = [target for target in targets if isinstance(target, str)]
    if len(futures) + len(words) < len(targets):
        wrong = next(target for target in targets if not isinstance(target, (str, Future)))
        raise UsageError(f"a target is a name, a path or a Future, not {wrong!r:.80}")
    if futures and words:
        raise UsageError(
            "Futures of this program and targets of a Merklfile are built one after the other",
            hint="call merkl.build twice",
        )
    return _of_program(futures, flags) if futures else _of_merklfile(words, directory, flags)


def _of_program(futures: Sequence[Future[Any]], flags: dict[str, Any]) -> Work:
    project = session()
    if not isinstance(project, Project):
        raise UsageError("a task cannot build", hint="pass it the Future as an argument")
    project._asked("builds, or asks what that would run")
    names = [(plain_label(future.node), future) for future in futures]
    before, project.config = project.config, _flagged(project.config, flags)
    return Work(project, selection_of(project, futures), tuple(names), before)


def _flagged(config: Config, flags: dict[str, Any]) -> Config:
    given = {name: value for name, value in flags.items() if value is not None}
    if "jobs" in given:
        jobs = given["jobs"]
        if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
            raise UsageError(f"jobs is a number from 1 up, not {jobs!r}")
        given["jobs_asked"] = True
    if "target" in given:
        config = with_target(config, given.pop("target"))
    return replace(config, **given)


def _of_merklfile(words: Sequence[str], directory: PathLike, flags: dict[str, Any]) -> Work:
    cwd = os.path.abspath(os.fsdecode(directory))
    root = find_root(cwd)
    if root is None:
        raise MerklfileError(f"no project in {cwd} or above", hint="`merkl init` makes one")
    project = open_project(_flagged(load_config(root), flags))
    project.make_away = away
    try:
        chosen = selected(project, open_merklfile(project), words, cwd)
    except BaseException:
        project.close()
        raise
    return Work(project, chosen.selection, chosen.values)


def _built(work: Work, heard: Heard, *, force: bool, reins: Reins | None = None) -> Built:
    done, _ = run_build(work.project, work.selection, heard, force=force, reins=reins)

    def read(futures: Sequence[Future[Any]]) -> list[Any]:
        try:
            return evaluate(work.project, futures)
        finally:
            work.close()

    return Built(work.asked, done, heard.events, read)


class Building(Iterator[Event], AsyncIterator[Event]):
    """A build that goes on in a thread of its own while its events are read.

    It begins with the ``with`` block; leaving that early stops it, as Ctrl-C does.  ``built`` is what became of it, once all
    events have been read.
    """

    def __init__(self, work: Work, *, force: bool) -> None:
        self._work = work
        self._force = force
        self._events: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._reins = Reins()
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="merkl build")
        self._built: Built | None = None
        self._error: BaseException | None = None
        self._ended = False

    @property
    def built(self) -> Built:
        """What became of it.

        Raises:
            UsageError: it has not ended.
            MerklError: it could not even begin, or end.
        """
        if self._error is not None:
            raise self._error
        if self._built is None:
            raise UsageError("the build has not ended", hint="read all its events first")
        return self._built

    def stop(self) -> None:
        """Ask it to stop, as Ctrl-C does; a second time kills what still runs."""
        self._reins.pull()

    def __enter__(self) -> "Building":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.stop()
        self._join()

    def __iter__(self) -> "Building":
        return self

    def __next__(self) -> Event:
        event = self._next()
        if event is _END:
            raise StopIteration
        return event  # type: ignore[return-value]

    async def __aenter__(self) -> "Building":
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.stop()
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._join))

    def __aiter__(self) -> "Building":
        return self

    async def __anext__(self) -> Event:
        event = await asyncio.get_running_loop().run_in_executor(None, self._next)
        if event is _END:
            raise StopAsyncIteration
        return event  # type: ignore[return-value]

    def _next(self) -> object:
        if self._ended:
            return _END
        if not self._thread.ident:
            raise UsageError("the build has not begun", hint="with merkl.building(…) as events:")
        event = self._events.get()
        if event is _END:
            self._ended = True
            if self._error is not None:
                raise self._error
        return event

    def _join(self) -> None:
        """Wait until it has ended; what still runs long after it was stopped is killed, or after another Ctrl-C."""
        until = math.inf if self._ended else time.monotonic() + GRACE_S
        while self._thread.is_alive():
            try:
                self._thread.join(None if until == math.inf else max(0.0, until - time.monotonic()))
                if not self._thread.is_alive():
                    return
            except KeyboardInterrupt:
                pass
            until = math.inf
            self.stop()

    def _run(self) -> None:
        try:
            heard = Heard(self._events.put)
            self._built = _built(self._work, heard, force=self._force, reins=self._reins)
        except BaseException as error:  # noqa: BLE001 - it is raised where the events are read
            self._error = error
        finally:
            self._work.close()
            self._events.put(_END)

"""Sending results to the remote while a build goes on.

It decides what goes together, and that a fault of the remote ends it: what is left then is for ``merkl push``.

The invariant: the building thread never waits for the remote before the build is over.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, Final, cast

from merkl.digest import Digest, Key
from merkl.engine.project import Project
from merkl.engine.push import constructions_of, results_of
from merkl.errors import MerklError, StoreCorrupt
from merkl.events import Note, Reporter
from merkl.nodes import Node, walk
from merkl.store.base import Record, Store
from merkl.store.remote.errors import RemoteError
from merkl.store.remote.remote import Remote
from merkl.store.remote.upload import Result, upload

_PATIENCE_S: Final = 1.0  # Seconds of waiting after which the user is told what for.
_TICK_S: Final = 0.1
_AT_ONCE: Final = 500  # Results.
_MOMENT_S: Final = 1.0  # For which the first of several results waits for others.


class _Stopped(Exception):
    """It was asked to stop; the rest is not sent."""


class Pushing:
    """Sends what it is given from ``store`` to ``remote``, in a thread that is made when there is something."""

    def __init__(self, store: Store, remote: Remote) -> None:
        self._store = store
        self._remote = remote
        self._given: queue.SimpleQueue[Result | Digest | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        # Given and not sent yet, results and contents; each side only adds or only subtracts under the lock.
        self._left, self._left_data = 0, 0
        self._named: set[Key] = set()  # What was given.
        self._lock = threading.Lock()
        self.failure: BaseException | None = None

    def give(self, record: Record, keys: Sequence[Key]) -> None:
        """Send a record that is in the store, later; ``keys`` are those that it answers."""
        with self._lock:
            self._left += 1
        self._named.update(keys or [record.content_key])
        self._put(Result(record, keys))

    def give_contents(self, digests: Sequence[Digest]) -> None:
        """Send contents that are in the store, later: those that sidecars name and no record."""
        with self._lock:
            self._left_data += len(digests)
        for digest in digests:
            self._put(digest)

    def give_rest(self, project: Project, nodes: Iterable[Node]) -> None:
        """Send also what earlier builds have made of some nodes, later, unless it was sent lately."""
        if self.failure is not None:
            return
        try:
            calls, evaluated = constructions_of(project)
            kept = {n.key: n for n in (*nodes, *walk(evaluated)) if n.cache and n.given is None}
            filed = self._named | self._remote.filed([*kept, *(key for each in calls for key in each.keys)])
            rest = [*results_of(project, [kept[key] for key in kept.keys() - filed]), *calls]
            filed |= self._remote.filed(result.record.content_key for result in rest if not result.keys)
        except MerklError as error:
            self.failure = error
            return
        for result in rest:
            if self._remote.records.is_ours(result.record) and not filed.issuperset(
                result.keys or [result.record.content_key]
            ):
                self.give(result.record, result.keys)

    def _put(self, what: Result | Digest) -> None:
        if self.failure is not None:
            return
        self._given.put(what)
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="merkl-push", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self.failure = RemoteError(
                    "no thread can be started to send with", hint="is there a limit on processes (ulimit -u)?"
                )
                return
            self._thread = thread

    def finish(self, reporter: Reporter, *, at_once: bool = False) -> None:
        """Wait until all is sent or nothing more can be; with ``at_once``, or on Ctrl-C, leave the rest.

        Raises:
            KeyboardInterrupt: the user did not want to wait.
        """
        if self._thread is None:
            self._tell(reporter)
            return
        self._given.put(None)
        if at_once:
            self._stop.set()
        try:
            self._wait(reporter)
        except KeyboardInterrupt:
            self._stop.set()
            self._thread.join()
            raise
        finally:
            self._tell(reporter)

    def raise_failure(self, *, required: bool) -> None:
        """Raise what ended it, if that is a bug of ours, or the remote is ``required``."""
        if self.failure is not None and (required or not isinstance(self.failure, MerklError)):
            raise self.failure

    def _wait(self, reporter: Reporter) -> None:
        assert self._thread is not None
        began, told = time.monotonic(), False
        while self._thread.is_alive():
            self._thread.join(_TICK_S)
            reporter.tick()
            if not told and time.monotonic() - began > _PATIENCE_S and (self._left or self._left_data):
                told = True
                text = f"built; sending {self._rest()} to {self._remote.url}"
                reporter.report(Note(text, "Ctrl-C leaves that to `merkl push`"))

    def _tell(self, reporter: Reporter) -> None:
        if self.failure is None and not self._left and not self._left_data:
            return
        why, hint = "", ""
        if isinstance(self.failure, MerklError) and not self.failure.told:  # Else the build says it.
            why, hint = f": {self.failure.headline}", self.failure.hint
        reporter.report(Note(f"{self._rest()} not pushed{why}", hint or "`merkl push` sends what is missing"))

    def _rest(self) -> str:
        if self._left:
            return f"{self._left} result{'s' * (self._left != 1)}"
        return "data of sidecars" if self._left_data else "results of earlier builds"

    # ---- in the thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            batch = self._batch()
            if batch:
                self._remote.prepare()
            while batch:
                self._send(batch)
                batch = self._batch()
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - told or raised by the building thread.
            self.failure = error

    def _batch(self) -> list[Result | Digest]:
        """What is given within a moment, at least one; nothing at the end.  What goes together is one pack."""
        results: list[Result | Digest] = []
        until = float("inf")
        while len(results) < _AT_ONCE:
            try:
                patience = None if not results else max(until - time.monotonic(), 0.0)
                result = self._given.get(timeout=patience)
            except queue.Empty:
                break
            if result is None:
                self._given.put(None)
                break
            if not results:
                until = time.monotonic() + _MOMENT_S
            results.append(result)
        return results

    def _send(self, batch: Sequence[Result | Digest]) -> None:
        try:
            self._check()
            self._upload(batch)
        except StoreCorrupt:
            for result in batch:  # Which one it was: the others can be sent.
                self._send_one(result)
        with self._lock:
            results = sum(isinstance(each, Result) for each in batch)
            self._left -= results
            self._left_data -= len(batch) - results

    def _send_one(self, result: Result | Digest) -> None:
        try:
            self._upload([result])
        except StoreCorrupt:
            pass  # Whoever needs it finds that out, and makes it again.

    def _upload(self, batch: Sequence[Result | Digest]) -> None:
        results = [each for each in batch if isinstance(each, Result)]
        contents = [each for each in batch if isinstance(each, Digest)]
        upload(results, self._store, self._remote, contents=contents, read=self._read)

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _read(self, digest: Digest) -> BinaryIO:
        self._check()
        return cast(BinaryIO, _Stoppable(self._store.reader(digest), self._check))


class _Stoppable:
    """A reader that looks, before each piece, whether there is to be another."""

    def __init__(self, file: BinaryIO, check: Callable[[], None]) -> None:
        self._file = file
        self._check = check
        self.fileno, self.tell, self.close = file.fileno, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        self._check()
        return self._file.read(size)

    def __enter__(self) -> "_Stoppable":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

"""What runs inside a Dask worker: it hands errands to a child of its own and waits for what comes of them.

It decides which child gets a pack: each build has one of its own, which serves another when that is over.  It imports nothing that is heavy, and runs nothing of the user's.

The invariant: a child lives no longer than the Dask worker, and runs nothing for a task that was cancelled or whose client
is gone.
"""

import os
import pickle
import subprocess
import sys
import threading
from typing import Any, Final

_LOOK_S: Final = 0.3  # Seconds between looks at whether a pack is still wanted.
_BOOT: Final = "import sys; sys.path[:] = sys.argv[3:]; a = sys.argv[1:3]; sys.argv[1:] = []; from merkl.cluster.host import main; main(*a)"

_children: "dict[str, Child]" = {}  # By session.
_spare: "list[Child]" = []  # Whose builds are over.
_lock = threading.Lock()
_refused: dict[str, int] = {}  # By session, the last epoch of which nothing is to begin.


class Given:
    """A pack that a child has: whether all of it has run, and whether it was told what came of it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ran = threading.Event()
        self.told = threading.Event()
        self.answers: list[Any] = []


class Child:
    """A process that runs errands."""

    def __init__(self, base: str, slots: int, log: Any) -> None:
        from merkl.cluster.frames import Frames

        os.makedirs(base, mode=0o700, exist_ok=True)
        environ = {name: value for name, value in os.environ.items() if name != "MERKL_SIGNING_KEY"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, base, str(slots), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # A Ctrl-C where the worker was started is not for it.
            env=environ,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.frames = Frames(self.process.stdout.fileno(), self.process.stdin.fileno())
        self._packs: dict[int, Given] = {}
        self._count = 0
        self._gone = False
        self._guard = threading.Lock()
        self._log = log
        threading.Thread(target=self._listen, name="merkl-host", daemon=True).start()

    def _listen(self) -> None:
        while (frame := self.frames.read()) is not None:
            if frame[0] == "ran":
                with self._guard:
                    self._packs[frame[1]].ran.set()
            elif frame[0] == "done":
                with self._guard:
                    given = self._packs.pop(frame[1])
                given.answers += frame[2]
                given.told.set()
                given.ran.set()
            elif frame[0] == "log":
                self._log(*frame[1:])
        with self._guard:
            self._gone = True
            left, self._packs = self._packs, {}
        for given in left.values():
            given.told.set()
            given.ran.set()
        self.process.wait()

    def give(self, epoch: int, errands: list[Any]) -> "Given | None":
        """Hand over a pack; None if the child is gone."""
        with self._guard:
            if self._gone:
                return None
            self._count += 1
            given = self._packs[self._count] = Given(self._count)
        self.frames.write(("pack", given.number, epoch, errands))
        return given

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self._gone


class Sealed:
    """Bytes that are in no log: Dask writes down the arguments of what fails, and keys and secrets may be among them."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"Sealed({len(self.data)} bytes)"


def run_pack(runs: dict[str, str], head: Sealed, epoch: int, data: Sealed) -> bytes:
    """Run errands, and return what came of each, pickled."""
    import distributed

    from merkl.cluster.errand import Answer
    from merkl.cluster.versions import versions_here

    dask: Any = distributed  # Which has no types.
    worker = dask.get_worker()
    differ = {name: own for name, own in versions_here().items() if runs.get(name) != own}
    if differ:
        return pickle.dumps(("differs", differ, worker.address))
    sender = pickle.loads(head.data)
    errands = pickle.loads(data.data)
    task = worker.get_current_task()
    for _ in range(2):  # A child that had nothing to do may just have ended.
        child = _child_of(worker, sender)
        if (given := child.give(epoch, errands)) is not None:
            break
    else:
        return pickle.dumps(("lost", None, worker.address))
    cancelled = False
    while not given.ran.wait(_LOOK_S):
        if not cancelled and not _is_wanted(worker, task):
            cancelled = True
            child.frames.write(("cancel", given.number))
    if not given.told.is_set() and not cancelled:
        dask.secede()  # Another may begin here while what was made is published.
    given.told.wait()
    answers = [answer for answer in given.answers if isinstance(answer, Answer)]
    if cancelled:  # What was ended for that has not failed, should somebody want it after all.
        answers = [answer for answer in answers if answer.record is not None]
    if len(answers) < len(errands):
        return pickle.dumps(("lost", answers, worker.address))
    return pickle.dumps(("done", answers, worker.address))


def _is_wanted(worker: Any, key: Any) -> bool:
    """Whether the scheduler still wants the result of a task: not if it was cancelled, its client is gone, or the scheduler
    itself is."""
    if worker.status.name in ("closing", "closed", "failed"):
        return False  # It would wait for us; whoever sent this is told that it is gone.
    known = worker.state.tasks.get(key)
    return known is not None and known.state in ("executing", "long-running")


def _child_of(worker: Any, sender: Any) -> Child:
    with _lock:
        child = _children.get(sender.session)
        if child is None or child.is_gone:
            for session in [name for name, each in _children.items() if each.is_gone]:
                del _children[session]
            child = _children[sender.session] = _spare_child(worker)
            child.frames.write(("sender", sender))
            if sender.session in _refused:
                child.frames.write(("refuse", _refused[sender.session]))
        return child


def _spare_child(worker: Any) -> Child:
    """A child that has no build."""
    while _spare:
        child = _spare.pop()
        if not child.is_gone:
            return child

    def log(session: str, ticket: int, piece: bytes) -> None:
        worker.log_event(f"merkl-{session}", {"ticket": ticket, "log": piece.decode("latin-1")})

    base = os.path.join(os.path.dirname(worker.local_directory), f"merkl-{os.getuid()}")
    return Child(base, worker.state.nthreads, log)


def tell(session: str, what: str, epoch: int) -> None:
    """Tell the child of a build to ``refuse`` what has not begun, to ``interrupt`` or ``kill`` what runs, or to ``end``."""
    with _lock:
        if what == "end":
            _refused.pop(session, None)
        else:
            _refused[session] = max(epoch, _refused.get(session, -1))
        child = _children.get(session)
        if child is not None:
            child.frames.write((what, epoch) if what != "end" else ("end",))
        if child is not None and what == "end":
            _spare.append(_children.pop(session))

"""Workers that are forked off this process before it is known what for.

It decides how a fork becomes a worker as good as a new one: that takes as long as hundreds of brief calls, most of it to
import what has been imported here.  Who wants some, and when, is not its business.

The invariant: a worker is forked before anything of a project is loaded, and begins with the environment, the search path,
the directory and the umask that hold when it is claimed; one that nobody claims runs nothing, and is gone after ``dismiss``.
"""

import _pickle as pickle  # Without what ``pickle`` imports besides.
import contextlib
import fcntl
import gc
import os
import signal
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final, NoReturn

from merkl.execute.call import new_file
from merkl.execute.frames import widen
from merkl.execute.pool import Worker, new_lifeline, search_path
from merkl.execute.process import RESET, alive, become_parent, forked
from merkl.trust.signer import SECRET_VARIABLE

_DESCRIPTORS: Final = (
    64  # So many a fork may have, that there is room for its own beside those that it puts away.
)
_SIZE: Final = struct.Struct("!Q")

_ready: list[Worker] = []
_lifeline: list[int] = []
_began: list[object] = []  # What the workers that are ready have begun with.

# Variables that Python, or what it is made of, reads once as it starts.
_AT_START: Final = (b"PYTHON", b"LANG", b"LC_", b"LD_", b"MALLOC_", b"GLIBC_", b"COVERAGE_")


def may_fork() -> bool:
    """Whether a fork of this process would be like a new one: there is no other thread, nor a secret that it must not have."""
    if not sys.platform.startswith("linux") or SECRET_VARIABLE in os.environ or _ready:
        return False
    if sys.gettrace() is not None or sys.getprofile() is not None or "coverage" in sys.modules:
        return False  # Two of whatever looks on would write the same files.
    import resource

    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] < _DESCRIPTORS:
        return False  # A new process has some more, since it begins with none of ours.
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def fork_workers(count: int, modules: Sequence[str]) -> None:
    """Fork so many workers, as far as that can be done; each imports ``modules``.

    Raises:
        SystemExit: this is one of them, and there are no more calls.
    """
    become_parent()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # Whoever writes next is told.
            stream.flush()  # Else all of us would write what is left in them.
    try:
        _began[:] = [_begins_with(os.environb)]
        _lifeline[:] = new_lifeline()
        while len(_ready) < count:
            theirs, ours = _pipes()
            if not (pid := _fork()):
                _serve((theirs[1], theirs[2], theirs[0], _lifeline[0], ours[2]), modules)
            for fd in theirs:
                os.close(fd)
            for fd in ours:
                os.set_blocking(fd, False)
            widen(ours[0])
            _ready.append(Worker(forked(pid), ours[0], ours[1], (ours[2], ours[3]), [], []))
    except OSError:
        pass  # New ones will be started when they are needed, or that will fail, too.


def _fork() -> int:
    """As ``os.fork``."""
    # A SIGINT must not meet the child before it can tell a call from the time before.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    signal.pthread_sigmask(signal.SIG_SETMASK, before if pid else {signal.SIGINT})
    return pid


def claim(env: Mapping[bytes, bytes]) -> Worker | None:
    """One of those that were forked, which begins now, with this environment; None if there is none left, or it would not do."""
    if _ready and _began != [_begins_with(env)]:
        return None
    while _ready:
        worker = _ready.pop(0)
        if not _leads(worker):
            _end(worker)  # It has not come so far yet that signals would find it.
            continue
        umask = os.umask(0)
        os.umask(umask)
        data = pickle.dumps((dict(env), search_path(), os.getcwdb(), umask))
        worker.unsent += [memoryview(_SIZE.pack(len(data)) + data)]
        try:
            worker.push()
            return worker
        except BrokenPipeError:
            _end(worker)
    return None


def _begins_with(env: Mapping[bytes, bytes]) -> object:
    """What a process has from its start on that nobody can give it later: one that began with something else will not do."""
    import resource

    limits = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
    return (
        sorted((name, value) for name, value in env.items() if name.startswith(_AT_START)),
        [resource.getrlimit(number) for number in limits],
        os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.sched_getaffinity(0),
        os.getresuid(), os.getresgid(), os.getgroups(),
    )  # fmt: skip


def end_spare() -> int:
    """End those that nobody has claimed; how many there were."""
    count = len(_ready)
    while _ready:
        _end(_ready.pop())
    return count


def dismiss() -> None:
    """The same; those that somebody has claimed must be gone."""
    end_spare()
    while _lifeline:
        os.close(_lifeline.pop())


def _leads(worker: Worker) -> bool:
    try:
        return os.getsid(worker.child.pid) == worker.child.pid
    except OSError:
        return False


def _end(worker: Worker) -> None:
    """End one that has run nothing, so that there is nothing to be careful of."""
    worker.hang_up()
    try:
        os.kill(worker.child.pid, signal.SIGKILL)
        os.waitpid(worker.child.pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # Somebody has waited for it.
    alive.discard(worker.child.pid)
    if worker.child.pidfd >= 0:
        os.close(worker.child.pidfd)


def _pipes() -> tuple[list[int], list[int]]:
    """The ends of a worker, log first, and ours: of requests, of replies, and both of claims."""
    theirs: list[int] = []
    ours: list[int] = []
    try:
        theirs.append(new_file(os.fsencode(os.devnull)))
        for end in (0, 1):
            reader, writer = os.pipe()
            theirs.append((reader, writer)[end])
            ours.append((writer, reader)[end])
        ours += new_lifeline()
    except OSError:
        for fd in (*theirs, *ours):
            os.close(fd)
        raise
    return theirs, ours


def _serve(pipes: Sequence[int], modules: Sequence[str]) -> NoReturn:
    """Be a worker, and nothing else any more: those who called us are not to go on."""
    code = 1
    try:
        _work(pipes, modules)
        code = 0
    except SystemExit:
        raise
    except BaseException:  # noqa: BLE001 - whatever it is, a new process would have ended with it
        import traceback

        traceback.print_exc()
    raise SystemExit(code)


def _work(pipes: Sequence[int], modules: Sequence[str]) -> None:
    _become_new(pipes)
    for module in modules:
        __import__(module)
    from merkl.execute.worker import main

    begin = _read(_SIZE.size)
    data = _read(*_SIZE.unpack(begin)) if begin else b""
    if not data:
        os._exit(0)  # Nobody wanted us.
    env, path, directory, umask = pickle.loads(data)
    for name in [name for name in os.environb if name not in env]:
        del os.environb[name]
    os.environb.update(env)
    time.tzset()
    sys.path[:] = path
    os.chdir(directory)
    os.umask(umask)
    main(*modules)


def _become_new(pipes: Sequence[int]) -> None:
    """Put away what a process has that was forked, and a new one has not; ``pipes`` become the descriptors from 0 on."""
    os.setsid()
    for number in RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)  # As Python does when it starts.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16) for fd in pipes]
    for target, fd in enumerate(moved):
        os.dup2(fd, target)
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd >= len(pipes):
            with contextlib.suppress(OSError):  # The one of the list itself.
                os.close(fd)
    from merkl.snapshot import recorder

    recorder.drop()
    _ready.clear()
    _lifeline.clear()
    alive.clear()
    try:
        # Who ends all processes of merkl's by name would end the tasks, and merkl be told that they failed.
        with open("/proc/self/comm", "wb") as file:
            file.write(os.path.basename(os.fsencode(sys.executable)))
    except OSError:
        pass
    gc.set_threshold(700, 10, 10)
    sys.argv[:] = ["-c"]
    main: Any = ModuleType("__main__")
    main.__builtins__ = __builtins__
    main.__annotations__ = {}
    sys.modules["__main__"] = main


def _read(size: int) -> bytes:
    """So many bytes of what we get; nothing if it ends before."""
    chunks: list[bytes] = []
    while size:
        chunk = os.read(0, size)
        if not chunk:
            return b""
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)

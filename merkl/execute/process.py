"""Child processes: started by ``posix_spawn``, awaited by a descriptor, signalled by group.

It decides how a process is set up and what its end is called.  It knows no slots and no tickets.

The invariant: a process is reaped only here, and only after its group was told to end; so a signal never reaches a
stranger that got the number of a process long gone.
"""

import errno
import functools
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from merkl.dataclass import dataclass
from merkl.execute.base import SCRIPT_FD, ProcessJob

# exec keeps "ignored"; a task must not inherit that from Python (SIGPIPE, SIGXFSZ), from nohup or from a shell's ``&``.
RESET: Final = sorted(
    {
        getattr(signal, name)
        for name in [
            "SIGINT",
            "SIGQUIT",
            "SIGTERM",
            "SIGHUP",
            "SIGPIPE",
            "SIGXFSZ",
            "SIGXFZ",
            "SIGCHLD",
            "SIGTSTP",
            "SIGTTIN",
            "SIGTTOU",
            "SIGUSR1",
            "SIGUSR2",
            "SIGALRM",
        ]
        if hasattr(signal, name)
    }
)
RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024  # Bytes per unit of ru_maxrss.
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC

alive: Final[set[int]] = set()  # Process ids that were started here and are not reaped yet.
starting: Final = threading.Lock()  # Held from before a process is there until it is in ``alive``.


@dataclass(frozen=True, slots=True)
class Child:
    """A process started here.  ``pidfd`` is readable once it has ended; -1 where there is no such thing.

    ``leads`` if it leads a session and a process group of its own.
    """

    pid: int
    pidfd: int
    leads: bool


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended: exit code, or negative signal number.  ``peak_memory`` in bytes, 0 if it is not known."""

    code: int
    peak_memory: int


def forked(pid: int) -> Child:
    """A child that was forked, and is about to lead a session of its own."""
    alive.add(pid)
    return Child(pid, _open_pidfd(pid), leads=True)


def become_parent() -> None:
    """Make this process one that children can be started from, whoever started it."""
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:  # Started with stdin, stdout or stderr closed: a pipe of ours must not take their place.
        os.set_inheritable(null, True)
        null = os.dup(null)
    os.close(null)
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # Else the kernel reaps, and no exit code is left.
        except ValueError:
            pass  # Not the main thread; each end will be one that cannot be known.


def start_command(job: ProcessJob, passed_on: Sequence[tuple[int, int]] = ()) -> Child:
    """Start the process of a job, with copies of our descriptors ``passed_on`` under other numbers.

    Raises:
        OSError: it could not be started; ``filename`` is the file that was the reason, if one was.
    """
    extra = [(os.POSIX_SPAWN_DUP2, fd, number) for fd, number in passed_on]
    if job.script is None:
        return _start(job, job.argv, extra)
    fd = _in_memory(job.script)
    if fd < 0:
        path = os.path.join(job.cwd, job.script_path)
        with open(path, "wb") as file:
            file.write(job.script)
        return _start(job, [*job.argv, job.script_path], extra)
    try:
        return _start(
            job, [*job.argv, b"/dev/fd/%d" % SCRIPT_FD], [(os.POSIX_SPAWN_DUP2, fd, SCRIPT_FD), *extra]
        )
    finally:
        os.close(fd)


def _in_memory(data: bytes) -> int:
    """A descriptor, above those a command starts with, of a file in memory; -1 where there are none (macOS)."""
    create = getattr(os, "memfd_create", None)
    if create is None or not _has_dev_fd():
        return -1
    try:
        made: int = create("script")
    except OSError:
        return -1
    fd = _above(made)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


@functools.cache
def _has_dev_fd() -> bool:
    return os.path.isdir("/dev/fd")


def _above(fd: int) -> int:
    """The same file under a descriptor that no action of ``posix_spawn`` overwrites before it is used."""
    if fd > SCRIPT_FD:
        return fd
    import fcntl

    higher = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, SCRIPT_FD + 1)
    os.close(fd)
    return higher


def _start(job: ProcessJob, argv: Sequence[bytes], extra: Sequence[tuple[Any, ...]]) -> Child:
    if job.interactive:
        return spawn(argv, job.env, extra, job.cwd, leads=False, nice=job.nice)
    if os.getcwdb() == job.cwd:
        log, stdout = job.log, job.stdout
    else:
        log, stdout = os.path.abspath(job.log), job.stdout and os.path.abspath(job.stdout)
    actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, b"/dev/null", os.O_RDONLY, 0)]
    if stdout is None:
        actions.append((os.POSIX_SPAWN_OPEN, 1, log, _NEW_FILE | os.O_APPEND, 0o666))
        actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
    else:
        actions.append((os.POSIX_SPAWN_OPEN, 1, stdout, _NEW_FILE, 0o666))
        actions.append((os.POSIX_SPAWN_OPEN, 2, log, _NEW_FILE | os.O_APPEND, 0o666))
    try:
        return spawn(argv, job.env, [*actions, *extra], job.cwd, nice=job.nice)
    except OSError as error:
        _blame(error, job, log, stdout)
        raise


def spawn(
    argv: Sequence[bytes],
    env: Mapping[bytes, bytes],
    actions: Sequence[tuple[Any, ...]],
    cwd: bytes | None = None,
    *,
    leads: bool = True,
    blocked: Sequence[signal.Signals] = (),
    nice: int = 0,
) -> Child:
    """Start ``argv`` with the file ``actions`` of ``posix_spawn``, in directory ``cwd`` (None: the current one).

    ``nice`` is added to our own niceness.

    Raises:
        OSError: it could not be started.
    """
    with starting:
        return _spawned(argv, env, actions, cwd, leads, blocked, nice)


def _spawned(
    argv: Sequence[bytes],
    env: Mapping[bytes, bytes],
    actions: Sequence[tuple[Any, ...]],
    cwd: bytes | None,
    leads: bool,
    blocked: Sequence[signal.Signals],
    nice: int,
) -> Child:
    here = None
    if cwd is not None and os.getcwdb() != cwd:
        # posix_spawn cannot change the directory, so we go there and come back.
        here = os.open(b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        if here is not None and cwd is not None:
            os.chdir(cwd)
        if nice:
            pid = _spawn_nicely(nice, lambda: _spawn(argv, env, actions, leads, blocked))
        else:
            pid = _spawn(argv, env, actions, leads, blocked)
    finally:
        if here is not None:
            os.fchdir(here)
            os.close(here)
    alive.add(pid)
    return Child(pid, _open_pidfd(pid), leads)


def _spawn(
    argv: Sequence[bytes],
    env: Mapping[bytes, bytes],
    actions: Sequence[tuple[Any, ...]],
    leads: bool,
    blocked: Sequence[signal.Signals],
) -> int:
    try:
        return os.posix_spawn(
            argv[0],
            list(argv),
            env,
            file_actions=actions,
            setsid=leads,
            setsigdef=RESET,
            setsigmask=blocked,
        )
    except NotImplementedError:  # macOS before 10.15: a group has to do.
        return os.posix_spawn(
            argv[0],
            list(argv),
            env,
            file_actions=actions,
            setpgroup=0,
            setsigdef=RESET,
            setsigmask=blocked,
        )


def _spawn_nicely(nice: int, start: Callable[[], int]) -> int:
    """Start a process that is nicer than we are from its first instruction on.

    We could not take back our own niceness.  On Linux a thread has its own, and its children get that; elsewhere a process
    is told when it runs already.
    """
    nicer = min(19, os.getpriority(os.PRIO_PROCESS, 0) + nice)
    if sys.platform != "linux":
        pid = start()
        try:
            os.setpriority(os.PRIO_PROCESS, pid, nicer)
        except OSError:
            pass  # It has ended.
        return pid
    import threading

    ended: list[int | BaseException] = []

    def run() -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, nicer)  # Of this thread only.
            ended.append(start())
        except BaseException as error:  # noqa: BLE001 - it is raised where it belongs
            ended.append(error)

    thread = threading.Thread(target=run)
    try:
        thread.start()
    except RuntimeError:  # The limit is one on processes and threads together.
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
    thread.join()
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]


def _open_pidfd(pid: int) -> int:
    """-1 without Linux, or with an old one, or with no descriptor left: such a process is asked for now and then."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return -1
    try:
        return int(opener(pid))
    except OSError:
        return -1


def _blame(error: OSError, job: ProcessJob, log: bytes, stdout: bytes | None) -> None:
    """posix_spawn blames the program for whatever failed; find out who it was."""
    import errno

    if error.errno not in (
        errno.ENOENT,
        errno.EACCES,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EROFS,
        errno.ENOSPC,
    ):
        return
    for path in (log, stdout):
        if path is not None:
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
            except OSError as reason:
                error.filename = reason.filename
                return
    if not os.path.isdir(job.cwd):
        error.filename = job.cwd
        return
    error.filename = job.argv[0]
    if error.errno == errno.ENOENT and os.path.exists(job.argv[0]):
        with open(job.argv[0], "rb") as file:
            first = file.readline(4096)
        if first.startswith(b"#!") and (words := first[2:].split()):
            error.filename = words[0]  # The script is there, its interpreter is not.


def signal_group(child: Child, number: int) -> None:
    """Send a signal to the process and whatever is left in its group; to it alone if it leads none.

    Only until it is reaped, or while something of its group is left: till then its number belongs to nobody else.
    """
    try:
        if child.leads:
            os.killpg(child.pid, number)
        else:
            os.kill(child.pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # Gone, or set-user-id and none of our business.


def terminate(child: Child) -> None:
    """SIGTERM to the group, also to those in it that are stopped."""
    signal_group(child, signal.SIGTERM)
    signal_group(child, signal.SIGCONT)


def has_ended(child: Child) -> bool:
    """Whether it has ended; it is not reaped by this.

    Raises:
        ChildProcessError: somebody else has reaped it.
    """
    if not hasattr(os, "waitid"):  # Python on macOS, before 3.13.
        return _libc_says_ended(child.pid)
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _libc_says_ended(pid: int) -> bool:
    import ctypes

    # sys/wait.h: P_PID, WNOHANG and WEXITED are the same on Linux and macOS, WNOWAIT is not.
    nohang, exited, nowait = 1, 4, 0x20 if os.uname().sysname == "Darwin" else 0x1000000
    # A siginfo_t has 104 or 128 bytes; the first number is 0 if there is no news.
    info = (ctypes.c_int * 64)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.waitid(1, ctypes.c_uint(pid), ctypes.byref(info), exited | nohang | nowait) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return info[0] != 0


def reap(child: Child) -> Death | None:
    """How the process ended, or None if it still runs.  To be asked until it has told, then no more.

    Before that, what it left in its group is told to end.

    Raises:
        ChildProcessError: somebody else has reaped it.
    """
    try:
        if not has_ended(child):
            return None
        if child.leads:
            terminate(child)  # Now, while the zombie keeps the group's number.
        _, status, usage = os.wait4(child.pid, 0)
    except ChildProcessError:
        _forget(child)
        raise
    _forget(child)
    # From fork to exec the child borrows our memory, and Linux counts that as its own.
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = usage.ru_maxrss * RSS_UNIT if usage.ru_maxrss > ours else 0
    return Death(os.waitstatus_to_exitcode(status), peak)


def _forget(child: Child) -> None:
    """Let go of a process that is reaped.  Idempotent, since a ``KeyboardInterrupt`` may come just after it."""
    if child.pid not in alive:
        return
    alive.remove(child.pid)
    if child.pidfd >= 0:
        os.close(child.pidfd)


def group_is_gone(child: Child) -> bool:
    """Whether nothing of a reaped process's group is left; reaps those of it that fell to us."""
    if not child.leads:
        return True
    try:
        while os.waitpid(-child.pid, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # None of them is ours.
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False

"""``strace``: whether it is here and works, and how a command is started, or this process watched, under it.

It decides which system calls are looked at: those that name a file or a directory, and ``connect``.

The invariant: a command under ``strace`` has the process, group, signals and exit code that it would have without it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from merkl.dataclass import dataclass

CALLS: Final = (
    "open", "openat", "openat2", "creat", "execve", "execveat", "rename", "renameat", "renameat2", "unlink", "unlinkat",
    "mkdir", "mkdirat", "rmdir", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat", "truncate", "getdents",
    "getdents64", "chdir", "fchdir", "clone", "clone3", "fork", "vfork", "connect", "stat", "lstat", "newfstatat",
    "fstatat64", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat",
)  # fmt: skip
_PATIENCE: Final = 10.0  # Seconds that strace may take to begin, or to end.
_PR_SET_PTRACER: Final = 0x59616D61  # prctl(2): who may trace this process, where Linux asks (Yama).


@dataclass(frozen=True, slots=True)
class Strace:
    """A ``strace`` that works.  With ``filters`` it can let the kernel choose the system calls, which is much faster."""

    program: str
    filters: bool

    def prefix(self, trace: bytes) -> list[bytes]:
        """The words before a command's own; what it does is then written to the file ``trace``.

        ``-D``: the command stays the process that was started, and strace becomes its grandchild; ``-I3``: signals for the
        group do not end strace before it has seen the last of it.
        """
        words = ["-D", "-I3", *_common(), *(["--seccomp-bpf"] if self.filters else [])]
        return [os.fsencode(self.program), *map(os.fsencode, words), b"-o", trace, b"--"]

    @contextlib.contextmanager
    def watching_us(self, trace: bytes) -> Iterator[bool]:
        """Write what this process and its children do to ``trace``; gives whether that works."""
        process = os.getpid()
        _let_us_be_traced(-1)
        tracer = subprocess.Popen(
            [self.program, *_common(), "-o", os.fsdecode(trace), "-p", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the task.
        )
        try:
            yield _is_attached(tracer)
        finally:
            if os.getpid() == process:  # Not a child that was forked meanwhile.
                _end(tracer)
                _let_us_be_traced(0)


def _common() -> Sequence[str]:
    # Structures are of no interest, save for addresses and the flags of a new process; names are to be whole.
    chosen = f"trace={','.join('?' + call for call in CALLS)}"
    return [
        "-f",
        "-qq",
        "-y",
        "-s",
        "8192",
        "-e",
        "signal=none",
        "-e",
        "verbose=connect,clone3",
        "-e",
        chosen,
    ]


def _end(tracer: subprocess.Popen[bytes]) -> None:
    tracer.send_signal(signal.SIGTERM)
    try:
        tracer.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        tracer.kill()
        tracer.wait()


def _is_attached(tracer: subprocess.Popen[bytes]) -> bool:
    """Wait until strace sees what this process does; False if it cannot."""
    wanted = f"TracerPid:\t{tracer.pid}\n"
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and tracer.poll() is None:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            if wanted in file.read():
                return True
        time.sleep(0.001)
    return False


def _let_us_be_traced(by: int) -> None:
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(by), 0, 0, 0)


def find_strace(path: str | None = None) -> tuple[Strace | None, str]:
    """The ``strace`` on PATH if it can be used, else None and why not.  It is tried, since a container may forbid it."""
    if sys.platform != "linux":
        return None, "there is strace for Linux only"
    program = shutil.which("strace", path=path)
    if program is None:
        return None, "strace is not on PATH"
    said = ""
    for filters in (True, False):
        strace = Strace(os.path.abspath(program), filters)
        try:
            done = subprocess.run(
                [*strace.prefix(os.fsencode(os.devnull)), b"/bin/sh", b"-c", b":"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            said = said or str(error)
            continue
        if done.returncode == 0 and not done.stderr:
            return strace, ""
        said = said or done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
    return None, f"strace does not work here: {said}"

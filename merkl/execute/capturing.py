"""What is written to stdout or stderr, to a file as well as to where it goes anyway.

It decides when all of it has arrived.  It knows no calls.

The invariant: afterwards the descriptors are what they were, and each file has what was written before, by this process, by
C libraries in it and by its children.

A program, ``tee``, reads one end of a pipe whose other end is the descriptor.  A thread of ours could not: a library that
prints while it holds the interpreter's lock would fill the pipe and wait for it for ever, and ``fork`` warns of threads.
"""

import array
import fcntl
import os
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

from merkl.errors import TaskFailed
from merkl.execute.call import flush
from merkl.execute.frames import widen

_PRIVATE: Final = 64  # Out of the way of what is captured.
_DRAIN: Final = 10.0  # Seconds that what has been written may take to be read.
_LINGER: Final = 0.25  # Seconds after that, if a process the call left behind still has the stream.


@contextmanager
def capturing(files: Mapping[int, bytes]) -> Iterator[None]:
    """While it lasts, put what is written to each of these descriptors into a file, too.

    Raises:
        TaskFailed: it could not be written.
    """
    flush()
    with ExitStack() as stack:
        for fd, path in files.items():
            stack.enter_context(_captured(fd, path))
        try:
            yield
        finally:
            flush()  # While the pipes are still in place.


@contextmanager
def _captured(fd: int, path: bytes) -> Iterator[None]:
    before = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _PRIVATE)
    writer = -1
    try:
        tee, writer = _tee(before, path)
        _await_opened(tee, path)
        os.dup2(writer, fd)
        try:
            yield
        finally:
            os.dup2(before, fd)
            try:
                _await_drained(writer)
            finally:
                os.close(writer)
                writer = -1
                failed = _ended(tee)
    finally:
        os.close(before)
        if writer >= 0:
            os.close(writer)
    if failed:
        raise TaskFailed(
            "what the task printed could not be captured", hint="make room on the file system of .merkl"
        )


def _tee(before: int, path: bytes) -> "tuple[subprocess.Popen[bytes], int]":
    """A ``tee`` between a pipe and both ``before`` and a file, and the pipe's end to be written to."""
    reader, end = os.pipe()
    try:
        writer = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _PRIVATE)
        widen(writer)
        try:
            # In a group of its own, since Ctrl-C is for the task.
            tee = subprocess.Popen(
                ["tee", "--", path], stdin=reader, stdout=before, stderr=subprocess.DEVNULL, process_group=0
            )
        except OSError as error:
            os.close(writer)
            raise TaskFailed(f"capture= needs the program tee: {error.strerror}") from error
        return tee, writer
    finally:
        os.close(reader)
        os.close(end)


def _await_opened(tee: "subprocess.Popen[bytes]", path: bytes) -> None:
    """Wait until it is there to read, so that the two streams come to the log in the order in which they are written."""
    deadline = time.monotonic() + _DRAIN
    while not os.path.exists(path) and tee.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0002)


def _await_drained(writer: int) -> None:
    """Wait until the other end has read what was written."""
    deadline, pause = time.monotonic() + _DRAIN, 0.0002
    left = array.array("i", [0])
    while time.monotonic() < deadline:
        fcntl.ioctl(writer, termios.FIONREAD, left)
        if left[0] == 0:
            return
        time.sleep(pause)
        pause = min(0.01, 2 * pause)


def _ended(tee: "subprocess.Popen[bytes]") -> bool:
    """Wait for ``tee``, unless somebody else keeps it waiting; whether it failed."""
    try:
        return tee.wait(_LINGER) != 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        tee.kill()
        tee.wait()

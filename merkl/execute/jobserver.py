"""The jobserver of GNU make: how make, ninja, cargo and merkl share the right to run something.

A pipe, or a named one, holds a token for each job that may run beside the first.  Whoever wants to start another reads
one, and writes it back when that ends.  https://www.gnu.org/software/make/manual/html_node/POSIX-Jobserver.html

It decides whose jobserver there is, and when a token is taken and given back.  It knows no jobs.

The invariant: every token that was read is written back, the same byte, at the latest by ``close``; nothing here blocks.
"""

import fcntl
import os
import stat
from collections.abc import Callable, Mapping
from typing import Final

from merkl.dataclass import dataclass
from merkl.execute.base import JOBSERVER_FDS

FLAGS: Final = "MAKEFLAGS"
_AUTH: Final = ("--jobserver-auth=", "--jobserver-fds=")  # The second is what make before 4.2 says.
_TOKEN: Final = b"+"
# Tokens that any pipe takes at once, also that of a user who has too many (a page, pipe(7)).
_MOST: Final = 4095
_FIFO: Final = "fifo:"


@dataclass(frozen=True, slots=True)
class Heard:
    """What MAKEFLAGS says: ``auth`` names the jobserver, empty if there is none; ``alone`` if one job at a time may run."""

    auth: str = ""
    alone: bool = False


def heard(environ: Mapping[str, str]) -> Heard:
    """What the make that started us, if one did, said of jobs."""
    auth, jobs = "", ""
    for word in environ.get(FLAGS, "").split():
        if word == "--":
            break  # Variables follow.
        for prefix in _AUTH:
            if word.startswith(prefix):
                auth = word.removeprefix(prefix)
        if word.startswith("-j") and not word.startswith("--"):
            jobs = word.removeprefix("-j")
    return Heard(auth, not auth and jobs == "1")


class Tokens:
    """Our end of a jobserver.

    All descriptors are its own.  ``flags`` is what MAKEFLAGS tells children; ``passed_on`` are the descriptors it speaks of,
    if it does, to be given to them as ``JOBSERVER_FDS``.  ``fd`` is readable while there may be a token to take.  ``own`` is
    the number of tokens of a jobserver that we opened ourselves, -1 if others did; ``path`` is then removed with it, and
    ``closed`` called.
    """

    def __init__(
        self,
        fd: int,
        out: int,
        flags: str,
        passed_on: tuple[int, int] | None,
        own: int,
        path: str = "",
        closed: Callable[[], None] | None = None,
    ) -> None:
        self.fd = fd
        self.flags = flags
        self.passed_on = passed_on
        self._out = out
        self._own = own
        self._held = bytearray()
        self._path = path
        self._closed = closed

    def suffice(self, jobs: int) -> bool:
        """Whether that many jobs may run; takes what is missing for it, if it is there."""
        missing = jobs - 1 - len(self._held)
        if missing > 0:
            try:
                self._held += os.read(self.fd, missing)
            except OSError:
                return False  # None is there.
        return len(self._held) >= jobs - 1

    def keep(self, jobs: int) -> None:
        """Give back what that many jobs do not need."""
        spare = len(self._held) - max(jobs - 1, 0)
        if spare > 0:
            self._give(spare)
        if self._own > 0 and jobs == 0:
            self._restore()

    def grow(self, jobs: int) -> None:
        """Let one that we opened ourselves serve that many jobs, if it is for fewer."""
        more = min(jobs - 1, _MOST) - self._own
        if self._own >= 0 and more > 0:
            try:
                self._own += os.write(self._out, _TOKEN * more)
            except OSError:
                pass  # A task has filled it with what it never took.

    def _give(self, count: int) -> None:
        given = bytes(self._held[-count:])
        del self._held[-count:]
        try:
            os.write(self._out, given)
        except OSError:
            pass  # Nobody is left to whom it could matter.

    def _restore(self) -> None:
        """With nobody else at work, let there be as many tokens as at first: a killed make leaves none behind."""
        import struct
        import termios

        (there,) = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)))
        if there < self._own:
            os.write(self._out, _TOKEN * (self._own - there))
        elif there > self._own:  # One that was thought lost was given back late.
            os.read(self.fd, there - self._own)

    def close(self) -> None:
        """Give back everything.  Idempotent."""
        if self.fd < 0:
            return
        self.keep(0)
        for fd in {self.fd, self._out, *(self.passed_on or ())}:
            os.close(fd)
        self.fd = -1
        if self._path:
            try:
                os.unlink(self._path)
            except OSError:
                pass  # It was removed together with all else of the build.
        if self._closed is not None:
            self._closed()


# ---- somebody else's -----------------------------------------------------------------------------------------------


def join(auth: str) -> Tokens | None:
    """Take part in the jobserver that ``auth`` names; None if it is not open to us."""
    try:
        return _join_fifo(auth) if auth.startswith(_FIFO) else _join_pipe(auth)
    except (OSError, ValueError, OverflowError):
        return None


def _join_fifo(auth: str) -> Tokens | None:
    path = auth.removeprefix(_FIFO)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            raise ValueError(f"{path} is no named pipe")
        out = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except BaseException:
        os.close(fd)
        raise
    return Tokens(fd, out, f" -j --jobserver-auth={auth}", None, -1)


def _join_pipe(auth: str) -> Tokens | None:
    reader, writer = map(int, auth.split(","))
    if not _is_inherited_pipe(reader, writer):
        return None
    return _at_pipe(reader, writer, -1)


def _at_pipe(reader: int, writer: int, own: int) -> Tokens:
    """Our end of the jobserver at a pipe, whose descriptors stay the caller's.

    Raises:
        OSError: it cannot be opened anew (macOS), or no descriptors are left.
    """
    # Anew, because not to block is a matter of the open file, which make and all its children share.
    fds = [os.open(f"/proc/self/fd/{reader}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)]
    try:
        # Above those they are given as, so that none is overwritten before it is copied.
        for fd in (
            reader,
            writer,
        ):
            fds.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(JOBSERVER_FDS) + 1))
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    flags = " -j --jobserver-auth={},{}".format(*JOBSERVER_FDS)
    return Tokens(fds[0], fds[2], flags, (fds[1], fds[2]), own)


def _is_inherited_pipe(reader: int, writer: int) -> bool:
    """Whether these are the two ends of one pipe that came from our parent: by now the numbers may be of other files."""
    if reader < 0 or writer < 0:
        return False  # So make says that it is not for us.
    ends = [os.fstat(reader), os.fstat(writer)]
    return (
        all(
            stat.S_ISFIFO(end.st_mode) and os.get_inheritable(fd)
            for fd, end in zip((reader, writer), ends, strict=True)
        )
        and (ends[0].st_dev, ends[0].st_ino) == (ends[1].st_dev, ends[1].st_ino)
        and fcntl.fcntl(reader, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        and fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    )


# ---- our own -------------------------------------------------------------------------------------------------------


def open_pipe(jobs: int) -> Tokens | None:
    """A jobserver for that many jobs, of which only our children know; None where there can be none."""
    try:
        reader, writer = os.pipe()
    except OSError:  # Few descriptors: what else needs them says so.
        return None
    try:
        os.set_blocking(writer, False)  # A task may have filled it with what it never took.
        own = min(jobs - 1, _MOST)
        os.write(writer, _TOKEN * own)
        return _at_pipe(reader, writer, own)
    except OSError:
        return None
    finally:
        os.close(reader)
        os.close(writer)


def open_fifo(jobs: int, path: str, closed: Callable[[], None] | None = None) -> Tokens:
    """A jobserver for that many jobs, as a named pipe at ``path``, which has no white space.

    Raises:
        OSError: it cannot be made.
    """
    os.mkfifo(path, 0o600)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    out = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    own = min(jobs - 1, _MOST)
    os.write(out, _TOKEN * own)
    return Tokens(fd, out, f" -j --jobserver-auth={_FIFO}{path}", None, own, path, closed)

"""Following what a running task prints, as it is written to its files.

It decides which bytes of two growing files are new, and in what order they are told: those of the log, then those of
``stdout`` beside it, where a command whose output is a value has a file of its own.

The invariant: no byte is given twice, no secret at all, and neither memory nor time grows with a log: who prints more than
can be read at one look has the middle left out, and the text says so.  Who does that look after look is shown ever less of,
so that a flood that goes on for hours is told in a few megabytes, and who prints little is never cut.
"""

import codecs
import os
from collections.abc import Iterator, Sequence
from typing import Final

from merkl.execute.secrets import Veil
from merkl.report.words import size

_AT_ONCE: Final = 1 << 16  # bytes
_MOST: Final = 1 << 20  # Bytes in one look;
_LEAST: Final = 1 << 12  # half as many in each after one that left something out, but never fewer.


class Tail:
    """The output of one attempt, from its beginning, without ``secrets``; ``stdout`` False leaves a stdout of its own out.

    The files may be removed while they are followed.
    """

    def __init__(self, log: str, secrets: Sequence[bytes] = (), *, stdout: bool = True) -> None:
        self._secrets = secrets
        self._told = ("log", "stdout") if stdout else ("log",)
        self._paths = {"log": log, "stdout": os.path.join(os.path.dirname(log), "stdout")}
        self._files: dict[str, _Growing] = {}

    @property
    def has_begun(self) -> bool:
        """Whether a file was there when it was looked for."""
        return bool(self._files)

    def new_text(self) -> Iterator[str]:
        """What was printed since the last call: whole lines, in pieces of bounded size."""
        for name in self._told:
            file = self._open(name)
            if file is not None:
                yield from file.new_text(file.size())

    def rest(self) -> Iterator[str]:
        """What is left once the attempt has ended, the line that has no end too."""
        log, stdout = self._open("log"), self._open("stdout")
        if log is not None:
            yield from log.new_text(log.size() - self._appended(), final=True)
        if stdout is not None and "stdout" in self._told:
            yield from stdout.new_text(stdout.size(), final=True)

    def _appended(self) -> int:
        """How many bytes at the end of the log are a copy of ``stdout``, made when the result was taken in."""
        log, stdout = self._files.get("log"), self._files.get("stdout")
        if log is None or stdout is None or log.size() < stdout.size():
            return 0
        count = stdout.size()
        return count if log.ends_like(stdout, count) else 0

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _open(self, name: str) -> "_Growing | None":
        if name not in self._files:
            try:
                fd = os.open(self._paths[name], os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                return None
            self._files[name] = _Growing(fd, self._paths[name], self._secrets)
        return self._files[name]


class _Growing:
    """One file that grows, read as text."""

    def __init__(self, fd: int, path: str, secrets: Sequence[bytes]) -> None:
        self._fd = fd
        self._path = path
        self._most = _MOST
        self._secrets = secrets
        self._veil = Veil(secrets)
        self._within = False  # A line whose beginning was left out, and may be in the middle of a secret.
        self._at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""  # A line whose end has not been seen.

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def ends_like(self, other: "_Growing", count: int) -> bool:
        """Whether the last bytes of two files are the same, as far as one look tells."""
        look = min(count, 4096)
        return os.pread(self._fd, look, self.size() - look) == os.pread(other._fd, look, count - look)

    def new_text(self, until: int, *, final: bool = False) -> Iterator[str]:
        most = max(self._most, _AT_ONCE) if final else self._most
        if until - self._at > most:
            where = "" if final else f": while the task runs, all is in {self._path}"
            yield f"… {size(until - self._at - most)} are left out here{where}\n"
            self._at, self._begun = until - most, ""
            self._veil, self._within = Veil(self._secrets), bool(self._secrets)
            self._most = max(self._most // 2, _LEAST)
        else:
            self._most = min(self._most * 2, _MOST)
        while self._at < until:
            data = os.pread(self._fd, min(_AT_ONCE, until - self._at), self._at)
            if not data:
                break
            self._at += len(data)
            if self._within:
                _, line_end, data = data.partition(b"\n")
                self._within = not line_end
            text = self._begun + self._decoder.decode(self._veil.take(data))
            whole, newline, self._begun = text.rpartition("\n")
            if newline:
                yield whole + newline
            elif len(text) > _AT_ONCE:
                yield text
                self._begun = ""
        if final and (last := self._begun + self._decoder.decode(self._veil.rest(), True)):
            self._begun = ""
            yield last + "\n"

    def close(self) -> None:
        os.close(self._fd)

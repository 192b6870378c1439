"""What of a task's log goes into the store: all of it, or of a very long one the beginning and the end.

It decides what is left out, and says so in the log itself.  The whole log lies in the attempt's directory, on disk, as the
task wrote it; a task that failed keeps it there.

The invariant: neither memory nor the store grows with what a task prints.
"""

import os
from typing import Final

_CHUNK: Final = 1 << 20  # bytes
_LINE: Final = 1 << 16  # Bytes; a cut is moved to the end of a line if one is this near.


def bounded(path: bytes, limit: int) -> bytes:
    """The path of a file with at most ``limit`` bytes of the log at ``path``, and a line for what is left out.

    It is the log itself if that is no longer.
    """
    with open(path, "rb") as log:
        size = os.fstat(log.fileno()).st_size
        if size <= limit:
            return path
        head = _line_end(log.fileno(), limit // 2)
        tail = _line_start(log.fileno(), size - (limit - limit // 2), size)
        kept = path + b".kept"
        with open(kept, "wb") as file:
            _copy(log.fileno(), 0, head, file.fileno())
            file.write(_notice(tail - head, os.pread(log.fileno(), 1, max(0, head - 1)) != b"\n"))
            file.flush()
            _copy(log.fileno(), tail, size, file.fileno())
    return kept


def _notice(count: int, inside_a_line: bool) -> bytes:
    text = f"… {count:,} bytes are left out here; `log_limit` in merkl.yaml says how many are kept …\n"
    return ("\n" * inside_a_line + text).encode()


def _line_end(fd: int, at: int) -> int:
    """The end of the last line before ``at``, or ``at`` itself, in the middle of a long one."""
    start = max(0, at - _LINE)
    found = os.pread(fd, at - start, start).rfind(b"\n")
    return at if found < 0 else start + found + 1


def _line_start(fd: int, at: int, size: int) -> int:
    """The beginning of the first line after ``at``, or ``at`` itself, in the middle of a long one."""
    found = os.pread(fd, min(_LINE, size - at), at).find(b"\n")
    return at if found < 0 or at + found + 1 == size else at + found + 1


def _copy(source: int, start: int, end: int, target: int) -> None:
    while start < end and (piece := os.pread(source, min(_CHUNK, end - start), start)):
        start += len(piece)
        left = memoryview(piece)
        while left:
            left = left[os.write(target, left) :]

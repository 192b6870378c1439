"""A terminal whose last rows are drawn again and again, below text that stays.

It decides which bytes go to the terminal.  It knows nothing of tasks.

Between two frames the cursor, hidden, stands at the beginning of the block, so that clearing it needs no count of its
rows: a terminal that was made narrower may have broken them in two.

The invariant: a frame is one write, and no row of it is broken by the terminal; after ``clear`` the cursor is visible, at
the beginning of a row, and nothing of the block is left.
"""

import os
import select
from collections.abc import Sequence
from typing import Final, TextIO

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # A terminal that knows these shows a frame at once.
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_CLEAR_LINE, _CLEAR_BELOW = "\x1b[K", "\x1b[J"
# Not from the first column: there tmux may take it for a whole screen that it is to keep.
_CLEAR_BLOCK = f"\r\x1b[2K {_CLEAR_BELOW}\r"
_USUAL: Final = (80, 24)  # Columns and rows of a terminal that does not tell.
_PATIENCE: Final = 1.0  # Seconds for a terminal that takes nothing and would not make us wait.


class Screen:
    """The terminal that ``stream`` writes to."""

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        self._fd = os.dup(stream.fileno())  # A call that runs right here has a log in its place.
        self._encoding = stream.encoding
        self._text: list[str] = []
        self._shown: tuple[object, ...] = ()  # The frame that can be seen; empty if there is none.
        self._gone = False

    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            width, height = os.get_terminal_size(self._fd)
        except OSError:
            return _USUAL
        return width or _USUAL[0], height or _USUAL[1]

    def add(self, text: str) -> None:
        """Text that is to stay above the block, from the next frame on."""
        self._text.append(text)

    def draw(self, rows: Sequence[str]) -> None:
        """Write the text that was added, and the block below it."""
        if not rows or not self._is_ours():
            self.clear()
            return
        size, text = self.size(), self._take_text()
        frame = (size, *rows)
        if frame == self._shown and not text:
            return
        # A terminal that was resized remembers which rows it broke in two, until they are cleared.
        fresh = _CLEAR_BLOCK if text or self._shown[:1] != (size,) else ""
        block = f"{_CLEAR_LINE}\r\n".join(rows)
        up = f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else ""
        self._shown = frame  # Before the write: a signal may end it in the middle.
        self._write(f"{_BEGIN}{_HIDE}{fresh}{text}\r{_NO_WRAP}{block}{_CLEAR_BELOW}{up}\r{_WRAP}{_END}")

    def clear(self) -> None:
        """Write the text that was added, and leave no block.  Idempotent."""
        text = self._take_text()
        if self._shown:
            self._write(f"{_CLEAR_BLOCK}{text}{_WRAP}{_SHOW}")
            self._shown = ()
        elif text:
            self._write(text)

    def to_new_row(self) -> None:
        """Go to the beginning of a row: of the next one, if the cursor is not at the beginning of this."""
        if self._is_ours():
            self._write(" " * (self.size()[0] - 1) + f"\r{_CLEAR_LINE}")

    def _take_text(self) -> str:
        """What was added, as far as its lines are whole."""
        text = "".join(self._text)
        whole, newline, begun = text.rpartition("\n")
        self._text = [begun] if begun else []
        return whole + newline

    def end(self) -> None:
        """Leave no block, and nothing that was added unwritten."""
        if self._text and not self._text[-1].endswith("\n"):
            self._text.append("\n")
        self.clear()

    def close(self) -> None:
        """Let go of the terminal."""
        self.end()
        self._gone = True
        os.close(self._fd)

    def _is_ours(self) -> bool:
        """Whether we are in the foreground, where a block disturbs nobody."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True  # Not our session's terminal, so no shell shares it with us.

    def _write(self, text: str) -> None:
        if self._gone:
            return
        data = memoryview(text.encode(self._encoding, "backslashreplace"))
        while data and not self._gone:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                self._gone = not select.select([], [self._fd], [], _PATIENCE)[1]
            except OSError:  # The terminal was closed: the build goes on.
                self._gone = True

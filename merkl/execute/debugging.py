"""``breakpoint()`` in a call: where the debugger finds a terminal, and what is said where there is none.

It decides when a call that runs right here has the terminal: from ``breakpoint()`` until the debugger lets it go on, or
with another debugger than pdb until the call has ended.

The invariant: whatever the debugger does, afterwards fds 0 to 2, the streams and the trace function are those of before.
"""

import os
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, Final, TextIO

from merkl.errors import TaskFailed
from merkl.execute.base import Terminal
from merkl.execute.call import flush, text_on

_TERMINAL: Final = "/dev/tty"
_VARIABLE: Final = "PYTHONBREAKPOINT"


class Debugging:
    """A context in which ``breakpoint()`` gets the terminal; ``lent`` if the call has it already.

    ``quit`` if the user left the debugger without letting the call go on.
    """

    def __init__(self, terminal: Terminal, *, lent: bool) -> None:
        self._terminal = terminal
        self._lent = lent
        self._saved: Sequence[int] = ()
        self._streams: tuple[TextIO, TextIO, TextIO] | None = None
        self._hook: Any = None
        self._trace: Any = None
        self.quit = False

    def __enter__(self) -> "Debugging":
        self._hook, sys.breakpointhook = sys.breakpointhook, self._break
        self._trace = sys.gettrace()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, trace: TracebackType | None) -> None:
        if sys.gettrace() is not self._trace:  # It was never told to go on.
            sys.settrace(self._trace)
        sys.breakpointhook = self._hook
        self.give_back()

    def _break(self, *args: Any, **kwargs: Any) -> Any:
        """What ``breakpoint()`` does."""
        wanted = os.environ.get(_VARIABLE)
        if wanted == "0":
            return None
        self.take()
        if wanted and wanted != "pdb.set_trace":
            return self._hook(*args, **kwargs)
        debugger: Any = _pdb_of(self, _outermost(sys._getframe(1)))
        if kwargs.get("header") is not None:
            debugger.message(kwargs["header"])
        return debugger.set_trace(sys._getframe(1))

    def take(self) -> None:
        """Put the terminal where the call's streams are.

        Raises:
            TaskFailed: there is none.
        """
        if self._lent or self._saved:
            return
        try:
            terminal = os.open(_TERMINAL, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            hint = f"run merkl in a terminal, or set {_VARIABLE}=0"
            raise _refusal("there is no terminal here", hint) from None
        self._terminal.lend()
        flush()
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._saved = [os.dup(fd) for fd in (0, 1, 2)]
        for fd in (0, 1, 2):
            os.dup2(terminal, fd)
        os.close(terminal)
        sys.stdin = open(0, closefd=False, encoding="utf-8", errors="surrogateescape")
        sys.stdout, sys.stderr = text_on(1), text_on(2)

    def has_terminal(self) -> bool:
        """Whether the call has the terminal, with or without a debugger."""
        return self._lent or self._streams is not None

    def give_back(self) -> None:
        """Put the call's streams back.  Idempotent."""
        if self._streams is None:
            return
        flush()
        sys.stdin, sys.stdout, sys.stderr = self._streams
        self._streams = None
        for fd, copy in enumerate(self._saved):
            os.dup2(copy, fd)
            os.close(copy)
        self._saved = ()
        self._terminal.take_back()


def _outermost(frame: FrameType) -> FrameType:
    """The frame of the function that merkl called, from one that is inside it."""
    while frame.f_back is not None and not _is_ours(frame.f_back):
        frame = frame.f_back
    return frame


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "merkl"


def _is_inside(frame: FrameType | None, outer: FrameType) -> bool:
    while frame is not None and frame is not outer:
        frame = frame.f_back
    return frame is outer


def _pdb_of(debugging: Debugging, outermost: FrameType) -> object:
    """A pdb that gives the terminal back when the call goes on, and does not stop once it has returned."""
    import pdb

    class Debugger(pdb.Pdb):
        def stop_here(self, frame: FrameType) -> bool:
            return _is_inside(frame, outermost) and bool(super().stop_here(frame))

        def set_continue(self) -> None:
            super().set_continue()
            if sys.gettrace() is None:  # No breakpoint of its own is left that it could stop at.
                debugging.give_back()

        def set_quit(self) -> None:
            debugging.quit = True
            super().set_quit()

    # SIGINT stays with the call: pdb's own handler would outlive it.
    return Debugger(nosigint=True)


def refuse_in_worker(*args: Any, **kwargs: Any) -> Any:
    """What ``breakpoint()`` does in a worker process: another debugger than pdb may know a way out.

    Raises:
        TaskFailed: it is pdb, which needs a terminal.
    """
    wanted = os.environ.get(_VARIABLE)
    if wanted and wanted != "pdb.set_trace":
        return sys.__breakpointhook__(*args, **kwargs)
    raise _refusal(
        "a task in a worker process has no terminal",
        "with `merkl build -j1` it has one, unless it has a timeout=",
    )


def _refusal(why: str, hint: str) -> TaskFailed:
    return TaskFailed(f"breakpoint() cannot start a debugger: {why}", hint=hint)
